/* Stores and loads rows in block floating point on another machine: rows from stdin; the bytes kept,
 * then the numbers they stand for, to stdout. */
#include "blocks.h"
#include "reading.h"
#include "tessera.h"

int main(void)
{
    const int32_t *header = get(3 * sizeof *header); /* bits, numbers per row, rows */
    const int32_t bits = header[0], size = header[1], count = header[2];
    const int32_t *order = get((size_t)size * sizeof *order);
    const float *rows = get((size_t)(size * count) * sizeof *rows);
    const size_t bytes = block_row_bytes((size_t)size, bits), all = bytes * (size_t)count;
    uint8_t *packed = calloc(all + BLOCK_SLACK, 1);
    float *back = malloc((size_t)(size * count) * sizeof *back);
    for (int32_t row = 0; row < count; row++)
        tessera_encode_blocks(rows + row * size, order, size, bits, packed + (size_t)row * bytes);
    tessera_decode_blocks(packed, count, size, bits, back);
    return fwrite(packed, 1, all, stdout) != all
        || fwrite(back, sizeof *back, (size_t)(size * count), stdout) != (size_t)(size * count);
}

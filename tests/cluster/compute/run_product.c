/* Runs one product on another machine: header and arrays from stdin, the product to stdout. */
#include "reading.h"
#include "tessera.h"

int main(void)
{
    const int32_t *header = get(5 * sizeof *header); /* bits, rows, columns, n, bytes of tiles */
    struct tessera_rank rank = {.bits = header[0], .hidden = header[2], .batch = header[3]};
    const uint8_t *tiles = get((size_t)header[4]);
    const float *x = get((size_t)(header[2] * header[3]) * sizeof *x);
    const size_t size = (size_t)(header[1] * header[3]);
    float *out = malloc(size * sizeof *out);
    rank.scratch = malloc((size_t)tessera_scratch_bytes(&rank));
    tessera_matmul(&rank, tiles, header[1], header[2], x, header[3], out);
    return fwrite(out, sizeof *out, size, stdout) != size;
}

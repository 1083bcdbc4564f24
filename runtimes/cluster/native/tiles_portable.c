/* Tile products in plain C: for every machine without one of the instruction sets above, and the
 * order-free products of reproducible mode, which are the same code everywhere. */
#include "tiles.h"

#include <math.h>
#include <string.h>

#include "half.h"

void tile_row_fixed(const uint8_t *tile, const struct columns *x, int32_t position, int64_t *out)
{
    const size_t columns = (size_t)x->groups * TILE_COLUMNS;
    const float *values = x->plain + (size_t)position * columns;
    const float *weights = (const float *)tile;
    memset(out, 0, TILE_ROWS * sizeof *out);
    for (size_t i = 0; i < columns; i++)
        for (size_t r = 0; r < TILE_ROWS; r++)
            out[r] += (int64_t)rint((double)weights[TILE_ROWS * i + r] * ((double)values[i] * 16777216.0));
}

#if !(defined(__AVX512VNNI__) && defined(__AVX512BW__)) && !defined(__AVX2__) && \
    !(defined(__ARM_NEON) && defined(__aarch64__))

/* Row r of (w - 8) . x over the 32 columns of a 4-bit tile. */
TILE_INLINE int32_t dot_i4(const uint8_t *weights, int r, const int8_t *column, int32_t sum)
{
    int32_t dot = -8 * sum;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) {
            const uint8_t pair = weights[64 * j + 4 * r + i];
            dot += (pair & 15) * column[8 * j + i] + (pair >> 4) * column[8 * j + 4 + i];
        }
    return dot;
}

/* The same for an 8-bit tile: (w - 128) . x. */
TILE_INLINE int32_t dot_i8(const uint8_t *weights, int r, const int8_t *column, int32_t sum)
{
    int32_t dot = -128 * sum;
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 4; i++)
            dot += weights[64 * j + 4 * r + i] * column[4 * j + i];
    return dot;
}

typedef int32_t dot_product(const uint8_t *weights, int r, const int8_t *column, int32_t sum);

TILE_INLINE void body(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n,
                      float *out, size_t bytes, dot_product *dot)
{
    const size_t groups = (size_t)x->groups, stride = groups * TILE_COLUMNS;
    memset(out, 0, (size_t)n * TILE_ROWS * sizeof *out);
    for (size_t g = 0; g < groups; g++, tile += bytes)
        for (int r = 0; r < TILE_ROWS; r++) {
            const float weight = half_to_float(tile + 2 * r);
            for (int32_t c = 0; c < n; c++) {
                const size_t row = (size_t)(first + c), at = row * groups + g;
                const int8_t *column = x->values + row * stride + g * TILE_COLUMNS;
                const int32_t product = dot(tile + 32, r, column, x->sums[at]);
                float *total = out + c * TILE_ROWS + r;
                *total = fmaf((float)product, weight * x->scales[at], *total);
            }
        }
}

void tile_row_i4(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    body(tile, x, first, n, out, TILE_BYTES_I4, dot_i4);
}

void tile_row_i8(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    body(tile, x, first, n, out, TILE_BYTES_I8, dot_i8);
}

void tile_row_f32(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    const size_t columns = (size_t)x->groups * TILE_COLUMNS;
    const float *weights = (const float *)tile;
    memset(out, 0, (size_t)n * TILE_ROWS * sizeof *out);
    for (int32_t c = 0; c < n; c++)
        for (size_t i = 0; i < columns; i++) {
            const float value = x->plain[(size_t)(first + c) * columns + i];
            for (int r = 0; r < TILE_ROWS; r++)
                out[c * TILE_ROWS + r] = fmaf(weights[TILE_ROWS * i + (size_t)r], value, out[c * TILE_ROWS + r]);
        }
}
#endif

/* Quantises weights into tiles, the same bits as `runtimes.cluster.tiles.pack`. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "half.h"
#include "tessera.h"
#include "tiles.h"

enum { LANES = 16 };

static const float ROUND = 12582912.0f; /* 1.5 * 2^23: adding it rounds to nearest, ties to even */
static const float HALF_MAX = 65504.0f;
static const float TARGETS[] = {-8.0f, -8.5f, -7.5f, 7.5f};

/* A group of 32 weights of one row, rounded. */
struct rounded {
    uint16_t scale; /* binary16 */
    uint8_t values[TILE_COLUMNS];
};

static float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

/* Rounds to the grid of a scale; returns the squared error, added in a fixed tree. */
static float try_scale(const float *weights, float scale, float low, float high, float *values)
{
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    float squares[TILE_COLUMNS];
    for (size_t i = 0; i < TILE_COLUMNS; i++) {
        const float value = (weights[i] * inverse + ROUND) - ROUND;
        values[i] = clamp(value, low, high);
        const float error = values[i] * scale - weights[i];
        squares[i] = error * error;
    }
    for (size_t half = LANES; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            squares[i] += squares[i + half];
    return squares[0];
}

/* The weight of the largest magnitude, the first of equals. */
static float extreme_of(const float *weights)
{
    float extreme = weights[0];
    for (size_t i = 1; i < TILE_COLUMNS; i++)
        if (fabsf(weights[i]) > fabsf(extreme))
            extreme = weights[i];
    return extreme;
}

static struct rounded round_i4(const float *weights)
{
    const float extreme = extreme_of(weights);
    struct rounded best = {0, {0}};
    float values[TILE_COLUMNS], least = INFINITY;
    memset(best.values, 8, sizeof best.values);
    for (size_t t = 0; t < sizeof TARGETS / sizeof *TARGETS; t++) {
        const uint16_t half = float_to_half(clamp(extreme / TARGETS[t], -HALF_MAX, HALF_MAX));
        const float error = try_scale(weights, half_bits_to_float(half), -8.0f, 7.0f, values);
        if (error < least) {
            least = error;
            best.scale = half;
            for (size_t i = 0; i < TILE_COLUMNS; i++)
                best.values[i] = (uint8_t)(values[i] + 8.0f);
        }
    }
    return best;
}

static struct rounded round_i8(const float *weights)
{
    const float scale = fabsf(extreme_of(weights)) / 127.0f;
    struct rounded group = {float_to_half(clamp(scale, -HALF_MAX, HALF_MAX)), {0}};
    float values[TILE_COLUMNS];
    try_scale(weights, half_bits_to_float(group.scale), -127.0f, 127.0f, values);
    for (size_t i = 0; i < TILE_COLUMNS; i++)
        group.values[i] = (uint8_t)(values[i] + 128.0f);
    return group;
}

/* Put row r of a tile where tiles.h says. */
static void place(const struct rounded *group, int r, int32_t bits, uint8_t *tile)
{
    tile[2 * r] = (uint8_t)group->scale;
    tile[2 * r + 1] = (uint8_t)(group->scale >> 8);
    for (int i = 0; i < TILE_COLUMNS; i++) {
        const int vector = bits == 4 ? i / 8 : i / 4;
        uint8_t *byte = tile + 32 + 64 * vector + 4 * r + i % 4;
        if (bits == 8)
            *byte = group->values[i];
        else if (i % 8 < 4)
            *byte = group->values[i];
        else
            *byte |= (uint8_t)(group->values[i] << 4);
    }
}

void tessera_pack(const float *matrix, int32_t rows, int32_t columns, int32_t bits, uint8_t *out)
{
    const size_t bytes = bits == 4 ? TILE_BYTES_I4 : TILE_BYTES_I8;
    for (int32_t row = 0; row < rows; row += TILE_ROWS)
        for (int32_t column = 0; column < columns; column += TILE_COLUMNS, out += bytes)
            for (int32_t r = 0; r < TILE_ROWS; r++) {
                float weights[TILE_COLUMNS] = {0};
                const int32_t left = columns - column < TILE_COLUMNS ? columns - column : TILE_COLUMNS;
                if (row + r < rows)
                    memcpy(weights, matrix + (size_t)(row + r) * (size_t)columns + column,
                           (size_t)left * sizeof *weights);
                const struct rounded group = bits == 4 ? round_i4(weights) : round_i8(weights);
                place(&group, r, bits, out);
            }
}

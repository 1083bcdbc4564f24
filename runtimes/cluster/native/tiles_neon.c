/* Tile products with NEON (AArch64): a vector is four columns of 4 rows, a tile four quarters.
 *
 * Nibbles 0..15 are valid signed bytes; 8-bit weights become signed by flipping their top bit.
 * With the dot-product extension four bytes are one SDOT lane; without it, products are widened
 * to int16, added in pairs (at most 2 * 127 * 127) and accumulated in pairs. */
#include "tiles.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

enum { QUARTERS = 4, QUARTER_ROWS = 4, QUARTER_BYTES = 16 };

TILE_INLINE int8x16_t four(const int8_t *values)
{
    int32_t word;
    memcpy(&word, values, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

TILE_INLINE float32x4_t row_scales(const uint8_t *tile, int quarter)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(tile + 8 * quarter)));
}

TILE_INLINE int32x4_t add_dot(int32x4_t total, int8x16_t weights, int8x16_t values)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(total, weights, values);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(values));
    const int16x8_t high = vmull_high_s8(weights, values);
    return vpadalq_s16(total, vpaddq_s16(low, high));
#endif
}

/* Four dot products over the 32 columns of a 4-bit tile: (w - 8) . x for 4 rows. */
TILE_INLINE int32x4_t dot_i4(const uint8_t *tile, const int8_t *column, int32_t sum)
{
    const uint8x16_t nibble = vdupq_n_u8(15);
    int32x4_t dot = vdupq_n_s32(-8 * sum);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const uint8x16_t pair = vld1q_u8(tile + 64 * j);
        dot = add_dot(dot, vreinterpretq_s8_u8(vandq_u8(pair, nibble)), four(column + 8 * j));
        dot = add_dot(dot, vreinterpretq_s8_u8(vshrq_n_u8(pair, 4)), four(column + 8 * j + 4));
    }
    return dot;
}

/* The same for an 8-bit tile: (w - 128) . x. */
TILE_INLINE int32x4_t dot_i8(const uint8_t *tile, const int8_t *column, int32_t sum)
{
    const uint8x16_t offset = vdupq_n_u8(128);
    int32x4_t dot = vdupq_n_s32(0);
    (void)sum;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const uint8x16_t bytes = veorq_u8(vld1q_u8(tile + 64 * j), offset);
        dot = add_dot(dot, vreinterpretq_s8_u8(bytes), four(column + 4 * j));
    }
    return dot;
}

typedef int32x4_t dot_product(const uint8_t *tile, const int8_t *column, int32_t sum);

TILE_INLINE void body(const uint8_t *tile, const struct columns *x, int32_t first, const int32_t n,
                      float *out, size_t bytes, dot_product *dot)
{
    const size_t groups = (size_t)x->groups, stride = groups * TILE_COLUMNS;
    const int8_t *values = x->values + (size_t)first * stride;
    const float *scales = x->scales + (size_t)first * groups;
    const int32_t *sums = x->sums + (size_t)first * groups;
    float32x4_t total[TILE_BATCH][QUARTERS];
    EACH_POSITION(c)
        for (int quarter = 0; quarter < QUARTERS; quarter++)
            total[c][quarter] = vdupq_n_f32(0);
    for (size_t g = 0; g < groups; g++, tile += bytes) {
        for (size_t i = 0; i < bytes; i += 64)
            __builtin_prefetch(tile + 1024 + i);
#pragma GCC unroll 4
        for (int quarter = 0; quarter < QUARTERS; quarter++) {
            const float32x4_t weight = row_scales(tile, quarter);
            EACH_POSITION(c) {
                const size_t at = (size_t)c * groups + g;
                const int32x4_t product = dot(tile + 32 + QUARTER_BYTES * quarter,
                                              values + (size_t)c * stride + g * TILE_COLUMNS, sums[at]);
                const float32x4_t scale = vmulq_n_f32(weight, scales[at]);
                total[c][quarter] = vfmaq_f32(total[c][quarter], vcvtq_f32_s32(product), scale);
            }
        }
    }
    EACH_POSITION(c)
        for (int quarter = 0; quarter < QUARTERS; quarter++)
            vst1q_f32(out + c * TILE_ROWS + QUARTER_ROWS * quarter, total[c][quarter]);
}

TILE_INLINE void body_f32(const uint8_t *tile, const struct columns *x, int32_t first,
                          const int32_t n, float *out)
{
    const size_t columns = (size_t)x->groups * TILE_COLUMNS;
    const float *values = x->plain + (size_t)first * columns;
    const float *weights = (const float *)tile;
    for (int quarter = 0; quarter < QUARTERS; quarter++, weights += QUARTER_ROWS) {
        float32x4_t total[TILE_BATCH];
        EACH_POSITION(c)
            total[c] = vdupq_n_f32(0);
        for (size_t i = 0; i < columns; i++) {
            const float32x4_t weight = vld1q_f32(weights + TILE_ROWS * i);
            EACH_POSITION(c)
                total[c] = vfmaq_n_f32(total[c], weight, values[(size_t)c * columns + i]);
        }
        EACH_POSITION(c)
            vst1q_f32(out + c * TILE_ROWS + QUARTER_ROWS * quarter, total[c]);
    }
}

#define BODY_I4(tile, x, first, n, out) body(tile, x, first, n, out, TILE_BYTES_I4, dot_i4)
#define BODY_I8(tile, x, first, n, out) body(tile, x, first, n, out, TILE_BYTES_I8, dot_i8)

void tile_row_i4(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(BODY_I4)
}

void tile_row_i8(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(BODY_I8)
}

void tile_row_f32(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(body_f32)
}
#endif

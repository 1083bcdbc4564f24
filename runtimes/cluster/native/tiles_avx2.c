/* Tile products with AVX2: a vector is four columns of 8 rows, a tile two halves.
 *
 * With AVX-VNNI a dot product of four bytes is one instruction. Without it, pairs are added into
 * int16: 4-bit weights cannot overflow there even eight deep; 8-bit weights are made signed and
 * multiplied as |w| * sign(x, w), at most 2 * 127 * 127. */
#include "tiles.h"

#if defined(__AVX2__) && !(defined(__AVX512VNNI__) && defined(__AVX512BW__))
#include <immintrin.h>
#include <string.h>

enum { HALVES = 2, HALF_ROWS = 8, HALF_BYTES = 32 };

TILE_INLINE __m256i four(const int8_t *values)
{
    int32_t word;
    memcpy(&word, values, sizeof word);
    return _mm256_set1_epi32(word);
}

TILE_INLINE __m256 row_scales(const uint8_t *tile, int half)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(tile + 16 * half)));
}

TILE_INLINE void prefetch(const uint8_t *tile, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)tile + 1024 + i, _MM_HINT_T0);
}

/* Eight dot products over the 32 columns of a 4-bit tile: (w - 8) . x for 8 rows. */
TILE_INLINE __m256i dot_i4(const uint8_t *tile, const int8_t *column, int32_t sum)
{
    const __m256i nibble = _mm256_set1_epi8(15);
#if defined(__AVXVNNI__)
    __m256i dot = _mm256_set1_epi32(-8 * sum);
#else
    __m256i dot = _mm256_setzero_si256();
#endif
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m256i pair = _mm256_loadu_si256((const __m256i *)(tile + 64 * j));
        const __m256i low = _mm256_and_si256(pair, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), nibble);
#if defined(__AVXVNNI__)
        dot = _mm256_dpbusd_avx_epi32(dot, low, four(column + 8 * j));
        dot = _mm256_dpbusd_avx_epi32(dot, high, four(column + 8 * j + 4));
#else
        dot = _mm256_add_epi16(dot, _mm256_maddubs_epi16(low, four(column + 8 * j)));
        dot = _mm256_add_epi16(dot, _mm256_maddubs_epi16(high, four(column + 8 * j + 4)));
#endif
    }
#if defined(__AVXVNNI__)
    return dot;
#else
    const __m256i wide = _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
    return _mm256_sub_epi32(wide, _mm256_set1_epi32(8 * sum));
#endif
}

/* The same for an 8-bit tile: (w - 128) . x. */
TILE_INLINE __m256i dot_i8(const uint8_t *tile, const int8_t *column, int32_t sum)
{
#if defined(__AVXVNNI__)
    __m256i dot = _mm256_set1_epi32(-128 * sum);
#else
    const __m256i offset = _mm256_set1_epi8(-128);
    __m256i dot = _mm256_setzero_si256();
    (void)sum;
#endif
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(tile + 64 * j));
#if defined(__AVXVNNI__)
        dot = _mm256_dpbusd_avx_epi32(dot, bytes, four(column + 4 * j));
#else
        const __m256i weight = _mm256_xor_si256(bytes, offset);
        const __m256i value = _mm256_sign_epi8(four(column + 4 * j), weight);
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), value);
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
    }
    return dot;
}

typedef __m256i dot_product(const uint8_t *tile, const int8_t *column, int32_t sum);

TILE_INLINE void body(const uint8_t *tile, const struct columns *x, int32_t first, const int32_t n,
                      float *out, size_t bytes, dot_product *dot)
{
    const size_t groups = (size_t)x->groups, stride = groups * TILE_COLUMNS;
    const int8_t *values = x->values + (size_t)first * stride;
    const float *scales = x->scales + (size_t)first * groups;
    const int32_t *sums = x->sums + (size_t)first * groups;
    __m256 total[TILE_BATCH][HALVES];
    EACH_POSITION(c)
        total[c][0] = total[c][1] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++, tile += bytes) {
        prefetch(tile, (int)bytes);
#pragma GCC unroll 2
        for (int half = 0; half < HALVES; half++) {
            const __m256 weight = row_scales(tile, half);
            EACH_POSITION(c) {
                const size_t at = (size_t)c * groups + g;
                const __m256i product = dot(tile + 32 + HALF_BYTES * half,
                                            values + (size_t)c * stride + g * TILE_COLUMNS, sums[at]);
                const __m256 scale = _mm256_mul_ps(weight, _mm256_set1_ps(scales[at]));
                total[c][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), scale, total[c][half]);
            }
        }
    }
    EACH_POSITION(c) {
        _mm256_storeu_ps(out + c * TILE_ROWS, total[c][0]);
        _mm256_storeu_ps(out + c * TILE_ROWS + HALF_ROWS, total[c][1]);
    }
}

TILE_INLINE void body_f32(const uint8_t *tile, const struct columns *x, int32_t first,
                          const int32_t n, float *out)
{
    const size_t columns = (size_t)x->groups * TILE_COLUMNS;
    const float *values = x->plain + (size_t)first * columns;
    const float *weights = (const float *)tile;
    for (int half = 0; half < HALVES; half++, weights += HALF_ROWS) {
        __m256 total[TILE_BATCH];
        EACH_POSITION(c)
            total[c] = _mm256_setzero_ps();
        for (size_t i = 0; i < columns; i++) {
            const __m256 weight = _mm256_loadu_ps(weights + TILE_ROWS * i);
            EACH_POSITION(c)
                total[c] = _mm256_fmadd_ps(weight, _mm256_set1_ps(values[(size_t)c * columns + i]), total[c]);
        }
        EACH_POSITION(c)
            _mm256_storeu_ps(out + c * TILE_ROWS + HALF_ROWS * half, total[c]);
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

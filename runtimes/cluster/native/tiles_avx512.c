/* Tile products with AVX-512 VNNI: a vector is four columns of 16 rows. */
#include "tiles.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>
#include <string.h>

TILE_INLINE __m512i four(const int8_t *values)
{
    int32_t word;
    memcpy(&word, values, sizeof word);
    return _mm512_set1_epi32(word);
}

/* The hardware stops at page borders and starts late; asking 1 KiB ahead keeps the bus busy. */
TILE_INLINE void prefetch(const uint8_t *tile, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)tile + 1024 + i, _MM_HINT_T0);
}

TILE_INLINE __m512 row_scales(const uint8_t *tile)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)tile));
}

TILE_INLINE void body_i4(const uint8_t *tile, const struct columns *x, int32_t first,
                         const int32_t n, float *out)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const size_t groups = (size_t)x->groups, stride = groups * TILE_COLUMNS;
    const int8_t *values = x->values + (size_t)first * stride;
    const float *scales = x->scales + (size_t)first * groups;
    const int32_t *sums = x->sums + (size_t)first * groups;
    __m512 total[TILE_BATCH];
    EACH_POSITION(c)
        total[c] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g++, tile += TILE_BYTES_I4) {
        __m512i dot[TILE_BATCH];
        prefetch(tile, TILE_BYTES_I4);
        EACH_POSITION(c)
            dot[c] = _mm512_set1_epi32(-8 * sums[(size_t)c * groups + g]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const __m512i pair = _mm512_loadu_si512(tile + 32 + 64 * j);
            const __m512i low = _mm512_and_si512(pair, nibble);
            const __m512i high = _mm512_and_si512(_mm512_srli_epi16(pair, 4), nibble);
            EACH_POSITION(c) {
                const int8_t *column = values + (size_t)c * stride + g * TILE_COLUMNS + 8 * j;
                dot[c] = _mm512_dpbusd_epi32(dot[c], low, four(column));
                dot[c] = _mm512_dpbusd_epi32(dot[c], high, four(column + 4));
            }
        }
        const __m512 weight = row_scales(tile);
        EACH_POSITION(c) {
            const __m512 scale = _mm512_mul_ps(weight, _mm512_set1_ps(scales[(size_t)c * groups + g]));
            total[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[c]), scale, total[c]);
        }
    }
    EACH_POSITION(c)
        _mm512_storeu_ps(out + c * TILE_ROWS, total[c]);
}

TILE_INLINE void body_i8(const uint8_t *tile, const struct columns *x, int32_t first,
                         const int32_t n, float *out)
{
    const size_t groups = (size_t)x->groups, stride = groups * TILE_COLUMNS;
    const int8_t *values = x->values + (size_t)first * stride;
    const float *scales = x->scales + (size_t)first * groups;
    const int32_t *sums = x->sums + (size_t)first * groups;
    __m512 total[TILE_BATCH];
    EACH_POSITION(c)
        total[c] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g++, tile += TILE_BYTES_I8) {
        __m512i dot[TILE_BATCH];
        prefetch(tile, TILE_BYTES_I8);
        EACH_POSITION(c)
            dot[c] = _mm512_set1_epi32(-128 * sums[(size_t)c * groups + g]);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            const __m512i bytes = _mm512_loadu_si512(tile + 32 + 64 * j);
            EACH_POSITION(c) {
                const int8_t *column = values + (size_t)c * stride + g * TILE_COLUMNS + 4 * j;
                dot[c] = _mm512_dpbusd_epi32(dot[c], bytes, four(column));
            }
        }
        const __m512 weight = row_scales(tile);
        EACH_POSITION(c) {
            const __m512 scale = _mm512_mul_ps(weight, _mm512_set1_ps(scales[(size_t)c * groups + g]));
            total[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[c]), scale, total[c]);
        }
    }
    EACH_POSITION(c)
        _mm512_storeu_ps(out + c * TILE_ROWS, total[c]);
}

TILE_INLINE void body_f32(const uint8_t *tile, const struct columns *x, int32_t first,
                          const int32_t n, float *out)
{
    const size_t columns = (size_t)x->groups * TILE_COLUMNS;
    const float *values = x->plain + (size_t)first * columns;
    const float *weights = (const float *)tile;
    __m512 total[TILE_BATCH];
    EACH_POSITION(c)
        total[c] = _mm512_setzero_ps();
    for (size_t i = 0; i < columns; i++) {
        const __m512 weight = _mm512_loadu_ps(weights + TILE_ROWS * i);
        EACH_POSITION(c)
            total[c] = _mm512_fmadd_ps(weight, _mm512_set1_ps(values[(size_t)c * columns + i]), total[c]);
    }
    EACH_POSITION(c)
        _mm512_storeu_ps(out + c * TILE_ROWS, total[c]);
}

void tile_row_i4(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(body_i4)
}

void tile_row_i8(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(body_i8)
}

void tile_row_f32(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n, float *out)
{
    TILE_SPECIALISE(body_f32)
}
#endif

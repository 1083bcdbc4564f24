#include "blocks.h"

#include <math.h>
#include <string.h>

#include "tessera.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Eight mantissas are `bits` whole bytes, so half a block starts at a byte. Mantissa i of the block
 * lies within the two bytes PLACES[2i], PLACES[2i + 1]; multiplied by FACTORS[i] it is at the top of
 * these 16 bits, and an arithmetic shift brings it down with its sign. A place of 0x80 gives zero
 * in a vector's table look-up: the second byte is not needed. */
#define PLACE(bits, i) \
    (uint8_t)((i) * (bits) / 8), \
    (uint8_t)((i) * (bits) % 8 + (bits) > 8 ? (i) * (bits) / 8 + 1 : 0x80)
#define FACTOR(bits, i) (uint16_t)(1u << (16 - (bits) - (i) * (bits) % 8))
#define EIGHT(of, bits, i) \
    of(bits, i), of(bits, (i) + 1), of(bits, (i) + 2), of(bits, (i) + 3), \
    of(bits, (i) + 4), of(bits, (i) + 5), of(bits, (i) + 6), of(bits, (i) + 7)
#define SIXTEEN(of, bits) {EIGHT(of, bits, 0), EIGHT(of, bits, 8)}

static const uint8_t PLACES[][2 * BLOCK_SIZE] = {
    SIXTEEN(PLACE, 4), SIXTEEN(PLACE, 5), SIXTEEN(PLACE, 6), SIXTEEN(PLACE, 7), SIXTEEN(PLACE, 8)};
static const uint16_t FACTORS[][BLOCK_SIZE] = {
    SIXTEEN(FACTOR, 4), SIXTEEN(FACTOR, 5), SIXTEEN(FACTOR, 6), SIXTEEN(FACTOR, 7),
    SIXTEEN(FACTOR, 8)};

size_t block_row_bytes(size_t size, int32_t bits)
{
    return (size + BLOCK_SIZE - 1) / BLOCK_SIZE + (size * (size_t)bits + 7) / 8;
}

static float power(uint32_t biased_exponent)
{
    const uint32_t bits = biased_exponent << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Exponent byte of a block: the largest magnitude takes all bits of a mantissa. */
static uint8_t exponent_of(const float *values, size_t count, int32_t bits)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    uint32_t pattern;
    memcpy(&pattern, &largest, sizeof pattern);
    const int32_t exponent = (int32_t)(pattern >> 23) + 2 - bits;
    return (uint8_t)(exponent > 0 ? exponent : 0);
}

static uint64_t mantissa(float steps, int32_t bits)
{
    const float end = (float)(1 << (bits - 1));
    const float limited = steps > end - 1 ? end - 1 : steps < -end ? -end : steps;
    return (uint64_t)lrintf(limited) & ((1u << bits) - 1u);
}

void block_encode(const float *row, const int32_t *order, size_t size, int32_t bits, uint8_t *out)
{
    uint8_t *stream = out + (size + BLOCK_SIZE - 1) / BLOCK_SIZE;
    for (size_t start = 0; start < size; start += BLOCK_SIZE) {
        const size_t count = size - start < BLOCK_SIZE ? size - start : BLOCK_SIZE;
        float values[BLOCK_SIZE] = {0};
        for (size_t i = 0; i < count; i++)
            values[i] = row[order[start + i]];
        const uint8_t exponent = exponent_of(values, count, bits);
        const float factor = exponent > 0 ? power(254u - exponent) : 0.0f;
        *out++ = exponent;
        for (size_t i = 0; i < count; i += 8) {
            const size_t here = count - i < 8 ? count - i : 8;
            uint64_t word = 0;
            for (size_t j = 0; j < here; j++)
                word |= mantissa(values[i + j] * factor, bits) << (j * (size_t)bits);
            for (size_t bit = 0; bit < here * (size_t)bits; bit += 8)
                *stream++ = (uint8_t)(word >> bit);
        }
    }
}

/* Sixteen numbers from the 2 * bits bytes at `in`; reads 16 bytes. */
static void decode_block(const uint8_t *in, float scale, int32_t bits, float *out)
{
    const uint8_t *places = PLACES[bits - 4];
    const uint16_t *factors = FACTORS[bits - 4];
#if defined(__AVX2__)
    const __m256i raw = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)in));
    const __m256i pairs = _mm256_shuffle_epi8(raw, _mm256_loadu_si256((const __m256i *)places));
    const __m256i high = _mm256_mullo_epi16(pairs, _mm256_loadu_si256((const __m256i *)factors));
    const __m256i values = _mm256_sra_epi16(high, _mm_cvtsi32_si128(16 - bits));
    const __m256i first = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(values));
    const __m256i second = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(values, 1));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(first), _mm256_set1_ps(scale)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(second), _mm256_set1_ps(scale)));
#elif defined(__ARM_NEON) && defined(__aarch64__)
    const uint8x16_t raw = vld1q_u8(in);
    for (size_t i = 0; i < BLOCK_SIZE; i += 8) {
        const uint8x16_t pairs = vqtbl1q_u8(raw, vld1q_u8(places + 2 * i));
        const uint16x8_t high = vmulq_u16(vreinterpretq_u16_u8(pairs), vld1q_u16(factors + i));
        const int16x8_t down = vdupq_n_s16((int16_t)(bits - 16));
        const int16x8_t values = vshlq_s16(vreinterpretq_s16_u16(high), down);
        const float32x4_t first = vcvtq_f32_s32(vmovl_s16(vget_low_s16(values)));
        const float32x4_t second = vcvtq_f32_s32(vmovl_s16(vget_high_s16(values)));
        vst1q_f32(out + i, vmulq_n_f32(first, scale));
        vst1q_f32(out + i + 4, vmulq_n_f32(second, scale));
    }
#else
    for (size_t i = 0; i < BLOCK_SIZE; i++) {
        const uint8_t next = places[2 * i + 1];
        const uint32_t pair = in[places[2 * i]] | (uint32_t)(next < 16 ? in[next] : 0) << 8;
        const int16_t high = (int16_t)(uint16_t)(pair * factors[i]);
        out[i] = scale * (float)(high >> (16 - bits));
    }
#endif
}

static void decode_row(const uint8_t *row, size_t size, int32_t bits, float *out)
{
    const uint8_t *stream = row + (size + BLOCK_SIZE - 1) / BLOCK_SIZE;
    for (size_t start = 0; start < size; start += BLOCK_SIZE) {
        const float scale = power(*row++);
        if (size - start >= BLOCK_SIZE) {
            decode_block(stream, scale, bits, out + start);
        } else {
            float values[BLOCK_SIZE];
            decode_block(stream, scale, bits, values);
            memcpy(out + start, values, (size - start) * sizeof *out);
        }
        stream += 2 * (size_t)bits;
    }
}

void block_decode(const uint8_t *rows, size_t count, size_t size, int32_t bits, float *out)
{
    const size_t bytes = block_row_bytes(size, bits);
    for (size_t row = 0; row < count; row++)
        decode_row(rows + row * bytes, size, bits, out + row * size);
}

void tessera_encode_blocks(const float *row, const int32_t *order, int32_t size, int32_t bits,
                           uint8_t *out)
{
    block_encode(row, order, (size_t)size, bits, out);
}

void tessera_decode_blocks(const uint8_t *rows, int32_t count, int32_t size, int32_t bits,
                           float *out)
{
    block_decode(rows, (size_t)count, (size_t)size, bits, out);
}

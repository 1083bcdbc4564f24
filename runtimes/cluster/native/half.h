/* IEEE 754 binary16: by integer arithmetic, or for whole rows by instructions that give the same. */
#ifndef TESSERA_HALF_H
#define TESSERA_HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

static inline float half_bits_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    float value;
    if (magnitude < 0x0400u) { /* zero or subnormal: units of 2^-24 */
        value = (float)magnitude * 5.9604644775390625e-8f;
        return sign ? -value : value;
    }
    const uint32_t exponent = magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u;
    const uint32_t bits = sign | ((magnitude << 13) + exponent);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float half_to_float(const uint8_t *bytes)
{
    return half_bits_to_float((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* Decode a row of values. */
static inline void halfs_to_floats(const uint8_t *halfs, float *out, size_t size)
{
    size_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= size; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(halfs + 2 * i))));
#elif defined(__ARM_NEON) && defined(__aarch64__)
    for (; i + 4 <= size; i += 4)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(halfs + 2 * i))));
#endif
    for (; i < size; i++)
        out[i] = half_to_float(halfs + 2 * i);
}

/* Round to nearest, ties to even; values beyond 65504 become infinite. */
static inline uint16_t float_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits >= 0x47800000u) /* 2^16 and above, infinite, not a number */
        return (uint16_t)(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
    if (bits < 0x38800000u) { /* subnormal: adding 0.5 aligns the last bit with 2^-24 */
        float magnitude, half = 0.5f;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += half;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}

#endif

/* IEEE 754 binary16 by integer arithmetic: the same on every machine. */
#ifndef TESSERA_HALF_H
#define TESSERA_HALF_H

#include <stdint.h>
#include <string.h>

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

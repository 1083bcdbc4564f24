/* Arithmetic of int16 activations: sums of 64 bits, tables that are interpolated.
 *
 * The Python twins are toolchain/numerics.py and toolchain/interpolated.py. */
#ifndef TSR_WIDE_H
#define TSR_WIDE_H

#include <stdint.h>

#include "tsr_math.h"

/* sum * multiplier / 2^shift, rounded half up; 7 < shift < 47, |sum| < 2^47. */
static inline int32_t tsr_requant_wide(int64_t sum, int32_t multiplier, int shift)
{
    return (int32_t)((sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}

/* A table of 513 points at x, which spans it from end to end. */
static inline int32_t tsr_look_up(int32_t x, const int16_t *table)
{
    const int16_t *step = table + 256 + (x >> 7);
    return step[0] + (((step[1] - step[0]) * (x & 127) + 64) >> 7);
}

/* The upper half of a sigmoid, less 1/2, in 1/65536: x >= 0 has `bits` bits of a step of 256. */
static inline int32_t tsr_sigmoid(int32_t x, int bits, const int16_t *table)
{
    const int16_t *step = table + (x >> bits);
    return (step[0] + 32768) * (1 << bits) + (x & ((1 << bits) - 1)) * (step[1] - step[0]);
}

/* 1 / (1 + exp(-x)) in 1/32768, x in 1/12288. */
static inline int16_t tsr_logistic16(int32_t x, const int16_t *table)
{
    const int32_t most = 255 << 9, magnitude = x < 0 ? -x : x;
    const int32_t half = magnitude >= most ? 0x7FFF << 10 : tsr_sigmoid(magnitude, 9, table);
    return (int16_t)(((x < 0 ? (1 << 25) - 1 - half : half) + (1 << 9)) >> 10);
}

/* tanh(x) in 1/32768, x in 1/12288. */
static inline int16_t tsr_tanh16(int32_t x, const int16_t *table)
{
    const int32_t most = 255 << 8, magnitude = x < 0 ? -x : x;
    const int32_t half =
        (magnitude >= most ? 0xFFFF << 8 : tsr_sigmoid(magnitude, 8, table)) - (1 << 23);
    return (int16_t)(((x < 0 ? -1 - half : half) + (1 << 7)) >> 8);
}

#endif

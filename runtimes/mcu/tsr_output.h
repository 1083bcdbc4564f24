/* How a weighted kernel turns sums into bytes: the functions of toolchain/kernels/output_stage.py.
 *
 * The DSP extension of Arm has them as instructions; the portable text means the same, bit for bit.
 * Source: Armv7-M Architecture Reference Manual (DDI 0403), chapter A7. */
#ifndef TSR_OUTPUT_H
#define TSR_OUTPUT_H

#include <stdint.h>

#include "tsr_math.h"

/* GCC 12's first scheduling pass hoists loads until it must spill: functions with many live values
 * go without it. */
#if defined(__clang__)
#define TSR_INLINE static inline __attribute__((always_inline, unused))
#define TSR_NOINLINE __attribute__((noinline, unused))
#elif defined(__GNUC__)
#define TSR_INLINE static inline __attribute__((always_inline, unused))
#define TSR_NOINLINE __attribute__((noipa, unused, optimize("no-schedule-insns")))
#else
#define TSR_INLINE static inline
#define TSR_NOINLINE
#endif

/* acc + b, wrapping at 32 bits as the instructions do. */
TSR_INLINE int32_t tsr_wrap(int32_t acc, int32_t b)
{
    return (int32_t)((uint32_t)acc + (uint32_t)b);
}

/* acc + the high word of a * b, cut off or rounded half up. */
#if defined(__ARM_FEATURE_DSP)

TSR_INLINE int32_t tsr_smmla(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smmla %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

TSR_INLINE int32_t tsr_smmlar(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

#else

TSR_INLINE int32_t tsr_smmla(int32_t a, int32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_mul_cut(a, b));
}

TSR_INLINE int32_t tsr_smmlar(int32_t a, int32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_mul_high(a, b));
}

#endif

/* (x >> shift) saturated to int8; shift is a literal. */
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
#define tsr_ssat8(x, shift)                                                        \
    __extension__({                                                                \
        int32_t tsr_result;                                                        \
        __asm__("ssat %0, #8, %1, asr %2" : "=r"(tsr_result) : "r"(x), "I"(shift)); \
        (int8_t)tsr_result;                                                        \
    })
#else
#define tsr_ssat8(x, shift) tsr_sat8((x) >> (shift))
#endif

/* x saturated to int8. */
TSR_INLINE int8_t tsr_sat8(int32_t x)
{
    return (int8_t)tsr_saturate8(x);
}

TSR_INLINE int8_t tsr_at_least(int8_t y, int32_t least)
{
    return y < least ? (int8_t)least : y;
}

/* TFLite's double rounding for right shifts of 1 to 22 and the full range of int8; `twice` is the
 * doubled accumulator, `odd` twice the zero point and 1. Adding -1 to a negative sum makes the second
 * rounding go away from zero. */
TSR_INLINE int8_t tsr_round_twice_odd(int32_t twice, int32_t multiplier, int shift, int32_t odd)
{
    const int32_t offset = (odd * (int32_t)((uint32_t)1 << shift)) >> 1;
    const int32_t sum = tsr_smmlar(twice, multiplier, offset) + (twice >> 31);
    return tsr_sat8(sum >> shift);
}

TSR_INLINE int8_t tsr_round_twice(int32_t twice, int32_t multiplier, int shift, int32_t zero)
{
    return tsr_round_twice_odd(twice, multiplier, shift, 2 * zero + 1);
}

/* A bias of 20 bits and an extra of 12 that share a word. */
TSR_INLINE int32_t tsr_bias(int32_t word)
{
    return word >> 12;
}

TSR_INLINE int32_t tsr_extra(int32_t word)
{
    return (int32_t)((uint32_t)word << 20) >> 20;
}

#endif

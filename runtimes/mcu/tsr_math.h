/* Integer arithmetic shared by all kernels: TFLite's double-rounding requantisation.
 *
 * Source: gemmlowp fixed-point semantics (saturating rounding doubling high multiply, then a
 * rounding right shift, half away from zero). Shifts of arithmetic values assume two's complement
 * and an arithmetic >>, as every supported compiler defines them. */
#ifndef TSR_MATH_H
#define TSR_MATH_H

#include <stdint.h>

/* A kernel that layers share: one function, not a copy in each of them. */
#if defined(__clang__)
#define TSR_SHARED __attribute__((noinline, unused))
#elif defined(__GNUC__)
#define TSR_SHARED __attribute__((noipa, unused))
#else
#define TSR_SHARED
#endif

/* GCC 12 -O2 can take its own clone of a vectorised copy for a pure function and drop the call. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__arm__)
#define TSR_NOCLONE __attribute__((noclone))
#else
#define TSR_NOCLONE
#endif

/* The high word of a * b. Armv6-M and Armv8-M Baseline have no such product: 16 bits by 16 there. */
#if defined(__thumb__) && !defined(__thumb2__)

/* Four products of halves; GCC 12 runs out of low registers and moves them to and fro. */
static inline int32_t tsr_mul_cut(int32_t a, int32_t b)
{
    int32_t low_a, low_b, low;
    __asm__(".syntax unified\n\t"
            "uxth %2, %0\n\t"
            "uxth %3, %1\n\t"
            "asrs %0, %0, #16\n\t"
            "asrs %1, %1, #16\n\t"
            "movs %4, %2\n\t"
            "muls %4, %3, %4\n\t"
            "lsrs %4, %4, #16\n\t"
            "muls %3, %0, %3\n\t"
            "adds %3, %3, %4\n\t"
            "uxth %4, %3\n\t"
            "asrs %3, %3, #16\n\t"
            "muls %2, %1, %2\n\t"
            "adds %2, %2, %4\n\t"
            "asrs %2, %2, #16\n\t"
            "muls %0, %1, %0\n\t"
            "adds %0, %0, %3\n\t"
            "adds %0, %0, %2\n\t"
            : "+l"(a), "+l"(b), "=&l"(low_a), "=&l"(low_b), "=&l"(low)
            :
            : "cc");
    return a;
}

/* a * b / 2^31, rounded half up. b is a multiplier below 2^31, so the result never saturates. */
static inline int32_t tsr_mulh(int32_t a, int32_t b)
{
    const uint32_t low = (uint32_t)a * (uint32_t)b;
    const uint32_t doubled = ((uint32_t)tsr_mul_cut(a, b) << 1) | low >> 31;
    return (int32_t)(doubled + (low >> 30 & 1u));
}

/* a * b / 2^32, rounded half up: tsr_mulh of a doubled b, cheaper by a shift. */
static inline int32_t tsr_mul_high(int32_t a, int32_t b)
{
    return tsr_mul_cut(a, b) + (int32_t)((uint32_t)a * (uint32_t)b >> 31);
}

#else

static inline int32_t tsr_mul_cut(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}

static inline int32_t tsr_mulh(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

static inline int32_t tsr_mul_high(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
}

#endif

/* x / 2^n, rounded to nearest, half away from zero; 0 <= n <= 31. */
static inline int32_t tsr_rshift(int32_t x, int n)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << n) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> n) + ((x & mask) > threshold ? 1 : 0);
}

/* acc * multiplier * 2^(shift - 31) with double rounding; -31 <= shift <= 30. */
static inline int32_t tsr_requant(int32_t acc, int32_t multiplier, int shift)
{
    if (shift > 0) {
        return tsr_mulh((int32_t)((uint32_t)acc << shift), multiplier);
    }
    return tsr_rshift(tsr_mulh(acc, multiplier), -shift);
}

/* x / 2^n, rounded to nearest, half away from zero, plus a constant that is a multiple of 2^n
 * before the shift: offset = 2^(n-1) + constant * 2^n. |x| + |offset| < 2^31, n > 0. */
static inline int32_t tsr_shift_round(int32_t x, int n, int32_t offset)
{
    return (x + (x >> 31) + offset) >> n;
}

static inline int32_t tsr_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* x saturated to int8. */
static inline int32_t tsr_saturate8(int32_t x)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    return (int32_t)__builtin_arm_ssat(x, 8);
#else
    const int32_t narrow = (int8_t)x;
    return narrow == x ? x : (x >> 31) ^ INT8_MAX;
#endif
}

/* x clamped to literals within int8: one instruction on Arm where they are its limits. */
static inline int8_t tsr_clamp8(int32_t x, int32_t low, int32_t high)
{
    const int32_t narrow = tsr_saturate8(x);
    if (low > INT8_MIN && narrow < low) {
        return (int8_t)low;
    }
    return (int8_t)(high < INT8_MAX && narrow > high ? high : narrow);
}

/* x clamped to literals within int16: one instruction on Arm where they are its limits. */
static inline int16_t tsr_clamp16(int32_t x, int32_t low, int32_t high)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    if (low == INT16_MIN && high == INT16_MAX) {
        return (int16_t)__builtin_arm_ssat(x, 16);
    }
#endif
    return (int16_t)tsr_clamp(x, low, high);
}

#endif

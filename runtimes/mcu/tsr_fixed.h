/* Fixed-point functions of values known at run time only. Qm has m integer bits, a sign and 31 - m
 * fractional bits; the product of Qa and Qb by tsr_mulh is Q(a+b).
 *
 * Source: gemmlowp fixed-point semantics; the Python twin is toolchain/fixed_point.py. */
#ifndef TSR_FIXED_H
#define TSR_FIXED_H

#include <stdint.h>

#include "tsr_math.h"

/* Leading zero bits of x; 32 for 0. */
static inline int tsr_leading_zeros(uint32_t x)
{
#if defined(__GNUC__)
    return x ? __builtin_clz(x) : 32;
#else
    int zeros = 32;
    for (; x; x >>= 1) {
        zeros--;
    }
    return zeros;
#endif
}

/* x * 2^n, saturated; 0 <= n <= 31. */
static inline int32_t tsr_saturating_lshift(int32_t x, int n)
{
    const int32_t limit = (int32_t)(INT32_MAX >> n);
    return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)x << n);
}

/* 1 / (1 + x) in Q0 for 0 <= x < 1 in Q0: three Newton-Raphson steps on (1 + x) / 2. */
static inline int32_t tsr_one_over_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((uint32_t)x + (uint32_t)INT32_MAX + 1u) >> 1);
    int32_t guess = 1515870810 + tsr_mulh(half, -1010580540); /* 48/17 - 32/17 * half, Q2 */
    for (int step = 0; step < 3; step++) {
        const int32_t error = (1 << 29) - tsr_mulh(half, guess);
        guess += tsr_saturating_lshift(tsr_mulh(guess, error), 2);
    }
    return tsr_saturating_lshift(guess, 1);
}

/* ln(x) in Q5 for x >= 1 in Q12, by a rational approximation around 2^(-1/4). */
static inline int32_t tsr_log_q12(int32_t x)
{
    const int32_t root_half = 1518500250, centre = 1805811301, log_2 = 1488522236;
    const int zeros_a = tsr_leading_zeros((uint32_t)x);
    const int zeros_b = tsr_leading_zeros((uint32_t)tsr_mulh(x, root_half)) - 1;
    const int32_t reduced = tsr_mulh((int32_t)((uint32_t)x << (zeros_a - 1)), root_half);
    const int32_t mantissa_a = tsr_saturating_lshift(reduced, 1);
    const int32_t mantissa_b = tsr_saturating_lshift(x, zeros_b);
    const int32_t r = mantissa_a < mantissa_b ? mantissa_a : mantissa_b;
    const int32_t power_a = (12 - zeros_a) * (1 << 25) + (1 << 23);
    const int32_t power_b = (12 - zeros_b) * (1 << 25) - (1 << 23);
    const int32_t power = power_a > power_b ? power_a : power_b;

    const int32_t p = (int32_t)(((uint32_t)r + (uint32_t)centre + 1u) >> 1);
    const int32_t q = 2 * (r - centre);
    const int32_t square = tsr_mulh(q, q);
    const int32_t numerator = tsr_mulh(q, r) + tsr_mulh(tsr_mulh(q, square), 117049297);
    const int32_t inner = 1057819769 + q + tsr_mulh(square, 127690142);
    const int32_t denominator = tsr_mulh(p, inner) + tsr_mulh(q, 638450708);
    const int32_t fraction =
        tsr_mulh(tsr_rshift(numerator, 6), tsr_one_over_one_plus(denominator));
    return tsr_saturating_lshift(tsr_mulh(power, log_2) + fraction, 1);
}

/* 1 / sqrt(x) for 0 < x < 2^62 as a mantissa of 30 fractional bits, over 2^exponent: four
 * Newton-Raphson steps r * (3 - v * r^2) / 2 from a line; v = x / 4^exponent, 1/4 <= v < 1, Q32. */
static inline int32_t tsr_inverse_root(uint64_t x, int *exponent)
{
    const uint32_t high = (uint32_t)(x >> 32);
    const int bits = high ? 64 - tsr_leading_zeros(high) : 32 - tsr_leading_zeros((uint32_t)x);
    const int half = (bits + 1) / 2, up = 32 - 2 * half;
    const uint64_t v = up >= 0 ? x << up : x >> -up;
    uint64_t root = 2362232013u - ((v * 1395864371u) >> 32); /* 2.2 - 1.3 * v */
    for (int step = 0; step < 4; step++) {
        const uint64_t product = (v * ((root * root) >> 30)) >> 32;
        root = (root * (3221225472u - product)) >> 31;
    }
    *exponent = half;
    return (int32_t)root;
}

#endif

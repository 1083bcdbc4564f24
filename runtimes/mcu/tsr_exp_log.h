/* exp and log of float without a library: one double operation at a time, so that every machine
 * gives the same bits.
 *
 * Method and coefficients: Arm's optimised routines; the Python twin, which says more, is
 * toolchain/floating_point.py. */
#ifndef TSR_EXP_LOG_H
#define TSR_EXP_LOG_H

#include <stdint.h>
#include <string.h>

/* x, rounded to a double of its own: no compiler may fuse a product with the sum it goes into. */
static inline double tsr_alone_double(double x)
{
    volatile double rounded = x;
    return rounded;
}

/* exp(x) for x <= 0; not a number gives itself. */
static inline float tsr_exp(float x)
{
    static const double powers[32] = { /* 2^(i/32) */
        0x1p+0, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
        0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
        0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
        0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
        0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
        0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
        0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
        0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
    };
    if (!(x >= -104.0f)) { /* below half the least float */
        return x < 0.0f ? 0.0f : x;
    }
    const double integer = 0x1.8p+52; /* adding it rounds to an integer, in the low bits */
    const double steps = tsr_alone_double((double)x * 0x1.71547652b82fep+5);
    const double shifted = tsr_alone_double(steps + integer);
    const double r = steps - (shifted - integer);
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const uint32_t whole = (uint32_t)bits;
    double scale = powers[whole & 31u];
    memcpy(&bits, &scale, sizeof bits);
    bits += (uint64_t)(whole & ~31u) << 47;
    memcpy(&scale, &bits, sizeof scale);

    const double square = tsr_alone_double(r * r);
    const double high = tsr_alone_double(0x1.c6af84b912394p-20 * r) + 0x1.ebfce50fac4f3p-13;
    const double low = tsr_alone_double(0x1.62e42ff0c52d6p-6 * r) + 1.0;
    return (float)((tsr_alone_double(high * square) + low) * scale);
}

/* log(x) for x >= 1; 0 gives minus infinity, not a number itself. */
static inline float tsr_log(float x)
{
    static const double centres[16][2] = { /* reciprocal and logarithm */
        {0x1.661ec79f8f3bep+0, -0x1.57bf7808caadep-2},
        {0x1.571ed4aaf883dp+0, -0x1.2bef0a7c06ddbp-2},
        {0x1.49539f0f010b0p+0, -0x1.01eae7f513a67p-2},
        {0x1.3c995b0b80385p+0, -0x1.b31d8a68224e9p-3},
        {0x1.30d190c8864a5p+0, -0x1.6574f0ac07758p-3},
        {0x1.25e227b0b8ea0p+0, -0x1.1aa2bc79c8100p-3},
        {0x1.1bb4a4a1a343fp+0, -0x1.a4e76ce8c0e5ep-4},
        {0x1.12358f08ae5bap+0, -0x1.1973c5a611cccp-4},
        {0x1.0953f419900a7p+0, -0x1.252f438e10c1ep-5},
        {0x1p+0, 0x0p+0},
        {0x1.e608cfd9a47acp-1, 0x1.aa5aa5df25984p-5},
        {0x1.ca4b31f026aa0p-1, 0x1.c5e53aa362eb4p-4},
        {0x1.b2036576afce6p-1, 0x1.526e57720db08p-3},
        {0x1.9c2d163a1aa2dp-1, 0x1.bc2860d224770p-3},
        {0x1.886e6037841edp-1, 0x1.1058bc8a07ee1p-2},
        {0x1.767dcf5534862p-1, 0x1.4043057b6ee09p-2},
    };
    if (!(x >= 1.0f)) {
        return x == 0.0f ? -1.0f / x : x;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t offset = bits - 0x3F330000u;
    const double *centre = centres[offset >> 19 & 15u];
    bits -= offset & 0xFF800000u;
    float mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);

    const double r = tsr_alone_double((double)mantissa * centre[0]) - 1.0;
    const double square = tsr_alone_double(r * r);
    const double head = tsr_alone_double((double)(offset >> 23) * 0x1.62e42fefa39efp-1);
    const double high = tsr_alone_double(0x1.5575b0be00b6ap-2 * r) - 0x1.ffffef20a4123p-2;
    const double tail = tsr_alone_double(-0x1.00ea348b88334p-2 * square) + high;
    return (float)(tsr_alone_double(tail * square) + (centre[1] + head + r));
}

#endif

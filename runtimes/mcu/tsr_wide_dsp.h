/* Inner products of int16 activations with int8 weights for the Arm DSP extension.
 *
 * A word of weights holds two inputs of two filters: n[k] m[k] n[k+1] m[k+1]. On a core without the
 * extension the portable text runs, bit for bit the same. */
#ifndef TSR_WIDE_DSP_H
#define TSR_WIDE_DSP_H

#include <stdint.h>

#include "tsr_dsp.h"
#include "tsr_output.h"
#include "tsr_wide.h"

/* Two elements as a pair. */
TSR_INLINE uint32_t tsr_load_pair(const int16_t *p)
{
    uint32_t pair;
    TSR_COPY(&pair, p, 4);
    return pair;
}

#if defined(__ARM_FEATURE_DSP)

/* A word of weights as a pair of either filter: m in lr, n in r11. */
#define TSR_WIDE_WEIGHTS               \
    "ldr r11, [r1], #4\n\t"            \
    "sxtb16 lr, r11, ror #8\n\t"       \
    "sxtb16 r11, r11\n\t"

/* 2 inputs of 3 pixels with 2 filters: 12 products in 12 instructions; r4 is the pixels' pitch. */
#define TSR_WIDE_STEP_3X2              \
    TSR_WIDE_WEIGHTS                   \
    "ldr r2, [r0, r4]\n\t"             \
    "ldr r3, [r0, r4, lsl #1]\n\t"     \
    "smlad r6, r11, r2, r6\n\t"        \
    "smlad r9, lr, r2, r9\n\t"         \
    "ldr r2, [r0], #4\n\t"             \
    "smlad r7, r11, r3, r7\n\t"        \
    "smlad r10, lr, r3, r10\n\t"       \
    "smlad r5, r11, r2, r5\n\t"        \
    "smlad r8, lr, r2, r8\n\t"

/* 2 inputs of 2 pixels with 2 filters: 8 products in 9 instructions. */
#define TSR_WIDE_STEP_2X2              \
    TSR_WIDE_WEIGHTS                   \
    "ldr r3, [r0, r4]\n\t"             \
    "ldr r2, [r0], #4\n\t"             \
    "smlad r6, r11, r3, r6\n\t"        \
    "smlad r8, lr, r3, r8\n\t"         \
    "smlad r5, r11, r2, r5\n\t"        \
    "smlad r7, lr, r2, r7\n\t"

/* 2 inputs with 2 filters: 4 products in 6 instructions. */
#define TSR_WIDE_STEP_1X2              \
    TSR_WIDE_WEIGHTS                   \
    "ldr r2, [r0], #4\n\t"             \
    "smlad r5, r11, r2, r5\n\t"        \
    "smlad r6, lr, r2, r6\n\t"

/* 2 inputs with 4 filters: 8 products in 10 instructions. */
#define TSR_WIDE_STEP_1X4              \
    "ldmia r1!, {r9, r10}\n\t"         \
    "ldr r2, [r0], #4\n\t"             \
    "sxtb16 r11, r9\n\t"               \
    "sxtb16 lr, r9, ror #8\n\t"        \
    "smlad r5, r11, r2, r5\n\t"        \
    "smlad r6, lr, r2, r6\n\t"         \
    "sxtb16 r11, r10\n\t"              \
    "sxtb16 lr, r10, ror #8\n\t"       \
    "smlad r7, r11, r2, r7\n\t"        \
    "smlad r8, lr, r2, r8\n\t"

#define TSR_WIDE_DOT(name, registers, step)                                        \
    TSR_NAKED const int8_t *name(const int16_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED, \
                                 int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)   \
    {                                                                              \
        TSR_DOT(registers, step step step step, step);                             \
    }

/* Products of `steps` pairs of inputs are added to sums[1...], those of the first filter first; the
 * pixels lie sums[0] bytes apart. The end of the weights is returned. */
TSR_WIDE_DOT(tsr_wide_3x2, "{r4, r5, r6, r7, r8, r9, r10}", TSR_WIDE_STEP_3X2)
TSR_WIDE_DOT(tsr_wide_2x2, "{r4, r5, r6, r7, r8}", TSR_WIDE_STEP_2X2)
TSR_WIDE_DOT(tsr_wide_1x2, "{r4, r5, r6}", TSR_WIDE_STEP_1X2)
TSR_WIDE_DOT(tsr_wide_1x4, "{r4, r5, r6, r7, r8}", TSR_WIDE_STEP_1X4)

#else

static inline const int8_t *tsr_wide_any(const int16_t *x, const int8_t *w, int32_t *sums,
                                         int steps, int pixels, int pairs)
{
    for (int step = 0; step < steps; step++, x += 2) {
        for (int pair = 0; pair < pairs; pair++, w += 4) {
            for (int p = 0; p < pixels; p++) {
                const int16_t *at = x + p * (sums[0] / 2);
                int32_t *out = sums + 1 + 2 * pair;
                out[p] += at[0] * w[0] + at[1] * w[2];
                out[pixels + p] += at[0] * w[1] + at[1] * w[3];
            }
        }
    }
    return w;
}

#define tsr_wide_3x2(x, w, sums, steps) tsr_wide_any(x, w, sums, steps, 3, 1)
#define tsr_wide_2x2(x, w, sums, steps) tsr_wide_any(x, w, sums, steps, 2, 1)
#define tsr_wide_1x2(x, w, sums, steps) tsr_wide_any(x, w, sums, steps, 1, 1)
#define tsr_wide_1x4(x, w, sums, steps) tsr_wide_any(x, w, sums, steps, 1, 2)

#endif

#endif

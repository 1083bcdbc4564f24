/* Widened pixels times pairs of filters that keep a product each, for weights of any value.
 *
 * Where weights have a zero point they take all of a byte, and two filters cannot share a product as
 * in tsr_dsp.h. A word holds four weights of one filter, then four of the other. */
#ifndef TSR_APART_DSP_H
#define TSR_APART_DSP_H

#include "tsr_dsp.h"

#if defined(__ARM_FEATURE_DSP)

/* 4 inputs of 3 pixels with 2 filters: 24 products in 19 instructions. */
#define TSR_STEP_APART_3X2                             \
    "ldrd r11, lr, [r1], #8\n\t"                       \
    "ldmia r0!, {r2, r3, r4}\n\t"                      \
    "sxtb16 r12, r11\n\t"                              \
    TSR_ALL_SMLAD_3("r12", "r5", "r6", "r7")           \
    "sxtb16 r12, lr\n\t"                               \
    TSR_ALL_SMLAD_3("r12", "r8", "r9", "r10")          \
    "ldmia r0!, {r2, r3, r4}\n\t"                      \
    "sxtb16 r11, r11, ror #8\n\t"                      \
    TSR_ALL_SMLAD_3("r11", "r5", "r6", "r7")           \
    "sxtb16 lr, lr, ror #8\n\t"                        \
    TSR_ALL_SMLAD_3("lr", "r8", "r9", "r10")

/* 3 pixels (words interleaved) with a pair of filters, 4 inputs per step: adds to the first 3 sums
 * the products with the first filter, to the others those with the second. Returns the weights' end. */
TSR_NAKED const int8_t *tsr_dot_apart_3(const uint32_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                        int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    __asm__("push {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
            "ldmia r2, {r5, r6, r7, r8, r9, r10}\n\t"
            "subs r12, r3, #4\n\t"
            "str r12, [sp, #4]\n\t"
            "blt 2f\n\t"
            "1:\n\t" TSR_STEP_APART_3X2 TSR_STEP_APART_3X2 TSR_STEP_APART_3X2 TSR_STEP_APART_3X2
            "ldr r12, [sp, #4]\n\t"
            "subs r12, r12, #4\n\t"
            "str r12, [sp, #4]\n\t"
            "bge.w 1b\n\t"
            "2: adds r12, r12, #4\n\t"
            "beq 4f\n\t"
            "3: str r12, [sp, #4]\n\t" TSR_STEP_APART_3X2
            "ldr r12, [sp, #4]\n\t"
            "subs r12, r12, #1\n\t"
            "bne 3b\n\t"
            "4: ldr r2, [sp]\n\t"
            "mov r0, r1\n\t"
            "stmia r2, {r5, r6, r7, r8, r9, r10}\n\t"
            "pop {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}

#endif

/* The same for any number of pixels. */
TSR_INLINE const int8_t *tsr_dot_apart(const uint32_t *x, const int8_t *w, int32_t *sums, int steps,
                                       int pixels)
{
    for (; steps > 0; steps--, w += 8, x += 2 * pixels) {
        const uint32_t first = tsr_load4(w), second = tsr_load4(w + 4);
        for (int p = 0; p < pixels; p++) {
            const uint32_t even = x[p], odd = x[pixels + p];
            sums[p] = tsr_smlad(tsr_odd(first), odd, tsr_smlad(tsr_even(first), even, sums[p]));
            sums[pixels + p] = tsr_smlad(tsr_odd(second), odd,
                                         tsr_smlad(tsr_even(second), even, sums[pixels + p]));
        }
    }
    return w;
}

#if !defined(__ARM_FEATURE_DSP)

TSR_INLINE const int8_t *tsr_dot_apart_3(const uint32_t *x, const int8_t *w, int32_t *sums,
                                         int steps)
{
    return tsr_dot_apart(x, w, sums, steps, 3);
}

#endif

/* Add up the inputs of each pixel. */
TSR_INLINE void tsr_add_up(const uint32_t *x, int steps, int pixels, int32_t *totals)
{
    for (int p = 0; p < pixels; p++) {
        totals[p] = 0;
    }
    for (int word = 0; word < 2 * steps; word++) {
        for (int p = 0; p < pixels; p++) {
            totals[p] = tsr_smlad(*x++, 0x00010001u, totals[p]);
        }
    }
}

#endif

/* Inner loops with 4-bit weights for the Arm DSP extension, with the same functions in portable C.
 *
 * A word of weights serves four inputs and two filters: toolchain/kernels/nibble_packing.py. All
 * sums are 4096 times as large as they are. */
#ifndef TSR_NIBBLE_DSP_H
#define TSR_NIBBLE_DSP_H

#include "tsr_dsp.h"

/* A pair of weights, times 4096: the nibbles `place` bits below the top of both lanes. */
#define TSR_TOP 0xF000F000u
TSR_INLINE uint32_t tsr_nibbles(uint32_t word, int place)
{
    return (word << place) & TSR_TOP;
}

#if defined(__ARM_FEATURE_DSP)

/* The accumulators of high and low filters: of TSR_FINISH_LINE, and doubled of TSR_FINISH_SIGNED. */
#define TSR_APART_W4(shift) \
    TSR_ALL_3("asr", "r5", "r6", "r7", shift) TSR_ALL_3("asr", "r8", "r9", "r10", shift)
#define TSR_APART_W4_LINE TSR_APART_W4(", #12")
#define TSR_APART_W4_SIGNED TSR_APART_W4(", #11")

/* 4 inputs of 3 pixels with 2 filters: 24 products in 19 instructions; r12 holds TSR_TOP. */
#define TSR_STEP_W4_3X2                       \
    "ldr lr, [r1], #4\n\t"                    \
    "ldmia r0!, {r2, r3, r4}\n\t"             \
    "and r11, r12, lr\n\t"                    \
    TSR_ALL_SMLAD_3("r11", "r5", "r6", "r7")  \
    "and r11, r12, lr, lsl #4\n\t"            \
    TSR_ALL_SMLAD_3("r11", "r8", "r9", "r10") \
    "ldmia r0!, {r2, r3, r4}\n\t"             \
    "and r11, r12, lr, lsl #8\n\t"            \
    TSR_ALL_SMLAD_3("r11", "r5", "r6", "r7")  \
    "and lr, r12, lr, lsl #12\n\t"            \
    TSR_ALL_SMLAD_3("lr", "r8", "r9", "r10")

/* The sums r5 to r10 of 3 pixels (words interleaved at r0) and a pair of filters (r1), r12 steps of
 * 4 inputs: the products with the high filter to r5 to r7, with the low one to r8 to r10.
 * All registers are taken, so the ends of the loops lie on the stack. */
TSR_NAKED __attribute__((used)) void tsr_sums_w4_3x2(void)
{
    __asm__("and r2, r12, #3\n\t"
            "add r3, r1, r2, lsl #2\n\t"
            "add r12, r1, r12, lsl #2\n\t"
            "push {r3, r12, lr}\n\t"
            "mov r12, #0xF000F000\n\t"
            "cbz r2, 2f\n\t"
            "1:\n\t" TSR_STEP_W4_3X2
            "ldr r2, [sp]\n\t"
            "cmp r1, r2\n\t"
            "bne 1b\n\t"
            "2: ldr r2, [sp, #4]\n\t"
            "cmp r1, r2\n\t"
            "beq.w 4f\n\t"
            "3:\n\t" TSR_STEP_W4_3X2 TSR_STEP_W4_3X2 TSR_STEP_W4_3X2 TSR_STEP_W4_3X2
            "ldr r2, [sp, #4]\n\t"
            "cmp r1, r2\n\t"
            "bne.w 3b\n\t"
            "4: pop {r3, r12, pc}\n\t");
}
#define TSR_SUMS_W4_3X2                             \
    "mov r6, r5\n\tmov r7, r5\n\t"                   \
    "mov r9, r8\n\tmov r10, r8\n\tbl tsr_sums_w4_3x2\n\t"

/* The same for C: sums in memory; returns the weights' end. */
TSR_NAKED const int8_t *tsr_dot_w4_3x2(const uint32_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                       int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    __asm__("push {r2, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
            "mov r12, r3\n\t"
            "ldmia r2, {r5, r6, r7, r8, r9, r10}\n\t"
            "bl tsr_sums_w4_3x2\n\t"
            "ldr r2, [sp]\n\t"
            "mov r0, r1\n\t"
            "stmia r2, {r5, r6, r7, r8, r9, r10}\n\t"
            "pop {r2, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}

/* 2 of 4 filters with 4 inputs (r11: 0 and 2, lr: 1 and 3); r10 holds TSR_TOP. */
#define TSR_PAIR_W4(word, high, low)                                                \
    "and r4, r10, " word "\n\tsmlad " high ", r4, r11, " high "\n\t"                \
    "and r4, r10, " word ", lsl #4\n\tsmlad " low ", r4, r11, " low "\n\t"          \
    "and r4, r10, " word ", lsl #8\n\tsmlad " high ", r4, lr, " high "\n\t"         \
    "and r4, r10, " word ", lsl #12\n\tsmlad " low ", r4, lr, " low "\n\t"

/* 4 inputs with 2 pairs of filters, 16 products in 20 instructions. */
#define TSR_STEP_W4_1X4                                          \
    "ldr r11, [r0], #4\n\t"                                      \
    "ldrd r2, r3, [r1], #8\n\t"                                  \
    "sxtb16 lr, r11, ror #8\n\t"                                 \
    "sxtb16 r11, r11\n\t" TSR_PAIR_W4("r2", "r6", "r8") TSR_PAIR_W4("r3", "r7", "r9")

/* One vector of bytes with two pairs of filters (words interleaved): the first 2 sums are those of
 * the high filters, the others those of the low ones. */
TSR_NAKED const int8_t *tsr_dot_w4_1x4(const int8_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                       int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    __asm__("push {r2, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
            "subs r12, r3, #4\n\t"
            "ldmia r2, {r6, r7, r8, r9}\n\t"
            "mov r10, #0xF000F000\n\t"
            "blt 2f\n\t"
            "1:\n\t" TSR_STEP_W4_1X4 TSR_STEP_W4_1X4 TSR_STEP_W4_1X4 TSR_STEP_W4_1X4
            "subs r12, r12, #4\n\t"
            "bge.w 1b\n\t"
            "2: adds r12, r12, #4\n\t"
            "beq.w 4f\n\t"
            "3:\n\t" TSR_STEP_W4_1X4
            "subs r12, r12, #1\n\t"
            "bne 3b\n\t"
            "4: ldr r2, [sp]\n\t"
            "mov r0, r1\n\t"
            "stmia r2, {r6, r7, r8, r9}\n\t"
            "pop {r2, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}

#endif

/* `pixels` pixels (words interleaved) with a pair of filters. */
TSR_INLINE const int8_t *tsr_dot_w4(const uint32_t *x, const int8_t *w, int32_t *sums, int steps,
                                    int pixels)
{
    for (; steps > 0; steps--, w += 4) {
        const uint32_t word = tsr_load4(w);
        for (int odd = 0; odd < 2; odd++) {
            const uint32_t high = tsr_nibbles(word, 8 * odd), low = tsr_nibbles(word, 8 * odd + 4);
            for (int pixel = 0; pixel < pixels; pixel++, x++) {
                sums[pixel] = tsr_smlad(high, *x, sums[pixel]);
                sums[pixels + pixel] = tsr_smlad(low, *x, sums[pixels + pixel]);
            }
        }
    }
    return w;
}

/* As tsr_dot_w4_3x2, for 2 pixels and for 1. */
TSR_INLINE const int8_t *tsr_dot_w4_2x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    return tsr_dot_w4(x, w, sums, steps, 2);
}

TSR_INLINE const int8_t *tsr_dot_w4_1x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    return tsr_dot_w4(x, w, sums, steps, 1);
}

/* A word of inputs with `pairs` pairs of filters, sums as in tsr_dot_w4_1x4. */
TSR_INLINE const int8_t *tsr_dot_w4_word(uint32_t x, const int8_t *w, int32_t *sums, int pairs)
{
    const uint32_t inputs[2] = {tsr_even(x), tsr_odd(x)};
    for (int i = 0; i < pairs; i++, w += 4) {
        const uint32_t word = tsr_load4(w);
        for (int odd = 0; odd < 2; odd++) {
            const uint32_t high = tsr_nibbles(word, 8 * odd), low = tsr_nibbles(word, 8 * odd + 4);
            sums[i] = tsr_smlad(high, inputs[odd], sums[i]);
            sums[pairs + i] = tsr_smlad(low, inputs[odd], sums[pairs + i]);
        }
    }
    return w;
}

/* One vector of bytes with a pair of filters: the rest behind groups of four. */
TSR_INLINE const int8_t *tsr_dot_w4_pair(const int8_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (; steps > 0; steps--, x += 4) {
        w = tsr_dot_w4_word(tsr_load4(x), w, sums, 1);
    }
    return w;
}

#if !defined(__ARM_FEATURE_DSP)

TSR_INLINE const int8_t *tsr_dot_w4_3x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    return tsr_dot_w4(x, w, sums, steps, 3);
}

TSR_INLINE const int8_t *tsr_dot_w4_1x4(const int8_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (; steps > 0; steps--, x += 4) {
        w = tsr_dot_w4_word(tsr_load4(x), w, sums, 2);
    }
    return w;
}

#endif

#endif

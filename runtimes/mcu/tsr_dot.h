/* Sums of products for the Arm DSP extension: the inner loops, in assembly and in portable C.
 *
 * Both texts mean the same, bit for bit. Source: Armv7-M Architecture Reference Manual (DDI 0403),
 * chapter A7. */
#ifndef TSR_DOT_H
#define TSR_DOT_H

#include <stdint.h>
#include <string.h>

#include "tsr_lanes.h"
#include "tsr_output.h"

/* A copy of few bytes is a load, also for compilers that are told not to know memcpy. */
#if defined(__GNUC__)
#define TSR_COPY __builtin_memcpy
#else
#define TSR_COPY memcpy
#endif

/* Four bytes at any address, the first one lowest. */
TSR_INLINE uint32_t tsr_load4(const int8_t *p)
{
    uint32_t word;
    TSR_COPY(&word, p, 4);
    return word;
}

#if defined(__ARM_FEATURE_DSP)

/* The inner loops are whole functions in assembly: compilers spill in them. Arguments come in
 * r0 to r3, the sums in memory, and the weights' end goes back in r0. */
#define TSR_NAKED static __attribute__((naked, noinline, unused))
#define TSR_UNUSED __attribute__((unused))
/* Sums into registers, r3 steps, sums back. Eight steps stand in a row, which are entered half way if
 * there are four more than a multiple of eight; the last ones come alone. */
#define TSR_DOT(sums, four, step)                                          \
    __asm__("push {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"      \
            "lsrs r12, r3, #3\n\t"                                         \
            "ldmia r2, " sums "\n\t"                                       \
            "bcs.w 2f\n\t"                                                 \
            "beq.w 3f\n\t"                                                 \
            "sub r12, r12, #1\n\t"                                         \
            "1:\n\t" four                                                  \
            "2:\n\t" four                                                  \
            "subs r12, r12, #1\n\t"                                        \
            "bge.w 1b\n\t"                                                 \
            "3: ldrd r2, r12, [sp], #8\n\t"                                \
            "ands r12, r12, #3\n\t"                                        \
            "beq 5f\n\t"                                                   \
            "push {r2}\n\t"                                                \
            "4:\n\t" step                                                  \
            "subs r12, r12, #1\n\t"                                        \
            "bne 4b\n\t"                                                   \
            "pop {r2}\n\t"                                                 \
            "5: mov r0, r1\n\t"                                            \
            "stmia r2, " sums "\n\t"                                       \
            "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t")
#define TSR_ALL_SMLAD_3(word, a, b, c)                 \
    "smlad " a ", " word ", r2, " a "\n\t"             \
    "smlad " b ", " word ", r3, " b "\n\t"             \
    "smlad " c ", " word ", r4, " c "\n\t"

/* 4 inputs of 3 pixels with 2 filters: 24 products in 17 instructions. */
#define TSR_STEP_3X2                                   \
    "ldrd r11, lr, [r1], #8\n\t"                       \
    "ldmia r0!, {r2, r3, r4}\n\t"                      \
    TSR_ALL_SMLAD_3("r11", "r5", "r6", "r7")           \
    "sxtb16 r11, r11\n\t"                              \
    TSR_ALL_SMLAD_3("r11", "r8", "r9", "r10")          \
    "ldmia r0!, {r2, r3, r4}\n\t"                      \
    TSR_ALL_SMLAD_3("lr", "r5", "r6", "r7")            \
    "sxtb16 lr, lr\n\t"                                \
    TSR_ALL_SMLAD_3("lr", "r8", "r9", "r10")

/* The same for the first step: sums of all pixels start from r5 (both filters) and r8 (the low one). */
#define TSR_FIRST_3X2                        \
    "ldrd r11, lr, [r1], #8\n\t"             \
    "ldmia r0!, {r2, r3, r4}\n\t"            \
    "smlad r6, r11, r3, r5\n\t"              \
    "smlad r7, r11, r4, r5\n\t"              \
    "smlad r5, r11, r2, r5\n\t"              \
    "sxtb16 r11, r11\n\t"                    \
    "smlad r9, r11, r3, r8\n\t"              \
    "smlad r10, r11, r4, r8\n\t"             \
    "smlad r8, r11, r2, r8\n\t"              \
    "ldmia r0!, {r2, r3, r4}\n\t"            \
    TSR_ALL_SMLAD_3("lr", "r5", "r6", "r7")  \
    "sxtb16 lr, lr\n\t"                      \
    TSR_ALL_SMLAD_3("lr", "r8", "r9", "r10")

/* The sums of 3 pixels (words interleaved) and a pair of filters, `steps` steps of 4 inputs: adds to
 * the first 3 sums the products with both filters (the high one times 256), to the others those
 * with the low one; returns the weights' end. */
TSR_NAKED const int8_t *tsr_dot_3x2(const uint32_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                    int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    TSR_DOT("{r5, r6, r7, r8, r9, r10}", TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2,
            TSR_STEP_3X2);
}

/* matmul_dsp for 3 pixels as a whole. `start` brings the biases of a pair of filters from the words
 * r3 and r4 of its stage to r5 (both) and r8 (the low one); `sums` adds products to r5 to r10, of
 * which `apart` makes the accumulators of the high and the low filter. `finish` makes outputs of
 * them; it finds the multipliers in r11 and lr and what follows them at r0, and may use r2 and r12.
 * `last` leaves a low filter out that is only there to make a pair. Weights of a pair take `bytes`
 * per step, as a shift. On the stack: inputs, a word for `sums` as `before` sets it from the steps in
 * r12, stage, the weights' end; behind the registers the steps, which are for `sums` and `before`,
 * outputs, bytes of a pixel's outputs, odd. */
#define TSR_LAST_ODD "ldr r3, [sp, #12]\n\tcmp r1, r3\n\tbeq 2f\n\t"
#define TSR_MATMUL_3X2(name, bytes, before, start, sums, apart, finish, last)                     \
    TSR_NAKED void name(const uint32_t *x TSR_UNUSED, const int8_t *weights TSR_UNUSED,           \
                        const int32_t *stage TSR_UNUSED, int pairs TSR_UNUSED,                    \
                        int steps TSR_UNUSED, int8_t *y TSR_UNUSED, int out_c TSR_UNUSED,         \
                        int32_t odd TSR_UNUSED)                                                   \
    {                                                                                             \
        __asm__("push {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"                 \
                "ldr r12, [sp, #52]\n\t"                                                         \
                "mul r3, r3, r12\n\t"                                                            \
                "add r3, r1, r3, lsl " bytes "\n\t"                                              \
                "str r3, [sp, #12]\n\t" before                                                   \
                "ldr r0, [sp, #8]\n\t"                                                           \
                "1: ldr r3, [r0]\n\t"                                                            \
                "ldr r4, [r0, #4]\n\t"                                                           \
                "ldr r12, [sp, #52]\n\t"                                                         \
                "ldr r0, [sp]\n\t" start sums                                                    \
                "ldr r0, [sp, #8]\n\t"                                                           \
                "ldmia r0!, {r3, r4, r11, lr}\n\t"                                               \
                apart finish                                                                      \
                "str r0, [sp, #8]\n\t"                                                           \
                "ldr r12, [sp, #56]\n\t"                                                         \
                "ldr r2, [sp, #60]\n\t"                                                          \
                "strb r6, [r12, r2]\n\t"                                                         \
                "strb r7, [r12, r2, lsl #1]\n\t"                                                 \
                "strb r5, [r12], #1\n\t" last                                                    \
                "strb r9, [r12, r2]\n\t"                                                         \
                "strb r10, [r12, r2, lsl #1]\n\t"                                                \
                "strb r8, [r12], #1\n\t"                                                         \
                "str r12, [sp, #56]\n\t"                                                         \
                "ldr r2, [sp, #12]\n\t"                                                          \
                "cmp r1, r2\n\t"                                                                 \
                "bne.w 1b\n\t"                                                                   \
                "2: pop {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");             \
    }

/* `before` and `sums` for weights of 8 bits: 8 steps stand in a row, of 64 bytes of code each, and
 * are entered where as many are left as the steps behind the first are more than a multiple of 8. */
#define TSR_BEFORE_3X2                  \
    "sub r12, r12, #1\n\t"              \
    "and r3, r12, #7\n\t"               \
    "asr r12, r12, #3\n\t"              \
    "str r12, [sp, #52]\n\t"            \
    "adr.w r4, 4f\n\t"                  \
    "sub r4, r4, r3, lsl #6\n\t"        \
    "adds r4, r4, #1\n\t"               \
    "str r4, [sp, #4]\n\t"
#define TSR_SUMS_3X2                                                                    \
    TSR_FIRST_3X2                                                                       \
    "ldr pc, [sp, #4]\n\t"                                                              \
    "3:\n\t" TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2                        \
    TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2 TSR_STEP_3X2                                 \
    "4: subs r12, r12, #1\n\t"                                                          \
    "bge.w 3b\n\t"
#define TSR_ALL_3(op, a, b, c, end) \
    op " " a ", " a end "\n\t" op " " b ", " b end "\n\t" op " " c ", " c end "\n\t"

#define TSR_HIGH_ALONE "sub r5, r5, r8\n\tsub r6, r6, r9\n\tsub r7, r7, r10\n\t"
#define TSR_APART_LINE TSR_HIGH_ALONE TSR_ALL_3("asr", "r5", "r6", "r7", ", #8")
#define TSR_APART_SIGNED                                                                          \
    TSR_HIGH_ALONE TSR_ALL_3("asr", "r5", "r6", "r7", ", #7")                                     \
    TSR_ALL_3("lsl", "r8", "r9", "r10", ", #1")
#define TSR_START_LEAN "asr r8, r4, #12\n\tadd r5, r8, r3, asr #4\n\t"
#define TSR_START_WIDE "mov r5, r3\n\tmov r8, r4\n\t"
#define TSR_EXTRA_LEAN "sbfx r3, r3, #0, #12\n\tsbfx r4, r4, #0, #12\n\t"
#define TSR_EXTRA_WIDE "ldr r4, [r0], #4\n\tsxth r3, r4\n\tasr r4, r4, #16\n\t"
#define TSR_SATURATE(register, from, shift) "ssat " register ", #8, " from shift "\n\t"

/* lean and linear: `shift` is a literal as in ", asr #4", or nothing. */
#define TSR_FINISH_LINE(extra, shift)                                                             \
    extra TSR_ALL_3("smmla", "r5", "r6", "r7", ", r11, r3")                                             \
    TSR_ALL_3("smmla", "r8", "r9", "r10", ", lr, r4")                                             \
    TSR_SATURATE("r5", "r5", shift) TSR_SATURATE("r6", "r6", shift)                               \
    TSR_SATURATE("r7", "r7", shift) TSR_SATURATE("r8", "r8", shift)                               \
    TSR_SATURATE("r9", "r9", shift) TSR_SATURATE("r10", "r10", shift)

/* signed: as tsr_round_twice_odd, of doubled accumulators, with its `odd` on the stack. */
#define TSR_ROUND_TWICE(twice, multiplier, shift)                                                 \
    "smmlar r12, " twice ", " multiplier ", r2\n\t"                                               \
    "add r12, r12, " twice ", asr #31\n\t"                                                        \
    "asr r12, r12, " shift "\n\t" TSR_SATURATE(twice, "r12", "")
#define TSR_OFFSET(shift) "ldr r2, [sp, #64]\n\tlsl r2, r2, " shift "\n\tasr r2, r2, #1\n\t"
#define TSR_FINISH_SIGNED                                                                         \
    TSR_EXTRA_WIDE TSR_OFFSET("r3")                                                               \
    TSR_ROUND_TWICE("r5", "r11", "r3") TSR_ROUND_TWICE("r6", "r11", "r3")                         \
    TSR_ROUND_TWICE("r7", "r11", "r3") TSR_OFFSET("r4")                                           \
    TSR_ROUND_TWICE("r8", "lr", "r4") TSR_ROUND_TWICE("r9", "lr", "r4")                           \
    TSR_ROUND_TWICE("r10", "lr", "r4")

/* 4 inputs of 2 pixels with 2 filters: 16 products in 12 instructions. */
#define TSR_STEP_2X2                     \
    "ldrd r11, lr, [r1], #8\n\t"         \
    "ldmia r0!, {r2, r3, r4, r5}\n\t"    \
    "smlad r6, r11, r2, r6\n\t"          \
    "smlad r7, r11, r3, r7\n\t"          \
    "sxtb16 r11, r11\n\t"                \
    "smlad r8, r11, r2, r8\n\t"          \
    "smlad r9, r11, r3, r9\n\t"          \
    "smlad r6, lr, r4, r6\n\t"           \
    "smlad r7, lr, r5, r7\n\t"           \
    "sxtb16 lr, lr\n\t"                  \
    "smlad r8, lr, r4, r8\n\t"           \
    "smlad r9, lr, r5, r9\n\t"

/* As tsr_dot_3x2, for 2 pixels: the rest of a row. */
TSR_NAKED const int8_t *tsr_dot_2x2(const uint32_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                    int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    TSR_DOT("{r6, r7, r8, r9}", TSR_STEP_2X2 TSR_STEP_2X2 TSR_STEP_2X2 TSR_STEP_2X2, TSR_STEP_2X2);
}

/* 4 inputs (x) with 2 pairs of filters, 16 products in 16 instructions with the load. */
#define TSR_WORD_1X4(x)                 \
    "ldmia r1!, {r2, r3, r4, r5}\n\t"   \
    "sxtb16 lr, " x ", ror #8\n\t"      \
    "sxtb16 " x ", " x "\n\t"           \
    "smlad r6, r2, " x ", r6\n\t"       \
    "smlad r6, r3, lr, r6\n\t"          \
    "smlad r7, r4, " x ", r7\n\t"       \
    "smlad r7, r5, lr, r7\n\t"          \
    "sxtb16 r2, r2\n\t"                 \
    "sxtb16 r3, r3\n\t"                 \
    "sxtb16 r4, r4\n\t"                 \
    "sxtb16 r5, r5\n\t"                 \
    "smlad r8, r2, " x ", r8\n\t"       \
    "smlad r8, r3, lr, r8\n\t"          \
    "smlad r9, r4, " x ", r9\n\t"       \
    "smlad r9, r5, lr, r9\n\t"
#define TSR_STEP_1X4 "ldr r11, [r0], #4\n\t" TSR_WORD_1X4("r11")
/* Two steps: a load behind another one takes a cycle less. */
#define TSR_STEPS_1X4                   \
    "ldr r10, [r0, #4]\n\t"             \
    "ldr r11, [r0], #8\n\t" TSR_WORD_1X4("r11") TSR_WORD_1X4("r10")

/* One vector of bytes with two pairs of filters (words interleaved): adds to the first 2 sums the
 * products with both filters of a pair, to the others those with the low one. */
TSR_NAKED const int8_t *tsr_dot_1x4(const int8_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,
                                    int32_t *sums TSR_UNUSED, int steps TSR_UNUSED)
{
    TSR_DOT("{r6, r7, r8, r9}", TSR_STEPS_1X4 TSR_STEPS_1X4, TSR_STEP_1X4);
}

/* A word of 3 pixels. */
#define TSR_WIDEN_WORD_3(a, b, c, out)                                                           \
    "ldr r7, [" a "], #4\n\tldr r8, [" b "], #4\n\tldr r9, [" c "], #4\n\t"                      \
    "sxtb16 r4, r7\n\tsxtb16 r5, r8\n\tsxtb16 r6, r9\n\t"                                        \
    "sxtb16 r7, r7, ror #8\n\tsxtb16 r8, r8, ror #8\n\tsxtb16 r9, r9, ror #8\n\t"                \
    "stmia " out "!, {r4, r5, r6, r7, r8, r9}\n\t"

/* See the portable text. */
TSR_NAKED uint32_t *tsr_widen_3(const int8_t *a TSR_UNUSED, const int8_t *b TSR_UNUSED,
                                const int8_t *c TSR_UNUSED, int words TSR_UNUSED,
                                uint32_t *out TSR_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9}\n\t"
            "ldr r12, [sp, #24]\n\t"
            "lsrs r3, r3, #1\n\t"
            "bcc 1f\n\t" TSR_WIDEN_WORD_3("r0", "r1", "r2", "r12")
            "1: beq 3f\n\t"
            "2:\n\t" TSR_WIDEN_WORD_3("r0", "r1", "r2", "r12")
            TSR_WIDEN_WORD_3("r0", "r1", "r2", "r12")
            "subs r3, r3, #1\n\t"
            "bne 2b\n\t"
            "3: mov r0, r12\n\t"
            "pop {r4, r5, r6, r7, r8, r9}\n\t"
            "bx lr\n\t");
}

#else

TSR_INLINE const int8_t *tsr_dot_3x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (int word = 0; word < 2 * steps; word++, w += 4) {
        const uint32_t both = tsr_load4(w), low = tsr_even(both);
        for (int pixel = 0; pixel < 3; pixel++, x++) {
            sums[pixel] = tsr_smlad(both, *x, sums[pixel]);
            sums[3 + pixel] = tsr_smlad(low, *x, sums[3 + pixel]);
        }
    }
    return w;
}

/* Widen `words` words of 3 pixels to pairs (bytes 0 and 2, then 1 and 3 of each word), interleaved
 * word by word. Returns the end of `out`. */
static TSR_NOINLINE uint32_t *tsr_widen_3(const int8_t *a, const int8_t *b, const int8_t *c, int words,
                                   uint32_t *out)
{
    for (; words > 0; words--, a += 4, b += 4, c += 4, out += 6) {
        const uint32_t p = tsr_load4(a), q = tsr_load4(b), r = tsr_load4(c);
        out[0] = tsr_even(p), out[1] = tsr_even(q), out[2] = tsr_even(r);
        out[3] = tsr_odd(p), out[4] = tsr_odd(q), out[5] = tsr_odd(r);
    }
    return out;
}

TSR_INLINE const int8_t *tsr_dot_2x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (int word = 0; word < 2 * steps; word++, w += 4) {
        const uint32_t both = tsr_load4(w), low = tsr_even(both);
        for (int pixel = 0; pixel < 2; pixel++, x++) {
            sums[pixel] = tsr_smlad(both, *x, sums[pixel]);
            sums[2 + pixel] = tsr_smlad(low, *x, sums[2 + pixel]);
        }
    }
    return w;
}

TSR_INLINE const int8_t *tsr_dot_1x4(const int8_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (; steps > 0; steps--, x += 4) {
        const uint32_t word = tsr_load4(x), pairs[2] = {tsr_even(word), tsr_odd(word)};
        for (int i = 0; i < 4; i++, w += 4) {
            const uint32_t both = tsr_load4(w), inputs = pairs[i % 2];
            sums[i / 2] = tsr_smlad(both, inputs, sums[i / 2]);
            sums[2 + i / 2] = tsr_smlad(tsr_even(both), inputs, sums[2 + i / 2]);
        }
    }
    return w;
}

#endif

/* As tsr_dot_3x2, for 1 pixel. */
TSR_INLINE const int8_t *tsr_dot_1x2(const uint32_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (int word = 0; word < 2 * steps; word++, w += 4, x++) {
        const uint32_t both = tsr_load4(w);
        sums[0] = tsr_smlad(both, *x, sums[0]);
        sums[1] = tsr_smlad(tsr_even(both), *x, sums[1]);
    }
    return w;
}

/* A word of inputs with `pairs` pairs of filters, sums as in tsr_dot_1x4. */
TSR_INLINE const int8_t *tsr_dot_word(uint32_t x, const int8_t *w, int32_t *sums, int pairs)
{
    const uint32_t even = tsr_even(x), odd = tsr_odd(x);
    for (int i = 0; i < pairs; i++, w += 8) {
        const uint32_t s = tsr_load4(w), t = tsr_load4(w + 4);
        sums[i] = tsr_smlad(t, odd, tsr_smlad(s, even, sums[i]));
        sums[pairs + i] = tsr_smlad(tsr_even(t), odd, tsr_smlad(tsr_even(s), even, sums[pairs + i]));
    }
    return w;
}

/* One vector of bytes with a pair of filters: the rest behind groups of four. */
TSR_INLINE const int8_t *tsr_dot_pair(const int8_t *x, const int8_t *w, int32_t *sums, int steps)
{
    for (; steps > 0; steps--, x += 4) {
        w = tsr_dot_word(tsr_load4(x), w, sums, 1);
    }
    return w;
}

#endif

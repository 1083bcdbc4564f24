/* Sums of products over runs of inputs that lie side by side, for cores without vector instructions.
 *
 * The inputs of a pixel are a list of runs: a whole pixel, or the rows of a window, with padding read
 * from a row of zero points. The list is made once per pixel and multiplied with all filters. */
#ifndef TSR_RUNS_H
#define TSR_RUNS_H

#include <stdint.h>

#include "tsr_output.h"

/* `size` inputs from x on; size > 0. */
typedef struct {
    const int8_t *x;
    int32_t size;
} tsr_run;

/* As tsr_window_runs, for a window that leaves the map. */
static TSR_NOINLINE tsr_run *tsr_border_runs(tsr_run *run, const int8_t *row, int left, int width,
                                 int columns, int channels, const int8_t *outside)
{
    const int start = !row || left >= columns ? width : left < 0 ? -left : 0;
    const int before = start < width ? start : width;
    const int end = left + width <= columns ? width : columns - left;
    if (before > 0) {
        *run++ = (tsr_run){outside, before * channels};
    }
    if (before < end) {
        *run++ = (tsr_run){row + (left + before) * channels, (end - before) * channels};
    }
    if (before < width && end < width) {
        *run++ = (tsr_run){outside, (width - end) * channels};
    }
    return run;
}

/* Columns `left` to `left + width` of a row as runs; columns that are not among its `columns`, and
 * all of a null row, are read from `outside`, which holds the zero point `width` times. A column has
 * `channels` inputs. Returns the end of the list. */
TSR_INLINE tsr_run *tsr_window_runs(tsr_run *run, const int8_t *row, int left, int width,
                                    int columns, int channels, const int8_t *outside)
{
    if (!row || left < 0 || left > columns - width) {
        return tsr_border_runs(run, row, left, width, columns, channels, outside);
    }
    *run = (tsr_run){row + left * channels, width * channels};
    return run + 1;
}

/* The sum of all inputs. */
TSR_INLINE int32_t tsr_sum_runs(const tsr_run *run, const tsr_run *end)
{
    int32_t sum = 0;
    for (; run < end; run++) {
        const int8_t *x = run->x;
        int32_t left = run->size;
        for (; left > 3; left -= 4, x += 4) {
            sum += x[0] + x[1] + x[2] + x[3];
        }
        for (; left > 0; left--) {
            sum += *x++;
        }
    }
    return sum;
}

/* The inputs times one filter, added to `sum`. */
TSR_INLINE int32_t tsr_dot_runs(const tsr_run *run, const tsr_run *end, const int8_t *w, int32_t sum)
{
    for (; run < end; run++) {
        for (int32_t i = 0; i < run->size; i++) {
            sum += run->x[i] * *w++;
        }
    }
    return sum;
}

/* tsr_dot_runs_4: the inputs times four filters that lie `step` bytes apart.
 * tsr_dot_runs_8: the inputs times eight filters whose weights lie side by side, without a sign.
 * Both make as many sums, all of which start from the first one. */
#if defined(__thumb__) && !defined(__thumb2__)

/* Eight registers can be loaded to and multiplied in; the sums live in those that can only be added
 * to. r1 counts from -size up to 0 and is the index of all loads: 4 products in 14 instructions. */
#define TSR_STEP_1X4                                              \
    "ldrsb r6, [r0, r1]\n\t"                                      \
    "ldrsb r7, [r2, r1]\n\t muls r7, r6\n\t add r8, r8, r7\n\t"    \
    "ldrsb r7, [r3, r1]\n\t muls r7, r6\n\t add r9, r9, r7\n\t"    \
    "ldrsb r7, [r4, r1]\n\t muls r7, r6\n\t add r10, r10, r7\n\t"  \
    "ldrsb r7, [r5, r1]\n\t muls r7, r6\n\t add r11, r11, r7\n\t"  \
    "adds r1, r1, #1\n\t"

static __attribute__((naked, noinline, unused)) void tsr_dot_runs_4(
    const tsr_run *run __attribute__((unused)), const tsr_run *end __attribute__((unused)),
    const int8_t *w __attribute__((unused)), int step __attribute__((unused)),
    int32_t *sums __attribute__((unused)))
{
    __asm__(
        ".syntax unified\n\t"
        "push {r4, r5, r6, r7, lr}\n\t"
        "mov r4, r8\n\t mov r5, r9\n\t mov r6, r10\n\t mov r7, r11\n\t"
        "push {r4, r5, r6, r7}\n\t"
        "mov r12, r0\n\t"
        "mov lr, r1\n\t"
        "ldr r4, [sp, #36]\n\t"
        "ldr r4, [r4]\n\t"
        "mov r8, r4\n\t mov r9, r4\n\t mov r10, r4\n\t mov r11, r4\n\t"
        "adds r4, r3, r3\n\t"
        "adds r4, r4, r2\n\t"
        "adds r5, r4, r3\n\t"
        "adds r3, r3, r2\n\t"
        "1: mov r7, r12\n\t"
        "ldmia r7!, {r0, r1}\n\t"
        "mov r12, r7\n\t"
        "adds r0, r0, r1\n\t"
        "adds r2, r2, r1\n\t"
        "adds r3, r3, r1\n\t"
        "adds r4, r4, r1\n\t"
        "adds r5, r5, r1\n\t"
        "rsbs r1, r1, #0\n\t"
        "movs r7, #3\n\t"
        "tst r1, r7\n\t"
        "beq 3f\n\t"
        "2:\n\t" TSR_STEP_1X4
        "beq 4f\n\t"
        "movs r7, #3\n\t"
        "tst r1, r7\n\t"
        "bne 2b\n\t"
        "3:\n\t" TSR_STEP_1X4 TSR_STEP_1X4 TSR_STEP_1X4 TSR_STEP_1X4
        "bne 3b\n\t"
        "4: cmp r12, lr\n\t"
        "bne 1b\n\t"
        "ldr r7, [sp, #36]\n\t"
        "mov r0, r8\n\t mov r1, r9\n\t mov r4, r10\n\t mov r5, r11\n\t"
        "stmia r7!, {r0, r1, r4, r5}\n\t"
        "pop {r4, r5, r6, r7}\n\t"
        "mov r8, r4\n\t mov r9, r5\n\t mov r10, r6\n\t mov r11, r7\n\t"
        "pop {r4, r5, r6, r7, pc}\n\t");
}

#define TSR_PRODUCT(at, add) "ldrb r7, [r2, #" #at "]\n\t muls r7, r6\n\t " add ", r7\n\t"
#define TSR_STEP_1X8(at)                                  \
    "ldrsb r6, [r0, r1]\n\t"                              \
    TSR_PRODUCT(at, "adds r3, r3")                        \
    TSR_PRODUCT(at + 1, "adds r4, r4")                    \
    TSR_PRODUCT(at + 2, "adds r5, r5")                    \
    TSR_PRODUCT(at + 3, "add r8, r8")                     \
    TSR_PRODUCT(at + 4, "add r9, r9")                     \
    TSR_PRODUCT(at + 5, "add r10, r10")                   \
    TSR_PRODUCT(at + 6, "add r11, r11")                   \
    TSR_PRODUCT(at + 7, "add r12, r12")

/* 8 products in 26 instructions: r1 counts as above, weights have literal distances. */
static __attribute__((naked, noinline, unused)) void tsr_dot_runs_8(
    const tsr_run *run __attribute__((unused)), const tsr_run *end __attribute__((unused)),
    const int8_t *w __attribute__((unused)), int32_t *sums __attribute__((unused)))
{
    __asm__(
        ".syntax unified\n\t"
        "push {r1, r3, r4, r5, r6, r7, lr}\n\t"
        "mov r4, r8\n\t mov r5, r9\n\t mov r6, r10\n\t mov r7, r11\n\t"
        "push {r4, r5, r6, r7}\n\t"
        "mov lr, r0\n\t"
        "ldr r3, [r3]\n\t movs r4, r3\n\t movs r5, r3\n\t"
        "mov r8, r3\n\t mov r9, r3\n\t mov r10, r3\n\t mov r11, r3\n\t mov r12, r3\n\t"
        "1: mov r7, lr\n\t"
        "ldmia r7!, {r0, r1}\n\t"
        "mov lr, r7\n\t"
        "adds r0, r0, r1\n\t"
        "rsbs r1, r1, #0\n\t"
        "movs r7, #3\n\t"
        "tst r1, r7\n\t"
        "beq 3f\n\t"
        "2:\n\t" TSR_STEP_1X8(0)
        "adds r2, r2, #8\n\t"
        "adds r1, r1, #1\n\t"
        "beq 4f\n\t"
        "movs r7, #3\n\t"
        "tst r1, r7\n\t"
        "bne 2b\n\t"
        "3:\n\t" TSR_STEP_1X8(0)
        "adds r1, r1, #1\n\t" TSR_STEP_1X8(8)
        "adds r1, r1, #1\n\t" TSR_STEP_1X8(16)
        "adds r1, r1, #1\n\t" TSR_STEP_1X8(24)
        "adds r2, r2, #32\n\t"
        "adds r1, r1, #1\n\t"
        "bne 3b\n\t"
        "4: ldr r7, [sp, #16]\n\t"
        "cmp lr, r7\n\t"
        "beq 5f\n\t"
        "b 1b\n\t"
        "5: ldr r7, [sp, #20]\n\t"
        "stmia r7!, {r3, r4, r5}\n\t"
        "mov r3, r8\n\t mov r4, r9\n\t mov r5, r10\n\t mov r6, r11\n\t"
        "stmia r7!, {r3, r4, r5, r6}\n\t"
        "mov r3, r12\n\t"
        "str r3, [r7]\n\t"
        "pop {r4, r5, r6, r7}\n\t"
        "mov r8, r4\n\t mov r9, r5\n\t mov r10, r6\n\t mov r11, r7\n\t"
        "pop {r1, r3, r4, r5, r6, r7, pc}\n\t");
}

#else

static TSR_NOINLINE void tsr_dot_runs_4(const tsr_run *run, const tsr_run *end, const int8_t *w, int step,
                                 int32_t *sums)
{
    int32_t a = *sums, b = a, c = a, d = a;
    const int8_t *w1 = w + step, *w2 = w1 + step, *w3 = w2 + step;
    for (; run < end; run++) {
        const int8_t *x = run->x;
        for (int32_t left = run->size; left > 0; left--) {
            const int32_t input = *x++;
            a += input * *w++;
            b += input * *w1++;
            c += input * *w2++;
            d += input * *w3++;
        }
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

static TSR_NOINLINE void tsr_dot_runs_8(const tsr_run *run, const tsr_run *end, const int8_t *w,
                                 int32_t *sums)
{
    int32_t a = *sums, b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (; run < end; run++) {
        const int8_t *x = run->x;
        for (int32_t left = run->size; left > 0; left--, w += 8) {
            const int32_t input = *x++;
            a += input * (uint8_t)w[0];
            b += input * (uint8_t)w[1];
            c += input * (uint8_t)w[2];
            d += input * (uint8_t)w[3];
            e += input * (uint8_t)w[4];
            f += input * (uint8_t)w[5];
            g += input * (uint8_t)w[6];
            h += input * (uint8_t)w[7];
        }
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    sums[4] = e, sums[5] = f, sums[6] = g, sums[7] = h;
}

#endif

#endif

/* What the kernels for the Arm DSP extension share, with the same functions in portable C.
 *
 * On a core without the extension, and on the computer that tests the generated code, the portable
 * text runs: every function below means the same there, bit for bit. */
#ifndef TSR_DSP_H
#define TSR_DSP_H

#include <stdint.h>

#include "tsr_dot.h"
#include "tsr_lanes.h"
#include "tsr_output.h"

/* Keep the compiler from turning offsets from a pointer into more pointers. */
#if defined(__GNUC__)
#define TSR_OPAQUE(pointer) __asm__("" : "+r"(pointer))
#else
#define TSR_OPAQUE(pointer) (void)0
#endif

/* The first 1 to 3 bytes at p, zeros above. */
TSR_INLINE uint32_t tsr_load_tail(const int8_t *p, int count)
{
    uint32_t word = (uint8_t)p[0];
    if (count > 1) {
        word |= (uint32_t)(uint8_t)p[1] << 8;
    }
    if (count > 2) {
        word |= (uint32_t)(uint8_t)p[2] << 16;
    }
    return word;
}

/* As tsr_widen_3, for 2 pixels and for 1. */
static TSR_NOINLINE uint32_t *tsr_widen_2(const int8_t *a, const int8_t *b, int words, uint32_t *out)
{
    for (; words > 0; words--, a += 4, b += 4, out += 4) {
        const uint32_t p = tsr_load4(a), q = tsr_load4(b);
        out[0] = tsr_even(p), out[1] = tsr_even(q);
        out[2] = tsr_odd(p), out[3] = tsr_odd(q);
    }
    return out;
}

static TSR_NOINLINE uint32_t *tsr_widen_1(const int8_t *a, int words, uint32_t *out)
{
    for (; words > 0; words--, a += 4, out += 2) {
        const uint32_t p = tsr_load4(a);
        out[0] = tsr_even(p), out[1] = tsr_odd(p);
    }
    return out;
}

/* tsr_widen_3 for `count` segments, `words` words of each: those of the pixels lie `gap` bytes apart. */
#if defined(__ARM_FEATURE_DSP)
TSR_NAKED uint32_t *tsr_widen_segments_3(const int8_t *const *at TSR_UNUSED, int count TSR_UNUSED,
                                         int gap TSR_UNUSED, int words TSR_UNUSED,
                                         uint32_t *out TSR_UNUSED)
{
    __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
            "ldr r11, [sp, #40]\n\t"
            "mov r10, r1\n\t"
            "1: ldr r3, [sp]\n\t"
            "ldr r1, [r0], #4\n\t"
            "adds r3, r3, #1\n\t"
            "add r12, r1, r2\n\t"
            "add lr, r12, r2\n\t"
            "lsrs r3, r3, #1\n\t"
            "bcc 3f\n\t"
            "2:\n\t" TSR_WIDEN_WORD_3("r1", "r12", "lr", "r11")
            "3:\n\t" TSR_WIDEN_WORD_3("r1", "r12", "lr", "r11")
            "subs r3, r3, #1\n\t"
            "bne 2b\n\t"
            "subs r10, r10, #1\n\t"
            "bne 1b\n\t"
            "mov r0, r11\n\t"
            "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
TSR_INLINE uint32_t *tsr_widen_segments_3(const int8_t *const *at, int count, int gap, int words,
                                          uint32_t *out)
{
    for (; count > 0; count--, at++) {
        out = tsr_widen_3(*at, *at + gap, *at + 2 * gap, words, out);
    }
    return out;
}
#endif

/* The same for 2 pixels. */
TSR_INLINE uint32_t *tsr_widen_segments_2(const int8_t *const *at, int count, int gap, int words,
                                          uint32_t *out)
{
    for (; count > 0; count--, at++) {
        out = tsr_widen_2(*at, *at + gap, words, out);
    }
    return out;
}

/* A block of widened pixels times all filters: see matmul_dsp. `odd` is 2 * zero point + 1. */
typedef void tsr_matmul(const uint32_t *x, const int8_t *weights, const int32_t *stage, int pairs,
                        int steps, int8_t *y, int out_c, int32_t odd);

/* A pointwise convolution: `threes` blocks of 3 pixels, then `twos` of 2, with `words` words each. */
typedef struct {
    tsr_matmul *three, *two;
    int threes, twos, words, pairs, out_c;
    int32_t odd;
} tsr_pointwise;

static TSR_NOINLINE void tsr_run_pointwise(const tsr_pointwise *p, const int8_t *x,
                                           const int8_t *weights, const int32_t *stage,
                                           uint32_t *wide, int8_t *y)
{
    const int in_c = 4 * p->words, out_c = p->out_c;
    for (int left = p->threes; left > 0; left--, x += 3 * in_c, y += 3 * out_c) {
        tsr_widen_3(x, x + in_c, x + 2 * in_c, p->words, wide);
        p->three(wide, weights, stage, p->pairs, p->words, y, out_c, p->odd);
    }
    for (int left = p->twos; left > 0; left--, x += 2 * in_c, y += 2 * out_c) {
        tsr_widen_2(x, x + in_c, p->words, wide);
        p->two(wide, weights, stage, p->pairs, p->words, y, out_c, p->odd);
    }
}

/* Bytes that lie `step` apart as `pairs` pairs: a row of one channel. Returns where it stopped. */
static TSR_NOINLINE const int8_t *tsr_gather(const int8_t *x, int step, int pairs, uint32_t *out)
{
    const int8_t *next = x + step;
    for (; pairs > 3; pairs -= 4, x += 8 * step, next += 8 * step, out += 4) {
        out[0] = tsr_pair(x[0], next[0]);
        out[1] = tsr_pair(x[2 * step], next[2 * step]);
        out[2] = tsr_pair(x[4 * step], next[4 * step]);
        out[3] = tsr_pair(x[6 * step], next[6 * step]);
    }
    for (; pairs > 0; pairs--, x += 2 * step, next += 2 * step) {
        *out++ = tsr_pair(*x, *next);
    }
    return x;
}

/* Channels of two rows, `step` bytes from column to column, as a row of pairs for each, `apart` words
 * from one another. A null row is padding: `zeros`; where both are, nothing is written. */
typedef void tsr_gather_rows(const int8_t *low, const int8_t *high, int step, int columns,
                             const int8_t *zeros, int apart, uint32_t *out);

/* One channel. */
static TSR_NOINLINE void tsr_gather_1(const int8_t *low, const int8_t *high, int step, int columns,
                                      const int8_t *zeros, int apart, uint32_t *out)
{
    (void)apart;
    if (!low && !high) {
        return;
    }
    const int low_step = low ? step : 0, high_step = high ? step : 0;
    low = low ? low : zeros;
    high = high ? high : zeros;
    for (; columns > 3; columns -= 4, out += 4) {
        out[0] = tsr_pair(low[0], high[0]);
        out[1] = tsr_pair(low[low_step], high[high_step]);
        out[2] = tsr_pair(low[2 * low_step], high[2 * high_step]);
        out[3] = tsr_pair(low[3 * low_step], high[3 * high_step]);
        low += 4 * low_step, high += 4 * high_step;
        TSR_OPAQUE(low);
        TSR_OPAQUE(high);
    }
    for (; columns > 0; columns--, low += low_step, high += high_step) {
        *out++ = tsr_pair(*low, *high);
    }
}

/* Four channels. */
static TSR_NOINLINE void tsr_gather_4(const int8_t *low, const int8_t *high, int step, int columns,
                                      const int8_t *zeros, int apart, uint32_t *out)
{
    if (!low && !high) {
        return;
    }
    const int low_step = low ? step : 0, high_step = high ? step : 0;
    low = low ? low : zeros;
    high = high ? high : zeros;
    uint32_t *second = out + apart, *third = second + apart, *fourth = third + apart;
    for (; columns > 0; columns--, low += low_step, high += high_step) {
        const uint32_t a = tsr_load4(low), b = tsr_load4(high);
        const uint32_t front = tsr_pack_low(a, b), back = tsr_pack_high(a, b);
        *out++ = tsr_even(front), *second++ = tsr_odd(front);
        *third++ = tsr_even(back), *fourth++ = tsr_odd(back);
    }
}

/* The same of a row alone, whose neighbours in an even column and an odd one are pairs; `first` columns
 * lie before it in the plane. */
static TSR_NOINLINE void tsr_gather_alone(tsr_gather_rows *gather, const int8_t *x, int step,
                                          int columns, const int8_t *zeros, int apart,
                                          uint32_t *out, int first)
{
    out += first >> 1;
    if (first & 1) {
        gather(0, x, step, 1, zeros, apart, out++);
        x += step, columns--;
    }
    gather(x, x + step, 2 * step, columns >> 1, zeros, apart, out);
    if (columns & 1) {
        gather(x + (columns - 1) * step, 0, step, 1, zeros, apart, out + (columns >> 1));
    }
}

/* One channel of a depthwise convolution from its plane: see plane_dsp. */
typedef void tsr_plane(const uint32_t *plane, int step, const int8_t *weights, const int32_t *stage,
                       int32_t extra, int rows, int columns, int8_t *y, int out_c, int32_t odd);

/* The same from rows of pairs: see row_pairs_dsp. */
typedef void tsr_row_pairs(const uint32_t *plane, int step, const int8_t *weights,
                           const int32_t *stage, int32_t extra, int columns, int8_t *y, int out_c,
                           int32_t zero_points);

/* 256 times the bias and less than 256 more: what it adds ends below the accumulator. */
TSR_INLINE int32_t tsr_bias_256(int32_t word)
{
    return word >> 4;
}

/* 256 times the accumulator of the high filter of a pair. */
TSR_INLINE int32_t tsr_minus(int32_t both, int32_t low)
{
    return (int32_t)((uint32_t)both - (uint32_t)low);
}

/* The sums of four filters, in their order, from those of tsr_dot_1x4. */
TSR_INLINE void tsr_apart_1x4(int32_t *sums)
{
    const int32_t low = sums[2];
    sums[0] = tsr_minus(sums[0], low) >> 8;
    sums[2] = tsr_minus(sums[1], sums[3]) >> 8;
    sums[1] = low;
}

/* The input rows of a kernel of up to 3 rows: the first two as a pair, the last of one or three alone.
 * For a row of padding another row stands in; `keep` masks its weights out, `fill` is the padding
 * that they would have met. Index 0 is the pair, 1 the row alone. */
typedef struct {
    const int8_t *x[3];
    uint32_t keep[2], fill[2];
    int padded;
} tsr_window;

static TSR_NOINLINE void tsr_find_window(const int8_t *const *rows, int count, uint32_t zeros,
                                         tsr_window *window)
{
    const int8_t *some = 0;
    uint32_t off[2] = {0, 0};
    for (int i = 0; i < count; i++) {
        if (rows[i]) {
            some = rows[i];
        } else if (i + 1 == count && count != 2) {
            off[1] = 0xFFFFFFFFu;
        } else {
            off[0] |= 0xFFFFu << 16 * i;
        }
    }
    for (int i = 0; i < count; i++) {
        window->x[i] = rows[i] ? rows[i] : some;
    }
    for (int i = 0; i < 2; i++) {
        window->keep[i] = ~off[i];
        window->fill[i] = zeros & off[i];
    }
    window->padded = (off[0] | off[1]) != 0;
}

#endif

/* Convolution with little working memory, for the Arm DSP extension: a window in parts.
 *
 * tsr_dsp.h widens the whole window of a block of pixels and multiplies it with all filters. Here a
 * part of the window is widened, multiplied with a group of filters whose sums wait in memory, and
 * overwritten by the next part. Both areas may lie at the end of the output row, as long as the row
 * has not come so far: toolchain/kernels/parts_dsp.py chooses sizes and places. */
#ifndef TSR_PARTS_DSP_H
#define TSR_PARTS_DSP_H

#include "tsr_dsp.h"

#define TSR_PART_STEPS 16 /* the longest part, in words of a pixel */

/* tsr_part_3x2, tsr_part_2x2: widened inputs times `pairs` pairs of filters, added to their sums.
 * `skip` is what lies between the weights of a pair and the next. */
#if defined(__ARM_FEATURE_DSP)

/* All steps stand in a row and the loop enters so many before their end, so that no register
 * counts them. On the stack: inputs, entry, end of the sums, skip. */
#define TSR_PART(name, sums, times, step, entry)                                                   \
    TSR_NAKED void name(const uint32_t *x TSR_UNUSED, const int8_t *w TSR_UNUSED,                  \
                        int32_t *all TSR_UNUSED, int pairs TSR_UNUSED, int steps TSR_UNUSED,       \
                        int skip TSR_UNUSED)                                                       \
    {                                                                                              \
        __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"                                  \
                "ldrd r4, r7, [sp, #36]\n\t"                                                       \
                "mov r12, r2\n\t" times                                                            \
                "adr.w r5, 3f\n\t" entry                                                           \
                "adds r5, r5, #1\n\t"                                                              \
                "sub sp, sp, #16\n\t"                                                              \
                "strd r0, r5, [sp]\n\t"                                                            \
                "strd r3, r7, [sp, #8]\n\t"                                                        \
                "1: ldmia r12, " sums "\n\t"                                                       \
                "ldmia sp, {r0, pc}\n\t"                                                           \
                "2:\n\t" step step step step step step step step                                   \
                step step step step step step step step                                            \
                "3: stmia r12!, " sums "\n\t"                                                      \
                "ldrd r2, r3, [sp, #8]\n\t"                                                        \
                "add r1, r1, r3\n\t"                                                               \
                "cmp r12, r2\n\t"                                                                  \
                "bne.w 1b\n\t"                                                                     \
                "add sp, sp, #16\n\t"                                                              \
                "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");                                 \
    }
TSR_PART(tsr_part_3x2, "{r5, r6, r7, r8, r9, r10}",
         "add r3, r3, r3, lsl #1\n\tadd r3, r2, r3, lsl #3\n\t", TSR_STEP_3X2,
         "sub r5, r5, r4, lsl #6\n\t")
TSR_PART(tsr_part_2x2, "{r6, r7, r8, r9}", "add r3, r2, r3, lsl #4\n\t", TSR_STEP_2X2,
         "movs r6, #46\n\tmls r5, r4, r6, r5\n\t")

/* tsr_part_widen_3, tsr_part_widen_2: tsr_widen_3 and tsr_widen_2 for pixels whose inputs lie `stride`
 * bytes apart. */
TSR_NAKED uint32_t *tsr_part_widen_3(const int8_t *x TSR_UNUSED, int stride TSR_UNUSED,
                                     int words TSR_UNUSED, uint32_t *out TSR_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9, lr}\n\t"
            "add r12, r0, r1\n\t"
            "add lr, r12, r1\n\t"
            "lsrs r2, r2, #1\n\t"
            "bcc 1f\n\t" TSR_WIDEN_WORD_3("r0", "r12", "lr", "r3")
            "1: beq 3f\n\t"
            "2:\n\t" TSR_WIDEN_WORD_3("r0", "r12", "lr", "r3")
            TSR_WIDEN_WORD_3("r0", "r12", "lr", "r3")
            "subs r2, r2, #1\n\t"
            "bne 2b\n\t"
            "3: mov r0, r3\n\t"
            "pop {r4, r5, r6, r7, r8, r9, pc}\n\t");
}

/* A word of 2 pixels. */
#define TSR_PART_WORD_2                                       \
    "ldr r4, [r0], #4\n\tldr r5, [r1], #4\n\t"                  \
    "sxtb16 r6, r4\n\tsxtb16 r7, r5\n\t"                        \
    "sxtb16 r8, r4, ror #8\n\tsxtb16 r9, r5, ror #8\n\t"        \
    "stmia r3!, {r6, r7, r8, r9}\n\t"

TSR_NAKED uint32_t *tsr_part_widen_2(const int8_t *x TSR_UNUSED, int stride TSR_UNUSED,
                                     int words TSR_UNUSED, uint32_t *out TSR_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9, lr}\n\t"
            "add r1, r1, r0\n\t"
            "lsrs r2, r2, #1\n\t"
            "bcc 1f\n\t" TSR_PART_WORD_2
            "1: beq 3f\n\t"
            "2:\n\t" TSR_PART_WORD_2 TSR_PART_WORD_2
            "subs r2, r2, #1\n\t"
            "bne 2b\n\t"
            "3: mov r0, r3\n\t"
            "pop {r4, r5, r6, r7, r8, r9, pc}\n\t");
}

/* The outputs of 3 pixels; `apart` and `finish` as in TSR_MATMUL_3X2, which find `odd` where it has
 * it. On the stack: end of the outputs at 16, next output at 20. */
#define TSR_PART_FINISH_3(name, apart, finish)                                                       \
    TSR_NAKED void name(const int32_t *sums TSR_UNUSED, const int32_t *stage TSR_UNUSED,             \
                        int pairs TSR_UNUSED, int8_t *y TSR_UNUSED, int out_c TSR_UNUSED,            \
                        int32_t odd TSR_UNUSED)                                                      \
    {                                                                                                \
        __asm__("add r2, r3, r2, lsl #1\n\t"                                                         \
                "push {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"                    \
                "sub sp, sp, #8\n\t"                                                                 \
                "ldrd r1, r0, [sp, #8]\n\t"                                                          \
                "1: ldmia r1!, {r5, r6, r7, r8, r9, r10}\n\t"                                        \
                "ldmia r0!, {r3, r4, r11, lr}\n\t" apart finish                                      \
                "ldr r12, [sp, #20]\n\t"                                                             \
                "ldr r2, [sp, #60]\n\t"                                                              \
                "strb r6, [r12, r2]\n\t"                                                             \
                "strb r7, [r12, r2, lsl #1]\n\t"                                                     \
                "strb r5, [r12], #1\n\t"                                                             \
                "strb r9, [r12, r2]\n\t"                                                             \
                "strb r10, [r12, r2, lsl #1]\n\t"                                                    \
                "strb r8, [r12], #1\n\t"                                                             \
                "ldr r2, [sp, #16]\n\t"                                                              \
                "str r12, [sp, #20]\n\t"                                                             \
                "cmp r12, r2\n\t"                                                                    \
                "bne.w 1b\n\t"                                                                       \
                "add sp, sp, #24\n\t"                                                                \
                "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");                                   \
    }

#else

TSR_INLINE uint32_t *tsr_part_widen_3(const int8_t *x, int stride, int words, uint32_t *out)
{
    return tsr_widen_3(x, x + stride, x + 2 * stride, words, out);
}

TSR_INLINE uint32_t *tsr_part_widen_2(const int8_t *x, int stride, int words, uint32_t *out)
{
    return tsr_widen_2(x, x + stride, words, out);
}

TSR_INLINE void tsr_part_3x2(const uint32_t *x, const int8_t *w, int32_t *all, int pairs, int steps,
                             int skip)
{
    for (; pairs > 0; pairs--, all += 6, w += skip) {
        w = tsr_dot_3x2(x, w, all, steps);
    }
}

TSR_INLINE void tsr_part_2x2(const uint32_t *x, const int8_t *w, int32_t *all, int pairs, int steps,
                             int skip)
{
    for (; pairs > 0; pairs--, all += 4, w += skip) {
        w = tsr_dot_2x2(x, w, all, steps);
    }
}

#endif

/* Biases of pairs of filters to their sums; outputs from these. */
typedef void tsr_part_start(const int32_t *stage, int pairs, int32_t *sums);
typedef void tsr_part_finish(const int32_t *sums, const int32_t *stage, int pairs, int8_t *y, int out_c,
                             int32_t odd);

/* A convolution. Inputs of a kernel row are one segment of `words` words. */
typedef struct {
    tsr_part_start *start[2]; /* for blocks of 2 pixels and of 3 */
    tsr_part_finish *finish[2];
    const int8_t *zeros; /* zero points, for the longest part; null if no window leaves the map */
    int words, steps;    /* of a segment, of a window */
    int row, stride;     /* bytes of an input row, and from a pixel's window to the next one's */
    int left;            /* bytes of padding before the row */
    int pairs, pair_words, out_c, out_row;
    int32_t odd;
} tsr_parts;

/* `count` blocks of pixels that are treated alike: words of a part, pairs of a group, and where sums
 * and inputs lie: words from the start of the scratch memory, below 0 from the end of the row. */
typedef struct {
    uint8_t count, pixels, part, group;
    int16_t sums, inputs;
} tsr_part_blocks;

/* The pixels of a block from byte `from` of a row on, zero points outside it: pointers, and how many of
 * `words` words lie for each pixel all in the row or all outside. */
TSR_INLINE int tsr_part_clip(const tsr_parts *p, const int8_t *row, int from, int words, int pixels,
                             const int8_t **x)
{
    const int end = row ? p->row : 0;
    for (int i = 0; i < pixels; i++, from += p->stride) {
        const int same = from < 0 ? -from : end - from;
        x[i] = from < 0 || from >= end ? p->zeros : row + from;
        if (same > 0 && same >> 2 < words) {
            words = same >> 2;
        }
    }
    return words;
}

/* A word that lies across the border of the map for some pixel. */
static TSR_NOINLINE void tsr_part_border(const tsr_parts *p, const int8_t *row, int from, int pixels,
                                         uint32_t *out)
{
    const int end = row ? p->row : 0;
    for (int i = 0; i < pixels; i++, from += p->stride, out++) {
        uint32_t word = 0;
        for (int at = 0; at < 4; at++) {
            const int inside = from + at >= 0 && from + at < end;
            word |= (uint32_t)(uint8_t)(inside ? row[from + at] : p->zeros[0]) << 8 * at;
        }
        out[0] = tsr_even(word);
        out[pixels] = tsr_odd(word);
    }
}

/* Widens inputs that may lie near the border of the map, at most `words` words of a segment; returns how many. */
TSR_INLINE int tsr_part_near(const tsr_parts *p, const int8_t *row, int from, int words, int pixels,
                             uint32_t *out)
{
    const int8_t *x[3];
    if (row && from >= 0 && from <= p->row - (pixels - 1) * p->stride - 4 * words) {
        if (pixels == 3) {
            tsr_part_widen_3(row + from, p->stride, words, out);
        } else {
            tsr_part_widen_2(row + from, p->stride, words, out);
        }
        return words;
    }
    words = tsr_part_clip(p, row, from, words, pixels, x);
    if (words == 0) {
        tsr_part_border(p, row, from, pixels, out);
        return 1;
    }
    if (pixels == 3) {
        tsr_widen_3(x[0], x[1], x[2], words, out);
    } else {
        tsr_widen_2(x[0], x[1], words, out);
    }
    return words;
}

/* Widens words of a block's windows, from word `at` of the segment *row on. */
static TSR_NOINLINE void tsr_part_gather(const tsr_parts *p, const int8_t *const *row, int from, int at,
                                         int words, int pixels, uint32_t *out)
{
    while (words > 0) {
        const int rest = p->words - at;
        const int count = tsr_part_near(p, *row, from + 4 * at, rest < words ? rest : words, pixels, out);
        out += 2 * pixels * count;
        words -= count;
        at += count;
        if (at == p->words) {
            at = 0;
            row++;
        }
    }
}

/* Adds to the sums of a group of filters the products with the windows of a block. */
TSR_INLINE void tsr_part_sum(const tsr_parts *p, const int8_t *const *row, int from, const int8_t *weights,
                             uint32_t *inputs, int32_t *sums, int pairs, int part, int pixels)
{
    const int words = p->words, last = p->row - (pixels - 1) * p->stride;
    int at = 0, more = p->steps;
    do {
        const int steps = more < part ? more : part;
        const int8_t *const segment = *row;
        const int here = from + 4 * at;
        const int inside = segment && here >= 0 && here <= last - 4 * steps;
        at += steps;
        if (!inside || at > words) {
            tsr_part_gather(p, row, from, at - steps, steps, pixels, inputs);
        } else if (pixels == 3) {
            tsr_part_widen_3(segment + here, p->stride, steps, inputs);
        } else {
            tsr_part_widen_2(segment + here, p->stride, steps, inputs);
        }
        for (; at >= words; at -= words) {
            row++;
        }
        (pixels == 3 ? tsr_part_3x2 : tsr_part_2x2)(inputs, weights, sums, pairs, steps,
                                                    8 * (p->steps - steps));
        weights += 8 * steps;
        more -= steps;
    } while (more > 0);
}

static TSR_NOINLINE void tsr_part_sum_3(const tsr_parts *p, const int8_t *const *row, int from,
                                        const int8_t *weights, uint32_t *inputs, int32_t *sums, int pairs,
                                        int part)
{
    tsr_part_sum(p, row, from, weights, inputs, sums, pairs, part, 3);
}

static TSR_NOINLINE void tsr_part_sum_2(const tsr_parts *p, const int8_t *const *row, int from,
                                        const int8_t *weights, uint32_t *inputs, int32_t *sums, int pairs,
                                        int part)
{
    tsr_part_sum(p, row, from, weights, inputs, sums, pairs, part, 2);
}

/* One output row. */
static TSR_NOINLINE void tsr_run_parts(const tsr_parts *p, const tsr_part_blocks *b, int kinds,
                                       const int8_t *const *rows, const int8_t *weights,
                                       const int32_t *stage, uint8_t *scratch, int8_t *y)
{
    uint32_t *const words = (uint32_t *)(void *)scratch;
    uint32_t *const end = (uint32_t *)(void *)(y + p->out_row);
    int from = -p->left;
    for (; kinds > 0; kinds--, b++) {
        uint32_t *const inputs = (b->inputs < 0 ? end : words) + b->inputs;
        int32_t *const sums = (int32_t *)((b->sums < 0 ? end : words) + b->sums);
        const int kind = b->pixels - 2;
        for (int i = 0; i < b->count; i++) {
            for (int done = 0; done < p->pairs; done += b->group) {
                const int left = p->pairs - done, pairs = left < b->group ? left : b->group;
                const int32_t *const first = stage + p->pair_words * done;
                p->start[kind](first, pairs, sums);
                (kind ? tsr_part_sum_3 : tsr_part_sum_2)(p, rows, from, weights + 8 * p->steps * done,
                                                         inputs, sums, pairs, b->part);
                p->finish[kind](sums, first, pairs, y + 2 * done, p->out_c, p->odd);
            }
            from += b->pixels * p->stride;
            y += b->pixels * p->out_c;
        }
    }
}

#endif

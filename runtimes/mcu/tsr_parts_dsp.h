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

/* tsr_part_3x2, tsr_part_2x2: parts of `steps` steps times pairs of filters, added to the sums from `sums`
 * to `end`. Before each part `words` words of 3 or 2 pixels, `stride` bytes apart, are widened to `inputs`;
 * with none they are there. After the `left` parts from `source` on come `parts` of each further one of
 * `segments` segments, which begin at byte `from` of `rows`. `skip` lies between the weights of a pair and
 * the next. With `apart` more pairs follow, whose sums lie elsewhere. */
typedef struct {
    int32_t *end; /* of the first sums */
    int32_t *sums, *last;
} tsr_part_apart;

#define TSR_PART_PARAMETERS(mark)                                                                         \
    uint32_t *inputs mark, int steps mark, int32_t *end mark, int skip mark, int32_t *sums mark,          \
        const int8_t *w mark, const int8_t *source mark, int stride mark, int words mark, int left mark,  \
        int parts mark, int segments mark, const int8_t *const *rows mark, int from mark,                 \
        const tsr_part_apart *apart mark

#if defined(__ARM_FEATURE_DSP)

/* All steps stand in a row and the loop enters so many before their end, so that no register
 * counts them. Loops for parts of up to 12 steps fit a cache of 1 KiB as a whole. On the stack: inputs,
 * entry, end of the sums, skip; behind the registers the other arguments, which are used up. */
#define TSR_PART(name, regs, pixels, word, step, bytes)                                            \
    TSR_NAKED void name(TSR_PART_PARAMETERS(TSR_UNUSED))                                           \
    {                                                                                              \
        __asm__("push {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"                  \
                "adr.w r4, 5f\n\t"                                                                 \
                "movs r5, #" bytes "\n\tmls r4, r1, r5, r4\n\t"                                    \
                "adds r4, r4, #1\n\tstr r4, [sp, #4]\n\t"                                          \
                "0: ldr r1, [sp, #56]\n\tldr r2, [sp, #68]\n\t"                                    \
                "cbz r2, 3f\n\t"                                                                   \
                "add r3, r1, r2, lsl #3\n\tstr r3, [sp, #56]\n\t"                                  \
                "ldr r0, [sp, #60]\n\tldr r4, [sp, #64]\n\t"                                       \
                "ldr r3, [sp]\n\t" pixels                                                          \
                "adds r2, r2, #1\n\tlsrs r2, r2, #1\n\t"                                           \
                "bcc 2f\n\t"                                                                       \
                "1:\n\t" word                                                                      \
                "2:\n\t" word                                                                      \
                "subs r2, r2, #1\n\tbne 1b\n\t"                                                    \
                "str r0, [sp, #60]\n\t"                                                            \
                "3: ldr r12, [sp, #52]\n\t"                                                        \
                "4: ldmia r12, " regs "\n\t"                                                       \
                "ldmia sp, {r0, pc}\n\t" step step step step step step step step                   \
                step step step step step step step step                                            \
                "5: stmia r12!, " regs "\n\t"                                                      \
                "ldrd r2, r3, [sp, #8]\n\t"                                                        \
                "add r1, r1, r3\n\tcmp r12, r2\n\t"                                                \
                "bne.w 4b\n\t"                                                                     \
                "ldr r3, [sp, #92]\n\tcmp r3, #0\n\tbne 8f\n\t"                                   \
                "6: ldr r2, [sp, #72]\n\t"                                                         \
                "subs r2, r2, #1\n\tstr r2, [sp, #72]\n\t"                                         \
                "bne.w 0b\n\t"                                                                     \
                "ldr r2, [sp, #80]\n\t"                                                            \
                "subs r2, r2, #1\n\tstr r2, [sp, #80]\n\t"                                         \
                "beq 7f\n\t"                                                                       \
                "ldr r2, [sp, #76]\n\tstr r2, [sp, #72]\n\t"                                       \
                "ldr r3, [sp, #84]\n\tldr r2, [r3], #4\n\t"                                        \
                "str r3, [sp, #84]\n\tldr r3, [sp, #88]\n\t"                                       \
                "add r2, r2, r3\n\tstr r2, [sp, #60]\n\t"                                          \
                "b.w 0b\n\t"                                                                       \
                "7: add sp, sp, #16\n\t"                                                           \
                "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t"                                   \
                "8: ldmia r3, {r4, r5, r6}\n\t"                                                    \
                "cmp r12, r4\n\tbne 9f\n\t"                                                       \
                "str r6, [sp, #8]\n\tmov r12, r5\n\tb.w 4b\n\t"                                  \
                "9: str r4, [sp, #8]\n\tb 6b\n\t");                                               \
    }

/* TSR_STEP_3X2 and TSR_STEP_2X2 with registers that make loads of weights short. */
#define TSR_PART_STEP_3                                \
    "ldmia.n r1!, {r5, r6}\n\t"                        \
    "ldmia.n r0!, {r2, r3, r4}\n\t"                    \
    TSR_ALL_SMLAD_3("r5", "r7", "r8", "r9")            \
    "sxtb16 r5, r5\n\t"                                \
    TSR_ALL_SMLAD_3("r5", "r10", "r11", "lr")          \
    "ldmia.n r0!, {r2, r3, r4}\n\t"                    \
    TSR_ALL_SMLAD_3("r6", "r7", "r8", "r9")            \
    "sxtb16 r6, r6\n\t"                                \
    TSR_ALL_SMLAD_3("r6", "r10", "r11", "lr")
#define TSR_PART_STEP_2                                \
    "ldmia.n r1!, {r6, r7}\n\t"                        \
    "ldmia.n r0!, {r2, r3, r4, r5}\n\t"                \
    "smlad r8, r6, r2, r8\n\t"                         \
    "smlad r9, r6, r3, r9\n\t"                         \
    "sxtb16 r6, r6\n\t"                                \
    "smlad r10, r6, r2, r10\n\t"                       \
    "smlad r11, r6, r3, r11\n\t"                       \
    "smlad r8, r7, r4, r8\n\t"                         \
    "smlad r9, r7, r5, r9\n\t"                         \
    "sxtb16 r7, r7\n\t"                                \
    "smlad r10, r7, r4, r10\n\t"                       \
    "smlad r11, r7, r5, r11\n\t"

/* A word of 2 pixels. */
#define TSR_PART_WORD_2(a, b)                                   \
    "ldr r4, [" a "], #4\n\tldr r5, [" b "], #4\n\t"            \
    "sxtb16 r6, r4\n\tsxtb16 r7, r5\n\t"                        \
    "sxtb16 r8, r4, ror #8\n\tsxtb16 r9, r5, ror #8\n\t"        \
    "stmia r3!, {r6, r7, r8, r9}\n\t"

TSR_PART(tsr_part_3x2, "{r7, r8, r9, r10, r11, lr}", "add r12, r0, r4\n\tadd lr, r12, r4\n\t",
         TSR_WIDEN_WORD_3("r0", "r12", "lr", "r3"), TSR_PART_STEP_3, "62")
TSR_PART(tsr_part_2x2, "{r8, r9, r10, r11}", "add r12, r0, r4\n\t", TSR_PART_WORD_2("r0", "r12"),
         TSR_PART_STEP_2, "44")

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

TSR_NAKED uint32_t *tsr_part_widen_2(const int8_t *x TSR_UNUSED, int stride TSR_UNUSED,
                                     int words TSR_UNUSED, uint32_t *out TSR_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9, lr}\n\t"
            "add r1, r1, r0\n\t"
            "lsrs r2, r2, #1\n\t"
            "bcc 1f\n\t" TSR_PART_WORD_2("r0", "r1")
            "1: beq 3f\n\t"
            "2:\n\t" TSR_PART_WORD_2("r0", "r1") TSR_PART_WORD_2("r0", "r1")
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

#define TSR_PART(name, pixels, widen, dot)                                                                \
    static TSR_NOINLINE void name(TSR_PART_PARAMETERS())                                                  \
    {                                                                                                     \
        for (;;) {                                                                                        \
            const int8_t *filters = w;                                                                    \
            if (words > 0) {                                                                              \
                widen(source, stride, words, inputs);                                                     \
                source += 4 * words;                                                                      \
            }                                                                                             \
            for (int32_t *at = sums; at != end; at += 2 * (pixels)) {                                     \
                filters = dot(inputs, filters, at, steps) + skip;                                         \
            }                                                                                             \
            for (int32_t *at = apart ? apart->sums : 0; apart && at != apart->last; at += 2 * (pixels)) { \
                filters = dot(inputs, filters, at, steps) + skip;                                         \
            }                                                                                             \
            w += 8 * steps;                                                                               \
            if (--left == 0) {                                                                            \
                if (--segments == 0) {                                                                    \
                    return;                                                                               \
                }                                                                                         \
                left = parts;                                                                             \
                source = *rows++ + from;                                                                  \
            }                                                                                             \
        }                                                                                                 \
    }
TSR_PART(tsr_part_3x2, 3, tsr_part_widen_3, tsr_dot_3x2)
TSR_PART(tsr_part_2x2, 2, tsr_part_widen_2, tsr_dot_2x2)

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
    int segments;        /* of a window */
    int words, steps;    /* of a segment, of a window */
    int row, stride;     /* bytes of an input row, and from a pixel's window to the next one's */
    int left;            /* bytes of padding before the row */
    int pairs, pair_words, out_c, out_row;
    int32_t odd;
} tsr_parts;

/* `count` blocks of pixels that are treated alike: words of a part, pairs of a group, the last of them
 * whose sums lie apart, and where sums, these and inputs lie: words from the start of the scratch memory,
 * below 0 from the end of the row. */
typedef struct {
    uint8_t count, pixels, part, group, apart;
    int16_t sums, others, inputs;
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

/* Whether all windows of a block lie in the map. */
TSR_INLINE int tsr_part_inside(const tsr_parts *p, const int8_t *const *rows, int from, int pixels)
{
    int inside = from >= 0 && from <= p->row - (pixels - 1) * p->stride - 4 * p->words;
    for (int s = 0; inside && s < p->segments; s++) {
        inside = rows[s] != 0;
    }
    return inside;
}

/* Adds to the sums of a group of filters the products with the windows of a block. */
TSR_INLINE void tsr_part_sum(const tsr_parts *p, const int8_t *const *row, int from, const int8_t *weights,
                             uint32_t *inputs, int32_t *sums, int32_t *end, const tsr_part_apart *apart,
                             int part, int pixels)
{
    const int words = p->words, last = p->row - (pixels - 1) * p->stride;
    int at = 0, more = p->steps;
    if (words % part == 0 && tsr_part_inside(p, row, from, pixels)) {
        (pixels == 3 ? tsr_part_3x2 : tsr_part_2x2)(inputs, part, end, 8 * (more - part), sums, weights,
                                                    row[0] + from, p->stride, part, words / part,
                                                    words / part, p->segments, row + 1, from, apart);
        return;
    }
    do {
        const int steps = more < part ? more : part, here = from + 4 * at;
        const int8_t *source = 0;
        at += steps;
        if (*row && at <= words && here >= 0 && here <= last - 4 * steps) {
            source = *row + here;
        } else {
            tsr_part_gather(p, row, from, at - steps, steps, pixels, inputs);
        }
        (pixels == 3 ? tsr_part_3x2 : tsr_part_2x2)(inputs, steps, end, 8 * (p->steps - steps), sums,
                                                    weights, source, p->stride, source ? steps : 0, 1, 1,
                                                    1, row, from, apart);
        for (; at >= words; at -= words) {
            row++;
        }
        weights += 8 * steps;
        more -= steps;
    } while (more > 0);
}

static TSR_NOINLINE void tsr_part_sum_3(const tsr_parts *p, const int8_t *const *row, int from,
                                        const int8_t *weights, uint32_t *inputs, int32_t *sums,
                                        int32_t *end, const tsr_part_apart *apart, int part)
{
    tsr_part_sum(p, row, from, weights, inputs, sums, end, apart, part, 3);
}

static TSR_NOINLINE void tsr_part_sum_2(const tsr_parts *p, const int8_t *const *row, int from,
                                        const int8_t *weights, uint32_t *inputs, int32_t *sums,
                                        int32_t *end, const tsr_part_apart *apart, int part)
{
    tsr_part_sum(p, row, from, weights, inputs, sums, end, apart, part, 2);
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
        int32_t *const others = (int32_t *)end + b->others;
        const int kind = b->pixels - 2, together = b->group - b->apart;
        for (int i = 0; i < b->count; i++) {
            for (int done = 0; done < p->pairs; done += b->group) {
                const int left = p->pairs - done, pairs = left < together ? left : together;
                const int more = left < b->group ? left - pairs : b->apart;
                const int32_t *const first = stage + p->pair_words * done;
                const int32_t *const behind = first + p->pair_words * pairs;
                const tsr_part_apart apart = { sums + 2 * b->pixels * pairs, others,
                                               others + 2 * b->pixels * more };
                p->start[kind](first, pairs, sums);
                if (more) {
                    p->start[kind](behind, more, others);
                }
                (kind ? tsr_part_sum_3 : tsr_part_sum_2)(p, rows, from, weights + 8 * p->steps * done, inputs,
                                                         sums, apart.end, more ? &apart : 0, b->part);
                p->finish[kind](sums, first, pairs, y + 2 * done, p->out_c, p->odd);
                if (more) {
                    p->finish[kind](others, behind, more, y + 2 * (done + pairs), p->out_c, p->odd);
                }
            }
            from += b->pixels * p->stride;
            y += b->pixels * p->out_c;
        }
    }
}

#endif

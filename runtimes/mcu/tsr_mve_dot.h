/* Sums of products of bytes, one or two vectors with four filters: see tsr_mve.h. */
#ifndef TSR_MVE_DOT_H
#define TSR_MVE_DOT_H

#include "tsr_mve_vector.h"

#if defined(__ARM_FEATURE_MVE)

/* Compilers reorder vector code until it spills: the inner loops are assembly. */
#define TSR_MVE_NAKED static __attribute__((naked)) TSR_MVE_NOINLINE
#define TSR_MVE_UNUSED __attribute__((unused))

/* 16 inputs of 2 pixels with 4 filters: 128 products in 14 instructions. */
#define TSR_MVE_STEP_2X4(load)         \
    load("q2")                         \
    "vmladava.s8 r0, q0, q2\n\t"       \
    "vmladava.s8 r2, q1, q2\n\t"       \
    load("q3")                         \
    "vmladava.s8 r4, q0, q3\n\t"       \
    "vmladava.s8 r10, q1, q3\n\t"      \
    load("q2")                         \
    "vmladava.s8 r6, q0, q2\n\t"       \
    "vmladava.s8 r12, q1, q2\n\t"      \
    load("q3")                         \
    "vmladava.s8 r8, q0, q3\n\t"       \
    "vmladava.s8 lr, q1, q3\n\t"
#define TSR_MVE_STEP_1X4(load)         \
    load("q2")                         \
    "vmladava.s8 r4, q0, q2\n\t"       \
    load("q3")                         \
    "vmladava.s8 r6, q0, q3\n\t"       \
    load("q2")                         \
    "vmladava.s8 r8, q0, q2\n\t"       \
    load("q3")                         \
    "vmladava.s8 r10, q0, q3\n\t"
#define TSR_MVE_WHOLE(q) "vldrb.8 " q ", [r1], #16\n\t"
#define TSR_MVE_REST(q) "vpst\n\tvldrbt.8 " q ", [r1]\n\tadd r1, r1, r9\n\t"

/* 2 pixels, side by side, with a group of 4 filters: sums[0..3] become those of the first pixel,
 * sums[4..7] those of the second. `w` holds 16 weights of each filter in turn, then the rest of
 * each. Returns the group's end. */
TSR_MVE_NAKED const int8_t *tsr_mve_dot_2x4(const int8_t *x TSR_MVE_UNUSED,
                                            const int8_t *w TSR_MVE_UNUSED,
                                            const int32_t *bias TSR_MVE_UNUSED,
                                            int32_t *sums TSR_MVE_UNUSED,
                                            int depth TSR_MVE_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
            "ldr r9, [sp, #36]\n\t"
            "mov r5, r0\n\t"
            "add r7, r0, r9\n\t"
            "ldm r2, {r0, r4, r6, r8}\n\t"
            "ldm r2, {r2, r10, r12, lr}\n\t"
            "subs r9, r9, #16\n\t"
            "blt 2f\n\t"
            "1: vldrb.8 q0, [r5], #16\n\t"
            "vldrb.8 q1, [r7], #16\n\t"
            TSR_MVE_STEP_2X4(TSR_MVE_WHOLE)
            "subs r9, r9, #16\n\t"
            "bge 1b\n\t"
            "2: adds r9, r9, #16\n\t"
            "beq 3f\n\t"
            "vctp.8 r9\n\t"
            "vpstt\n\t"
            "vldrbt.8 q0, [r5]\n\t"
            "vldrbt.8 q1, [r7]\n\t"
            TSR_MVE_STEP_2X4(TSR_MVE_REST)
            "3: stm r3!, {r0, r4, r6, r8}\n\t"
            "stm r3, {r2, r10, r12, lr}\n\t"
            "mov r0, r1\n\t"
            "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}

/* The same with 1 pixel. */
TSR_MVE_NAKED const int8_t *tsr_mve_dot_1x4(const int8_t *x TSR_MVE_UNUSED,
                                            const int8_t *w TSR_MVE_UNUSED,
                                            const int32_t *bias TSR_MVE_UNUSED,
                                            int32_t *sums TSR_MVE_UNUSED,
                                            int depth TSR_MVE_UNUSED)
{
    __asm__("push {r4, r5, r6, r7, r8, r9, r10, lr}\n\t"
            "ldr r9, [sp, #32]\n\t"
            "ldm r2, {r4, r6, r8, r10}\n\t"
            "lsrs r12, r9, #4\n\t"
            "ands r9, r9, #15\n\t"
            "wls lr, r12, 2f\n\t"
            "1: vldrb.8 q0, [r0], #16\n\t"
            TSR_MVE_STEP_1X4(TSR_MVE_WHOLE)
            "le lr, 1b\n\t"
            "2: beq 3f\n\t"
            "vctp.8 r9\n\t"
            "vpst\n\t"
            "vldrbt.8 q0, [r0]\n\t"
            TSR_MVE_STEP_1X4(TSR_MVE_REST)
            "3: stm r3, {r4, r6, r8, r10}\n\t"
            "mov r0, r1\n\t"
            "pop {r4, r5, r6, r7, r8, r9, r10, pc}\n\t");
}

#else

TSR_MVE_INLINE const int8_t *tsr_mve_dot(const int8_t *x, const int8_t *w, const int32_t *bias,
                                         int32_t *sums, int depth, int pixels)
{
    for (int i = 0; i < 4 * pixels; i++) {
        const int filter = i % 4;
        uint32_t sum = (uint32_t)bias[filter];
        for (int k = 0; k < depth; k++) {
            const int whole = k / 16 * 16, width = depth - whole < 16 ? depth - whole : 16;
            sum += (uint32_t)(x[i / 4 * depth + k] * w[4 * whole + filter * width + k - whole]);
        }
        sums[i] = (int32_t)sum;
    }
    return w + 4 * depth;
}

TSR_MVE_INLINE const int8_t *tsr_mve_dot_2x4(const int8_t *x, const int8_t *w, const int32_t *bias,
                                             int32_t *sums, int depth)
{
    return tsr_mve_dot(x, w, bias, sums, depth, 2);
}

TSR_MVE_INLINE const int8_t *tsr_mve_dot_1x4(const int8_t *x, const int8_t *w, const int32_t *bias,
                                             int32_t *sums, int depth)
{
    return tsr_mve_dot(x, w, bias, sums, depth, 1);
}

#endif

/* Pixels times all filters: see matmul_mve. */
typedef void tsr_mve_matmul(const int8_t *x, const int8_t *weights, const int32_t *stage, int filters,
                            int depth, int8_t *y, int out_c, int32_t zero);

#endif

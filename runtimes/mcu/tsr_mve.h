/* The M-profile vector extension (Armv8.1-M: Cortex-M55, M85) as functions, with the same functions
 * in portable C.
 *
 * On a core without the extension, and on the computer that tests the generated code, the portable
 * text runs: every function below means the same there, bit for bit. Source: Armv8-M Architecture
 * Reference Manual (DDI 0553), chapter C2.4; Arm C Language Extensions for MVE.
 *
 * Constants of an output stage come four filters at a time in records of 10 words: 4 biases, 4
 * multipliers, 4 extras of 16 bits. */
#ifndef TSR_MVE_H
#define TSR_MVE_H

#include <stdint.h>
#include <string.h>

#include "tsr_math.h"

#if defined(__GNUC__)
#define TSR_MVE_INLINE static inline __attribute__((always_inline, unused))
#else
#define TSR_MVE_INLINE static inline
#endif
#if defined(__clang__)
#define TSR_MVE_NOINLINE __attribute__((noinline, unused))
#elif defined(__GNUC__)
#define TSR_MVE_NOINLINE __attribute__((noipa, unused))
#else
#define TSR_MVE_NOINLINE
#endif

#if defined(__ARM_FEATURE_MVE)

#include <arm_mve.h>

typedef int32x4_t tsr_v4;

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

TSR_MVE_INLINE tsr_v4 tsr_load_words(const int32_t *p)
{
    return vldrwq_s32(p);
}

/* Four values of 16 bits in two words. */
TSR_MVE_INLINE tsr_v4 tsr_load_halves(const int32_t *p)
{
    return vldrhq_s32((const int16_t *)(const void *)p);
}

/* (acc * m / 2^32) + c, the product cut off. */
TSR_MVE_INLINE tsr_v4 tsr_line(tsr_v4 acc, tsr_v4 m, tsr_v4 c)
{
    return vaddq_s32(vmulhq_s32(acc, m), c);
}

/* TFLite's double rounding plus `zero`: each lane is shifted by its `shift`, left if positive. */
TSR_MVE_INLINE tsr_v4 tsr_round_twice_4(tsr_v4 acc, tsr_v4 m, tsr_v4 shift, int32_t zero)
{
    const tsr_v4 none = vdupq_n_s32(0), right = vminq_s32(shift, none);
    const tsr_v4 high = vqrdmulhq_s32(vshlq_s32(acc, vmaxq_s32(shift, none)), m);
    /* Less 1 where a negative number is shifted: halves go away from zero. */
    const tsr_v4 away = vshrq_n_s32(vandq_s32(high, right), 31);
    return vaddq_n_s32(vrshlq_s32(vaddq_s32(high, away), right), zero);
}

/* The same where all shifts are negative. */
TSR_MVE_INLINE tsr_v4 tsr_round_right_4(tsr_v4 acc, tsr_v4 m, tsr_v4 shift, int32_t zero)
{
    const tsr_v4 high = vqrdmulhq_s32(acc, m);
    return vaddq_n_s32(vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), shift), zero);
}

TSR_MVE_INLINE tsr_v4 tsr_limit_4(tsr_v4 v, int32_t low, int32_t high)
{
    return vminq_s32(vmaxq_s32(v, vdupq_n_s32(low)), vdupq_n_s32(high));
}

/* v >> shift, a literal of 1 to 16. */
#define tsr_shift_4(v, shift) vshrq_n_s32(v, shift)

/* Two vectors saturated to 16 bits, side by side in pairs, first shifted by a literal of 1 to 16 and
 * rounded half up. (Without rounding the GNU assembler 2.40 writes the same opcode.) */
#define tsr_join_rounded(v, w, shift) \
    vqrshrntq_n_s32(vqrshrnbq_n_s32(vreinterpretq_s16_s32(v), v, shift), w, shift)
#define tsr_join(v, w) vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(v), v), w)

/* Four lanes saturated to int8, or the first `count` of them, shifted before as above. */
#define tsr_store_4(y, v) tsr_store_joined_4(y, vqmovnbq_s32(vreinterpretq_s16_s32(v), v))
#define tsr_store_rounded_4(y, v, shift) \
    tsr_store_joined_4(y, vqrshrnbq_n_s32(vreinterpretq_s16_s32(v), v, shift))
#define tsr_store_some(y, v, count) \
    tsr_store_some_joined(y, vqmovnbq_s32(vreinterpretq_s16_s32(v), v), count)
#define tsr_store_some_rounded(y, v, shift, count) \
    tsr_store_some_joined(y, vqrshrnbq_n_s32(vreinterpretq_s16_s32(v), v, shift), count)

TSR_MVE_INLINE tsr_v4 tsr_bytes(int16x8_t halves)
{
    return vreinterpretq_s32_s8(vqmovnbq_s16(vreinterpretq_s8_s16(halves), halves));
}

TSR_MVE_INLINE void tsr_store_joined_4(int8_t *y, int16x8_t halves)
{
    vstrbq_s32(y, tsr_bytes(halves));
}

TSR_MVE_INLINE void tsr_store_some_joined(int8_t *y, int16x8_t halves, int count)
{
    vstrbq_p_s32(y, tsr_bytes(halves), vctp32q((uint32_t)count));
}

/* A row of 16 channels to y: channel 4 l + v is lane l of vector v. */
#define tsr_store_16(y, a) tsr_store_joined_16(y, tsr_join(a[0], a[2]), tsr_join(a[1], a[3]), 16)
#define tsr_store_rounded_16(y, a, shift)                                                     \
    tsr_store_joined_16(y, tsr_join_rounded(a[0], a[2], shift),                               \
                        tsr_join_rounded(a[1], a[3], shift), 16)
#define tsr_store_some_16(y, a, count)                                                        \
    tsr_store_joined_16(y, tsr_join(a[0], a[2]), tsr_join(a[1], a[3]), count)
#define tsr_store_some_rounded_16(y, a, shift, count)                                         \
    tsr_store_joined_16(y, tsr_join_rounded(a[0], a[2], shift),                               \
                        tsr_join_rounded(a[1], a[3], shift), count)

TSR_MVE_INLINE void tsr_store_joined_16(int8_t *y, int16x8_t even, int16x8_t odd, int count)
{
    const int8x16_t bytes = vqmovntq_s16(vqmovnbq_s16(vreinterpretq_s8_s16(even), even), odd);
    if (count == 16) {
        vstrbq_s8(y, bytes);
    } else {
        vstrbq_p_s8(y, bytes, vctp8q((uint32_t)count));
    }
}

/* A tap of a depthwise convolution: products of 16 inputs and 16 weights, of even channels in q6,
 * of odd ones in q4. */
#define TSR_MVE_TAP(load, x, w)                            \
    load "q4, " x "\n\tvldrb.8 q5, " w "\n\t"              \
    "vmullb.s8 q6, q4, q5\n\tvmullt.s8 q4, q4, q5\n\t"
/* One more, added in 16 bits. Its inputs are read twice: there is no register to keep them. */
#define TSR_MVE_TAP_MORE(load, x, w)                       \
    load "q5, " x "\n\tvldrb.8 q7, " w "\n\t"              \
    "vmullt.s8 q5, q5, q7\n\tvadd.i16 q4, q4, q5\n\t"      \
    load "q5, " x "\n\t"                                   \
    "vmullb.s8 q5, q5, q7\n\tvadd.i16 q6, q6, q5\n\t"
#define TSR_MVE_TAP_SUM                                    \
    "vmovlb.s16 q5, q6\n\tvadd.i32 %q0, %q0, q5\n\t"       \
    "vmovlt.s16 q6, q6\n\tvadd.i32 %q2, %q2, q6\n\t"       \
    "vmovlb.s16 q5, q4\n\tvadd.i32 %q1, %q1, q5\n\t"       \
    "vmovlt.s16 q4, q4\n\tvadd.i32 %q3, %q3, q4\n\t"
#define TSR_MVE_ALL "vldrb.8 "
#define TSR_MVE_SOME "vpst\n\tvldrbt.8 "
#define TSR_MVE_SUMS "+w"(a[0]), "+w"(a[1]), "+w"(a[2]), "+w"(a[3])
#define TSR_MVE_CLOBBERS "q4", "q5", "q6", "q7", "memory"

/* Add the products of two taps, or of one, to the sums `a` of 16 channels; |w| < 128, so that two
 * products fit 16 bits. The taps are at x + ox, y + oy, w + ow and w + ow + 16; offsets are
 * literals within 111. The `some` variants read `count` inputs only. */
#define tsr_taps_2(a, x, ox, y, oy, w, ow)                                                     \
    __asm__ volatile(TSR_MVE_TAP(TSR_MVE_ALL, "[%4, #" #ox "]", "[%6, #" #ow "]")              \
                     TSR_MVE_TAP_MORE(TSR_MVE_ALL, "[%5, #" #oy "]", "[%6, #" #ow "+16]")      \
                     TSR_MVE_TAP_SUM                                                           \
                     : TSR_MVE_SUMS : "r"(x), "r"(y), "r"(w) : TSR_MVE_CLOBBERS)
#define tsr_taps_1(a, x, ox, w, ow)                                                            \
    __asm__ volatile(TSR_MVE_TAP(TSR_MVE_ALL, "[%4, #" #ox "]", "[%5, #" #ow "]")              \
                     TSR_MVE_TAP_SUM                                                           \
                     : TSR_MVE_SUMS : "r"(x), "r"(w) : TSR_MVE_CLOBBERS)
#define tsr_taps_some_2(a, x, ox, y, oy, w, ow, count)                                         \
    __asm__ volatile("vctp.8 %7\n\t"                                                           \
                     TSR_MVE_TAP(TSR_MVE_SOME, "[%4, #" #ox "]", "[%6, #" #ow "]")             \
                     TSR_MVE_TAP_MORE(TSR_MVE_SOME, "[%5, #" #oy "]", "[%6, #" #ow "+16]")     \
                     TSR_MVE_TAP_SUM                                                           \
                     : TSR_MVE_SUMS : "r"(x), "r"(y), "r"(w), "r"(count) : TSR_MVE_CLOBBERS)
#define tsr_taps_some_1(a, x, ox, w, ow, count)                                                \
    __asm__ volatile("vctp.8 %6\n\t"                                                           \
                     TSR_MVE_TAP(TSR_MVE_SOME, "[%4, #" #ox "]", "[%5, #" #ow "]")             \
                     TSR_MVE_TAP_SUM                                                           \
                     : TSR_MVE_SUMS : "r"(x), "r"(w), "r"(count) : TSR_MVE_CLOBBERS)

/* `count` bytes from x, or of one value, to y. */
TSR_MVE_INLINE int8_t *tsr_copy_bytes(int8_t *y, const int8_t *x, int count)
{
    for (; count > 0; count -= 16, x += 16, y += 16) {
        const mve_pred16_t live = vctp8q((uint32_t)count);
        vstrbq_p_s8(y, vldrbq_z_s8(x, live), live);
    }
    return y + count;
}

#else

/* Four lanes of 32 bits. */
typedef struct {
    int32_t lane[4];
} tsr_v4;

#define TSR_EACH_LANE(result, value)         \
    for (int i = 0; i < 4; i++) {            \
        (result).lane[i] = (int32_t)(value); \
    }

TSR_MVE_INLINE int32_t tsr_saturated(int32_t x, int32_t limit)
{
    return x < -limit - 1 ? -limit - 1 : x > limit ? limit : x;
}

TSR_MVE_INLINE int32_t tsr_rounded(int32_t x, int shift)
{
    return (int32_t)(((int64_t)x + (((int64_t)1 << shift) >> 1)) >> shift);
}

TSR_MVE_INLINE const int8_t *tsr_mve_dot(const int8_t *x, const int8_t *w, const int32_t *bias,
                                         int32_t *sums, int depth, int pixels)
{
    for (int i = 0; i < 4 * pixels; i++) {
        const int filter = i % 4;
        sums[i] = bias[filter];
        for (int k = 0; k < depth; k++) {
            const int whole = k / 16 * 16, width = depth - whole < 16 ? depth - whole : 16;
            sums[i] += x[i / 4 * depth + k] * w[4 * whole + filter * width + k - whole];
        }
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

TSR_MVE_INLINE tsr_v4 tsr_load_words(const int32_t *p)
{
    tsr_v4 v;
    memcpy(v.lane, p, sizeof v.lane);
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_load_halves(const int32_t *p)
{
    tsr_v4 v;
    int16_t halves[4];
    memcpy(halves, p, sizeof halves);
    TSR_EACH_LANE(v, halves[i])
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_line(tsr_v4 acc, tsr_v4 m, tsr_v4 c)
{
    TSR_EACH_LANE(acc, (((int64_t)acc.lane[i] * m.lane[i]) >> 32) + c.lane[i])
    return acc;
}

TSR_MVE_INLINE tsr_v4 tsr_round_twice_4(tsr_v4 acc, tsr_v4 m, tsr_v4 shift, int32_t zero)
{
    TSR_EACH_LANE(acc, tsr_requant(acc.lane[i], m.lane[i], shift.lane[i]) + zero)
    return acc;
}

TSR_MVE_INLINE tsr_v4 tsr_round_right_4(tsr_v4 acc, tsr_v4 m, tsr_v4 shift, int32_t zero)
{
    return tsr_round_twice_4(acc, m, shift, zero);
}

TSR_MVE_INLINE tsr_v4 tsr_limit_4(tsr_v4 v, int32_t low, int32_t high)
{
    TSR_EACH_LANE(v, tsr_clamp(v.lane[i], low, high))
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_shift_4(tsr_v4 v, int shift)
{
    TSR_EACH_LANE(v, v.lane[i] >> shift)
    return v;
}

TSR_MVE_INLINE void tsr_store_some_rounded(int8_t *y, tsr_v4 v, int shift, int count)
{
    for (int i = 0; i < count && i < 4; i++) {
        y[i] = (int8_t)tsr_saturated(tsr_rounded(v.lane[i], shift), 127);
    }
}

TSR_MVE_INLINE void tsr_store_some_rounded_16(int8_t *y, const tsr_v4 *a, int shift, int count)
{
    for (int i = 0; i < count; i++) {
        y[i] = (int8_t)tsr_saturated(tsr_rounded(a[i % 4].lane[i / 4], shift), 127);
    }
}

#define tsr_store_4(y, v) tsr_store_some_rounded(y, v, 0, 4)
#define tsr_store_rounded_4(y, v, shift) tsr_store_some_rounded(y, v, shift, 4)
#define tsr_store_some(y, v, count) tsr_store_some_rounded(y, v, 0, count)
#define tsr_store_16(y, a) tsr_store_some_rounded_16(y, a, 0, 16)
#define tsr_store_rounded_16(y, a, shift) tsr_store_some_rounded_16(y, a, shift, 16)
#define tsr_store_some_16(y, a, count) tsr_store_some_rounded_16(y, a, 0, count)

/* Sums of two products saturate nowhere: they wrap, as the instructions' do. */
TSR_MVE_INLINE void tsr_taps(tsr_v4 *a, const int8_t *x, const int8_t *y, const int8_t *w, int count)
{
    for (int i = 0; i < count; i++) {
        int32_t *const sum = &a[i % 4].lane[i / 4];
        const int32_t products = x[i] * w[i] + (y ? y[i] * w[16 + i] : 0);
        *sum += (int16_t)(uint16_t)((uint32_t)products & 0xFFFFu);
    }
}

#define tsr_taps_some_2(a, x, ox, y, oy, w, ow, count) \
    tsr_taps(a, (x) + (ox), (y) + (oy), (w) + (ow), count)
#define tsr_taps_some_1(a, x, ox, w, ow, count) tsr_taps(a, (x) + (ox), 0, (w) + (ow), count)
#define tsr_taps_2(a, x, ox, y, oy, w, ow) tsr_taps_some_2(a, x, ox, y, oy, w, ow, 16)
#define tsr_taps_1(a, x, ox, w, ow) tsr_taps_some_1(a, x, ox, w, ow, 16)

TSR_MVE_INLINE int8_t *tsr_copy_bytes(int8_t *y, const int8_t *x, int count)
{
    memcpy(y, x, (size_t)count);
    return y + count;
}

#endif

#endif

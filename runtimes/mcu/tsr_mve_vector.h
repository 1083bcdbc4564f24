/* Vectors of 32-bit sums and how they become bytes: see tsr_mve.h.
 *
 * Constants of an output stage come four filters at a time in records of 8 or 9 words: 4 biases, 4
 * multipliers, 4 extras of 8 bits. */
#ifndef TSR_MVE_VECTOR_H
#define TSR_MVE_VECTOR_H

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

TSR_MVE_INLINE tsr_v4 tsr_load_words(const int32_t *p)
{
    return vldrwq_s32(p);
}

/* Four values of 8 bits in a word. */
TSR_MVE_INLINE tsr_v4 tsr_load_quarters(const int32_t *p)
{
    return vldrbq_s32((const int8_t *)(const void *)p);
}

TSR_MVE_INLINE tsr_v4 tsr_splat(int32_t value)
{
    return vdupq_n_s32(value);
}

/* (acc * unit + bias) * m / 2^32, the product cut off; the sum wraps at 32 bits. */
TSR_MVE_INLINE tsr_v4 tsr_fine(tsr_v4 acc, tsr_v4 bias, int32_t unit, tsr_v4 m)
{
    return vmulhq_s32(vmlaq_n_s32(bias, acc, unit), m);
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

/* Narrowing in place, which intrinsics do in copies: lanes shifted right by a literal of 1 to 16 and
 * rounded half up, or as they are, then saturated. (Without rounding the GNU assembler 2.40 writes
 * the same opcode.) */
#define TSR_MVE_SHIFT(half, to, from, shift) \
    "vqrshrn" half ".s32 " to ", " from ", #" #shift "\n\t"
#define TSR_MVE_PLAIN(half, to, from, shift) "vqmovn" half ".s32 " to ", " from "\n\t"

/* Four lanes saturated to int8, or the first `count` of them, shifted before as above. */
#define TSR_MVE_BYTES(v, how, shift)                                                            \
    __asm__(how("b", "%q0", "%q0", shift) "vqmovnb.s16 %q0, %q0" : "+w"(v))
#define TSR_MVE_STORE(y, v, how, shift)                    \
    do {                                                   \
        tsr_v4 tsr_bytes = v;                              \
        TSR_MVE_BYTES(tsr_bytes, how, shift);              \
        vstrbq_s32(y, tsr_bytes);                          \
    } while (0)
#define TSR_MVE_STORE_SOME(y, v, how, shift, count)                   \
    do {                                                              \
        tsr_v4 tsr_bytes = v;                                         \
        TSR_MVE_BYTES(tsr_bytes, how, shift);                         \
        vstrbq_p_s32(y, tsr_bytes, vctp32q((uint32_t)(count)));       \
    } while (0)
#define tsr_store_4(y, v) TSR_MVE_STORE(y, v, TSR_MVE_PLAIN, 0)
#define tsr_store_rounded_4(y, v, shift) TSR_MVE_STORE(y, v, TSR_MVE_SHIFT, shift)
#define tsr_store_some(y, v, count) TSR_MVE_STORE_SOME(y, v, TSR_MVE_PLAIN, 0, count)
#define tsr_store_some_rounded(y, v, shift, count) \
    TSR_MVE_STORE_SOME(y, v, TSR_MVE_SHIFT, shift, count)

/* A row of 16 channels to y, or the first `count` of them: channel 4 l + v is lane l of vector v. */
#define TSR_MVE_STORE_16(y, a, how, shift, count)                                               \
    do {                                                                                        \
        __asm__(how("b", "%q0", "%q0", shift) how("t", "%q0", "%q2", shift)                     \
                how("b", "%q1", "%q1", shift) how("t", "%q1", "%q3", shift)                     \
                "vqmovnb.s16 %q0, %q0\n\tvqmovnt.s16 %q0, %q1"                                  \
                : "+&w"(a[0]), "+&w"(a[1]) : "w"(a[2]), "w"(a[3]));                               \
        tsr_store_joined_16(y, a[0], count);                                                    \
    } while (0)
#define tsr_store_16(y, a) TSR_MVE_STORE_16(y, a, TSR_MVE_PLAIN, 0, 16)
#define tsr_store_rounded_16(y, a, shift) TSR_MVE_STORE_16(y, a, TSR_MVE_SHIFT, shift, 16)
#define tsr_store_some_16(y, a, count) TSR_MVE_STORE_16(y, a, TSR_MVE_PLAIN, 0, count)
#define tsr_store_some_rounded_16(y, a, shift, count) \
    TSR_MVE_STORE_16(y, a, TSR_MVE_SHIFT, shift, count)

TSR_MVE_INLINE void tsr_store_joined_16(int8_t *y, tsr_v4 bytes, int count)
{
    if (count == 16) {
        vstrbq_s8(y, vreinterpretq_s8_s32(bytes));
    } else {
        vstrbq_p_s8(y, vreinterpretq_s8_s32(bytes), vctp8q((uint32_t)count));
    }
}

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

TSR_MVE_INLINE tsr_v4 tsr_load_words(const int32_t *p)
{
    tsr_v4 v;
    memcpy(v.lane, p, sizeof v.lane);
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_load_quarters(const int32_t *p)
{
    tsr_v4 v;
    int8_t quarters[4];
    memcpy(quarters, p, sizeof quarters);
    TSR_EACH_LANE(v, quarters[i])
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_splat(int32_t value)
{
    tsr_v4 v;
    TSR_EACH_LANE(v, value)
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_fine(tsr_v4 acc, tsr_v4 bias, int32_t unit, tsr_v4 m)
{
    TSR_EACH_LANE(bias, (uint32_t)bias.lane[i] + (uint32_t)acc.lane[i] * (uint32_t)unit)
    TSR_EACH_LANE(acc, ((int64_t)bias.lane[i] * m.lane[i]) >> 32)
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

TSR_MVE_INLINE int8_t *tsr_copy_bytes(int8_t *y, const int8_t *x, int count)
{
    memcpy(y, x, (size_t)count);
    return y + count;
}

#endif

#endif

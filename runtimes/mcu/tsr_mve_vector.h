/* Vectors of 32-bit sums and how they become bytes: see tsr_mve.h.
 *
 * Constants of an output stage come four filters at a time in records of 9 words: 4 biases, 4
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

TSR_MVE_INLINE int8_t *tsr_copy_bytes(int8_t *y, const int8_t *x, int count)
{
    memcpy(y, x, (size_t)count);
    return y + count;
}

#endif

#endif

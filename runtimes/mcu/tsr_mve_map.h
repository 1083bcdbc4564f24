/* Bytes four at a time as vectors of 32 bits, for sums, products and pools: see tsr_mve.h. */
#ifndef TSR_MVE_MAP_H
#define TSR_MVE_MAP_H

#include "tsr_mve_vector.h"

#if defined(__ARM_FEATURE_MVE)

TSR_MVE_INLINE tsr_v4 tsr_load_bytes(const int8_t *p)
{
    return vldrbq_s32(p);
}

/* The first `count` bytes, if there are not four; zeros behind them. */
TSR_MVE_INLINE tsr_v4 tsr_load_some_bytes(const int8_t *p, int count)
{
    return vldrbq_z_s32(p, vctp32q((uint32_t)count));
}

TSR_MVE_INLINE tsr_v4 tsr_load_some_words(const int32_t *p, int count)
{
    return vldrwq_z_s32(p, vctp32q((uint32_t)count));
}

TSR_MVE_INLINE tsr_v4 tsr_add(tsr_v4 a, tsr_v4 b)
{
    return vaddq_s32(a, b);
}

TSR_MVE_INLINE tsr_v4 tsr_subtract(tsr_v4 a, tsr_v4 b)
{
    return vsubq_s32(a, b);
}

TSR_MVE_INLINE tsr_v4 tsr_multiply(tsr_v4 a, tsr_v4 b)
{
    return vmulq_s32(a, b);
}

/* acc + v * factor. */
TSR_MVE_INLINE tsr_v4 tsr_add_scaled(tsr_v4 acc, tsr_v4 v, int32_t factor)
{
    return vmlaq_n_s32(acc, v, factor);
}

/* n / count of 0 <= n <= 256 * count, cut off; inverse = 2^30 / count, rounded up. count <= 2048. */
TSR_MVE_INLINE tsr_v4 tsr_divide(tsr_v4 n, int32_t inverse)
{
    return vqdmulhq_n_s32(vaddq_s32(n, n), inverse);
}

/* 16 bytes. */
typedef int8x16_t tsr_v16;

TSR_MVE_INLINE tsr_v16 tsr_splat_16(int8_t value)
{
    return vdupq_n_s8(value);
}

/* The greater ones of v and of 16 bytes, or of the first `count`. */
TSR_MVE_INLINE tsr_v16 tsr_greater_16(tsr_v16 v, const int8_t *p, int count)
{
    return vmaxq_s8(v, count < 16 ? vldrbq_z_s8(p, vctp8q((uint32_t)count)) : vldrbq_s8(p));
}

TSR_MVE_INLINE void tsr_store_bytes_16(int8_t *y, tsr_v16 v, int count)
{
    vstrbq_p_s8(y, v, vctp8q((uint32_t)count));
}

#else

TSR_MVE_INLINE tsr_v4 tsr_load_some_bytes(const int8_t *p, int count)
{
    tsr_v4 v;
    TSR_EACH_LANE(v, i < count ? p[i] : 0)
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_load_bytes(const int8_t *p)
{
    return tsr_load_some_bytes(p, 4);
}

TSR_MVE_INLINE tsr_v4 tsr_load_some_words(const int32_t *p, int count)
{
    tsr_v4 v;
    TSR_EACH_LANE(v, i < count ? p[i] : 0)
    return v;
}

TSR_MVE_INLINE tsr_v4 tsr_add(tsr_v4 a, tsr_v4 b)
{
    TSR_EACH_LANE(a, (uint32_t)a.lane[i] + (uint32_t)b.lane[i])
    return a;
}

TSR_MVE_INLINE tsr_v4 tsr_subtract(tsr_v4 a, tsr_v4 b)
{
    TSR_EACH_LANE(a, (uint32_t)a.lane[i] - (uint32_t)b.lane[i])
    return a;
}

TSR_MVE_INLINE tsr_v4 tsr_multiply(tsr_v4 a, tsr_v4 b)
{
    TSR_EACH_LANE(a, (uint32_t)a.lane[i] * (uint32_t)b.lane[i])
    return a;
}

TSR_MVE_INLINE tsr_v4 tsr_add_scaled(tsr_v4 acc, tsr_v4 v, int32_t factor)
{
    return tsr_add(acc, tsr_multiply(v, tsr_splat(factor)));
}

TSR_MVE_INLINE tsr_v4 tsr_divide(tsr_v4 n, int32_t inverse)
{
    TSR_EACH_LANE(n, ((int64_t)n.lane[i] * inverse) >> 30)
    return n;
}

typedef struct {
    int8_t lane[16];
} tsr_v16;

TSR_MVE_INLINE tsr_v16 tsr_splat_16(int8_t value)
{
    tsr_v16 v;
    memset(v.lane, value, sizeof v.lane);
    return v;
}

TSR_MVE_INLINE tsr_v16 tsr_greater_16(tsr_v16 v, const int8_t *p, int count)
{
    for (int i = 0; i < count && i < 16; i++) {
        v.lane[i] = p[i] > v.lane[i] ? p[i] : v.lane[i];
    }
    return v;
}

TSR_MVE_INLINE void tsr_store_bytes_16(int8_t *y, tsr_v16 v, int count)
{
    memcpy(y, v.lane, (size_t)(count < 16 ? count : 16));
}

#endif

#endif

/* The float edges of a network: real inputs to integers. No library is needed. */
#ifndef TSR_FLOAT_H
#define TSR_FLOAT_H

#include <stdint.h>

/* x / scale + zero, rounded to nearest (half away from zero) and clamped to [low, high]; not a
 * number gives low. The quotient is clamped first, so every conversion is exact. */
static inline int32_t tsr_quantize(float x, float scale, int32_t zero, int32_t low, int32_t high)
{
    const float quotient = x / scale;
    if (!(quotient > (float)(low - zero))) {
        return low;
    }
    if (quotient >= (float)(high - zero)) {
        return high;
    }
    const int32_t whole = (int32_t)quotient;
    const float rest = quotient - (float)whole;
    return zero + whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

#endif

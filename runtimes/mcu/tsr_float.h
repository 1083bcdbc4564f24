/* Float arithmetic of a network's edges and of legacy operators. No library is needed. */
#ifndef TSR_FLOAT_H
#define TSR_FLOAT_H

#include <stdint.h>

/* x, rounded to a float of its own: no compiler may fuse a product with the sum it goes into. */
static inline float tsr_alone(float x)
{
    volatile float rounded = x;
    return rounded;
}

/* x / scale + zero, rounded to nearest (half away from zero) and clamped to [low, high]; not a
 * number gives low. The quotient is clamped first, so that its conversion cannot overflow. */
static inline int32_t tsr_quantize(float x, float scale, int32_t zero, int32_t low, int32_t high)
{
    const float quotient = x / scale;
    if (!(quotient > (float)(low - zero))) {
        return low;
    }
    if (quotient >= (float)(high - zero)) {
        return high;
    }
    /* The float below a half: half itself would lift 0.49999997 to 1. */
    const float half = quotient < 0.0f ? -0.49999997f : 0.49999997f;
    return zero + (int32_t)(quotient + half);
}

#endif

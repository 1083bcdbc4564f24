/* Taps of a depthwise convolution, 16 channels at a time: see tsr_mve.h. */
#ifndef TSR_MVE_TAPS_H
#define TSR_MVE_TAPS_H

#include "tsr_mve_vector.h"

#if defined(__ARM_FEATURE_MVE)

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

#else

/* Sums saturate nowhere: they wrap, as the instructions' do. */
TSR_MVE_INLINE void tsr_taps(tsr_v4 *a, const int8_t *x, const int8_t *y, const int8_t *w, int count)
{
    for (int i = 0; i < count; i++) {
        int32_t *const sum = &a[i % 4].lane[i / 4];
        const int32_t products = x[i] * w[i] + (y ? y[i] * w[16 + i] : 0);
        const int16_t both = (int16_t)(uint16_t)((uint32_t)products & 0xFFFFu);
        *sum = (int32_t)((uint32_t)*sum + (uint32_t)both);
    }
}

#define tsr_taps_some_2(a, x, ox, y, oy, w, ow, count) \
    tsr_taps(a, (x) + (ox), (y) + (oy), (w) + (ow), count)
#define tsr_taps_some_1(a, x, ox, w, ow, count) tsr_taps(a, (x) + (ox), 0, (w) + (ow), count)
#define tsr_taps_2(a, x, ox, y, oy, w, ow) tsr_taps_some_2(a, x, ox, y, oy, w, ow, 16)
#define tsr_taps_1(a, x, ox, w, ow) tsr_taps_some_1(a, x, ox, w, ow, 16)

#endif

#endif

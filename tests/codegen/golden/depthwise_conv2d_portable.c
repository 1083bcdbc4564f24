/* depthwise_conv2d
 *
 * arena 192 bytes (lower bound 192), 1296 multiply-accumulates
 *
 *   offset     size  steps      tensor
 *       48      144    0..0     image
 *        0      144    0..1     y
 */
#include "net.h"

#include <string.h>

#include "net_kernels.h"
#include "net_weights.h"

/* noipa: GCC 12 -O2 can take a vectorised layer for a pure function and drop the call. */
#if defined(__clang__)
#define LAYER static __attribute__((noinline)) void
#elif defined(__GNUC__)
#define LAYER static __attribute__((noipa)) void
#else
#define LAYER static void
#endif

/* With -DTSR_PROFILE the application's tsr_mark(i) is called when layer i goes on. */
#ifdef TSR_PROFILE
void tsr_mark(int layer);
#define MARK(layer) tsr_mark(layer)
#else
#define MARK(layer) (void)0
#endif

/* uint64_t aligns the arena for every element type. */
static uint64_t arena_words[24];
#define arena ((uint8_t *)arena_words)

void net_init(void)
{
    memset(arena_words, 0, sizeof arena_words);
}

int8_t *net_input_0(void)
{
    return (int8_t *)(arena + 48);
}

int8_t *net_output_0(void)
{
    return (int8_t *)(arena + 0);
}

/* depthwise_conv2d -> int8[1, 6, 6, 4] , 1296 MACs */
LAYER layer_00_depthwise_conv2d(void)
{
    const int8_t *x = (const int8_t *)(arena + 48);
    int8_t *y = (int8_t *)(arena + 0);
    for (int row = 0; row < 6; row++) {
        const int8_t *rows[3];
        for (int tap = 0; tap < 3; tap++) {
            const int source = row * 1 + tap * 1 - 1;
            rows[tap] = source < 0 || source >= 6 ? 0 : x + source * 24;
        }
        depthwise_conv2d_0(rows,
                           net_weights_00_depthwise_conv2d,
                           net_bias_00_depthwise_conv2d,
                           net_multiplier_00_depthwise_conv2d,
                           net_shift_00_depthwise_conv2d,
                           y);
        y += 24;
    }
}

void net_run(void)
{
    MARK(0);
    layer_00_depthwise_conv2d();
    MARK(1);
}

/* The network's kernels, specialised: sizes, strides and zero points are literals. Layers that differ in sizes only
 * share a kernel, which finds theirs in a struct. */
#ifndef NET_KERNELS_H
#define NET_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static void depthwise_conv2d_0(const int8_t *const *rows, const int8_t *weights, const int32_t *bias,
                       const int32_t *multiplier, const int8_t *shift, int8_t *y)
{
    const int8_t *some = rows[0];
    for (int ky = 1; !some; ky++) {
        some = rows[ky];
    }
    for (int out = 0; out < 4; out++, y++) {
        const int8_t *x[3], *q = weights + out;
        int32_t w[9];
        for (int ky = 0; ky < 3; ky++) {
            x[ky] = (rows[ky] ? rows[ky] : some) + out;
            for (int kx = 0; kx < 3; kx++, q += 4) {
                w[ky * 3 + kx] = !rows[ky] ? 0 : *q;
            }
        }
        const int32_t start = bias[out];
        const int32_t factor = multiplier[out];
        const int right = -shift[out];
        const int32_t offset = (11 * (1 << right)) / 2;
        int32_t a0 = start, a1 = start, a2 = start;
        {
            int32_t p;
            p = x[0][0] - (-3);
            a0 += p * w[0 + 1];
            a1 += p * w[0 + 0];
            p = x[1][0] - (-3);
            a0 += p * w[3 + 1];
            a1 += p * w[3 + 0];
            p = x[2][0] - (-3);
            a0 += p * w[6 + 1];
            a1 += p * w[6 + 0];
}
        int at = 4;
        int8_t *to = y;
        for (int column = 0; column < 6; column++, to += 4) {
if (at < 24) {
                int32_t p;
                p = x[0][at] - (-3);
                a0 += p * w[0 + 2];
                a1 += p * w[0 + 1];
                a2 += p * w[0 + 0];
                p = x[1][at] - (-3);
                a0 += p * w[3 + 2];
                a1 += p * w[3 + 1];
                a2 += p * w[3 + 0];
                p = x[2][at] - (-3);
                a0 += p * w[6 + 2];
                a1 += p * w[6 + 1];
                a2 += p * w[6 + 0];
}
            at += 4;
            const int32_t high = tsr_mul_high(2 * a0, factor);
            const int32_t scaled = tsr_shift_round(high, right, offset);
            *to = (int8_t)tsr_clamp(scaled, -128, 127);
            a0 = a1;
            a1 = a2;
            a2 = start;
        }
    }
}

#endif

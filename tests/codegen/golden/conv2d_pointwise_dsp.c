/* conv2d
 *
 * arena 348 bytes (lower bound 348), 288 multiply-accumulates
 *
 *   offset     size  steps      tensor
 *       12      288    0..0     image
 *        0       36    0..1     y
 *      300       48    0..0     conv2d.scratch
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
static uint64_t arena_words[44];
#define arena ((uint8_t *)arena_words)

void net_init(void)
{
    memset(arena_words, 0, sizeof arena_words);
}

int8_t *net_input_0(void)
{
    return (int8_t *)(arena + 12);
}

int8_t *net_output_0(void)
{
    return (int8_t *)(arena + 0);
}

/* conv2d -> int8[1, 3, 3, 4] , 288 MACs */
LAYER layer_00_conv2d(void)
{
    const int8_t *x = (const int8_t *)(arena + 12);
    int8_t *y = (int8_t *)(arena + 0);
    for (int row = 0; row < 3; row++) {
        const int8_t *rows[1];
        for (int tap = 0; tap < 1; tap++) {
            const int source = row * 2 + tap * 1 - 0;
            rows[tap] = x + source * 48;
        }
        conv2d_dsp_0(rows,
                     net_weights_00_conv2d,
                     net_stage_00_conv2d,
                     arena + 300,
                     y);
        y += 12;
    }
}

void net_run(void)
{
    MARK(0);
    layer_00_conv2d();
    MARK(1);
}

/* The network's kernels, specialised: sizes, strides and zero points are literals. Layers that differ in sizes only
 * share a kernel, which finds theirs in a struct. */
#ifndef NET_KERNELS_H
#define NET_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "tsr_dsp.h"
#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static TSR_NOINLINE void matmul_dsp_0(const uint32_t *x, const int8_t *weights, const int32_t *stage,
                         int pairs, int steps, int8_t *y, int out_c, int32_t odd)
{
    (void)odd;
    for (; pairs > 0; pairs--, stage += 5, y += 2) {
        const int32_t both_bias = stage[0], low_bias = stage[1];
        int32_t sums[6] = {both_bias, both_bias, both_bias, low_bias, low_bias, low_bias};
        weights = tsr_dot_3x2(x, weights, sums, steps);
        TSR_OPAQUE(y);
        const int32_t high = stage[2], low = stage[3];
        const int32_t high_extra = (int16_t)(stage[4] & 0xFFFF), low_extra = stage[4] >> 16;
        y[0] = (int8_t)tsr_clamp(tsr_requant(tsr_minus(sums[0], sums[3]) >> 8, high, high_extra) + (-128), -128, 72);
        y[out_c + 0] = (int8_t)tsr_clamp(tsr_requant(tsr_minus(sums[1], sums[4]) >> 8, high, high_extra) + (-128), -128, 72);
        y[2 * out_c + 0] = (int8_t)tsr_clamp(tsr_requant(tsr_minus(sums[2], sums[5]) >> 8, high, high_extra) + (-128), -128, 72);
        y[1] = (int8_t)tsr_clamp(tsr_requant(sums[3], low, low_extra) + (-128), -128, 72);
        y[out_c + 1] = (int8_t)tsr_clamp(tsr_requant(sums[4], low, low_extra) + (-128), -128, 72);
        y[2 * out_c + 1] = (int8_t)tsr_clamp(tsr_requant(sums[5], low, low_extra) + (-128), -128, 72);
    }
}

static const int8_t *conv2d_dsp_0_window(const int8_t *row, int left)
{
    return row + left * 8;
}

static void conv2d_dsp_0(const int8_t *const *rows, const int8_t *weights, const int32_t *stage,
                       uint8_t *scratch, int8_t *y)
{
    uint32_t *const wide = (uint32_t *)(void *)scratch;
    {
        const int left = 0 * 2;
        const int8_t *at[1];
        for (int s = 0; s < 1; s++) {
            at[s] = conv2d_dsp_0_window(rows[s], left);
        }
        tsr_widen_segments_3(at, 1, 16, 2, wide);
        matmul_dsp_0(wide, weights, stage, 2, 2, y, 4, 0);
    }
}

#endif

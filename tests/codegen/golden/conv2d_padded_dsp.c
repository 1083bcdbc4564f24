/* conv2d
 *
 * arena 316 bytes (lower bound 316), 972 multiply-accumulates
 *
 *   offset     size  steps      tensor
 *      208      108    0..0     image
 *      196       36    0..1     y
 *        0      196    0..0     conv2d.scratch
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
static uint64_t arena_words[40];
#define arena ((uint8_t *)arena_words)

void net_init(void)
{
    memset(arena_words, 0, sizeof arena_words);
}

int8_t *net_input_0(void)
{
    return (int8_t *)(arena + 208);
}

int8_t *net_output_0(void)
{
    return (int8_t *)(arena + 196);
}

/* conv2d -> int8[1, 3, 3, 4] , 972 MACs */
LAYER layer_00_conv2d(void)
{
    const int8_t *x = (const int8_t *)(arena + 208);
    int8_t *y = (int8_t *)(arena + 196);
    for (int row = 0; row < 3; row++) {
        const int8_t *rows[3];
        for (int tap = 0; tap < 3; tap++) {
            const int source = row * 2 + tap * 1 - 0;
            rows[tap] = source < 0 || source >= 6 ? 0 : x + source * 18;
        }
        conv2d_dsp_0(rows,
                     net_weights_00_conv2d,
                     net_stage_00_conv2d,
                     arena + 0,
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

/* The inputs from column `left` on; what lies outside the map is filled in with its zero point. */
static TSR_NOINLINE const int8_t *conv2d_dsp_0_edge(const int8_t *row, int left, int8_t *edge)
{
    memset(edge, -3, 9);
    const int first = left < 0 ? -left : 0;
    const int last = left > 3 ? 6 - left : 3;
    if (row && first < last) {
        memcpy(edge + first * 3, row + (left + first) * 3, (size_t)(last - first) * 3);
    }
    return edge;
}

static inline const int8_t *conv2d_dsp_0_window(const int8_t *row, int left, int8_t *edge)
{
    const int inside = row && left >= 0 && left <= 3;
    return inside ? row + left * 3 : conv2d_dsp_0_edge(row, left, edge);
}

static void conv2d_dsp_0(const int8_t *const *rows, const int8_t *weights, const int32_t *stage,
                       uint8_t *scratch, int8_t *y)
{
    uint32_t *const wide = (uint32_t *)(void *)scratch;
    int8_t *const edge = (int8_t *)scratch + 168;
    {
        const int left = 0 * 2;
        const int8_t *at[3][3];
        uint32_t *out = wide;
        for (int s = 0; s < 3; s++) {
            at[s][0] = conv2d_dsp_0_window(rows[s], left, edge + (s * 1 + 0) * 9);
            at[s][1] = conv2d_dsp_0_window(rows[s], left + 2, edge + (s * 1 + 0) * 9);
            at[s][2] = conv2d_dsp_0_window(rows[s], left + 4, edge + (s * 1 + 0) * 9);
            out = tsr_widen_3(at[s][0], at[s][1], at[s][2], 2, out);
        }
        for (int p = 0; p < 3; p++, out++) {
            const uint32_t word = (uint32_t)(uint8_t)at[0][p][8] | (uint32_t)(uint8_t)at[1][p][8] << 8 | (uint32_t)(uint8_t)at[2][p][8] << 16;
            out[0] = tsr_even(word);
            out[3] = tsr_odd(word);
        }
        matmul_dsp_0(wide, weights, stage, 2, 7, y, 4, 0);
    }
}

#endif

/* depthwise_conv2d
 *
 * arena 272 bytes (lower bound 272), 1296 multiply-accumulates
 *
 *   offset     size  steps      tensor
 *        0      144    0..1     image
 *      144      128    0..0     depthwise_conv2d.scratch
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
static uint64_t arena_words[34];
#define arena ((uint8_t *)arena_words)

void net_init(void)
{
    memset(arena_words, 0, sizeof arena_words);
}

int8_t *net_input_0(void)
{
    return (int8_t *)(arena + 0);
}

int8_t *net_output_0(void)
{
    return (int8_t *)(arena + 0);
}

/* depthwise_conv2d -> int8[1, 6, 6, 4] , 1296 MACs */
LAYER layer_00_depthwise_conv2d(void)
{
    const int8_t *x = (const int8_t *)(arena + 0);
    int8_t *y = (int8_t *)(arena + 0);
    for (int row = 0; row < 6; row += 6) {
        const int8_t *rows[8];
        for (int tap = 0; tap < 8; tap++) {
            const int source = row * 1 + tap * 1 - 1;
            rows[tap] = source < 0 || source >= 6 ? 0 : x + source * 24;
        }
        depthwise_conv2d_dsp_0(rows,
                               net_weights_00_depthwise_conv2d,
                               net_stage_00_depthwise_conv2d,
                               net_extra_00_depthwise_conv2d,
                               arena + 144,
                               y);
        y += 144;
    }
}

void net_run(void)
{
    MARK(0);
    layer_00_depthwise_conv2d();
    MARK(1);
}

/* The network's kernels, specialised: sizes, strides and zero points are literals. */
#ifndef NET_KERNELS_H
#define NET_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "tsr_dsp.h"
#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static TSR_NOINLINE void plane_dsp_0(const uint32_t *plane, int step, const int8_t *weights, const int32_t *stage,
                         int32_t extra, int rows, int groups, int8_t *y, int out_c)
{
    uint32_t pairs[6];
    for (int ky = 0; ky < 3; ky++, weights += 3) {
        pairs[2 * ky + 0] = tsr_pair(weights[0], weights[1]);
        pairs[2 * ky + 1] = tsr_pair(weights[1], weights[2]);
    }
    const int32_t bias = stage[0], multiplier = stage[1];
    for (; rows > 0; rows--) {
        const uint32_t *const next = plane + 1 * step;
        for (int group = groups; group > 0; group--, plane += 2) {
            int32_t a0 = bias, a1 = bias, a2 = bias, a3 = bias;
            const uint32_t *x = plane;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t x2 = x[2];
                const uint32_t e0 = pairs[0 + 0];
                const uint32_t o0 = pairs[0 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
                a2 = tsr_smlad(x1, e0, a2);
                a2 = tsr_smlabt(x2, o0, a2);
                a3 = tsr_smlatb(x1, e0, a3);
                a3 = tsr_smlad(x2, o0, a3);
}
            x += step;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t x2 = x[2];
                const uint32_t e0 = pairs[2 + 0];
                const uint32_t o0 = pairs[2 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
                a2 = tsr_smlad(x1, e0, a2);
                a2 = tsr_smlabt(x2, o0, a2);
                a3 = tsr_smlatb(x1, e0, a3);
                a3 = tsr_smlad(x2, o0, a3);
}
            x += step;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t x2 = x[2];
                const uint32_t e0 = pairs[4 + 0];
                const uint32_t o0 = pairs[4 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
                a2 = tsr_smlad(x1, e0, a2);
                a2 = tsr_smlabt(x2, o0, a2);
                a3 = tsr_smlatb(x1, e0, a3);
                a3 = tsr_smlad(x2, o0, a3);
}
            y[0] = tsr_round_twice(a0 * 2, multiplier, extra, 5);
            y[out_c] = tsr_round_twice(a1 * 2, multiplier, extra, 5);
            y += 2 * out_c;
            TSR_OPAQUE(y);
            y[0] = tsr_round_twice(a2 * 2, multiplier, extra, 5);
            y[out_c] = tsr_round_twice(a3 * 2, multiplier, extra, 5);
            y += 2 * out_c;
}
        {
            int32_t a0 = bias, a1 = bias;
            const uint32_t *x = plane;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t e0 = pairs[0 + 0];
                const uint32_t o0 = pairs[0 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
}
            x += step;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t e0 = pairs[2 + 0];
                const uint32_t o0 = pairs[2 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
}
            x += step;
            {
                const uint32_t x0 = x[0];
                const uint32_t x1 = x[1];
                const uint32_t e0 = pairs[4 + 0];
                const uint32_t o0 = pairs[4 + 1];
                a0 = tsr_smlad(x0, e0, a0);
                a0 = tsr_smlabt(x1, o0, a0);
                a1 = tsr_smlatb(x0, e0, a1);
                a1 = tsr_smlad(x1, o0, a1);
}
            y[0] = tsr_round_twice(a0 * 2, multiplier, extra, 5);
            y[out_c] = tsr_round_twice(a1 * 2, multiplier, extra, 5);
            y += 2 * out_c;
}
        plane = next;
    }
}

static void depthwise_conv2d_dsp_0(const int8_t *const *rows, const int8_t *weights, const int32_t *stage,
                       const int16_t *extra, uint8_t *scratch, int8_t *y)
{
    uint32_t *const plane = (uint32_t *)(void *)scratch;
    for (int i = 0; i < 32; i++) {
        plane[i] = tsr_pair(-3, -3);
    }
    for (int channel = 0; channel < 4; channel++) {
        uint32_t *row = plane;
        for (int r = 0; r < 8; r++, row += 4) {
            if (!rows[r]) {
                continue;
            }
            const int8_t *x = rows[r] + channel;
            uint32_t *out = row;
            *out++ = tsr_pair(-3, *x);
            x += 4;
            x = tsr_gather(x, 4, 2, out);
            out[2] = tsr_pair(*x, -3);
        }
        plane_dsp_0(plane, 4, weights, stage, *extra++, 6, 1, y, 4);
        y++, weights += 9, stage += 2;
    }
}

#endif

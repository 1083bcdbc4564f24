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
        depthwise_rolling_dsp_0(rows,
                                net_weights_00_depthwise_conv2d,
                                net_stage_00_depthwise_conv2d,
                                net_extra_00_depthwise_conv2d,
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

#include "tsr_dsp.h"
#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static TSR_NOINLINE void depthwise_rolling_dsp_0(const int8_t *const *rows, const int8_t *weights,
                         const int32_t *stage, const int8_t *extras, int8_t *y)
{
    tsr_window window;
    tsr_find_window(rows, 3, 0xFFFDFFFDU, &window);
    for (int channel = 0; channel < 4; channel++, weights += 9, stage += 2, y++) {
        const int8_t *x0 = window.x[0] + channel, *x1 = window.x[1] + channel, *x2 = window.x[2] + channel;
        const uint32_t s0 = tsr_load4(weights + 0);
        uint32_t w0 = tsr_even(s0), w1 = tsr_odd(s0);
        const uint32_t s1 = tsr_load4(weights + 4);
        uint32_t w2 = tsr_even(s1), v0 = tsr_odd(s1);
        uint32_t v1 = (uint32_t)weights[8];
        int32_t bias = stage[0];
        const int32_t multiplier = stage[1], extra = *extras++;
        if (window.padded) {
            bias = tsr_smlad(w0, window.fill[0], bias);
            w0 &= window.keep[0];
            bias = tsr_smlad(w1, window.fill[0], bias);
            w1 &= window.keep[0];
            bias = tsr_smlad(w2, window.fill[0], bias);
            w2 &= window.keep[0];
            bias = tsr_smlad(v0, window.fill[1], bias);
            v0 &= window.keep[1];
            bias = tsr_smlabb(v1, window.fill[1], bias);
            v1 &= window.keep[1];
        }
        int32_t a0, a1, a2;
        a0 = tsr_smlad(0xFFFDFFFDU, w0, bias);
        a0 = tsr_smlabb(0xFFFDFFFDU, v0, a0);
        {
            const uint32_t p = tsr_pair(x0[0], x1[0]);
            const uint32_t q = (uint32_t)x2[0];
            a0 = tsr_smlad(p, w1, a0);
            a0 = tsr_smlabt(q, v0, a0);
            a1 = tsr_smlad(p, w0, bias);
            a1 = tsr_smlabb(q, v0, a1);
        }
        int8_t *to = y;
        {
            const uint32_t p = tsr_pair(x0[4], x1[4]);
            const uint32_t q = (uint32_t)x2[4];
            a0 = tsr_smlad(p, w2, a0);
            a0 = tsr_smlabb(q, v1, a0);
            a1 = tsr_smlad(p, w1, a1);
            a1 = tsr_smlabt(q, v0, a1);
            a2 = tsr_smlad(p, w0, bias);
            a2 = tsr_smlabb(q, v0, a2);
        }
        to[0] = tsr_round_twice_odd(a0 * 2, multiplier, extra, 11);
        {
            const uint32_t p = tsr_pair(x0[8], x1[8]);
            const uint32_t q = (uint32_t)x2[8];
            a1 = tsr_smlad(p, w2, a1);
            a1 = tsr_smlabb(q, v1, a1);
            a2 = tsr_smlad(p, w1, a2);
            a2 = tsr_smlabt(q, v0, a2);
            a0 = tsr_smlad(p, w0, bias);
            a0 = tsr_smlabb(q, v0, a0);
        }
        to[4] = tsr_round_twice_odd(a1 * 2, multiplier, extra, 11);
        {
            const uint32_t p = tsr_pair(x0[12], x1[12]);
            const uint32_t q = (uint32_t)x2[12];
            a2 = tsr_smlad(p, w2, a2);
            a2 = tsr_smlabb(q, v1, a2);
            a0 = tsr_smlad(p, w1, a0);
            a0 = tsr_smlabt(q, v0, a0);
            a1 = tsr_smlad(p, w0, bias);
            a1 = tsr_smlabb(q, v0, a1);
        }
        to[8] = tsr_round_twice_odd(a2 * 2, multiplier, extra, 11);
        {
            const uint32_t p = tsr_pair(x0[16], x1[16]);
            const uint32_t q = (uint32_t)x2[16];
            a0 = tsr_smlad(p, w2, a0);
            a0 = tsr_smlabb(q, v1, a0);
            a1 = tsr_smlad(p, w1, a1);
            a1 = tsr_smlabt(q, v0, a1);
            a2 = tsr_smlad(p, w0, bias);
            a2 = tsr_smlabb(q, v0, a2);
        }
        to[12] = tsr_round_twice_odd(a0 * 2, multiplier, extra, 11);
        {
            const uint32_t p = tsr_pair(x0[20], x1[20]);
            const uint32_t q = (uint32_t)x2[20];
            a1 = tsr_smlad(p, w2, a1);
            a1 = tsr_smlabb(q, v1, a1);
            a2 = tsr_smlad(p, w1, a2);
            a2 = tsr_smlabt(q, v0, a2);
        }
        to[16] = tsr_round_twice_odd(a1 * 2, multiplier, extra, 11);
        a2 = tsr_smlad(0xFFFDFFFDU, w2, a2);
        a2 = tsr_smlabb(0xFFFDFFFDU, v1, a2);
        to[20] = tsr_round_twice_odd(a2 * 2, multiplier, extra, 11);
    }
}

#endif

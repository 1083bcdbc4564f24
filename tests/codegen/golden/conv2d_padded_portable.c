/* conv2d
 *
 * arena 120 bytes (lower bound 120), 972 multiply-accumulates
 *
 *   offset     size  steps      tensor
 *       12      108    0..0     image
 *        0       36    0..1     y
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
static uint64_t arena_words[15];
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

/* conv2d -> int8[1, 3, 3, 4] , 972 MACs */
LAYER layer_00_conv2d(void)
{
    const int8_t *x = (const int8_t *)(arena + 12);
    int8_t *y = (int8_t *)(arena + 0);
    for (int row = 0; row < 3; row++) {
        const int8_t *rows[3];
        for (int tap = 0; tap < 3; tap++) {
            const int source = row * 2 + tap * 1 - 0;
            rows[tap] = source < 0 || source >= 6 ? 0 : x + source * 18;
        }
        conv2d_runs_0(rows,
                      net_weights_00_conv2d,
                      net_stage_00_conv2d,
                      net_extra_00_conv2d,
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

#include "tsr_runs.h"
#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static TSR_NOINLINE void filters_runs_0_outputs(const int32_t *sums, const int32_t *stage,
const int16_t *extra, int count, int8_t *y)
{
    for (; count > 0; count--, stage += 2) {
        const int32_t sum = *sums++ + *stage;
        *y++ = (int8_t)tsr_clamp(tsr_requant(sum, stage[1], *extra++) + (-128), -128, 72);
    }
}

static TSR_NOINLINE void filters_runs_0(const tsr_run *run, int runs, const int8_t *weights, int depth,
                         const int32_t *stage, const int16_t *extra, int filters, int8_t *y)
{
    const tsr_run *end = run + runs;
    int32_t sums[4];
    for (; filters >= 4; filters -= 4, stage += 8, extra += 4, y += 4) {
        sums[0] = 0;
        tsr_dot_runs_4(run, end, weights, depth, sums);
        weights += 4 * depth;
        filters_runs_0_outputs(sums, stage, extra, 4, y);
    }
}

static void conv2d_runs_0(const int8_t *const *rows, const int8_t *weights, const int32_t *stage,
                       const int16_t *extra, int8_t *y)
{
    static const int8_t outside[9] = {-3, -3, -3, -3, -3, -3, -3, -3, -3};
    for (int column = 0; column < 3; column++, y += 4) {
        tsr_run runs[6], *end = runs;
        for (int ky = 0; ky < 3; ky++) {
            end = tsr_window_runs(end, rows[ky], column * 2, 3, 6, 3, outside);
        }
        filters_runs_0(runs, (int)(end - runs), weights, 27, stage, extra, 4, y);
    }
}

#endif

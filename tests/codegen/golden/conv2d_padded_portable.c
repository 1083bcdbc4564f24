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
        conv2d_0(rows,
                 net_weights_00_conv2d,
                 net_bias_00_conv2d,
                 net_multiplier_00_conv2d,
                 net_shift_00_conv2d,
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

/* The network's kernels, specialised: sizes, strides and zero points are literals. */
#ifndef NET_KERNELS_H
#define NET_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "tsr_fixed.h"
#include "tsr_float.h"
#include "tsr_math.h"

static void conv2d_0(const int8_t *const *rows, const int8_t *weights, const int32_t *bias,
                       const int32_t *multiplier, const int8_t *shift, int8_t *y)
{
    for (int column = 0; column < 3; column++) {
        const int left = column * 2 - 0;
        for (int out = 0; out < 4; out++) {
            const int8_t *w = weights + out * 27;
            int32_t acc = bias[out];
            for (int ky = 0; ky < 3; ky++) {
                if (!rows[ky]) {
                    continue;
                }
                for (int kx = 0; kx < 3; kx++) {
                    const int in_x = left + kx * 1;
                    if (in_x < 0 || in_x >= 6) {
                        continue;
                    }
                    const int8_t *p = rows[ky] + in_x * 3;
                    const int8_t *q = w + (ky * 3 + kx) * 3;
                    for (int c = 0; c < 3; c++) {
                        acc += (p[c] - (-3)) * q[c];
                    }
                }
            }
            const int32_t scaled = tsr_requant(acc, multiplier[out], shift[out]) + (-128);
            *y++ = (int8_t)tsr_clamp(scaled, -128, 72);
        }
    }
}

#endif

/* Elementwise operations and reductions over vectors. Reductions run in 16 lanes whose order is
 * fixed, so results do not depend on how a compiler vectorises them. */
#ifndef TESSERA_OPS_H
#define TESSERA_OPS_H

#include <stddef.h>
#include <stdint.h>

/* x / sqrt(mean(x^2) + eps) * weight; out may be x. */
void rms_norm(const float *x, const float *weight, size_t size, float eps, float *out);

/* Quantise groups of 32 to int8 with scale max|x| / 127, to nearest; zero-pads the last group. */
void quantize_groups(const float *x, size_t size, int8_t *values, float *scales, int32_t *sums);

/* gate * sigmoid(gate) * up, or tanh-GELU(gate) * up, into gate. */
void gated_silu(float *gate, const float *up, size_t size);
void gated_gelu(float *gate, const float *up, size_t size);

/* cap * tanh(x / cap) in place. */
void softcap(float *x, size_t size, float cap);

void softmax(float *x, size_t size);

/* a * b + c, fused where that is one instruction. */
static inline float multiply_add(float a, float b, float c)
{
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline float dot(const float *a, const float *b, size_t size)
{
    float lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= size; i += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] = multiply_add(a[i + l], b[i + l], lanes[l]);
    for (; i < size; i++)
        lanes[0] += a[i] * b[i];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

/* out += factor * x */
static inline void add_scaled(float *out, const float *x, float factor, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = multiply_add(factor, x[i], out[i]);
}

/* Rotate the pairs of one head by (dim/2) cosines and sines. */
void rotate(float *head, const float *cosines, const float *sines, size_t dim, int interleaved);

#endif

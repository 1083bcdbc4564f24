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

float dot(const float *a, const float *b, size_t size);

/* out += factor * x */
void add_scaled(float *out, const float *x, float factor, size_t size);

/* Rotate the pairs of one head by (dim/2) cosines and sines. */
void rotate(float *head, const float *cosines, const float *sines, size_t dim, int interleaved);

#endif

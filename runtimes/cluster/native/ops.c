#include "ops.h"

#include <math.h>
#include <string.h>

enum { LANES = 16, GROUP = 32 };

/* Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to nearest, ties to even. */
static const float ROUND = 12582912.0f;

/* e^x to 2 ulp: x = k ln 2 + r, a polynomial in r (minimax degree 5 on |r| <= ln 2 / 2), 2^k by
 * the exponent bits. Branch-free, so that loops over it become vector code. */
static inline float exponential(float x)
{
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float k = (x * 1.44269504f + ROUND) - ROUND;
    const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const int32_t bits = ((int32_t)k + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* tanh(x) = 1 - 2 / (e^2x + 1) */
static inline float hyperbolic_tangent(float x)
{
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

void rms_norm(const float *x, const float *weight, size_t size, float eps, float *out)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += (double)x[i + l] * x[i + l];
    for (; i < size; i++)
        lanes[0] += (double)x[i] * x[i];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    const float scale = (float)(1.0 / sqrt(sum / (double)size + (double)eps));
    for (i = 0; i < size; i++)
        out[i] = x[i] * scale * weight[i];
}

static void quantize_group(const float *x, int8_t *values, float *scale, int32_t *sum)
{
    float lanes[LANES] = {0}, largest = 0;
    for (size_t i = 0; i < GROUP; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const float magnitude = fabsf(x[i + l]);
            lanes[l] = magnitude > lanes[l] ? magnitude : lanes[l];
        }
    for (size_t l = 0; l < LANES; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
    int32_t total = 0;
    for (size_t i = 0; i < GROUP; i++) {
        const int32_t value = (int32_t)((x[i] * inverse + ROUND) - ROUND);
        values[i] = (int8_t)value;
        total += value;
    }
    *scale = largest / 127.0f;
    *sum = total;
}

void quantize_groups(const float *x, size_t size, int8_t *values, float *scales, int32_t *sums)
{
    size_t group = 0;
    for (; (group + 1) * GROUP <= size; group++)
        quantize_group(x + group * GROUP, values + group * GROUP, scales + group, sums + group);
    if (group * GROUP < size) {
        float padded[GROUP] = {0};
        memcpy(padded, x + group * GROUP, (size - group * GROUP) * sizeof *x);
        quantize_group(padded, values + group * GROUP, scales + group, sums + group);
    }
}

void gated_silu(float *gate, const float *up, size_t size)
{
    for (size_t i = 0; i < size; i++)
        gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

void gated_gelu(float *gate, const float *up, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const float x = gate[i], inner = 0.7978845608f * (x + 0.044715f * x * x * x);
        gate[i] = 0.5f * x * (1.0f + hyperbolic_tangent(inner)) * up[i];
    }
}

void softcap(float *x, size_t size, float cap)
{
    for (size_t i = 0; i < size; i++)
        x[i] = cap * hyperbolic_tangent(x[i] / cap);
}

void softmax(float *x, size_t size)
{
    float lanes[LANES] = {0}, largest = x[0], sum = 0;
    size_t i;
    for (i = 1; i < size; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (i = 0; i < size; i++)
        x[i] = exponential(x[i] - largest);
    for (i = 0; i + LANES <= size; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += x[i + l];
    for (; i < size; i++)
        lanes[0] += x[i];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    for (i = 0; i < size; i++)
        x[i] /= sum;
}

void rotate(float *head, const float *cosines, const float *sines, size_t dim, int interleaved)
{
    const size_t half = dim / 2, step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;
    for (size_t i = 0; i < half; i++) {
        float *first = head + i * step, *second = first + apart;
        const float a = *first, b = *second;
        *first = a * cosines[i] - b * sines[i];
        *second = a * sines[i] + b * cosines[i];
    }
}

/* Partial sums on the wire, the same bytes as `runtimes.cluster.array_codec`, and their addition.
 * int8: groups of 32, all fp16 scales first, then all int8 values. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "half.h"
#include "tessera.h"

enum { GROUP = 32, LANES = 16 };

static const float ROUND = 12582912.0f; /* 1.5 * 2^23: adding it rounds to nearest, ties to even */

/* Largest magnitude of a group; not a number if a value is none or is infinite. */
static float largest_of(const float *x)
{
    float lanes[LANES], poison[LANES], largest = 0, total = 0;
    for (size_t l = 0; l < LANES; l++) {
        const float a = fabsf(x[l]), b = fabsf(x[l + LANES]);
        lanes[l] = a > b ? a : b;
        poison[l] = 0.0f * a + 0.0f * b;
    }
    for (size_t l = 0; l < LANES; l++) {
        largest = lanes[l] > largest ? lanes[l] : largest;
        total += poison[l];
    }
    return largest + total;
}

static void encode_group(const float *x, uint8_t *scale_bytes, int8_t *values)
{
    const uint16_t half = float_to_half(largest_of(x) * (1.0f / 127.0f));
    const float scale = half_bits_to_float(half);
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    scale_bytes[0] = (uint8_t)half;
    scale_bytes[1] = (uint8_t)(half >> 8);
    for (size_t i = 0; i < GROUP; i++) {
        /* the scale was rounded: the largest value may lie beyond 127; what is no number is 127 */
        float value = x[i] * inverse;
        value = value < 127.0f ? value : 127.0f;
        value = value > -127.0f ? value : -127.0f;
        values[i] = (int8_t)(int32_t)((value + ROUND) - ROUND);
    }
}

void tessera_encode_sums(const float *sums, int64_t size, uint8_t *out)
{
    const size_t whole = (size_t)size / GROUP, rest = (size_t)size % GROUP;
    int8_t *values = (int8_t *)out + 2 * (whole + (rest > 0));
    for (size_t group = 0; group < whole; group++)
        encode_group(sums + group * GROUP, out + 2 * group, values + group * GROUP);
    if (rest > 0) {
        float padded[GROUP] = {0};
        memcpy(padded, sums + whole * GROUP, rest * sizeof *sums);
        encode_group(padded, out + 2 * whole, values + whole * GROUP);
    }
}

void tessera_decode_sums(const uint8_t *payload, int64_t size, float *out)
{
    const size_t count = (size_t)size, groups = (count + GROUP - 1) / GROUP;
    const int8_t *values = (const int8_t *)payload + 2 * groups;
    for (size_t group = 0; group < groups; group++) {
        const float scale = half_to_float(payload + 2 * group);
        const size_t start = group * GROUP;
        const size_t stop = start + GROUP < count ? start + GROUP : count;
        for (size_t i = start; i < stop; i++)
            out[i] = scale * (float)values[i];
    }
}

void tessera_encode_halfs(const float *sums, int64_t size, uint8_t *out)
{
    for (size_t i = 0; i < (size_t)size; i++) {
        const uint16_t half = float_to_half(sums[i]);
        out[2 * i] = (uint8_t)half;
        out[2 * i + 1] = (uint8_t)(half >> 8);
    }
}

void tessera_decode_halfs(const uint8_t *payload, int64_t size, float *out)
{
    halfs_to_floats(payload, out, (size_t)size);
}

struct parts {
    uint8_t *values;  /* (ranks, size) */
    size_t size;
    int fixed;
};

/* Part `to` += part `from`; integers wrap. */
static void add_part(const struct parts *parts, size_t to, size_t from)
{
    const size_t size = parts->size;
    if (parts->fixed) {
        uint64_t *sum = (uint64_t *)(void *)parts->values + to * size;
        const uint64_t *other = (const uint64_t *)(const void *)parts->values + from * size;
        for (size_t i = 0; i < size; i++)
            sum[i] += other[i];
    } else {
        float *sum = (float *)(void *)parts->values + to * size;
        const float *other = (const float *)(const void *)parts->values + from * size;
        for (size_t i = 0; i < size; i++)
            sum[i] += other[i];
    }
}

void tessera_add_ranks(void *values, int32_t ranks, int64_t size, int32_t fixed)
{
    const struct parts parts = {values, (size_t)size, fixed};
    size_t power = 1;
    while (2 * power <= (size_t)ranks)
        power *= 2;
    for (size_t rank = power; rank < (size_t)ranks; rank++)
        add_part(&parts, rank - power, rank);
    for (size_t distance = 1; distance < power; distance *= 2)
        for (size_t rank = 0; rank < power; rank += 2 * distance)
            add_part(&parts, rank, rank + distance);
}

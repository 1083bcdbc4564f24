#include "cache.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "blocks.h"
#include "half.h"

static const size_t VALUE_BYTES[] = {4, 2, 1};

static size_t row_number(const struct tessera_rank *rank, enum cache_part part, int32_t head,
                         int32_t position)
{
    const size_t heads = (size_t)part * (size_t)rank->kv_heads + (size_t)head;
    return heads * (size_t)rank->capacity + (size_t)position;
}

static size_t row_offset(const struct tessera_rank *rank, size_t row)
{
    const size_t size = (size_t)rank->head_dim;
    return row * (rank->kv_kind == TESSERA_KV_BLOCKS ? block_row_bytes(size, rank->kv_bits)
                                                     : size * VALUE_BYTES[rank->kv_kind]);
}

/* Where the fp16 scale of an int8 row lies. */
static size_t scale_offset(const struct tessera_rank *rank, size_t row)
{
    const size_t rows = 2 * (size_t)rank->kv_heads * (size_t)rank->capacity;
    return row_offset(rank, rows) + 2 * row;
}

int64_t tessera_cache_bytes(const struct tessera_rank *rank)
{
    const size_t rows = 2 * (size_t)rank->kv_heads * (size_t)rank->capacity;
    const size_t scales = rank->kv_kind == TESSERA_KV_INT8 ? 2 * rows : 0;
    const size_t slack = rank->kv_kind == TESSERA_KV_BLOCKS ? BLOCK_SLACK : 0;
    return (int64_t)(row_offset(rank, rows) + scales + slack);
}

const int32_t *cache_order(const struct tessera_rank *rank, const int32_t *orders,
                           enum cache_part part, int32_t head)
{
    const size_t number = (size_t)part * (size_t)rank->kv_heads + (size_t)head;
    return rank->kv_kind == TESSERA_KV_BLOCKS ? orders + number * (size_t)rank->head_dim : NULL;
}

static void store_int8(const float *row, size_t size, int8_t *out, uint8_t *scale_bytes)
{
    float largest = 0;
    for (size_t i = 0; i < size; i++)
        largest = fabsf(row[i]) > largest ? fabsf(row[i]) : largest;
    const uint16_t half = float_to_half(largest / 127.0f);
    const float scale = half_bits_to_float(half), inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < size; i++) {
        /* the scale was rounded: the largest value may lie just beyond 127 */
        const float value = row[i] * inverse;
        out[i] = (int8_t)lrintf(value > 127.0f ? 127.0f : value < -127.0f ? -127.0f : value);
    }
    scale_bytes[0] = (uint8_t)half;
    scale_bytes[1] = (uint8_t)(half >> 8);
}

void cache_store(const struct tessera_rank *rank, uint8_t *cache, enum cache_part part,
                 int32_t head, int32_t position, const float *row, const int32_t *order)
{
    const size_t number = row_number(rank, part, head, position), size = (size_t)rank->head_dim;
    uint8_t *out = cache + row_offset(rank, number);
    if (rank->kv_kind == TESSERA_KV_F32)
        memcpy(out, row, size * sizeof *row);
    else if (rank->kv_kind == TESSERA_KV_F16)
        for (size_t i = 0; i < size; i++) {
            const uint16_t half = float_to_half(row[i]);
            memcpy(out + 2 * i, &half, sizeof half);
        }
    else if (rank->kv_kind == TESSERA_KV_INT8)
        store_int8(row, size, (int8_t *)out, cache + scale_offset(rank, number));
    else
        block_encode(row, order, size, rank->kv_bits, out);
}

static void load_int8(const struct tessera_rank *rank, const uint8_t *cache, size_t row,
                      float *out)
{
    const size_t size = (size_t)rank->head_dim;
    const int8_t *in = (const int8_t *)(cache + row_offset(rank, row));
    const float scale = half_to_float(cache + scale_offset(rank, row));
    for (size_t i = 0; i < size; i++)
        out[i] = scale * (float)in[i];
}

const float *cache_load(const struct tessera_rank *rank, const uint8_t *cache,
                        enum cache_part part, int32_t head, int32_t position, int32_t count,
                        float *buffer)
{
    const size_t first = row_number(rank, part, head, position), size = (size_t)rank->head_dim;
    const uint8_t *in = cache + row_offset(rank, first);
    if (rank->kv_kind == TESSERA_KV_F32)
        return (const float *)in;
    if (rank->kv_kind == TESSERA_KV_F16)
        halfs_to_floats(in, buffer, (size_t)count * size);
    else if (rank->kv_kind == TESSERA_KV_BLOCKS)
        block_decode(in, (size_t)count, size, rank->kv_bits, buffer);
    else
        for (size_t row = 0; row < (size_t)count; row++)
            load_int8(rank, cache, first + row, buffer + row * size);
    return buffer;
}

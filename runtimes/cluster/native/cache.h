/* Keys and values of one layer and sequence: per own key/value head `capacity` rows of head_dim
 * keys, then the same of values; int8 rows have an fp16 scale each, all scales after all rows; rows
 * in block floating point are as blocks.h says. */
#ifndef TESSERA_CACHE_H
#define TESSERA_CACHE_H

#include "tessera.h"

enum cache_part { CACHE_KEY = 0, CACHE_VALUE = 1 };

/* Store one head's key or value of one position; blocks take its channels in this order. */
void cache_store(const struct tessera_rank *rank, uint8_t *cache, enum cache_part part,
                 int32_t head, int32_t position, const float *row, const int32_t *order);

/* The order of a head's channels in the cache; NULL: as they are. */
const int32_t *cache_order(const struct tessera_rank *rank, const int32_t *orders,
                           enum cache_part part, int32_t head);

/* Read positions position .. position+count-1 back; returns (count, head_dim) floats, in `buffer`
 * unless the cache is float32. */
const float *cache_load(const struct tessera_rank *rank, const uint8_t *cache,
                        enum cache_part part, int32_t head, int32_t position, int32_t count,
                        float *buffer);

#endif

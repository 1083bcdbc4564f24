/* Attention of new positions over the cached ones, own query heads only. */
#ifndef TESSERA_ATTENTION_H
#define TESSERA_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "tessera.h"

struct attention {
    const struct tessera_rank *rank;
    const uint8_t *cache;   /* keys and values, those of the new positions included */
    const int32_t *orders;  /* of struct tessera_attention */
    int32_t window;         /* positions seen, 0: all */
    int32_t position;       /* of the first row */
    const float *q;         /* rotated queries: row i at q + i * q_stride */
    size_t q_stride;
    float *mixed;           /* (n, heads * head_dim) out */
    float *scratch;         /* attention_scratch() floats for each thread */
};

/* Floats of scratch that a thread needs. */
size_t attention_scratch(const struct tessera_rank *rank);

/* Attention of n positions, on all threads. */
void attention_run(const struct attention *attention, int32_t n);

#endif

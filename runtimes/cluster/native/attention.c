/* Grouped-query attention (arXiv 2305.13245). The heads of a group read the same cached rows, so
 * rows are decoded once for all of them, a few at a time: they stay in the first-level cache. */
#include "attention.h"

#include <string.h>

#include "cache.h"
#include "ops.h"
#include "pool.h"

enum { ROWS = 16, LANES = 16 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float half_lanes __attribute__((vector_size(2 * LANES)));
typedef float quarter_lanes __attribute__((vector_size(LANES)));

size_t attention_scratch(const struct tessera_rank *rank)
{
    const size_t dim = (size_t)rank->head_dim;
    return (size_t)rank->group * (size_t)rank->capacity + ROWS * dim;
}

/* Heads first .. last-1 of one position over the rows start .. start+span-1. */
struct group {
    const float *q;  /* of head 0 */
    float *mixed;    /* of head 0 */
    float *scores;   /* (last - first, span) */
    float *buffer;   /* (ROWS, dim) */
    int32_t kv, first, last, start;
    size_t span;
};

static float dot_head(const float *q, const float *row, size_t dim)
{
    if (dim % LANES != 0)
        return dot(q, row, dim);
    lanes sum = {0};
    for (size_t i = 0; i < dim; i += LANES)
        sum += *(const lanes *)(q + i) * *(const lanes *)(row + i);
    half_lanes halves[2];
    memcpy(halves, &sum, sizeof halves);
    halves[0] += halves[1];
    quarter_lanes quarters[2];
    memcpy(quarters, halves, sizeof quarters);
    quarters[0] += quarters[1];
    return (quarters[0][0] + quarters[0][2]) + (quarters[0][1] + quarters[0][3]);
}

/* out += weights @ rows, with the sums in registers. */
static void mix_rows(float *out, const float *rows, const float *weights, size_t count, size_t dim)
{
    size_t i = 0;
    for (; i + 4 * LANES <= dim; i += 4 * LANES) {
        lanes *at = (lanes *)(out + i);
        lanes a = at[0], b = at[1], c = at[2], d = at[3];
        for (size_t t = 0; t < count; t++) {
            const lanes *row = (const lanes *)(rows + t * dim + i);
            a += weights[t] * row[0];
            b += weights[t] * row[1];
            c += weights[t] * row[2];
            d += weights[t] * row[3];
        }
        at[0] = a, at[1] = b, at[2] = c, at[3] = d;
    }
    for (size_t t = 0; t < count && i < dim; t++)
        add_scaled(out + i, rows + t * dim + i, weights[t], dim - i);
}

static size_t rows_from(const struct group *g, size_t t)
{
    return g->span - t < ROWS ? g->span - t : ROWS;
}

static void score(const struct attention *a, const struct group *g)
{
    const struct tessera_rank *rank = a->rank;
    const size_t dim = (size_t)rank->head_dim;
    for (size_t t = 0; t < g->span; t += ROWS) {
        const size_t count = rows_from(g, t);
        const float *rows = cache_load(rank, a->cache, CACHE_KEY, g->kv, g->start + (int32_t)t,
                                       (int32_t)count, g->buffer);
        for (int32_t head = g->first; head < g->last; head++) {
            float *out = g->scores + (size_t)(head - g->first) * g->span + t;
            for (size_t r = 0; r < count; r++)
                out[r] = dot_head(g->q + (size_t)head * dim, rows + r * dim, dim)
                       * rank->attention_scale;
        }
    }
}

static void normalise(const struct attention *a, const struct group *g)
{
    for (int32_t head = g->first; head < g->last; head++) {
        float *scores = g->scores + (size_t)(head - g->first) * g->span;
        if (a->rank->attention_softcap > 0)
            softcap(scores, g->span, a->rank->attention_softcap);
        softmax(scores, g->span);
    }
}

static void mix(const struct attention *a, const struct group *g)
{
    const size_t dim = (size_t)a->rank->head_dim, heads = (size_t)(g->last - g->first);
    memset(g->mixed + (size_t)g->first * dim, 0, heads * dim * sizeof *g->mixed);
    for (size_t t = 0; t < g->span; t += ROWS) {
        const size_t count = rows_from(g, t);
        const float *rows = cache_load(a->rank, a->cache, CACHE_VALUE, g->kv,
                                       g->start + (int32_t)t, (int32_t)count, g->buffer);
        for (int32_t head = g->first; head < g->last; head++)
            mix_rows(g->mixed + (size_t)head * dim, rows,
                     g->scores + (size_t)(head - g->first) * g->span + t, count, dim);
    }
}

/* Give the queries the order of the cached keys. The mixture's memory is free until then. */
static void arrange(const struct attention *a, struct group *g)
{
    const size_t dim = (size_t)a->rank->head_dim;
    const int32_t *order = cache_order(a->rank, a->orders, CACHE_KEY, g->kv);
    if (order == NULL)
        return;
    for (size_t head = (size_t)g->first; head < (size_t)g->last; head++)
        for (size_t i = 0; i < dim; i++)
            g->mixed[head * dim + i] = g->q[head * dim + (size_t)order[i]];
    g->q = g->mixed;
}

/* Put the mixture's channels, in the order of the cached values, back in their places. */
static void restore(const struct attention *a, const struct group *g)
{
    const size_t dim = (size_t)a->rank->head_dim;
    const int32_t *order = cache_order(a->rank, a->orders, CACHE_VALUE, g->kv);
    for (size_t head = (size_t)g->first; head < (size_t)g->last && order != NULL; head++) {
        memcpy(g->buffer, g->mixed + head * dim, dim * sizeof *g->buffer);
        for (size_t i = 0; i < dim; i++)
            g->mixed[head * dim + (size_t)order[i]] = g->buffer[i];
    }
}

/* An item is one key/value head of one position. */
static void attend(const void *context, int32_t begin, int32_t end, int32_t thread)
{
    const struct attention *a = context;
    const struct tessera_rank *rank = a->rank;
    const size_t width = (size_t)rank->heads * (size_t)rank->head_dim;
    float *scratch = a->scratch + (size_t)thread * attention_scratch(rank);
    for (int32_t item = begin; item < end; item++) {
        const int32_t row = item / rank->kv_heads, kv = item % rank->kv_heads;
        const int32_t seen = a->position + row + 1;
        const int32_t start = a->window > 0 && seen > a->window ? seen - a->window : 0;
        int32_t first = 0, last;
        while (first < rank->heads && rank->kv_of_head[first] != kv)
            first++;
        for (last = first; last < rank->heads && rank->kv_of_head[last] == kv;)
            last++;
        struct group group = {
            a->q + (size_t)row * a->q_stride, a->mixed + (size_t)row * width, scratch,
            scratch + (size_t)rank->group * (size_t)rank->capacity,
            kv, first, last, start, (size_t)(seen - start)};
        arrange(a, &group);
        score(a, &group);
        normalise(a, &group);
        mix(a, &group);
        restore(a, &group);
    }
}

void attention_run(const struct attention *attention, int32_t n)
{
    pool_run(attention->rank->pool, attend, attention, n * attention->rank->kv_heads);
}

/* The three calls of a token: attention, feed-forward, classifier. */
#include "tessera.h"

#include <stddef.h>
#include <string.h>

#include "attention.h"
#include "cache.h"
#include "half.h"
#include "ops.h"
#include "pool.h"
#include "tiles.h"

/* Where the arrays of a call live in the scratch memory; sizes are for `batch` positions. */
struct scratch {
    struct columns columns;  /* quantised input of a product */
    float *normed;           /* (hidden,) */
    float *wide;             /* (batch, rows of qkv or of gate and up) */
    float *mixed;            /* (batch, heads * head_dim) */
    float *scores;           /* (threads, attention_scratch()) */
    size_t bytes;
};

static int32_t padded(int32_t size, int32_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t qkv_rows(const struct tessera_rank *rank)
{
    const int32_t dim = rank->head_dim;
    return padded(rank->heads * dim, TILE_ROWS) + 2 * padded(rank->kv_heads * dim, TILE_ROWS);
}

static void *take(const struct tessera_rank *rank, size_t *offset, size_t bytes)
{
    void *at = rank->scratch == NULL ? NULL : rank->scratch + *offset;
    *offset += (bytes + 63) / 64 * 64;
    return at;
}

static struct scratch layout(const struct tessera_rank *rank)
{
    const int32_t q = rank->heads * rank->head_dim;
    const int32_t widest = larger(larger(rank->hidden, q), rank->ffn);
    const int32_t rows = larger(qkv_rows(rank), 2 * padded(rank->ffn, TILE_ROWS));
    const size_t batch = (size_t)rank->batch, groups = (size_t)padded(widest, TILE_COLUMNS) / TILE_COLUMNS;
    struct scratch s = {0};
    s.columns.values = take(rank, &s.bytes, batch * groups * TILE_COLUMNS);
    s.columns.scales = take(rank, &s.bytes, batch * groups * sizeof(float));
    s.columns.sums = take(rank, &s.bytes, batch * groups * sizeof(int32_t));
    if (rank->bits == 32)
        s.columns.plain = take(rank, &s.bytes, batch * groups * TILE_COLUMNS * sizeof(float));
    s.normed = take(rank, &s.bytes, (size_t)rank->hidden * sizeof(float));
    s.wide = take(rank, &s.bytes, batch * (size_t)rows * sizeof(float));
    s.mixed = take(rank, &s.bytes, batch * (size_t)q * sizeof(float));
    s.scores = take(rank, &s.bytes,
                    (size_t)pool_threads(rank->pool) * attention_scratch(rank) * sizeof(float));
    return s;
}

int32_t tessera_abi(void)
{
    return TESSERA_ABI;
}

int64_t tessera_scratch_bytes(const struct tessera_rank *rank)
{
    return (int64_t)layout(rank).bytes;
}

/* ---- products ---- */

static void set_columns(struct columns *x, int32_t columns)
{
    x->groups = padded(columns, TILE_COLUMNS) / TILE_COLUMNS;
}

/* Make position `at` of a product's input. */
static void put_column(const struct tessera_rank *rank, const struct columns *x, int32_t at,
                       const float *values, int32_t size)
{
    const size_t groups = (size_t)x->groups, row = (size_t)at;
    if (rank->bits == 32) {
        float *plain = x->plain + row * groups * TILE_COLUMNS;
        memset(plain, 0, groups * TILE_COLUMNS * sizeof *plain);
        memcpy(plain, values, (size_t)size * sizeof *plain);
    } else {
        quantize_groups(values, (size_t)size, x->values + row * groups * TILE_COLUMNS,
                        x->scales + row * groups, x->sums + row * groups);
    }
}

static size_t tile_bytes(const struct tessera_rank *rank)
{
    return rank->bits == 4 ? TILE_BYTES_I4 : rank->bits == 8 ? TILE_BYTES_I8 : TILE_BYTES_F32;
}

/* A product that runs on all threads, in rows of tiles. */
struct product {
    const struct tessera_rank *rank;
    const uint8_t *tiles;
    const struct columns *x;
    int32_t rows, stride, n;
    float *out;       /* (n, stride) */
    int64_t *fixed;   /* or this, (n, rows) */
};

static void copy_rows(const struct product *p, int32_t tile_row, int32_t first, int32_t n,
                      const float *block)
{
    const int32_t row = tile_row * TILE_ROWS;
    const int32_t rows = p->rows - row < TILE_ROWS ? p->rows - row : TILE_ROWS;
    for (int32_t c = 0; c < n; c++)
        memcpy(p->out + (size_t)(first + c) * (size_t)p->stride + row, block + c * TILE_ROWS,
               (size_t)rows * sizeof *block);
}

static void multiply(const void *context, int32_t begin, int32_t end, int32_t thread)
{
    const struct product *p = context;
    const size_t row_bytes = (size_t)p->x->groups * tile_bytes(p->rank);
    (void)thread;
    for (int32_t row = begin; row < end; row++) {
        const uint8_t *tile = p->tiles + (size_t)row * row_bytes;
        for (int32_t first = 0; first < p->n; first += TILE_BATCH) {
            float block[TILE_BATCH * TILE_ROWS];
            const int32_t n = p->n - first < TILE_BATCH ? p->n - first : TILE_BATCH;
            if (p->rank->bits == 4)
                tile_row_i4(tile, p->x, first, n, block);
            else if (p->rank->bits == 8)
                tile_row_i8(tile, p->x, first, n, block);
            else
                tile_row_f32(tile, p->x, first, n, block);
            copy_rows(p, row, first, n, block);
        }
    }
}

static void multiply_fixed(const void *context, int32_t begin, int32_t end, int32_t thread)
{
    const struct product *p = context;
    const size_t row_bytes = (size_t)p->x->groups * tile_bytes(p->rank);
    (void)thread;
    for (int32_t row = begin; row < end; row++)
        for (int32_t c = 0; c < p->n; c++) {
            int64_t block[TILE_ROWS];
            tile_row_fixed(p->tiles + (size_t)row * row_bytes, p->x, c, block);
            for (int32_t r = 0; r < TILE_ROWS && row * TILE_ROWS + r < p->rows; r++) {
                const size_t at = (size_t)c * (size_t)p->stride + (size_t)(row * TILE_ROWS + r);
                if (p->fixed != NULL)
                    p->fixed[at] = block[r];
                else
                    p->out[at] = (float)((double)block[r] / 16777216.0);
            }
        }
}

static void run_product(const struct product *product)
{
    const int32_t tile_rows = padded(product->rows, TILE_ROWS) / TILE_ROWS;
    pool_run(product->rank->pool, product->rank->fixed_point ? multiply_fixed : multiply, product,
             tile_rows);
}

/* A product inside the rank: float, rows padded to `stride`. */
static void project(const struct tessera_rank *rank, const uint8_t *tiles, const struct columns *x,
                    int32_t rows, int32_t n, float *out)
{
    const struct product product = {rank, tiles, x, rows, rows, n, out, NULL};
    run_product(&product);
}

/* A product whose sums continue on other ranks. */
static void project_partial(const struct tessera_rank *rank, const uint8_t *tiles,
                            const struct columns *x, int32_t rows, int32_t n, void *out)
{
    const struct product product = {rank, tiles, x, rows, rows, n, rank->fixed_point ? NULL : out,
                                    rank->fixed_point ? out : NULL};
    run_product(&product);
}

static void put_normed(const struct tessera_rank *rank, struct scratch *s, const float *hidden,
                       const float *norm, int32_t n)
{
    set_columns(&s->columns, rank->hidden);
    for (int32_t i = 0; i < n; i++) {
        rms_norm(hidden + (size_t)i * (size_t)rank->hidden, norm, (size_t)rank->hidden,
                 rank->norm_eps, s->normed);
        put_column(rank, &s->columns, i, s->normed, rank->hidden);
    }
}

/* ---- attention ---- */

static void finish_heads(const struct tessera_rank *rank, float *rows, int32_t heads,
                         const float *bias, const float *norm, const float *rotation,
                         const float *sines)
{
    const size_t dim = (size_t)rank->head_dim;
    if (bias != NULL)
        add_scaled(rows, bias, 1.0f, (size_t)heads * dim);
    for (int32_t head = 0; head < heads && rotation != NULL; head++) {
        float *row = rows + (size_t)head * dim;
        if (norm != NULL)
            rms_norm(row, norm, dim, rank->norm_eps, row);
        rotate(row, rotation, sines, dim, rank->interleaved);
    }
}

/* Bias, head norm and rotation of one position's q, k and v; k and v go to the cache. */
static void finish_qkv(const struct tessera_rank *rank, const struct tessera_attention *block,
                       uint8_t *cache, float *qkv, const float *cosines, const float *sines,
                       int32_t position)
{
    const int32_t dim = rank->head_dim;
    float *k = qkv + padded(rank->heads * dim, TILE_ROWS);
    float *v = k + padded(rank->kv_heads * dim, TILE_ROWS);
    finish_heads(rank, qkv, rank->heads, block->q_bias, block->q_norm, cosines, sines);
    finish_heads(rank, k, rank->kv_heads, block->k_bias, block->k_norm, cosines, sines);
    finish_heads(rank, v, rank->kv_heads, block->v_bias, NULL, NULL, NULL);
    for (int32_t head = 0; head < rank->kv_heads; head++) {
        cache_store(rank, cache, CACHE_KEY, head, position, k + head * dim,
                    cache_order(rank, block->order, CACHE_KEY, head));
        cache_store(rank, cache, CACHE_VALUE, head, position, v + head * dim,
                    cache_order(rank, block->order, CACHE_VALUE, head));
    }
}

void tessera_attention(const struct tessera_rank *rank, const struct tessera_attention *block,
                       uint8_t *cache, const float *hidden, const float *rotation,
                       int32_t n, int32_t position, void *out)
{
    struct scratch s = layout(rank);
    const size_t half = (size_t)rank->head_dim / 2, width = (size_t)qkv_rows(rank);
    const int32_t q = rank->heads * rank->head_dim;
    put_normed(rank, &s, hidden, block->norm, n);
    project(rank, block->qkv, &s.columns, qkv_rows(rank), n, s.wide);
    for (int32_t i = 0; i < n; i++)
        finish_qkv(rank, block, cache, s.wide + (size_t)i * width, rotation + (size_t)i * half,
                   rotation + (size_t)(n + i) * half, position + i);
    const struct attention attention = {rank, cache, block->order, block->window, position,
                                        s.wide, width, s.mixed, s.scores};
    attention_run(&attention, n);
    set_columns(&s.columns, q);
    for (int32_t i = 0; i < n; i++)
        put_column(rank, &s.columns, i, s.mixed + (size_t)i * (size_t)q, q);
    project_partial(rank, block->o, &s.columns, rank->hidden, n, out);
}

/* ---- the rest ---- */

void tessera_embed(const uint8_t *rows, int64_t size, int32_t halfs, float scale, float *out)
{
    if (halfs)
        halfs_to_floats(rows, out, (size_t)size);
    else
        memcpy(out, rows, (size_t)size * sizeof *out);
    for (size_t i = 0; i < (size_t)size; i++)
        out[i] *= scale;
}

void tessera_feed_forward(const struct tessera_rank *rank,
                          const struct tessera_feed_forward *block, const float *hidden,
                          int32_t n, void *out)
{
    struct scratch s = layout(rank);
    const int32_t half = padded(rank->ffn, TILE_ROWS);
    put_normed(rank, &s, hidden, block->norm, n);
    project(rank, block->gate_up, &s.columns, 2 * half, n, s.wide);
    set_columns(&s.columns, rank->ffn);
    for (int32_t i = 0; i < n; i++) {
        float *gate = s.wide + (size_t)i * 2 * (size_t)half;
        (rank->gelu ? gated_gelu : gated_silu)(gate, gate + half, (size_t)rank->ffn);
        put_column(rank, &s.columns, i, gate, rank->ffn);
    }
    project_partial(rank, block->down, &s.columns, rank->hidden, n, out);
}

void tessera_combine(const struct tessera_rank *rank, const float *norm, const void *total,
                     int32_t fixed, int32_t n, float *hidden)
{
    const struct scratch s = layout(rank);
    const size_t size = (size_t)rank->hidden;
    for (size_t row = 0; row < (size_t)n; row++) {
        float *sum = hidden + row * size;
        if (fixed)
            for (size_t i = 0; i < size; i++)
                s.normed[i] = (float)((double)((const int64_t *)total)[row * size + i] / 16777216.0);
        else
            memcpy(s.normed, (const float *)total + row * size, size * sizeof *sum);
        if (norm != NULL)
            rms_norm(s.normed, norm, size, rank->norm_eps, s.normed);
        for (size_t i = 0; i < size; i++)
            sum[i] += s.normed[i];
    }
}

void tessera_logits(const struct tessera_rank *rank, const uint8_t *classifier, const float *norm,
                    const float *hidden, int32_t n, float *out)
{
    struct scratch s = layout(rank);
    put_normed(rank, &s, hidden, norm, n);
    project(rank, classifier, &s.columns, rank->vocab, n, out);
    if (rank->logit_softcap > 0)
        softcap(out, (size_t)n * (size_t)rank->vocab, rank->logit_softcap);
}

void tessera_matmul(const struct tessera_rank *rank, const uint8_t *tiles, int32_t rows,
                    int32_t columns, const float *x, int32_t n, void *out)
{
    struct scratch s = layout(rank);
    set_columns(&s.columns, columns);
    for (int32_t i = 0; i < n; i++)
        put_column(rank, &s.columns, i, x + (size_t)i * (size_t)columns, columns);
    project_partial(rank, tiles, &s.columns, rows, n, out);
}

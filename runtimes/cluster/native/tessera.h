/* One rank's arithmetic, called once per block between two exchanges.
 *
 * All arrays are row-major, little-endian, owned by the caller. "n" counts token positions; no
 * call takes more than `batch` of them. Nothing here allocates, except a pool of threads.
 */
#ifndef TESSERA_CLUSTER_H
#define TESSERA_CLUSTER_H

#include <stdint.h>

enum { TESSERA_ABI = 5 };

enum tessera_kv {
    TESSERA_KV_F32 = 0,
    TESSERA_KV_F16 = 1,
    TESSERA_KV_INT8 = 2,
    TESSERA_KV_BLOCKS = 3, /* block floating point */
};

struct tessera_pool;

/* What does not change over a run. Counts are this rank's own, not the model's. */
struct tessera_rank {
    int32_t hidden;             /* width of the residual stream */
    int32_t head_dim;
    int32_t heads;              /* own query heads */
    int32_t kv_heads;           /* own key/value heads */
    int32_t group;              /* most own query heads that read one key/value head */
    int32_t ffn;                /* own feed-forward columns */
    int32_t vocab;              /* own classifier rows */
    int32_t bits;               /* of a weight: 4, 8 or 32 */
    int32_t kv_kind;            /* enum tessera_kv */
    int32_t kv_bits;            /* of a block floating point mantissa, 4 to 8 */
    int32_t capacity;           /* positions of a sequence */
    int32_t interleaved;        /* rotated pairs are (2i, 2i+1), else (i, i + head_dim/2) */
    int32_t gelu;               /* gate activation is tanh-GELU, else SiLU */
    int32_t fixed_point;        /* partial sums are int64 in units of 2^-24 (32-bit weights) */
    int32_t batch;              /* most positions of a call */
    float norm_eps;
    float attention_scale;
    float attention_softcap;    /* 0: none */
    float logit_softcap;        /* 0: none */
    const int32_t *kv_of_head;  /* (heads,) own query head -> own key/value head */
    struct tessera_pool *pool;  /* NULL: one thread */
    uint8_t *scratch;           /* tessera_scratch_bytes() bytes, 64-byte aligned */
};

/* One layer's attention. Biases and head norms may be NULL. */
struct tessera_attention {
    const uint8_t *qkv;   /* tiles of q, k and v, each padded to whole tiles */
    const uint8_t *o;     /* tiles (hidden, heads * head_dim) */
    const float *norm;    /* (hidden,) */
    const float *q_bias;
    const float *k_bias;
    const float *v_bias;
    const float *q_norm;  /* (head_dim,) */
    const float *k_norm;
    const int32_t *order; /* (2, kv_heads, head_dim): channel at each place of a cached key, and of a
                           * cached value; block floating point only */
    int32_t window;       /* positions seen, 0: all */
};

/* One layer's gated feed-forward. */
struct tessera_feed_forward {
    const uint8_t *gate_up;  /* tiles of gate and up, each padded to whole tiles */
    const uint8_t *down;     /* tiles (hidden, ffn) */
    const float *norm;       /* (hidden,) */
};

/* How a token is chosen. */
struct tessera_sampling {
    double temperature; /* 0: the likeliest */
    double top_p;       /* 1: all */
    double floor;       /* logits less than the largest + floor (<= 0) are dropped: ln(min_p) */
    int64_t seed;
    int32_t top_k;      /* 0: all */
};

int32_t tessera_abi(void);

/* `threads` - 1 sleeping threads; NULL if they cannot be started. */
struct tessera_pool *tessera_pool_new(int32_t threads);
void tessera_pool_free(struct tessera_pool *pool);

int64_t tessera_scratch_bytes(const struct tessera_rank *rank);

/* Bytes of one layer's keys and values of one sequence. */
int64_t tessera_cache_bytes(const struct tessera_rank *rank);

/* Embedding rows as a shard has them, `size` numbers, fp16 if `halfs`, else float: out times scale. */
void tessera_embed(const uint8_t *rows, int64_t size, int32_t halfs, float scale, float *out);

/* Attention of positions position .. position+n-1; appends their keys and values to the cache.
 * hidden (n, hidden); rotation (2, n, head_dim/2): cosines, sines; out (n, hidden): float partial
 * sums, or int64 if rank->fixed_point. */
void tessera_attention(const struct tessera_rank *rank, const struct tessera_attention *block,
                       uint8_t *cache, const float *hidden, const float *rotation,
                       int32_t n, int32_t position, void *out);

void tessera_feed_forward(const struct tessera_rank *rank,
                          const struct tessera_feed_forward *block, const float *hidden,
                          int32_t n, void *out);

/* Add the sum over all ranks (n, hidden), float or int64 if `fixed`, to hidden; `norm` (hidden,), if
 * not NULL, is applied to the sum first. */
void tessera_combine(const struct tessera_rank *rank, const float *norm, const void *total,
                     int32_t fixed, int32_t n, float *hidden);

/* Final norm and own classifier rows: out (n, vocab). */
void tessera_logits(const struct tessera_rank *rank, const uint8_t *classifier, const float *norm,
                    const float *hidden, int32_t n, float *out);

/* Choose a token from logits (vocab,); the random number hangs on seed and position alone. */
int32_t tessera_sample(const struct tessera_sampling *how, const float *logits, int32_t vocab,
                       int64_t position);

/* The likeliest tokens (rows,) of logits (rows, vocab), the first of equals. */
void tessera_likeliest(const float *logits, int32_t rows, int32_t vocab, int32_t *out);

/* Read 64-byte aligned memory once; returns the XOR of its 64-bit words (whole 256 bytes only). */
uint64_t tessera_stream(const uint8_t *data, int64_t size);

/* Quantise a matrix (rows, columns) to 4 or 8 bits, in tiles. */
void tessera_pack(const float *matrix, int32_t rows, int32_t columns, int32_t bits, uint8_t *out);

/* Partial sums (size,) as int8 payload and back: (size + 31) / 32 groups of 34 bytes. */
void tessera_encode_sums(const float *sums, int64_t size, uint8_t *out);
void tessera_decode_sums(const uint8_t *payload, int64_t size, float *out);

/* The same as fp16: 2 bytes per value. */
void tessera_encode_halfs(const float *sums, int64_t size, uint8_t *out);
void tessera_decode_halfs(const uint8_t *payload, int64_t size, float *out);

/* A row (size,) as block floating point, its number i being row[order[i]], and rows (count, size)
 * back: see blocks.h. */
void tessera_encode_blocks(const float *row, const int32_t *order, int32_t size, int32_t bits,
                           uint8_t *out);
void tessera_decode_blocks(const uint8_t *rows, int32_t count, int32_t size, int32_t bits,
                           float *out);

/* Add (ranks, size) float, or int64 if `fixed`, into rank 0 in one fixed order: ranks beyond the
 * largest power of two are folded in, then neighbours at distance 1, 2, 4 ... are added. The other
 * ranks are overwritten. */
void tessera_add_ranks(void *values, int32_t ranks, int64_t size, int32_t fixed);

/* Plain product for tests and measurements: x (n, columns), out (n, rows). */
void tessera_matmul(const struct tessera_rank *rank, const uint8_t *tiles, int32_t rows,
                    int32_t columns, const float *x, int32_t n, void *out);

#endif

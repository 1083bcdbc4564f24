/* From logits to a token, the same one as `runtimes.cluster.array_sampler` chooses.
 *
 * A token weighs e^(logit - largest logit) in units of 2^-40, a whole number. Sums of whole numbers
 * do not depend on their order, so every compiler and vector width keeps and draws the same tokens.
 *
 * Tokens stand in order of their logits, the largest first, the lower id first among equals. Top-k
 * and top-p keep the beginning of this order. Its end is found without sorting: logits are read as
 * integers of the same order, and what each value of their leading digits adds up to tells in which
 * of them the end lies; then the next digits, of these tokens alone (radix selection). */
#include <math.h>
#include <string.h>

#include "tessera.h"

enum { LANES = 32, PART = 64, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* What is left of the vocabulary: the order up to the token `last_id`, whose key is `last_key`. */
struct candidates {
    const float *logits;
    int32_t count;
    float largest;
    uint32_t last_key;
    int32_t last_id;
};

/* Consecutive tokens. The key of a token that is not selected is 0, and it weighs nothing. */
struct part {
    int32_t size;
    double below[PART]; /* logit - largest */
    uint32_t keys[PART];
    int64_t weights[PART];
};

/* ---- tokens ---- */

static float largest_of(const float *logits, int32_t count)
{
    float lanes[LANES], largest = -INFINITY;
    int32_t i = 0;
    for (int32_t l = 0; l < LANES; l++)
        lanes[l] = -INFINITY;
    for (; i + LANES <= count; i += LANES)
        for (int32_t l = 0; l < LANES; l++)
            lanes[l] = logits[i + l] > lanes[l] ? logits[i + l] : lanes[l];
    for (; i < count; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (int32_t l = 0; l < LANES; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    return largest;
}

/* The first of the largest logits; what is no number counts as minus infinity. */
static int32_t likeliest(const float *logits, int32_t count)
{
    const float largest = largest_of(logits, count);
    int32_t i = 0;
    for (int32_t found = 0; i + PART <= count; i += PART) {
        for (int32_t j = 0; j < PART; j++)
            found |= logits[i + j] == largest;
        if (found)
            break;
    }
    for (; i < count; i++)
        if (logits[i] == largest && largest > -INFINITY)
            return i;
    return 0;
}

/* An integer, never 0, that is larger for larger logits; equal for both zeros. */
static inline uint32_t key_of(float logit)
{
    const float number = logit > -INFINITY ? logit + 0.0f : -INFINITY;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

static inline uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^below in units of 2^-40, for below <= 0; 0 for what is no number.
 * e^below = 2^-n e^r with |r| <= ln 2 / 2, and e^r by its Taylor series. Beside 1.5 * 2^52 the last
 * bit of a double is 1, beside 2^12 it is 2^-40: additions round, and the bits are the integer. */
static inline int64_t weight_of(double below)
{
    static const double WHOLE = 6755399441055744.0, LOG2_E = 1.4426950408889634,
                        LN_2 = 0.6931471805599453;
    const double x = below > -40.0 ? below : -40.0;
    const double shifted = x * LOG2_E + WHOLE;
    const double r = x - (shifted - WHOLE) * LN_2;
    double e = 1.0 / 3628800;
    e = e * r + 1.0 / 362880;
    e = e * r + 1.0 / 40320;
    e = e * r + 1.0 / 5040;
    e = e * r + 1.0 / 720;
    e = e * r + 1.0 / 120;
    e = e * r + 1.0 / 24;
    e = e * r + 1.0 / 6;
    e = e * r + 1.0 / 2;
    e = e * r + 1.0;
    e = e * r + 1.0;
    const uint64_t n = bits_of(WHOLE) - bits_of(shifted);
    return (int64_t)((bits_of(e + 4096.0) & 0xfffffffffffffu) >> n);
}

/* Read the tokens from `first` on; returns whether any is a candidate with a key in low .. high. */
static int select_part(const struct candidates *c, int32_t first, uint32_t low, uint32_t high,
                       struct part *part)
{
    uint32_t any = 0;
    part->size = c->count - first < PART ? c->count - first : PART;
    for (int32_t i = 0; i < part->size; i++) {
        const uint32_t key = key_of(c->logits[first + i]);
        const uint32_t is_left = (key > c->last_key) | ((key == c->last_key) & (first + i <= c->last_id));
        part->keys[i] = key & (0u - (is_left & (key >= low) & (key <= high)));
        any |= part->keys[i];
    }
    return any != 0;
}

/* Weigh the selected tokens whose logit is at least the largest + `floor`; returns the sum. */
static int64_t weigh_part(const struct candidates *c, int32_t first, double inverse, double floor,
                          struct part *part)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < part->size; i++)
        part->below[i] = (double)c->logits[first + i] - (double)c->largest;
    for (int32_t i = 0; i < part->size; i++) {
        const int64_t weight = weight_of(part->below[i] * inverse);
        part->weights[i] = part->keys[i] != 0 && part->below[i] >= floor ? weight : 0;
        sum += part->weights[i];
    }
    return sum;
}

static int64_t weigh_all(const struct candidates *c, double inverse, double floor)
{
    struct part part;
    int64_t sum = 0;
    for (int32_t first = 0; first < c->count; first += PART)
        if (select_part(c, first, 0, UINT32_MAX, &part))
            sum += weigh_part(c, first, inverse, floor, &part);
    return sum;
}

/* ---- filters ---- */

/* What the selected tokens add to a sum: their weights, or one each. */
static void measure(const struct candidates *c, int32_t first, int by_weight, struct part *part)
{
    if (by_weight)
        weigh_part(c, first, 1.0, -INFINITY, part);
    else
        for (int32_t i = 0; i < part->size; i++)
            part->weights[i] = part->keys[i] != 0;
}

/* For each digit at `shift` of the keys low .. high: how many candidates, or what they weigh. */
static void add_up(const struct candidates *c, uint32_t low, uint32_t high, int32_t shift,
                   int by_weight, int64_t *sums)
{
    struct part part;
    memset(sums, 0, DIGITS * sizeof *sums);
    for (int32_t first = 0; first < c->count; first += PART) {
        if (!select_part(c, first, low, high, &part))
            continue;
        measure(c, first, by_weight, &part);
        for (int32_t i = 0; i < part.size; i++)
            sums[part.keys[i] >> shift & (DIGITS - 1)] += part.weights[i];
    }
}

/* Keep what comes before the tokens of one key, and of these, by id, what it takes to reach `limit`. */
static void keep_equals(struct candidates *c, uint32_t key, int64_t limit, int by_weight)
{
    struct part part;
    int32_t last = 0;
    for (int32_t first = 0; first < c->count && limit > 0; first += PART) {
        if (!select_part(c, first, key, key, &part))
            continue;
        measure(c, first, by_weight, &part);
        for (int32_t i = 0; i < part.size && limit > 0; i++) {
            limit -= part.weights[i];
            last = first + i;
        }
    }
    c->last_key = key;
    c->last_id = last;
}

/* Keep the beginning of the order, up to the token with which the count, or the weight, reaches
 * `limit`: at least 1, and at most that of all candidates. */
static void keep(struct candidates *c, int64_t limit, int by_weight)
{
    static const int32_t SHIFTS[] = {32 - DIGIT_BITS, 32 - 2 * DIGIT_BITS, 0};
    int64_t sums[DIGITS];
    uint32_t low = 0, high = UINT32_MAX;
    for (size_t level = 0; level < sizeof SHIFTS / sizeof *SHIFTS; level++) {
        uint32_t digit = DIGITS - 1;
        add_up(c, low, high, SHIFTS[level], by_weight, sums);
        while (digit > 0 && sums[digit] < limit)
            limit -= sums[digit--];
        low |= digit << SHIFTS[level];
        high = low | ((1u << SHIFTS[level]) - 1u);
    }
    keep_equals(c, low, limit, by_weight);
}

/* ---- the draw ---- */

/* The upper half of a product. */
static uint64_t high_product(uint64_t a, uint64_t b)
{
    const uint64_t a0 = a & UINT32_MAX, a1 = a >> 32, b0 = b & UINT32_MAX, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & UINT32_MAX);
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

/* The number of a seed at a position: Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers:
 * as easy as 1, 2, 3"), its first word for the counter position + 1, as numpy has it. */
static uint64_t random_at(uint64_t seed, uint64_t position)
{
    uint64_t x[4] = {position + 1, 0, 0, 0}, keys[2] = {seed, 0};
    for (int round = 0; round < 10; round++) {
        const uint64_t a = x[0], b = x[2];
        x[0] = high_product(0xCA5A826395121157u, b) ^ x[1] ^ keys[0];
        x[1] = 0xCA5A826395121157u * b;
        x[2] = high_product(0xD2E7470EE14C6C93u, a) ^ x[3] ^ keys[1];
        x[3] = 0xD2E7470EE14C6C93u * a;
        keys[0] += 0x9E3779B97F4A7C15u;
        keys[1] += 0xBB67AE8584CAA73Bu;
    }
    return x[0];
}

/* The candidate at which the weights, added up by id, pass `target`. */
static int32_t find(const struct candidates *c, double inverse, double floor, int64_t target)
{
    struct part part;
    for (int32_t first = 0; first < c->count; first += PART) {
        if (!select_part(c, first, 0, UINT32_MAX, &part))
            continue;
        const int64_t sum = weigh_part(c, first, inverse, floor, &part);
        for (int32_t i = 0; sum > target && i < part.size; i++) {
            target -= part.weights[i];
            if (target < 0)
                return first + i;
        }
        target -= sum;
    }
    return c->count - 1;
}

int32_t tessera_sample(const struct tessera_sampling *how, const float *logits, int32_t vocab,
                       int64_t position)
{
    const int32_t best = likeliest(logits, vocab);
    if (how->temperature == 0)
        return best;
    struct candidates c = {logits, vocab, logits[best], 0, 0};
    if (how->top_k > 0 && how->top_k < vocab)
        keep(&c, how->top_k, 0);
    if (how->top_p < 1) {
        const int64_t mass = weigh_all(&c, 1.0, -INFINITY);
        const int64_t limit = (int64_t)ceil(how->top_p * (double)mass);
        keep(&c, limit < 1 ? 1 : limit > mass ? mass : limit, 1);
    }
    const double inverse = 1.0 / how->temperature;
    const int64_t mass = weigh_all(&c, inverse, how->floor);
    if (mass == 0) /* the logits are no numbers */
        return best;
    const uint64_t random = random_at((uint64_t)how->seed, (uint64_t)position);
    return find(&c, inverse, how->floor, (int64_t)high_product(random, (uint64_t)mass));
}

void tessera_likeliest(const float *logits, int32_t rows, int32_t vocab, int32_t *out)
{
    for (int32_t row = 0; row < rows; row++)
        out[row] = likeliest(logits + (size_t)row * (size_t)vocab, vocab);
}

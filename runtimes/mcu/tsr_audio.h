/* The arithmetic of an audio front end: a real Fourier transform, square roots and logarithms, in
 * integers. The Python twin, which says more, is toolchain/frontend/audio.py. */
#ifndef TSR_AUDIO_H
#define TSR_AUDIO_H

#include <stdint.h>

/* A complex number; 29 bits and a sign on the way in, both parts below 2^30 ever after. */
typedef struct {
    int32_t re, im;
} tsr_complex;

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define TSR_NARROW_PRODUCTS /* the core's products have 32 bits */
#endif

/* a * b / 2^32, rounded down, for |a| < 2^29.5 and |b| <= 2^30. */
static inline int32_t tsr_high(int32_t a, int32_t b)
{
#ifdef TSR_NARROW_PRODUCTS
    const int32_t a_top = a >> 16, b_top = b >> 16, a_low = a & 0xFFFF, b_low = b & 0xFFFF;
    const int32_t low = (int32_t)((uint32_t)a_low * (uint32_t)b_low >> 16);
    return a_top * b_top + ((a_top * b_low + a_low * b_top + low) >> 16);
#else
    return (int32_t)((int64_t)a * b >> 32);
#endif
}

/* a * b. */
static inline uint64_t tsr_product(uint32_t a, uint32_t b)
{
#ifdef TSR_NARROW_PRODUCTS
    const uint32_t low = (a & 0xFFFFu) * (b & 0xFFFFu);
    const uint32_t middle = (a & 0xFFFFu) * (b >> 16) + (low >> 16);
    const uint32_t other = (a >> 16) * (b & 0xFFFFu) + (middle & 0xFFFFu);
    const uint32_t top = (a >> 16) * (b >> 16) + (middle >> 16) + (other >> 16);
    return (uint64_t)top << 32 | (other << 16 | (low & 0xFFFFu));
#else
    return (uint64_t)a * b;
#endif
}

static inline uint32_t tsr_size(int32_t x)
{
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

/* a * b. */
static inline int64_t tsr_signed_product(int32_t a, int32_t b)
{
#ifdef TSR_NARROW_PRODUCTS
    const int64_t size = (int64_t)tsr_product(tsr_size(a), tsr_size(b));
    return (a ^ b) < 0 ? -size : size;
#else
    return (int64_t)a * b;
#endif
}

/* a * b / 4, b being a turn. */
static inline tsr_complex tsr_turned(tsr_complex a, const int32_t b[2])
{
    const int32_t cosine = b[0], sine = b[1];
    const int32_t re = tsr_high(a.re, cosine) - tsr_high(a.im, sine);
    return (tsr_complex){re, tsr_high(a.re, sine) + tsr_high(a.im, cosine)};
}

/* Order x by its indices' bits read backwards; count is a power of two. */
static inline void tsr_reverse(tsr_complex *x, int count)
{
    for (int i = 1, j = 0; i < count; i++) {
        int bit = count >> 1;
        for (; j & bit; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            const tsr_complex other = x[i];
            x[i] = x[j];
            x[j] = other;
        }
    }
}

/* The first two stages, whose turns are 1 and -i, on four numbers. */
static inline void tsr_four(tsr_complex *x)
{
    const int32_t sum_re = (x[0].re + x[1].re) >> 1, sum_im = (x[0].im + x[1].im) >> 1;
    const int32_t less_re = (x[0].re - x[1].re) >> 1, less_im = (x[0].im - x[1].im) >> 1;
    const int32_t next_re = (x[2].re + x[3].re) >> 1, next_im = (x[2].im + x[3].im) >> 1;
    const int32_t last_re = (x[2].re - x[3].re) >> 1, last_im = (x[2].im - x[3].im) >> 1;

    x[0] = (tsr_complex){(sum_re + next_re) >> 1, (sum_im + next_im) >> 1};
    x[1] = (tsr_complex){(less_re + last_im) >> 1, (less_im - last_re) >> 1};
    x[2] = (tsr_complex){(sum_re - next_re) >> 1, (sum_im - next_im) >> 1};
    x[3] = (tsr_complex){(less_re - last_im) >> 1, (less_im + last_re) >> 1};
}

/* The transform of count complex numbers over count, in place; turns holds e^(-pi i k / count) for
 * k < count, which are twice as many steps as it needs and as many as tsr_bins needs. */
static inline void tsr_transform(tsr_complex *x, int count, const int32_t (*turns)[2])
{
    tsr_reverse(x, count);
    for (int i = 0; i < count; i += 4) {
        tsr_four(x + i);
    }
    for (int size = 4; size < count; size *= 2) {
        for (int k = 0; k < size; k++) {
            const int32_t *turn = turns[k * (count / size)];
            for (tsr_complex *a = x + k; a < x + count; a += 2 * size) {
                const tsr_complex b = tsr_turned(a[size], turn);
                const int32_t re = a->re >> 1, im = a->im >> 1;
                *a = (tsr_complex){re + 2 * b.re, im + 2 * b.im};
                a[size] = (tsr_complex){re - 2 * b.re, im - 2 * b.im};
            }
        }
    }
}

/* Bins k and count - k (k <= count / 2) of the real signal whose even samples were transformed as
 * real parts and whose odd ones as imaginary parts; the second one conjugated. */
static inline void tsr_bins(const tsr_complex *x, int count, int k, const int32_t (*turns)[2], tsr_complex bins[2])
{
    const tsr_complex a = x[k], b = x[(count - k) & (count - 1)];
    const tsr_complex odd = {(a.im + b.im) >> 1, -((a.re - b.re) >> 1)};
    const tsr_complex turned = tsr_turned(odd, turns[k]);
    const int32_t re = (a.re + b.re) >> 1, im = (a.im - b.im) >> 1;
    bins[0] = (tsr_complex){re + 4 * turned.re, im + 4 * turned.im};
    bins[1] = (tsr_complex){re - 4 * turned.re, im - 4 * turned.im};
}

/* The number of bits of x. */
static inline int tsr_bits32(uint32_t x)
{
#if defined(__GNUC__) && !defined(TSR_NARROW_PRODUCTS)
    return x ? 32 - __builtin_clz(x) : 0;
#else
    int bits = 0;
    for (int step = 16; step > 0; step >>= 1) {
        if (x >> step) {
            x >>= step;
            bits += step;
        }
    }
    return bits + (x > 0);
#endif
}

static inline int tsr_bits(uint64_t x)
{
    const uint32_t top = (uint32_t)(x >> 32);
    return top ? 32 + tsr_bits32(top) : tsr_bits32((uint32_t)x);
}

/* re^2 + im^2. */
static inline uint64_t tsr_power(tsr_complex x)
{
    const uint32_t re = tsr_size(x.re), im = tsr_size(x.im);
    return tsr_product(re, re) + tsr_product(im, im);
}

/* The root of re^2 + im^2, of whose parts 15 bits from the larger one's first are counted. */
static inline uint32_t tsr_magnitude(tsr_complex x)
{
    uint32_t re = tsr_size(x.re), im = tsr_size(x.im), root = 0;
    const int bits = tsr_bits32(re | im), shift = bits > 15 ? bits - 15 : 0;
    re >>= shift;
    im >>= shift;
    uint32_t rest = re * re + im * im;
    for (uint32_t bit = UINT32_C(1) << 30; bit > 0; bit >>= 2) {
        const uint32_t tried = root + bit;
        root >>= 1;
        if (rest >= tried) {
            rest -= tried;
            root += bit;
        }
    }
    return root << shift;
}

/* log2(x) in 1 / 65536, for x > 0; table holds log2 of 1 to 2 in 64 pieces. */
static inline int32_t tsr_log2(uint64_t x, const int32_t *table)
{
    const int top = tsr_bits(x) - 1;
    const uint32_t mantissa = (uint32_t)((x << (63 - top)) >> 32) & 0x7FFFFFFFu;
    const int32_t *piece = table + (mantissa >> 25);
    const int32_t rest = (int32_t)(mantissa >> 9 & 0xFFFFu);
    return top * 65536 + piece[0] + (((piece[1] - piece[0]) * rest) >> 16);
}

#endif

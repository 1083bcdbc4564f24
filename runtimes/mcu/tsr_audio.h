/* The arithmetic of an audio front end: a real Fourier transform, square roots and logarithms, in
 * integers. The Python twin, which says more, is toolchain/frontend/audio.py. */
#ifndef TSR_AUDIO_H
#define TSR_AUDIO_H

#include <stdint.h>

/* A complex number; 29 bits and a sign on the way in. */
typedef struct {
    int32_t re, im;
} tsr_complex;

/* a * b / 2^31, b being a turn: rounded to nearest. */
static inline tsr_complex tsr_turned(tsr_complex a, const int32_t b[2])
{
    const int64_t half = (int64_t)1 << 30;
    const int64_t re = (int64_t)a.re * b[0] - (int64_t)a.im * b[1];
    const int64_t im = (int64_t)a.re * b[1] + (int64_t)a.im * b[0];
    return (tsr_complex){(int32_t)((re + half) >> 31), (int32_t)((im + half) >> 31)};
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

/* The transform of count complex numbers over count, in place; turns holds e^(-pi i k / count) for
 * k < count, which are twice as many steps as it needs and as many as tsr_bin_power needs. */
static inline void tsr_transform(tsr_complex *x, int count, const int32_t (*turns)[2])
{
    tsr_reverse(x, count);
    for (int size = 1; size < count; size *= 2) {
        for (int k = 0; k < size; k++) {
            const int32_t *turn = turns[k * (count / size)];
            for (int i = k; i < count; i += 2 * size) {
                const tsr_complex a = x[i], b = tsr_turned(x[i + size], turn);
                x[i].re = (a.re + b.re + 1) >> 1;
                x[i].im = (a.im + b.im + 1) >> 1;
                x[i + size].re = (a.re - b.re + 1) >> 1;
                x[i + size].im = (a.im - b.im + 1) >> 1;
            }
        }
    }
}

/* re^2 + im^2 of bin k (0 to count) of the real signal whose even samples were transformed as real
 * parts and whose odd ones as imaginary parts. */
static inline uint64_t tsr_bin_power(const tsr_complex *x, int count, int k, const int32_t (*turns)[2])
{
    static const int32_t half_turn[2] = {INT32_MIN, 0};
    const tsr_complex a = x[k & (count - 1)], b = x[(count - k) & (count - 1)];
    const tsr_complex odd = {(a.im + b.im) >> 1, -((a.re - b.re) >> 1)};
    const tsr_complex turned = tsr_turned(odd, k < count ? turns[k] : half_turn);
    const int64_t re = ((a.re + b.re) >> 1) + turned.re;
    const int64_t im = ((a.im - b.im) >> 1) + turned.im;
    return (uint64_t)(re * re) + (uint64_t)(im * im);
}

/* The number of bits of x. */
static inline int tsr_bits(uint64_t x)
{
    int bits = 0;
    for (int step = 32; step > 0; step >>= 1) {
        if (x >> step) {
            x >>= step;
            bits += step;
        }
    }
    return bits + (x > 0);
}

/* The square root, rounded down. */
static inline uint32_t tsr_square_root(uint64_t x)
{
    uint64_t root = 0, bit = x ? (uint64_t)1 << ((tsr_bits(x) - 1) & ~1) : 0;
    for (; bit > 0; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
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

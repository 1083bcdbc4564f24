/* The lanes of a word: the Arm DSP extension (Armv7E-M, Armv8-M) as functions, or portable C.
 *
 * A "pair" is two signed 16-bit lanes. Both texts mean the same, bit for bit.
 * Source: Armv7-M Architecture Reference Manual (DDI 0403), chapter A7. */
#ifndef TSR_LANES_H
#define TSR_LANES_H

#include <stdint.h>

#include "tsr_output.h"

/* The lanes of a pair. */
TSR_INLINE int32_t tsr_low(uint32_t pair)
{
    return (int16_t)(uint16_t)(pair & 0xFFFFu);
}

TSR_INLINE int32_t tsr_high(uint32_t pair)
{
    return (int16_t)(uint16_t)(pair >> 16);
}

#if defined(__ARM_FEATURE_DSP)

#define TSR_DSP_2(name, text)                                       \
    TSR_INLINE uint32_t name(uint32_t a, uint32_t b)                \
    {                                                               \
        uint32_t r;                                                 \
        __asm__(text : "=r"(r) : "r"(a), "r"(b));                   \
        return r;                                                   \
    }
#define TSR_DSP_3(name, text)                                       \
    TSR_INLINE int32_t name(uint32_t a, uint32_t b, int32_t acc)    \
    {                                                               \
        int32_t r;                                                  \
        __asm__(text : "=r"(r) : "r"(a), "r"(b), "r"(acc));         \
        return r;                                                   \
    }

/* acc + a.low * b.low + a.high * b.high, and single products of chosen lanes (b low, t high). */
TSR_DSP_3(tsr_smlad, "smlad %0, %1, %2, %3")
TSR_DSP_3(tsr_smlabb, "smlabb %0, %1, %2, %3")
TSR_DSP_3(tsr_smlabt, "smlabt %0, %1, %2, %3")
TSR_DSP_3(tsr_smlatb, "smlatb %0, %1, %2, %3")
TSR_DSP_3(tsr_smlatt, "smlatt %0, %1, %2, %3")
/* The pair of both low lanes (a below b), of both high lanes (a below b). */
TSR_DSP_2(tsr_pack_low, "pkhbt %0, %1, %2, lsl #16")
TSR_DSP_2(tsr_pack_high, "pkhtb %0, %2, %1, asr #16")

/* Bytes 0 and 2 as a pair, bytes 1 and 3 as a pair. */
TSR_INLINE uint32_t tsr_even(uint32_t word)
{
    uint32_t r;
    __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(word));
    return r;
}

TSR_INLINE uint32_t tsr_odd(uint32_t word)
{
    uint32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(word));
    return r;
}

/* Bytes 0 and 2, or 1 and 3, of a word added to the lanes of a pair. */
TSR_DSP_2(tsr_add_even, "sxtab16 %0, %1, %2")
TSR_DSP_2(tsr_add_odd, "sxtab16 %0, %1, %2, ror #8")

/* The greater one of each two bytes. */
TSR_INLINE uint32_t tsr_greater4(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b));
    return r;
}

#else

TSR_INLINE int32_t tsr_smlabb(uint32_t a, uint32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_low(a) * tsr_low(b));
}

TSR_INLINE int32_t tsr_smlabt(uint32_t a, uint32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_low(a) * tsr_high(b));
}

TSR_INLINE int32_t tsr_smlatb(uint32_t a, uint32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_high(a) * tsr_low(b));
}

TSR_INLINE int32_t tsr_smlatt(uint32_t a, uint32_t b, int32_t acc)
{
    return tsr_wrap(acc, tsr_high(a) * tsr_high(b));
}

TSR_INLINE int32_t tsr_smlad(uint32_t a, uint32_t b, int32_t acc)
{
    return tsr_smlatt(a, b, tsr_smlabb(a, b, acc));
}

TSR_INLINE uint32_t tsr_pack_low(uint32_t a, uint32_t b)
{
    return (a & 0xFFFFu) | b << 16;
}

TSR_INLINE uint32_t tsr_pack_high(uint32_t a, uint32_t b)
{
    return a >> 16 | (b & 0xFFFF0000u);
}

TSR_INLINE uint32_t tsr_even(uint32_t word)
{
    const uint32_t bytes = word & 0x00FF00FFu;
    return bytes | (bytes & 0x00800080u) * 0x1FEu;
}

TSR_INLINE uint32_t tsr_odd(uint32_t word)
{
    return tsr_even(word >> 8);
}

TSR_INLINE uint32_t tsr_add_pairs(uint32_t a, uint32_t b)
{
    return ((a + (b & 0xFFFFu)) & 0xFFFFu) | ((a & 0xFFFF0000u) + (b & 0xFFFF0000u));
}

TSR_INLINE uint32_t tsr_add_even(uint32_t pair, uint32_t word)
{
    return tsr_add_pairs(pair, tsr_even(word));
}

TSR_INLINE uint32_t tsr_add_odd(uint32_t pair, uint32_t word)
{
    return tsr_add_pairs(pair, tsr_odd(word));
}

TSR_INLINE uint32_t tsr_greater4(uint32_t a, uint32_t b)
{
    uint32_t r = 0;
    for (int i = 0; i < 32; i += 8) {
        const uint32_t p = a >> i & 0xFFu, q = b >> i & 0xFFu;
        r |= ((p ^ 0x80u) > (q ^ 0x80u) ? p : q) << i;
    }
    return r;
}

#endif

/* Two values as a pair. */
TSR_INLINE uint32_t tsr_pair(int32_t low, int32_t high)
{
    return tsr_pack_low((uint32_t)low, (uint32_t)high);
}

#endif

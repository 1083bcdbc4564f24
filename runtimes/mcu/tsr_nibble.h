/* 4-bit weights, two to a byte: the first in the low half. */
#ifndef TSR_NIBBLE_H
#define TSR_NIBBLE_H

#include <stdint.h>

/* The two weights of a byte. */
static inline int32_t tsr_low_nibble(int8_t byte)
{
    return (int8_t)(uint8_t)((uint32_t)(uint8_t)byte << 4) >> 4;
}

static inline int32_t tsr_high_nibble(int8_t byte)
{
    return byte >> 4;
}

/* `count` weights as bytes. */
static inline void tsr_unpack_nibbles(const int8_t *packed, int count, int8_t *out)
{
    for (; count > 1; count -= 2, packed++, out += 2) {
        out[0] = (int8_t)tsr_low_nibble(*packed);
        out[1] = (int8_t)tsr_high_nibble(*packed);
    }
    if (count) {
        *out = (int8_t)tsr_low_nibble(*packed);
    }
}

#endif

/* The four memory functions that compilers call by themselves, word by word where both ends are
 * aligned, or the core takes words from anywhere: the same speed and code with every toolchain. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define NO_IDIOM
#else
/* Else GCC recognises the loops below and replaces them by calls of these very functions. */
#define NO_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

typedef uint32_t __attribute__((may_alias)) word;
typedef uint32_t __attribute__((may_alias, aligned(1))) loose;

static int aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

/* Copies from the first byte to the last, each block read before it is written: the ends may overlap
 * where `to` lies before `from`. */
NO_IDIOM static __attribute__((noinline)) void *forward(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (aligned(d, s)) {
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
        for (; count >= 32; count -= 32) {
            __asm__ volatile("ldmia %0!, {r3, r4, r5, r6, r8, r9, r10, r12}\n\t"
                             "stmia %1!, {r3, r4, r5, r6, r8, r9, r10, r12}"
                             : "+r"(s), "+r"(d)
                             :
                             : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "memory");
        }
#else
#if defined(__thumb__)
        for (; count >= 16; count -= 16) {
            __asm__ volatile("ldmia %0!, {r3, r4, r5, r6}\n\t"
                             "stmia %1!, {r3, r4, r5, r6}"
                             : "+l"(s), "+l"(d)
                             :
                             : "r3", "r4", "r5", "r6", "memory");
        }
#endif
        for (; count >= 4; count -= 4, d += 4, s += 4) {
            *(word *)(void *)d = *(const word *)(const void *)s;
        }
#endif
    }
#if defined(__ARM_FEATURE_UNALIGNED)
    for (; count >= 8; count -= 8, d += 8, s += 8) {
        const uint32_t low = *(const loose *)s, high = *(const loose *)(s + 4);
        *(loose *)d = low;
        *(loose *)(d + 4) = high;
    }
    if (count >= 4) {
        *(loose *)d = *(const loose *)s;
        count -= 4, d += 4, s += 4;
    }
#endif
    while (count--) {
        *d++ = *s++;
    }
    return to;
}

NO_IDIOM void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    return forward(to, from, count);
}

NO_IDIOM void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= count) {
        return forward(to, from, count);
    }
    if (aligned(d + count, s + count)) {
        for (; count >= 4; count -= 4) {
            *(word *)(void *)(d + count - 4) = *(const word *)(const void *)(s + count - 4);
        }
    }
    while (count--) {
        d[count] = s[count];
    }
    return to;
}

NO_IDIOM void *memset(void *to, int value, size_t count)
{
    uint8_t *d = to;
    const uint8_t byte = (uint8_t)value;
    if (aligned(d, d)) {
        for (; count >= 4; count -= 4, d += 4) {
            *(word *)(void *)d = byte * 0x01010101u;
        }
    }
    while (count--) {
        *d++ = byte;
    }
    return to;
}

NO_IDIOM int memcmp(const void *left, const void *right, size_t count)
{
    const uint8_t *a = left, *b = right;
    for (; count--; a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}

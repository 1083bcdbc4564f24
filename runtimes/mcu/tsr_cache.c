/* Registers and order: Armv7-M Architecture Reference Manual (DDI 0403), B2.2 and B3.2. */
#include "tsr_cache.h"

#ifdef TSR_CACHES

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define CCR REGISTER(0xE000ED14u)     /* configuration and control */
#define CLIDR REGISTER(0xE000ED78u)   /* which caches there are */
#define CCSIDR REGISTER(0xE000ED80u)  /* sizes of the selected one */
#define CSSELR REGISTER(0xE000ED84u)  /* selects one */
#define ICIALLU REGISTER(0xE000EF50u) /* invalidates all instructions */
#define DCISW REGISTER(0xE000EF60u)   /* invalidates a line by set and way */
#define DCCIMVAC REGISTER(0xE000EF70u) /* cleans and invalidates a line by address */
#define INSTRUCTIONS_ON (1u << 17)
#define DATA_ON (1u << 16)

static void finish(void)
{
    __asm volatile("dsb\n\tisb" ::: "memory");
}

static void enable_instructions(void)
{
    finish();
    ICIALLU = 0;
    finish();
    CCR |= INSTRUCTIONS_ON;
    finish();
}

static void enable_data(void)
{
    CSSELR = 0;
    finish();
    const uint32_t sizes = CCSIDR, line_shift = (sizes & 7u) + 4u;
    const uint32_t last_way = (sizes >> 3) & 0x3FFu, last_set = (sizes >> 13) & 0x7FFFu;
    const uint32_t way_shift = last_way ? (uint32_t)__builtin_clz(last_way) : 0u;
    for (uint32_t set = 0; set <= last_set; set++) {
        for (uint32_t way = 0; way <= last_way; way++) {
            DCISW = set << line_shift | way << way_shift;
        }
    }
    finish();
    CCR |= DATA_ON;
    finish();
}

void tsr_caches_enable(void)
{
    const uint32_t there = CLIDR, on = CCR;
    if (there & 1u && !(on & INSTRUCTIONS_ON)) {
        enable_instructions();
    }
    if (there & 2u && !(on & DATA_ON)) {
        enable_data();
    }
}

void tsr_cache_flush(const void *memory, uint32_t size)
{
    const uint32_t first = (uint32_t)(uintptr_t)memory;
    __asm volatile("dsb" ::: "memory");
    for (uint32_t line = first & ~(TSR_CACHE_LINE - 1u); line < first + size; line += TSR_CACHE_LINE) {
        DCCIMVAC = line;
    }
    finish();
}

#else

void tsr_caches_enable(void)
{
}

void tsr_cache_flush(const void *memory, uint32_t size)
{
    (void)memory;
    (void)size;
}

#endif

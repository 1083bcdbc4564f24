/* Start-up: vectors, caches, memory, floating point, stack pattern; every fault ends in one handler. */
#include <stdint.h>

#include "tsr_cache.h"
#include "tsr_port.h"

typedef struct {
    const uint32_t *from;
    uint32_t *to, *end;
} tsr_copy;

extern const tsr_copy __copies_start[], __copies_end[];
extern uint32_t __bss_start[], __bss_end[];
extern uint32_t __stack_limit[], __stack_top[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);

typedef struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} tsr_vectors;

__attribute__((used, section(".isr_vector"))) const tsr_vectors tsr_vector_table = {
    __stack_top,
    {
        Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
        Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
        Fault_Handler, Fault_Handler,
#ifdef TSR_TICKS_SYSTICK
        SysTick_Handler,
#else
        Fault_Handler,
#endif
    },
};

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CCR (*(volatile uint32_t *)0xE000ED14u)

void Reset_Handler(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= 0xFu << 20; /* full access to the floating-point and vector unit */
#endif
#if defined(__ARM_FEATURE_MVE)
    CCR |= 1u << 19; /* low-overhead loops */
#endif
    __asm volatile("dsb\n\tisb" ::: "memory");
    tsr_caches_enable();
    for (const tsr_copy *copy = __copies_start; copy < __copies_end; copy++) {
        const uint32_t *from = copy->from;
        for (uint32_t *to = copy->to; to < copy->end;) {
            *to++ = *from++;
        }
    }
    for (uint32_t *to = __bss_start; to < __bss_end;) {
        *to++ = 0;
    }
    tsr_stack_paint();
    tsr_exit(main());
}

void Fault_Handler(void)
{
    uint32_t number;
    __asm volatile("mrs %0, ipsr" : "=r"(number));
    tsr_exit(100 + (int)number);
}

#include "tsr_port.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define PAINT 0xDEADBEEFu

extern uint32_t __stack_limit[], __stack_top[];

typedef struct {
    uint32_t address, clear, set;
} tsr_setup;

static const tsr_setup setup[] = {TSR_SETUP};

void tsr_port_init(void)
{
    for (uint32_t i = 0; i < sizeof setup / sizeof setup[0]; i++) {
        REGISTER(setup[i].address) = (REGISTER(setup[i].address) & ~setup[i].clear) | setup[i].set;
    }
}

uint8_t tsr_getc(void)
{
    while ((REGISTER(TSR_UART_RX_STATE) & TSR_UART_RX_MASK) != TSR_UART_RX_READY) {
    }
#ifdef TSR_UART_EVENTS
    REGISTER(TSR_UART_RX_STATE) = 0;
#endif
    return (uint8_t)REGISTER(TSR_UART_RX_DATA);
}

void tsr_putc(uint8_t byte)
{
#ifdef TSR_UART_EVENTS
    REGISTER(TSR_UART_TX_STATE) = 0;
    REGISTER(TSR_UART_TX_DATA) = byte;
#endif
    while ((REGISTER(TSR_UART_TX_STATE) & TSR_UART_TX_MASK) != TSR_UART_TX_READY) {
    }
#ifndef TSR_UART_EVENTS
    REGISTER(TSR_UART_TX_DATA) = byte;
#endif
}

void tsr_puts(const char *text)
{
    while (*text) {
        tsr_putc((uint8_t)*text++);
    }
}

#ifdef TSR_TICKS_SYSTICK

static volatile uint32_t wraps;

void SysTick_Handler(void)
{
    wraps += 0x01000000u;
}

uint32_t tsr_ticks(void)
{
    uint32_t high, low;
    do {
        high = wraps;
        low = REGISTER(TSR_TICKS);
    } while (high != wraps);
    return high + (0x00FFFFFFu - low);
}

#else

uint32_t tsr_ticks(void)
{
#ifdef TSR_TICKS_DOWN
    return ~REGISTER(TSR_TICKS);
#else
    return REGISTER(TSR_TICKS);
#endif
}

#endif

static uint32_t *stack_pointer(void)
{
    uint32_t *sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

void tsr_stack_paint(void)
{
    /* Stays clear of this function's own frame. */
    for (uint32_t *p = __stack_limit, *end = stack_pointer() - 8; p < end;) {
        *p++ = PAINT;
    }
}

uint32_t tsr_stack_used(void)
{
    const uint32_t *p = __stack_limit;
    while (p < __stack_top && *p == PAINT) {
        p++;
    }
    return (uint32_t)(__stack_top - p) * 4u;
}

#ifdef TSR_SEMIHOSTING
static void semihost_exit(int status)
{
    const uint32_t block[2] = {0x20026u, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
    register uint32_t operation __asm("r0") = 0x20u;        /* SYS_EXIT_EXTENDED */
    register const uint32_t *argument __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(operation) : "r"(argument) : "memory");
}
#endif

void tsr_exit(int status)
{
#ifdef TSR_SEMIHOSTING
    semihost_exit(status);
#else
    (void)status;
#endif
    tsr_halt();
}

__attribute__((noinline)) void tsr_halt(void)
{
    for (;;) {
        __asm volatile("");
    }
}

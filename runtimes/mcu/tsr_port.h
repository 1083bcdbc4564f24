/* What the support code needs of a board: bytes in and out, a tick counter, the stack's mark.
 *
 * Everything that differs between boards is data in tsr_board.h. */
#ifndef TSR_PORT_H
#define TSR_PORT_H

#include <stdint.h>

#include "tsr_board.h"

/* Clock and configure the UART and the tick counter. */
void tsr_port_init(void);

/* Wait for one byte; send one byte; send text. */
uint8_t tsr_getc(void);
void tsr_putc(uint8_t byte);
void tsr_puts(const char *text);

/* A free-running counter: CPU cycles on silicon, another clock where an emulator has no such
 * counter. Differences are taken modulo 2^32. */
uint32_t tsr_ticks(void);

/* Fill the unused stack with a pattern; count the bytes that were used since. */
void tsr_stack_paint(void);
uint32_t tsr_stack_used(void);

/* End the program: the exit status of an emulator, an endless loop on silicon. */
__attribute__((noreturn)) void tsr_exit(int status);
__attribute__((noreturn)) void tsr_halt(void);

#ifdef TSR_TICKS_SYSTICK
void SysTick_Handler(void);
#endif

#endif

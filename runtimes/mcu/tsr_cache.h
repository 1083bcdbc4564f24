/* The first-level caches of cores that have them (Cortex-M7, M55). On other cores these functions do
 * nothing.
 *
 * A DMA controller reads and writes memory, past the data cache. Memory that it shares with the core
 * therefore lies in cache lines of its own, aligned to TSR_CACHE_LINE and a multiple of it long, and
 *
 *     - before the controller reads or writes it, call tsr_cache_flush();
 *     - after the controller has written it, call tsr_cache_flush() again, then read.
 *
 * Tightly coupled memory (ITCM, DTCM) is not cached and needs neither. */
#ifndef TSR_CACHE_H
#define TSR_CACHE_H

#include <stdint.h>

#include "tsr_board.h"

#ifdef TSR_CACHES
#define TSR_CACHE_LINE 32u
#else
#define TSR_CACHE_LINE 4u
#endif

/* Empty both caches and switch them on; one that is on already stays as it is. Start-up code does so
 * before main(). */
void tsr_caches_enable(void);

/* Write back what the data cache holds of `memory`, and forget it. */
void tsr_cache_flush(const void *memory, uint32_t size);

#endif

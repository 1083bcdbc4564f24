/* Shadow memory for the generated C on this machine: included before every file of it. */
#ifndef TSR_SHADOW_H
#define TSR_SHADOW_H

#include <string.h>

void *shadow_copy(void *to, const void *from, size_t count);
void *shadow_fill(void *to, int value, size_t count);

#define memcpy shadow_copy
#define memmove shadow_copy
#define memset shadow_fill

#endif

/* A few threads that sleep between pieces of work. Spinning would be faster on idle machines and
 * far slower on busy ones. */
#ifndef TESSERA_POOL_H
#define TESSERA_POOL_H

#include <stdint.h>

struct tessera_pool;

/* Items begin .. end-1 of some work; `thread` numbers the thread's private scratch. */
typedef void pool_work(const void *context, int32_t begin, int32_t end, int32_t thread);

/* Cut `count` items over the threads and wait for all; in this thread alone if pool is NULL. */
void pool_run(struct tessera_pool *pool, pool_work *work, const void *context, int32_t count);

int32_t pool_threads(const struct tessera_pool *pool);

#endif

#include "pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "tessera.h"

enum { MAX_THREADS = 64 };

struct tessera_pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    int32_t threads;  /* with the caller's */
    int32_t started;
    int32_t running;  /* helpers that still work on this round */
    uint32_t round;
    int stop;
    pool_work *work;
    const void *context;
    int32_t count;
    pthread_t handles[MAX_THREADS];
};

struct helper {
    struct tessera_pool *pool;
    int32_t thread;
};

static int32_t share_start(const struct tessera_pool *pool, int32_t count, int32_t thread)
{
    return (int32_t)((int64_t)count * thread / pool->threads);
}

static void *help(void *argument)
{
    const struct helper self = *(struct helper *)argument;
    struct tessera_pool *pool = self.pool;
    uint32_t seen = 0;
    free(argument);
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->round == seen && !pool->stop)
            pthread_cond_wait(&pool->wake, &pool->mutex);
        if (pool->stop)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        pool->work(pool->context, share_start(pool, pool->count, self.thread),
                   share_start(pool, pool->count, self.thread + 1), self.thread);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->running == 0)
            pthread_cond_signal(&pool->finished);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static int start(struct tessera_pool *pool, int32_t thread)
{
    struct helper *helper = malloc(sizeof *helper);
    if (helper == NULL)
        return 0;
    helper->pool = pool;
    helper->thread = thread;
    if (pthread_create(&pool->handles[thread], NULL, help, helper) == 0)
        return 1;
    free(helper);
    return 0;
}

struct tessera_pool *tessera_pool_new(int32_t threads)
{
    struct tessera_pool *pool = threads < 1 || threads > MAX_THREADS ? NULL : calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->threads = threads;
    pool->started = 1;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    while (pool->started < threads && start(pool, pool->started))
        pool->started++;
    if (pool->started == threads)
        return pool;
    tessera_pool_free(pool);
    return NULL;
}

void tessera_pool_free(struct tessera_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int32_t thread = 1; thread < pool->started; thread++)
        pthread_join(pool->handles[thread], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finished);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void pool_run(struct tessera_pool *pool, pool_work *work, const void *context, int32_t count)
{
    if (pool == NULL || pool->threads == 1) {
        work(context, 0, count, 0);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->work = work;
    pool->context = context;
    pool->count = count;
    pool->running = pool->threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    work(context, 0, share_start(pool, count, 1), 0);
    pthread_mutex_lock(&pool->mutex);
    while (pool->running > 0)
        pthread_cond_wait(&pool->finished, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

int32_t pool_threads(const struct tessera_pool *pool)
{
    return pool == NULL ? 1 : pool->threads;
}

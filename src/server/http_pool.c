/* http_pool.c: worker threads. */
#include "server/http_pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define WORKER_STACK_BYTES ((size_t)1 << 20)

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t submitted;
    pool_job *job;
    void **queue; /* a ring of `capacity` */
    size_t capacity, start, waiting, max_waiting;
    unsigned busy, workers;
    bool stopping;
    pthread_t threads[];
};

static void *work(void *payload)
{
    struct pool *pool = payload;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->waiting == 0 && !pool->stopping)
            pthread_cond_wait(&pool->submitted, &pool->lock);
        if (pool->waiting == 0)
            break;
        void *next = pool->queue[pool->start];
        pool->start = (pool->start + 1) % pool->capacity;
        pool->waiting--;
        pool->busy++;
        pthread_mutex_unlock(&pool->lock);
        error_clear();
        pool->job(next);
        pthread_mutex_lock(&pool->lock);
        pool->busy--;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals go to the threads of the command, never to a worker. */
static unsigned start_threads(struct pool *pool, const char *name, unsigned workers)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    while (pool->workers < workers &&
           pthread_create(&pool->threads[pool->workers], &attributes, work, pool) == 0) {
        pthread_setname_np(pool->threads[pool->workers], name);
        pool->workers++;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->workers;
}

enum mld_error pool_start(struct pool **out, const char *name, unsigned workers, unsigned queue,
                          pool_job *job)
{
    assert(workers > 0 && workers <= POOL_MAX_WORKERS);
    assert(queue <= POOL_MAX_QUEUE);
    *out = NULL;
    struct pool *pool = calloc(1, sizeof *pool + workers * sizeof(pthread_t));
    if (pool == NULL)
        return error_set(MLD_ENOMEM, "out of memory for workers");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->submitted, NULL);
    pool->job = job;
    pool->max_waiting = queue;
    pool->capacity = workers + queue;
    pool->queue = calloc(pool->capacity, sizeof *pool->queue);
    if (pool->queue == NULL || start_threads(pool, name, workers) != workers) {
        pool_stop(pool);
        return error_set(MLD_ENOMEM, "could not start %u worker threads", workers);
    }
    *out = pool;
    return MLD_OK;
}

bool pool_submit(struct pool *pool, void *work_item)
{
    pthread_mutex_lock(&pool->lock);
    /* Idle workers take one each before anything counts as waiting. */
    bool room = !pool->stopping && pool->waiting < pool->max_waiting + (pool->workers - pool->busy);
    if (room) {
        pool->queue[(pool->start + pool->waiting) % pool->capacity] = work_item;
        pool->waiting++;
        pthread_cond_signal(&pool->submitted);
    }
    pthread_mutex_unlock(&pool->lock);
    return room;
}

void pool_load(struct pool *pool, unsigned *out_busy, unsigned *out_waiting)
{
    pthread_mutex_lock(&pool->lock);
    *out_busy = pool->busy;
    *out_waiting = (unsigned)pool->waiting;
    pthread_mutex_unlock(&pool->lock);
}

void pool_stop(struct pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->submitted);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->submitted);
    pthread_mutex_destroy(&pool->lock);
    free(pool->queue);
    free(pool);
}

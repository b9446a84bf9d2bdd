/* http_pool.h: a bounded number of worker threads with a bounded queue before them. */
#ifndef SERVER_HTTP_POOL_H
#define SERVER_HTTP_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define POOL_MAX_WORKERS 1024
#define POOL_MAX_QUEUE 4096

struct pool;
typedef void pool_job(void *work);

/* Starts `workers` threads (1 to POOL_MAX_WORKERS); up to `queue` jobs may wait for one. `name`: of
 * the threads, as `top` shows them. */
enum mld_error pool_start(struct pool **out, const char *name, unsigned workers, unsigned queue,
                          pool_job *job);
/* Hands work to a worker; false: all are busy and the queue is full, or the pool is stopping. Never
 * blocks. */
bool pool_submit(struct pool *pool, void *work);
/* How many workers are at work, and how many jobs wait. */
void pool_load(struct pool *pool, unsigned *out_busy, unsigned *out_waiting);
/* Lets the workers finish what was submitted, and ends them. NULL is fine. */
void pool_stop(struct pool *pool);

#endif

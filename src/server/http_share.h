/* http_share.h: something bounded that requests hold for as long as their client likes (places for
 * transfers, memory for bodies and answers), shared so that one holder cannot have all of it. A
 * holder may take more while it has less than SHARE_TIMES_FREE times what is free: alone it gets
 * two thirds, two get two fifths each, and the next one always finds some. Thread-safe. */
#ifndef SERVER_HTTP_SHARE_H
#define SERVER_HTTP_SHARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define SHARE_TIMES_FREE 2
#define SHARE_HOLDERS 4096 /* counters; holders whose hash is the same have one together */

struct share {
    pthread_mutex_t lock;
    size_t total, used;
    size_t held[SHARE_HOLDERS];
};

void share_init(struct share *s, size_t total);
void share_destroy(struct share *s);
/* Takes all of `amount` or nothing. `holder`: a user's id or an address; NULL: nobody's share is
 * looked at. */
bool share_take(struct share *s, const char *holder, size_t amount);
/* Gives back what was taken with the same holder. */
void share_give(struct share *s, const char *holder, size_t amount);
size_t share_used(struct share *s);

#endif

#include "run/hasher.h"

#include <signal.h>

enum mld_error hasher_begin(struct hasher *h)
{
    *h = (struct hasher){.started = false};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    return sha256_begin(&h->hash);
}

static void *hash_along(void *argument)
{
    struct hasher *h = argument;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (h->done == h->put && !h->ending)
            pthread_cond_wait(&h->changed, &h->lock);
        if (h->done == h->put)
            break;
        const void *data = h->pieces[h->done % HASHER_MAX_PIECES].data;
        size_t len = h->pieces[h->done % HASHER_MAX_PIECES].len;
        pthread_mutex_unlock(&h->lock);
        sha256_update(&h->hash, data, len);
        pthread_mutex_lock(&h->lock);
        h->done++;
        pthread_cond_signal(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* Signals belong to the program's own threads. */
static bool start(struct hasher *h)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->started = pthread_create(&h->thread, NULL, hash_along, h) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return h->started;
}

void hasher_wait(struct hasher *h, unsigned pieces)
{
    if (!h->started)
        return;
    pthread_mutex_lock(&h->lock);
    while (h->put - h->done > pieces)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

void hasher_put(struct hasher *h, const void *data, size_t len)
{
    if (len < HASHER_THREAD_BYTES || (!h->started && !start(h))) {
        hasher_wait(h, 0);
        sha256_update(&h->hash, data, len);
        return;
    }
    hasher_wait(h, HASHER_MAX_PIECES - 1);
    pthread_mutex_lock(&h->lock);
    h->pieces[h->put % HASHER_MAX_PIECES].data = data;
    h->pieces[h->put % HASHER_MAX_PIECES].len = len;
    h->put++;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

enum mld_error hasher_end(struct hasher *h, char out_hex[SHA256_HEX_LEN + 1])
{
    hasher_wait(h, 0);
    return sha256_end(&h->hash, out_hex);
}

void hasher_free(struct hasher *h)
{
    if (h->started) {
        pthread_mutex_lock(&h->lock);
        h->ending = true;
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
    }
    h->started = false;
    sha256_free(&h->hash);
}

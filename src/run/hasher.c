#include "run/hasher.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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

/* Copies the last piece before `end`, unless the thread has begun it. */
static bool keep_piece(struct hasher *h, uint64_t end)
{
    if (end <= h->done + 1 || end <= h->kept)
        return false;
    unsigned slot = (end - 1) % HASHER_MAX_PIECES;
    assert(h->pieces[slot].len <= HASHER_KEPT_BYTES);
    unsigned char *copy = h->copies + (size_t)slot * HASHER_KEPT_BYTES;
    memcpy(copy, h->pieces[slot].data, h->pieces[slot].len);
    h->pieces[slot].data = copy;
    return true;
}

void hasher_keep(struct hasher *h)
{
    if (!h->started)
        return;
    if (h->copies == NULL)
        h->copies = malloc((size_t)HASHER_MAX_PIECES * HASHER_KEPT_BYTES);
    if (h->copies == NULL) {
        hasher_wait(h, 0);
        return;
    }
    pthread_mutex_lock(&h->lock);
    uint64_t end = h->put;
    while (keep_piece(h, end)) { /* the last first: the thread comes from the other side */
        end--;
        pthread_mutex_unlock(&h->lock);
        pthread_mutex_lock(&h->lock);
    }
    while (end > h->kept && h->done < end)
        pthread_cond_wait(&h->changed, &h->lock);
    h->kept = h->put;
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
    free(h->copies);
    h->copies = NULL;
    sha256_free(&h->hash);
}

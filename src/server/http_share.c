/* http_share.c: nobody gets all. */
#include "server/http_share.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"

void share_init(struct share *s, size_t total)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->total = total;
}

void share_destroy(struct share *s)
{
    pthread_mutex_destroy(&s->lock);
}

static size_t *held_by(struct share *s, const char *holder)
{
    return &s->held[crc32c(0, holder, strlen(holder)) % SHARE_HOLDERS];
}

bool share_take(struct share *s, const char *holder, size_t amount)
{
    pthread_mutex_lock(&s->lock);
    size_t left = s->total - s->used;
    size_t *held = holder == NULL ? NULL : held_by(s, holder);
    bool room = amount <= left && (held == NULL || *held / SHARE_TIMES_FREE < left);
    if (room) {
        s->used += amount;
        if (held != NULL)
            *held += amount;
    }
    pthread_mutex_unlock(&s->lock);
    return room;
}

void share_give(struct share *s, const char *holder, size_t amount)
{
    pthread_mutex_lock(&s->lock);
    assert(s->used >= amount);
    s->used -= amount;
    if (holder != NULL)
        *held_by(s, holder) -= amount;
    pthread_mutex_unlock(&s->lock);
}

size_t share_used(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    size_t used = s->used;
    pthread_mutex_unlock(&s->lock);
    return used;
}

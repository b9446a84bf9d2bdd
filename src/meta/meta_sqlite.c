/* meta_sqlite.c: opening and closing the SQLite store. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "meta/sqlite.h"

static void sqlite_close_store(struct meta *m)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < SQLITE_READERS; i++)
        sqlite_disconnect(&s->readers[i]);
    sqlite_disconnect(&s->writer); /* last: it cleans up the WAL */
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->read_lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->room);
    pthread_cond_destroy(&s->reader_idle);
    free(s->path);
    free(s);
}

static const struct meta_ops sqlite_ops = {
    .kind = "sqlite",
    .write = sqlite_write,
    .get_many = sqlite_get_many,
    .find = sqlite_find,
    .count = sqlite_count,
    .health = sqlite_health,
    .close = sqlite_close_store,
};

static enum mld_error connect_all(struct sqlite_store *s)
{
    enum mld_error error = sqlite_connect(&s->writer, s->path, true);
    for (int i = 0; error == MLD_OK && i < SQLITE_READERS; i++) {
        error = sqlite_connect(&s->readers[i], s->path, false);
        s->readers[i].next = s->idle;
        s->idle = &s->readers[i];
    }
    return error;
}

/* A condition that is waited for until a time of the monotonic clock. */
static void init_timed(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

enum mld_error meta_sqlite_open(struct meta **out, const char *path)
{
    struct sqlite_store *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return error_set(MLD_ENOMEM, "no memory for the store '%.400s'", path);
    }
    s->base.ops = &sqlite_ops;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->read_lock, NULL);
    init_timed(&s->work);
    pthread_cond_init(&s->room, NULL);
    pthread_cond_init(&s->reader_idle, NULL);
    enum mld_error error = connect_all(s);
    int failed = error == MLD_OK ? pthread_create(&s->thread, NULL, sqlite_writer_main, s) : 0;
    if (failed != 0)
        error = error_set_errno(failed, "cannot start the thread that writes '%.400s'", path);
    if (error != MLD_OK) {
        for (int i = 0; i < SQLITE_READERS; i++)
            sqlite_disconnect(&s->readers[i]);
        sqlite_disconnect(&s->writer);
        free(s->path);
        free(s);
        return error;
    }
    *out = &s->base;
    return MLD_OK;
}

/* engine_status.c: what others may look at: the numbers, which files are there, and which will
 * never be, with their reasons. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/engine.h"

void engine_say(struct engine *e, const char *problem)
{
    struct mld_sync_status status;
    if (e->progress == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    status = e->status;
    pthread_mutex_unlock(&e->lock);
    if (!e->progress(&status, problem, e->payload))
        atomic_store(&e->stop, true);
}

void engine_report(struct engine *e)
{
    uint64_t left = 0;
    for (const struct sync_stream *s = e->folder->streams; s != NULL; s = s->next)
        left += !s->vanished && !s->stuck && s->safe > s->sent ? s->safe - s->sent : 0;
    pthread_mutex_lock(&e->lock);
    e->status.files_left = e->folder->n_pending;
    e->status.bytes_left = e->folder->pending_bytes;
    e->status.lines_bytes_left = left;
    e->status.requests = e->remote.requests + e->part_requests;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    engine_say(e, NULL);
}

void engine_count(struct engine *e, uint64_t *counter, uint64_t n)
{
    pthread_mutex_lock(&e->lock);
    *counter += n;
    pthread_mutex_unlock(&e->lock);
}

void engine_file_is_there(struct engine *e, const struct sync_file *file, bool sent)
{
    pthread_mutex_lock(&e->lock);
    *(sent ? &e->status.files_sent : &e->status.files_there) += 1;
    const char *id = arena_strdup(&e->there_ids, file->id);
    if (id != NULL) /* without memory it is only not known here */
        map_put(&e->there, id, strlen(id), e);
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* Counts it, keeps it while there is room, tells the user. */
static void keep_failure(struct engine *e, const struct mld_sync_failure *failure)
{
    char line[sizeof failure->name + sizeof failure->reason + 4];
    pthread_mutex_lock(&e->lock);
    e->status.files_failed++;
    struct mld_sync_failure *copy =
        e->n_failures < MLD_SYNC_MAX_FAILURES ? malloc(sizeof *copy) : NULL;
    if (copy != NULL) {
        *copy = *failure;
        e->failures[e->n_failures++] = copy;
    }
    pthread_mutex_unlock(&e->lock);
    snprintf(line, sizeof line, "%s: %s", failure->name, failure->reason);
    engine_say(e, line);
}

void engine_file_failed(struct engine *e, const struct sync_file *file, const char *reason)
{
    struct mld_sync_failure f;
    snprintf(f.name, sizeof f.name, "%.200s%s%.200s (%s) is not sent", file->path,
             strcmp(file->path, "/") == 0 ? "" : "/", file->filename, file->id);
    snprintf(f.reason, sizeof f.reason, "%s", reason);
    keep_failure(e, &f);
}

void engine_stream_failed(struct engine *e, struct sync_stream *s, const char *reason)
{
    struct mld_sync_failure f;
    s->stuck = true;
    snprintf(f.name, sizeof f.name, "%.400s is not sent from byte %llu on", s->file,
             (unsigned long long)s->sent);
    snprintf(f.reason, sizeof f.reason, "%s", reason);
    keep_failure(e, &f);
}

void engine_forget_files(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    map_free(&e->there);
    arena_free(&e->there_ids);
    while (e->n_failures > 0)
        free(e->failures[--e->n_failures]);
    e->status.files_failed = 0;
    pthread_mutex_unlock(&e->lock);
}

enum mld_error engine_check_failures(const struct engine *e)
{
    unsigned long long n = e->status.files_failed;
    if (n == 0)
        return MLD_OK;
    if (e->n_failures == 0)
        return error_set(MLD_EDAMAGED, "%llu files could not be sent", n);
    if (n == 1)
        return error_set(MLD_EDAMAGED, "%s: %s", e->failures[0]->name, e->failures[0]->reason);
    return error_set(MLD_EDAMAGED, "%llu files could not be sent; %s: %s", n, e->failures[0]->name,
                     e->failures[0]->reason);
}

/* sync.c: the public calls: one folder now, or a background thread for as long as it is written. */
#include "mldash/sync.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sync/engine.h"

#define PATIENCE_MS 30000
#define LOOK_EVERY_MS 1000

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ms)
{
    struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
    pthread_cond_timedwait(cond, lock, &until);
}

/* Far ones, UINT64_MAX among them, are never. */
static int64_t deadline(uint64_t timeout_ms)
{
    int64_t now = clock_monotonic_ms();
    return timeout_ms > (uint64_t)(INT64_MAX - now) ? INT64_MAX : now + (int64_t)timeout_ms;
}

/* What moves when anything arrives. */
static uint64_t progress_of(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    uint64_t sum = e->status.bytes_sent + e->status.lines_bytes_sent + e->status.files_sent +
                   e->status.files_there;
    pthread_mutex_unlock(&e->lock);
    return sum;
}

static void pause_ms(struct engine *e, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms;
    while (!atomic_load(&e->stop) && clock_monotonic_ms() < until) {
        struct timespec step = {0, 100 * 1000000};
        nanosleep(&step, NULL);
        engine_report(e);
    }
}

/* Rounds until everything is there, or nothing has moved for the user's patience. */
static enum mld_error send_all(struct engine *e, uint64_t patience_ms)
{
    int64_t moved_ms = clock_monotonic_ms();
    uint64_t before = progress_of(e);
    unsigned failures = 0;
    for (;;) {
        enum mld_error error = engine_round(e, true);
        uint64_t now = progress_of(e);
        if (now != before)
            moved_ms = clock_monotonic_ms();
        failures = now != before || error == MLD_OK ? 1 : failures + 1;
        before = now;
        if (atomic_load(&e->stop))
            return error_set(MLD_EINTERRUPTED, "syncing was stopped");
        if (error == MLD_OK && e->status.done)
            return MLD_OK;
        if (error != MLD_OK && !engine_is_passing(error))
            return error;
        if (clock_monotonic_ms() - moved_ms >= (int64_t)patience_ms)
            return error != MLD_OK ? error
                                   : error_set(MLD_EUNAVAILABLE, "nothing more could be sent");
        if (error != MLD_OK && error != MLD_ECONFLICT)
            engine_say(e, mld_error_message());
        pause_ms(e, error == MLD_OK ? 100 : engine_pause_ms(e->remote.retry_after_s, failures));
    }
}

enum mld_error mld_sync_folder(struct mld_sync_status *out, const char *directory,
                               const struct mld_sync_options *options, uint64_t patience_ms)
{
    struct engine *e;
    if (out != NULL)
        *out = (struct mld_sync_status){.done = false};
    enum mld_error error = engine_open(&e, directory, options);
    if (error != MLD_OK)
        return error;
    error = send_all(e, patience_ms == 0 ? PATIENCE_MS : patience_ms);
    if (error == MLD_OK)
        error = engine_check_failures(e);
    if (out != NULL)
        *out = e->status;
    engine_free(e);
    return error;
}

struct mld_sync {
    struct engine *e;
    pid_t pid; /* a forked child has no thread */
    pthread_t thread;
    /* Guarded by e->lock. A flush is done when a round that began after it was asked for went well
     * and left nothing. */
    uint64_t asked, answered;
};

static enum mld_error one_turn(struct mld_sync *s, unsigned *failures)
{
    struct engine *e = s->e;
    pthread_mutex_lock(&e->lock);
    uint64_t asked = s->asked;
    bool all = asked > s->answered;
    pthread_mutex_unlock(&e->lock);
    uint64_t before = progress_of(e);
    enum mld_error error = engine_round(e, all);
    if (error == MLD_OK)
        *failures = 0;
    else
        *failures = progress_of(e) != before ? 1 : *failures + 1;
    pthread_mutex_lock(&e->lock);
    if (error == MLD_OK && e->status.done)
        s->answered = asked;
    if (error != MLD_OK && !engine_is_passing(error)) {
        e->status.failed = true;
        pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
    return error;
}

/* A flush that comes ends the wait between two looks, not the one after a failure. */
static void wait_for_turn(struct mld_sync *s, enum mld_error error, unsigned failures)
{
    struct engine *e = s->e;
    int64_t until = clock_monotonic_ms();
    until += error == MLD_OK ? LOOK_EVERY_MS : engine_pause_ms(e->remote.retry_after_s, failures);
    pthread_mutex_lock(&e->lock);
    while (!atomic_load(&e->stop) && !e->status.failed && clock_monotonic_ms() < until &&
           (error != MLD_OK || s->asked == s->answered))
        wait_until(&e->changed, &e->lock, until);
    pthread_mutex_unlock(&e->lock);
}

/* Of failures in a row the first of each kind is said: "cannot be reached", then "not logged in".
 */
static void *sync_main(void *payload)
{
    struct mld_sync *s = payload;
    enum mld_error error = MLD_OK, said = MLD_OK;
    unsigned failures = 0;
    while (!atomic_load(&s->e->stop) && (error == MLD_OK || engine_is_passing(error))) {
        error = one_turn(s, &failures);
        if (error != MLD_OK && error != said && !atomic_load(&s->e->stop))
            engine_say(s->e, mld_error_message());
        said = error;
        wait_for_turn(s, error, failures);
    }
    return NULL;
}

enum mld_error mld_sync_start(mld_sync **out, const char *directory,
                              const struct mld_sync_options *options)
{
    struct mld_sync *s = calloc(1, sizeof *s);
    sigset_t all, before;
    *out = NULL;
    if (s == NULL)
        return error_set(MLD_ENOMEM, "no memory to sync");
    enum mld_error error = engine_open(&s->e, directory, options);
    s->pid = getpid();
    if (error == MLD_OK) {
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        int failed = pthread_create(&s->thread, NULL, sync_main, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (failed != 0)
            error = error_set_errno(failed, "cannot start the thread that syncs");
    }
    if (error != MLD_OK) {
        engine_free(s->e);
        free(s);
        return error;
    }
    *out = s;
    return MLD_OK;
}

static enum mld_error check_process(const struct mld_sync *s)
{
    return s->pid == getpid() ? MLD_OK
                              : error_set(MLD_ESTATE, "the process that began syncing was forked; "
                                                      "the child does not sync");
}

/* With the lock: why it stands still, as the thread's error. */
static enum mld_error stopped(const struct engine *e)
{
    return error_set(e->status.error, "%s", e->status.message);
}

enum mld_error mld_sync_ask(mld_sync *s, uint64_t *out_ticket)
{
    *out_ticket = 0;
    enum mld_error error = check_process(s);
    if (error != MLD_OK)
        return error;
    pthread_mutex_lock(&s->e->lock);
    *out_ticket = ++s->asked;
    pthread_cond_broadcast(&s->e->changed);
    pthread_mutex_unlock(&s->e->lock);
    return MLD_OK;
}

enum mld_error mld_sync_wait(mld_sync *s, uint64_t ticket, uint64_t timeout_ms)
{
    enum mld_error error = check_process(s);
    if (error != MLD_OK)
        return error;
    struct engine *e = s->e;
    int64_t until = deadline(timeout_ms);
    pthread_mutex_lock(&e->lock);
    while (s->answered < ticket && !e->status.failed && clock_monotonic_ms() < until)
        wait_until(&e->changed, &e->lock, until);
    if (s->answered < ticket)
        error = e->status.failed
                    ? stopped(e)
                    : error_set(MLD_ETIMEOUT,
                                "not everything is at the server yet: %llu files and %llu bytes of "
                                "lines are left%s%s",
                                (unsigned long long)e->status.files_left,
                                (unsigned long long)e->status.lines_bytes_left,
                                e->status.message[0] == '\0' ? "" : "; ", e->status.message);
    else
        error = engine_check_failures(e);
    pthread_mutex_unlock(&e->lock);
    return error;
}

enum mld_error mld_sync_flush(mld_sync *s, uint64_t timeout_ms)
{
    uint64_t ticket;
    enum mld_error error = mld_sync_ask(s, &ticket);
    return error == MLD_OK ? mld_sync_wait(s, ticket, timeout_ms) : error;
}

enum mld_error mld_sync_file_is_there(mld_sync *s, const char *file_id, uint64_t timeout_ms,
                                      bool *out)
{
    *out = false;
    enum mld_error error = check_process(s);
    if (error != MLD_OK)
        return error;
    struct engine *e = s->e;
    size_t len = strlen(file_id);
    int64_t until = deadline(timeout_ms);
    pthread_mutex_lock(&e->lock);
    if (timeout_ms > 0) {
        ++s->asked;
        pthread_cond_broadcast(&e->changed);
    }
    while (map_get(&e->there, file_id, len) == NULL && !e->status.failed &&
           clock_monotonic_ms() < until)
        wait_until(&e->changed, &e->lock, until);
    *out = map_get(&e->there, file_id, len) != NULL;
    if (!*out && e->status.failed)
        error = stopped(e);
    pthread_mutex_unlock(&e->lock);
    return error;
}

void mld_sync_get_failures(mld_sync *s, struct mld_sync_failure *out, size_t max, size_t *out_n)
{
    *out_n = 0;
    if (s->pid != getpid())
        return;
    pthread_mutex_lock(&s->e->lock);
    for (; *out_n < max && *out_n < s->e->n_failures; ++*out_n)
        out[*out_n] = *s->e->failures[*out_n];
    pthread_mutex_unlock(&s->e->lock);
}

void mld_sync_get_status(mld_sync *s, struct mld_sync_status *out)
{
    if (s->pid != getpid()) {
        *out = (struct mld_sync_status){.done = false};
        return;
    }
    pthread_mutex_lock(&s->e->lock);
    *out = s->e->status;
    pthread_mutex_unlock(&s->e->lock);
}

void mld_sync_stop(mld_sync *s)
{
    if (s == NULL)
        return;
    if (s->pid == getpid()) {
        atomic_store(&s->e->stop, true);
        pthread_mutex_lock(&s->e->lock);
        pthread_cond_broadcast(&s->e->changed);
        pthread_mutex_unlock(&s->e->lock);
        pthread_join(s->thread, NULL);
        engine_free(s->e);
    }
    free(s); /* in a forked child the engine's handles are the parent's */
}

/* One round: under the locks, take what waits and note how long each stream is; without them, fsync
 * files, their directories, then streams; under the lock again, note what is safe, write the mark,
 * and retire. */
#include "run/keeper.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "run/mark.h"
#include "run/record.h"
#include "run/retire.h"
#include "run/run.h"

struct waiting_file {
    int fd;
    char *path;
};

/* What waits to become durable; also what one round works on. */
struct batch {
    struct waiting_file files[KEEPER_MAX_FDS];
    size_t n_files;
    bool overflow; /* more than that: one syncfs for all */
    struct stream *streams;
    struct retire_item *retires;
    size_t n_retires, retires_capacity;
};

/* A stream as it was when the round began. */
struct stream_goal {
    struct stream *stream;
    int fd;
    bool is_new;
    off_t length;
    uint32_t crc;
    char *path;
    bool failed;
};

struct keeper {
    struct run *run;
    pthread_mutex_t lock;
    pthread_cond_t wake;    /* for the thread */
    pthread_cond_t settled; /* for those who wait: a round has ended */
    pthread_t thread;
    bool started; /* there is a thread to join */
    bool active;  /* it has not decided to leave */
    bool stop;
    unsigned waiters; /* flushes in progress: no delay */
    uint64_t added;   /* things handed to the keeper so far */
    uint64_t kept;    /* of them durable, or failed and reported */
    struct batch batch;
    struct error_copy failure; /* not reported yet */
};

enum mld_error keeper_new(struct keeper **out, struct run *run)
{
    pthread_condattr_t attributes;
    struct keeper *k = calloc(1, sizeof *k);
    *out = k;
    if (k == NULL)
        return error_set(MLD_ENOMEM, "out of memory for opening %s", run->dir);
    k->run = run;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &attributes);
    pthread_cond_init(&k->settled, &attributes);
    pthread_condattr_destroy(&attributes);
    return MLD_OK;
}

static void *keep(void *argument);

/* Something became unsafe: counts it and sees to it that the thread runs. Needs k->lock. */
static void note_added(struct keeper *k)
{
    k->added++;
    if (k->active)
        return;
    if (k->started) /* it has left already, or is about to */
        pthread_join(k->thread, NULL);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    k->started = pthread_create(&k->thread, NULL, keep, k) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    k->active = k->started; /* without a thread, flush and the end of the run do its work */
}

void keeper_add_file(struct keeper *k, int fd, const char *path)
{
    pthread_mutex_lock(&k->lock);
    struct batch *b = &k->batch;
    char *copy = b->n_files < KEEPER_MAX_FDS ? strdup(path) : NULL;
    if (copy != NULL) {
        b->files[b->n_files++] = (struct waiting_file){fd, copy};
    } else {
        b->overflow = true;
        close(fd);
    }
    note_added(k);
    pthread_mutex_unlock(&k->lock);
}

void keeper_add_stream(struct keeper *k, struct stream *stream)
{
    if (stream->listed)
        return; /* the round that takes it sees its length then */
    pthread_mutex_lock(&k->lock);
    stream->listed = true;
    stream->next_dirty = k->batch.streams;
    k->batch.streams = stream;
    note_added(k);
    pthread_mutex_unlock(&k->lock);
}

void keeper_add_retire(struct keeper *k, const struct file_entry *newest, int keep_versions)
{
    if (keep_versions == MLD_KEEP_ALL || newest->older == NULL || k->run->network)
        return;
    pthread_mutex_lock(&k->lock);
    struct batch *b = &k->batch;
    if (b->n_retires == b->retires_capacity) {
        size_t larger = b->retires_capacity == 0 ? 16 : 2 * b->retires_capacity;
        struct retire_item *moved = realloc(b->retires, larger * sizeof *moved);
        if (moved != NULL) {
            b->retires = moved;
            b->retires_capacity = larger;
        }
    }
    if (b->n_retires < b->retires_capacity) /* else it waits for gc */
        b->retires[b->n_retires++] = (struct retire_item){newest, keep_versions};
    note_added(k);
    pthread_mutex_unlock(&k->lock);
}

/* fsync of the directories of a path, innermost first, up to the run folder. */
static enum mld_error sync_dirs(int dir_fd, char *path)
{
    enum mld_error error = MLD_OK;
    char *slash;
    while (error == MLD_OK && (slash = strrchr(path, '/')) != NULL) {
        *slash = '\0';
        error = fs_sync_dir(dir_fd, path);
    }
    return error;
}

static enum mld_error sync_files(struct keeper *k, struct batch *b)
{
    enum mld_error error = MLD_OK;
    if (b->overflow)
        error = fs_sync_filesystem(k->run->dir_fd, k->run->dir);
    for (size_t i = 0; i < b->n_files; i++) {
        struct waiting_file *file = &b->files[i];
        if (!b->overflow && error == MLD_OK)
            error = fs_sync(file->fd, file->path);
        if (!b->overflow && error == MLD_OK)
            error = sync_dirs(k->run->dir_fd, file->path);
        close(file->fd);
        free(file->path);
    }
    return error;
}

/* Where each stream of the batch stands now. Needs both locks. */
static struct stream_goal *take_goals(struct keeper *k, struct batch *b, size_t *out_count)
{
    size_t n = 0;
    for (struct stream *s = b->streams; s != NULL; s = s->next_dirty)
        n++;
    struct stream_goal *goals = calloc(n + 1, sizeof *goals);
    *out_count = 0;
    if (goals == NULL)
        return NULL;
    bool many = n > KEEPER_MAX_FDS;
    if (many)
        b->overflow = true; /* syncfs covers them */
    for (struct stream *s = b->streams; s != NULL; s = s->next_dirty) {
        struct stream_goal *goal = &goals[(*out_count)++];
        *goal = (struct stream_goal){s, -1, s->safe_length == 0, s->length, s->crc, NULL, false};
        if (!many && (stream_dup_fd(&goal->fd, &k->run->streams, s) != MLD_OK ||
                      (goal->path = strdup(s->path)) == NULL))
            goal->failed = true;
        s->listed = false;
    }
    return goals;
}

static enum mld_error sync_goals(struct keeper *k, struct stream_goal *goals, size_t n)
{
    enum mld_error first = MLD_OK;
    for (size_t i = 0; i < n; i++) {
        struct stream_goal *goal = &goals[i];
        enum mld_error error = MLD_OK;
        if (goal->fd >= 0)
            error = fs_sync_data(goal->fd, goal->path);
        if (error == MLD_OK && goal->is_new && goal->path != NULL)
            error = sync_dirs(k->run->dir_fd, goal->path);
        if (error != MLD_OK)
            goal->failed = true;
        if (first == MLD_OK && goal->failed)
            first = error == MLD_OK ? MLD_EIO : error;
        if (goal->fd >= 0)
            close(goal->fd);
        free(goal->path);
    }
    return first;
}

static enum mld_error write_mark(struct run *run)
{
    char boot[40];
    size_t n = 0;
    for (const struct stream *s = run->streams.first; s != NULL; s = s->next)
        n++;
    struct mark_stream *streams = calloc(n + 1, sizeof *streams);
    if (streams == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the mark");
    clock_boot_id(boot);
    struct mark mark = {run->slot.writer, boot, streams, 0};
    for (const struct stream *s = run->streams.first; s != NULL; s = s->next)
        if (s->safe_length > 0)
            streams[mark.count++] =
                (struct mark_stream){s->id, s->path, (uint64_t)s->safe_length, s->safe_crc};
    enum mld_error error = mark_write(run->dir_fd, (unsigned)run->slot.number, &mark);
    free(streams);
    return error;
}

/* Lines that failed to become durable: their stream is given up, and a record says so. Needs the
 * run's lock. */
static void record_unsafe(struct run *run, const char *file, const char *reason)
{
    struct buf line;
    buf_init(&line, 1u << 16);
    record_begin(&line, "unsafe", run_clock(run));
    record_put_text(&line, "file", file);
    record_put_text(&line, "reason", reason);
    record_end(&line);
    run_write_record(run, &line); /* best effort: the failure itself is reported anyway */
    buf_free(&line);
}

static enum mld_error note_safe(struct keeper *k, const struct stream_goal *goals, size_t n,
                                enum mld_error error)
{
    struct run *run = k->run;
    struct error_copy failure;
    error_save(error, &failure);
    pthread_mutex_lock(&run->lock);
    for (size_t i = 0; i < n; i++) {
        struct stream *s = goals[i].stream;
        if (goals[i].failed) {
            s->broken = true;
        } else if (error == MLD_OK) {
            s->safe_length = goals[i].length;
            s->safe_crc = goals[i].crc;
        }
    }
    if (error == MLD_OK)
        error = write_mark(run);
    else
        record_unsafe(run, "", failure.message);
    pthread_mutex_unlock(&run->lock);
    return failure.code != MLD_OK ? error_restore(&failure) : error;
}

static enum mld_error work(struct keeper *k, struct batch *b, struct stream_goal *goals, size_t n)
{
    enum mld_error error = sync_files(k, b);
    if (error == MLD_OK)
        error = sync_goals(k, goals, n);
    error = note_safe(k, goals, n, error);
    if (error == MLD_OK && b->n_retires > 0)
        error = retire_versions(k->run, b->retires, b->n_retires);
    return error;
}

/* One round over all that waits. Without locks. */
static void round_of_work(struct keeper *k)
{
    size_t n;
    struct error_copy failure = {MLD_OK, ""};
    pthread_mutex_lock(&k->run->lock);
    pthread_mutex_lock(&k->lock);
    struct batch batch = k->batch;
    uint64_t goal = k->added;
    k->batch = (struct batch){0};
    struct stream_goal *goals = take_goals(k, &batch, &n);
    pthread_mutex_unlock(&k->lock);
    pthread_mutex_unlock(&k->run->lock);
    enum mld_error error = goals == NULL ? error_set(MLD_ENOMEM, "out of memory for fsync")
                                         : work(k, &batch, goals, n);
    if (error != MLD_OK)
        error_save(error, &failure);
    free(goals);
    free(batch.retires);
    pthread_mutex_lock(&k->lock);
    if (failure.code != MLD_OK && k->failure.code == MLD_OK)
        k->failure = failure;
    if (k->kept < goal)
        k->kept = goal;
    pthread_cond_broadcast(&k->settled);
    pthread_mutex_unlock(&k->lock);
}

/* Waits KEEPER_DELAY_MS, or until somebody cannot wait. Needs k->lock. */
static void wait_a_moment(struct keeper *k)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KEEPER_DELAY_MS / 1000;
    until.tv_nsec += KEEPER_DELAY_MS % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    while (!k->stop && k->waiters == 0 && pthread_cond_timedwait(&k->wake, &k->lock, &until) == 0)
        continue;
}

static void *keep(void *argument)
{
    struct keeper *k = argument;
    pthread_mutex_lock(&k->lock);
    while (k->kept < k->added) {
        wait_a_moment(k);
        pthread_mutex_unlock(&k->lock);
        round_of_work(k);
        pthread_mutex_lock(&k->lock);
    }
    k->active = false;
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

enum mld_error keeper_take_failure(struct keeper *k)
{
    struct error_copy failure = {MLD_OK, ""};
    if (k == NULL)
        return MLD_OK;
    pthread_mutex_lock(&k->lock);
    if (k->failure.code != MLD_OK) {
        failure = k->failure;
        k->failure.code = MLD_OK;
    }
    pthread_mutex_unlock(&k->lock);
    if (failure.code == MLD_OK)
        return MLD_OK;
    error_restore(&failure);
    return error_prefix(failure.code, "what was written a moment ago may not survive power loss");
}

enum mld_error keeper_flush(struct keeper *k)
{
    if (k == NULL)
        return MLD_OK;
    pthread_mutex_lock(&k->lock);
    uint64_t goal = k->added;
    k->waiters++;
    pthread_cond_signal(&k->wake);
    while (k->kept < goal && k->active)
        pthread_cond_wait(&k->settled, &k->lock);
    k->waiters--;
    bool left_over = k->kept < goal; /* no thread could be started */
    pthread_mutex_unlock(&k->lock);
    if (left_over)
        round_of_work(k);
    return keeper_take_failure(k);
}

void keeper_free(struct keeper *k)
{
    if (k == NULL)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    bool started = k->started;
    pthread_mutex_unlock(&k->lock);
    if (started)
        pthread_join(k->thread, NULL);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->wake);
    pthread_cond_destroy(&k->settled);
    free(k);
}

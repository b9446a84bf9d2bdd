/* A round of work: take what waits, make it durable, note how far the streams are safe, replace the
 * mark, retire old versions. The thread works a round KEEPER_DELAY_MS after the first thing waits;
 * a flush does not wait for the thread but works the round itself. */
#include "run/keeper.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/keeper_batch.h"
#include "run/record.h"

struct keeper {
    struct run *run;
    struct entries entries;
    struct arena arena;
    struct mark before; /* of the slot's earlier writers: still true for streams we do not touch */

    pthread_mutex_t lock; /* guards all below but `taken` */
    pthread_cond_t changed;
    pthread_t thread;
    bool started; /* there is a thread to join */
    bool active;  /* it has not decided to leave */
    bool stopping;
    bool working;     /* a round is under way: `taken` is its worker's */
    uint64_t added;   /* things handed to the keeper so far */
    uint64_t done;    /* of them durable, or failed */
    int64_t since_ms; /* when the first of those that wait came */
    struct batch waiting;
    struct batch taken;
    uint64_t failures;
    struct error_copy failure; /* the first that no call has reported */
    atomic_bool failed;        /* there is one */
};

enum mld_error keeper_new(struct keeper **out, struct run *run)
{
    pthread_condattr_t attributes;
    struct keeper *k = calloc(1, sizeof *k);
    *out = k;
    if (k == NULL)
        return error_set(MLD_ENOMEM, "out of memory for opening %s", run->dir);
    k->run = run;
    entries_init(&k->entries, run->dir_fd, run->dir);
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    (void)mark_read(&k->before, &k->arena, run->dir_fd, (unsigned)run->slot.number);
    return MLD_OK;
}

/* Keeps the thread's error for the next call that writes. Needs k->lock. */
static void note_failure(struct keeper *k, enum mld_error error)
{
    k->failures++;
    if (!atomic_load(&k->failed))
        error_save(error, &k->failure);
    atomic_store(&k->failed, true);
}

static void *keep(void *argument);

/* Needs k->lock. Without a thread, flush and the end of the run do its work. */
static void start_thread(struct keeper *k)
{
    sigset_t all;
    sigset_t before;
    if (k->started) /* it has left, or is about to */
        pthread_join(k->thread, NULL);
    sigfillset(&all); /* signals belong to the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    k->started = pthread_create(&k->thread, NULL, keep, k) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    k->active = k->started;
}

/* Something became unsafe. Needs k->lock. */
static void note_added(struct keeper *k, bool is_first)
{
    if (is_first)
        k->since_ms = clock_monotonic_ms();
    k->added++;
    if (!k->active)
        start_thread(k);
}

static bool is_empty(const struct batch *b)
{
    return b->n_files == 0 && !b->everything && b->streams == NULL && b->n_retires == 0;
}

void keeper_add_file(struct keeper *k, int fd, const char *path)
{
    pthread_mutex_lock(&k->lock);
    bool first = is_empty(&k->waiting);
    batch_add_file(&k->waiting, fd, path);
    note_added(k, first);
    pthread_mutex_unlock(&k->lock);
}

void keeper_add_stream(struct keeper *k, struct stream *stream)
{
    if (stream->listed)
        return; /* the round that takes it sees its length then */
    pthread_mutex_lock(&k->lock);
    bool first = is_empty(&k->waiting);
    stream->listed = true;
    stream->next_dirty = k->waiting.streams;
    k->waiting.streams = stream;
    note_added(k, first);
    pthread_mutex_unlock(&k->lock);
}

/* Room for one request more; a repeated one for the same name takes the place of the last. */
static struct retire_item *retire_slot(struct batch *b, const struct file_entry *newest, int keep)
{
    struct retire_item *last = b->n_retires == 0 ? NULL : &b->retires[b->n_retires - 1];
    if (last != NULL && last->newest->name == newest->name && last->keep == keep)
        return last;
    if (b->n_retires == b->retires_capacity) {
        size_t larger = b->retires_capacity == 0 ? 16 : 2 * b->retires_capacity;
        struct retire_item *moved = realloc(b->retires, larger * sizeof *moved);
        if (moved == NULL)
            return NULL;
        b->retires = moved;
        b->retires_capacity = larger;
    }
    return &b->retires[b->n_retires++];
}

void keeper_add_retire(struct keeper *k, const struct file_entry *newest, int keep, bool thorough)
{
    pthread_mutex_lock(&k->lock);
    bool first = is_empty(&k->waiting);
    struct retire_item *item = retire_slot(&k->waiting, newest, keep);
    if (item != NULL) { /* else it waits for gc */
        *item = (struct retire_item){newest, keep, thorough};
        note_added(k, first);
    }
    pthread_mutex_unlock(&k->lock);
}

enum mld_error keeper_sync_entry(struct keeper *k, const char *path)
{
    return entries_sync(&k->entries, path);
}

/* Best effort: the failure itself is reported anyway. Needs the run's lock. */
static void record_unsafe(struct run *run, const char *file, const char *reason)
{
    buf_clear(&run->line);
    record_begin(&run->line, "unsafe", run_clock(run));
    record_put_text(&run->line, "file", file);
    record_put_text(&run->line, "reason", reason);
    record_end(&run->line);
    (void)run_write_record(run, &run->line);
}

/* With the run's lock. Further fsyncs of the stream would say that all is well, so it is given up.
 */
static void fail(struct keeper *k, struct stream *stream, const char *file,
                 const struct error_copy *failure)
{
    if (stream != NULL)
        stream->broken = stream->sync_failed = true;
    record_unsafe(k->run, file, failure->message);
    error_restore(failure);
    pthread_mutex_lock(&k->lock);
    note_failure(k, failure->code);
    pthread_mutex_unlock(&k->lock);
}

void keeper_stream_failed(struct keeper *k, struct stream *stream)
{
    struct error_copy failure;
    error_save(MLD_EIO, &failure);
    fail(k, stream, stream->path, &failure);
}

/* The mark's lines: our streams as far as they are safe, and what earlier writers of the slot said
 * of others. Needs the run's lock; the strings stay as long as the run. */
static struct mark_stream *mark_lines(const struct keeper *k, size_t *out_count)
{
    size_t n = k->before.count;
    struct map ours = {.capacity = 0};
    for (const struct stream *s = k->run->streams.first; s != NULL; s = s->next)
        n++;
    struct mark_stream *lines = calloc(n + 1, sizeof *lines);
    *out_count = 0;
    if (lines == NULL)
        return NULL;
    for (struct stream *s = k->run->streams.first; s != NULL; s = s->next) {
        if (s->safe_length == 0)
            continue;
        lines[(*out_count)++] =
            (struct mark_stream){s->id, s->path, (uint64_t)s->safe_length, s->safe_crc};
        (void)map_put(&ours, s->id, strlen(s->id), s); /* without memory it is said twice */
    }
    for (size_t i = 0; i < k->before.count; i++) {
        const char *id = k->before.streams[i].stream;
        if (map_get(&ours, id, strlen(id)) == NULL)
            lines[(*out_count)++] = k->before.streams[i];
    }
    map_free(&ours);
    return lines;
}

/* What the round came to. Returns the mark's lines, NULL when it stays as it is. */
static struct mark_stream *note_results(struct keeper *k, const struct stream_goal *goals, size_t n,
                                        bool *io_ok, size_t *out_count)
{
    bool progress = false;
    for (size_t i = 0; i < n; i++) {
        struct stream *s = goals[i].stream;
        if (goals[i].failure.code != MLD_OK) {
            *io_ok = false;
            fail(k, s, s->path, &goals[i].failure);
        } else if (!s->sync_failed && goals[i].length > s->safe_length) {
            s->safe_length = goals[i].length;
            s->safe_crc = goals[i].crc;
            progress = true;
        }
    }
    return progress ? mark_lines(k, out_count) : NULL;
}

/* Best effort: an older mark is true, too, and says less. */
static void replace_mark(const struct run *run, const struct mark_stream *lines, size_t count)
{
    char boot[40];
    clock_boot_id(boot);
    const struct mark mark = {run->slot.writer, boot, lines, count};
    (void)mark_write(run->dir_fd, (unsigned)run->slot.number, &mark);
}

/* Without locks; k->taken is ours. */
static void work(struct keeper *k)
{
    struct run *run = k->run;
    struct stream_goal *goals;
    struct error_copy failure = {.code = MLD_OK};
    size_t n;
    size_t n_lines = 0;
    const char *failed = "";
    pthread_mutex_lock(&run->lock);
    enum mld_error error = batch_begin(&goals, &n, &k->taken, run);
    pthread_mutex_unlock(&run->lock);
    if (error == MLD_OK)
        error = batch_sync(&k->taken, goals, n, run, &k->entries, &failed);
    error_save(error, &failure);
    bool io_ok = error == MLD_OK;
    pthread_mutex_lock(&run->lock);
    if (!io_ok)
        fail(k, NULL, failed, &failure);
    struct mark_stream *lines = note_results(k, goals, n, &io_ok, &n_lines);
    pthread_mutex_unlock(&run->lock);
    if (lines != NULL)
        replace_mark(run, lines, n_lines);
    if (io_ok && k->taken.n_retires > 0)
        retire_versions(run, k->taken.retires, k->taken.n_retires);
    free(lines);
    free(goals);
}

/* Needs k->lock, lets it go meanwhile. */
static void round_of_work(struct keeper *k)
{
    uint64_t upto = k->added;
    k->working = true;
    k->taken = k->waiting;
    k->waiting = (struct batch){.n_files = 0};
    pthread_mutex_unlock(&k->lock);
    work(k);
    batch_free(&k->taken);
    pthread_mutex_lock(&k->lock);
    k->working = false;
    k->done = upto;
    pthread_cond_broadcast(&k->changed);
}

static void wait_until(struct keeper *k, int64_t ms)
{
    struct timespec until = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = ms % 1000 * 1000000};
    pthread_cond_timedwait(&k->changed, &k->lock, &until);
}

static void *keep(void *argument)
{
    struct keeper *k = argument;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping && k->done < k->added) {
        int64_t due = k->since_ms + KEEPER_DELAY_MS;
        if (k->working)
            pthread_cond_wait(&k->changed, &k->lock);
        else if (clock_monotonic_ms() < due)
            wait_until(k, due);
        else
            round_of_work(k);
    }
    k->active = false;
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

enum mld_error keeper_take_failure(struct keeper *k)
{
    struct error_copy failure;
    if (!atomic_load(&k->failed))
        return MLD_OK;
    pthread_mutex_lock(&k->lock);
    failure = k->failure;
    bool taken = atomic_exchange(&k->failed, false);
    pthread_mutex_unlock(&k->lock);
    if (!taken)
        return MLD_OK;
    error_restore(&failure);
    return error_prefix(failure.code, "what was written a moment ago may not survive power loss");
}

enum mld_error keeper_flush(struct keeper *k)
{
    struct error_copy failure;
    if (k == NULL)
        return MLD_OK;
    pthread_mutex_lock(&k->lock);
    uint64_t goal = k->added;
    uint64_t failures = k->failures;
    while (k->done < goal) {
        if (k->working)
            pthread_cond_wait(&k->changed, &k->lock);
        else
            round_of_work(k);
    }
    /* Another call may have reported it already, but it was our data, too. */
    bool failed = k->failures != failures || atomic_load(&k->failed);
    failure = k->failure;
    atomic_store(&k->failed, false);
    pthread_mutex_unlock(&k->lock);
    if (!failed)
        return MLD_OK;
    error_restore(&failure);
    return error_prefix(failure.code, "what was written before may not survive power loss");
}

void keeper_free(struct keeper *k)
{
    if (k == NULL)
        return;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_broadcast(&k->changed);
    bool started = k->started;
    pthread_mutex_unlock(&k->lock);
    if (started)
        pthread_join(k->thread, NULL);
    batch_free(&k->waiting);
    entries_free(&k->entries);
    arena_free(&k->arena);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->changed);
    free(k);
}

static void close_waiting(struct batch *b)
{
    for (size_t i = 0; i < b->n_files && i < KEEPER_MAX_FDS; i++) {
        if (b->files[i].fd >= 0)
            close(b->files[i].fd);
        b->files[i].fd = -1;
    }
}

void keeper_forget(struct keeper *k)
{
    if (k == NULL)
        return;
    close_waiting(&k->waiting);
    close_waiting(&k->taken);
}

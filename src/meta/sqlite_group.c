/* sqlite_group.c: the writing thread. Callers queue their writes and wait; the thread takes all
 * that came together and commits them as one transaction, so that 64 callers pay for one fsync.
 *
 * When the store itself fails, nothing of the group is kept. A full disk, damage or a lack of
 * memory may be of one caller's making: each of the group is then tried alone. After any failure
 * the connection is opened anew, since what SQLite has in memory may not be what is on the disk,
 * and the log is emptied into the file: a commit whose fsync failed may stand in the log as if it
 * had been done, and would be found there after a crash.
 *
 * The log is carried into the file here rather than within a commit, after the callers were woken.
 * A failure of that, or of the last commit, is what meta_health tells; the thread tries again every
 * second, so that a store which nobody writes to because it is not well recovers, too. */
#include <string.h>
#include <time.h>

#include "meta/sqlite.h"

#define GROUP_MAX_WRITES 8192
#define GROUP_MAX_BYTES (64u << 20) /* at least one job, however large */
#define CHECKPOINT_PAGES 4096       /* of 4 KB: the log is carried over whenever it grew by this */
#define WAL_MAX_PAGES 16384         /* then readers and writers wait for it to start again ... */
#define CHECKPOINT_BUSY_MS 100      /* ... for this long */
#define ARENA_MAX_BYTES (1u << 20)
#define TRY_AGAIN_S 1

static int checkpoint(struct connection *c, int mode)
{
    sqlite3_busy_timeout(c->db, CHECKPOINT_BUSY_MS);
    int code = sqlite3_wal_checkpoint_v2(c->db, "main", mode, NULL, NULL);
    sqlite3_busy_timeout(c->db, SQLITE_BUSY_MS);
    return code == SQLITE_BUSY || code == SQLITE_LOCKED ? SQLITE_OK : code;
}

/* Does it when the log has grown enough since the last time, or `now`. */
static void carry_over(struct sqlite_store *s, bool now)
{
    struct connection *c = &s->writer;
    if (c->wal_pages < s->checkpoint_at - CHECKPOINT_PAGES) /* the log began again */
        s->checkpoint_at = CHECKPOINT_PAGES;
    if (c->db == NULL || (!now && c->wal_pages < s->checkpoint_at))
        return;
    bool large = c->wal_pages >= WAL_MAX_PAGES;
    struct error_copy failure = {.code = MLD_OK};
    if (checkpoint(c, large ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE) != SQLITE_OK)
        error_save(sqlite_fail(c, "carrying the log over to"), &failure);
    s->checkpoint_at = c->wal_pages + CHECKPOINT_PAGES;
    pthread_mutex_lock(&s->lock);
    s->checkpoint_failure = failure;
    pthread_mutex_unlock(&s->lock);
}

static enum mld_error do_jobs(struct connection *c, struct job *jobs)
{
    struct arena arena = {0};
    enum mld_error error = sqlite_run(c, ST_BEGIN);
    if (error == MLD_OK && jobs->n == 0)
        error = sqlite_run(c, ST_TOUCH);
    for (struct job *job = jobs; error == MLD_OK && job != NULL; job = job->next) {
        for (size_t i = 0; error == MLD_OK && i < job->n; i++) {
            error = sqlite_do_write(c, &arena, &job->writes[i]);
            if (arena.total_bytes > ARENA_MAX_BYTES)
                arena_free(&arena);
        }
    }
    arena_free(&arena);
    return error == MLD_OK ? sqlite_run(c, ST_COMMIT) : error;
}

static void fail_jobs(struct job *jobs, const struct error_copy *failure)
{
    for (struct job *job = jobs; job != NULL; job = job->next) {
        job->failure = *failure;
        for (size_t i = 0; i < job->n; i++)
            job->writes[i].result = failure->code;
    }
}

static enum mld_error reopen(struct sqlite_store *s)
{
    sqlite_disconnect(&s->writer);
    enum mld_error error = sqlite_connect(&s->writer, s->path, false);
    if (error == MLD_OK)
        checkpoint(&s->writer,
                   SQLITE_CHECKPOINT_TRUNCATE); /* if it can: the next commit does too */
    return error;
}

/* One transaction for a list of jobs. */
static enum mld_error run_group(struct sqlite_store *s, struct job *jobs)
{
    struct error_copy failure = {.code = MLD_OK};
    enum mld_error error = s->reopen ? reopen(s) : MLD_OK;
    if (error == MLD_OK)
        error = do_jobs(&s->writer, jobs);
    s->reopen = error != MLD_OK;
    if (error != MLD_OK) {
        error_save(error, &failure);
        if (s->writer.db != NULL && !sqlite3_get_autocommit(s->writer.db))
            sqlite_run(&s->writer, ST_ROLLBACK);
        fail_jobs(jobs, &failure);
    }
    pthread_mutex_lock(&s->lock);
    s->commit_failure = failure;
    pthread_mutex_unlock(&s->lock);
    return error;
}

static void do_group(struct sqlite_store *s, struct job *jobs)
{
    enum mld_error error = run_group(s, jobs);
    bool anew = error == MLD_ENOSPACE || (error != MLD_OK && jobs->next != NULL);
    if (!anew || error == MLD_EIO || error == MLD_EUNAVAILABLE)
        return;
    for (struct job *job = jobs, *next; job != NULL; job = next) {
        next = job->next;
        job->next = NULL;
        job->failure.code = MLD_OK;
        run_group(s, job);
        job->next = next;
    }
}

/* Takes jobs from the queue, at least one, up to the group's limits. With the lock. */
static struct job *take_group(struct sqlite_store *s)
{
    struct job *jobs = s->first, *last = NULL;
    size_t writes = 0, bytes = 0;
    while (s->first != NULL && (last == NULL || (writes + s->first->n <= GROUP_MAX_WRITES &&
                                                 bytes + s->first->bytes <= GROUP_MAX_BYTES))) {
        last = s->first;
        writes += last->n;
        bytes += last->bytes;
        s->first = last->next;
    }
    last->next = NULL;
    if (s->first == NULL)
        s->last = NULL;
    s->queued -= writes;
    pthread_cond_broadcast(&s->room);
    return jobs;
}

/* After a failure: finds out whether the store works again. */
static void try_again(struct sqlite_store *s, bool commit)
{
    struct job nothing = {.n = 0};
    if (!commit || run_group(s, &nothing) == MLD_OK)
        carry_over(s, true);
}

/* With the lock: waits for jobs, or for the time to try again after a failure. */
static void wait_for_work(struct sqlite_store *s)
{
    bool commit = s->commit_failure.code != MLD_OK;
    struct timespec until;
    if (!commit && s->checkpoint_failure.code == MLD_OK) {
        pthread_cond_wait(&s->work, &s->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TRY_AGAIN_S;
    if (pthread_cond_timedwait(&s->work, &s->lock, &until) == 0 || s->first != NULL || s->stopping)
        return;
    pthread_mutex_unlock(&s->lock);
    try_again(s, commit);
    pthread_mutex_lock(&s->lock);
}

void *sqlite_writer_main(void *store)
{
    struct sqlite_store *s = store;
    s->checkpoint_at = CHECKPOINT_PAGES;
    pthread_mutex_lock(&s->lock);
    while (s->first != NULL || !s->stopping) {
        if (s->first == NULL) {
            wait_for_work(s);
            continue;
        }
        struct job *jobs = take_group(s);
        pthread_mutex_unlock(&s->lock);
        do_group(s, jobs);
        pthread_mutex_lock(&s->lock);
        while (jobs != NULL) { /* a job is its caller's again once it is done */
            struct job *next = jobs->next;
            jobs->done = true;
            pthread_cond_signal(&jobs->cond);
            jobs = next;
        }
        pthread_mutex_unlock(&s->lock);
        carry_over(s, false);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum mld_error sqlite_write(struct meta *m, struct meta_write *writes, size_t n)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct job job = {.writes = writes, .n = n, .failure = {.code = MLD_OK}};
    for (size_t i = 0; i < n; i++)
        job.bytes += writes[i].doc.text_len + writes[i].doc.data_len;
    pthread_cond_init(&job.cond, NULL);
    pthread_mutex_lock(&s->lock);
    while (s->queued + n > SQLITE_MAX_QUEUED)
        pthread_cond_wait(&s->room, &s->lock);
    if (s->last == NULL)
        s->first = &job;
    else
        s->last->next = &job;
    s->last = &job;
    s->queued += n;
    pthread_cond_signal(&s->work);
    while (!job.done)
        pthread_cond_wait(&job.cond, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&job.cond);
    return job.failure.code == MLD_OK ? MLD_OK : error_restore(&job.failure);
}

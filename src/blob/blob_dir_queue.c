/* blob_dir_queue.c: the one thread that writes to the SQLite file. Whatever waits when it comes
 * round goes into one transaction and shares its fsync.
 *
 * The same thread gives large blobs their names. So the question whether a key is taken, there or
 * here, needs no lock: nobody else makes names.
 *
 * When a transaction fails, its jobs are tried again one by one, so that a large one that finds no
 * room does not take others with it. After a failed write or fsync nothing is tried again: SQLite
 * would go on behind bytes that the disk never got. The store says so from then on, and opening it
 * again brings it back to what was acknowledged. */
#include <assert.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

#define BATCH_MAX_JOBS 256
#define BATCH_MAX_PUTS 4096
#define BATCH_MAX_BYTES ((size_t)8 << 20) /* one job at least, however large */

static enum mld_error put_one(struct dir *d, struct blob_put *put, const struct blob_digest *digest)
{
    struct dir_connection *c = &d->small.writer;
    struct blob_digest there;
    struct dir_file file;
    size_t len = put->len;
    bool found = false;
    int fd = -1;
    enum mld_error error = dir_file_find(d, put->key, &fd, &file);

    put->result = error == MLD_EDAMAGED ? error : MLD_OK;
    if (error != MLD_OK)
        return put->result == MLD_OK ? error : MLD_OK;
    if (fd >= 0) {
        close(fd);
        put->result = strcmp(file.digest.hex, digest->hex) == 0 ? MLD_OK : MLD_EEXISTS;
        return dir_file_confirm(d, put->key);
    }
    sqlite3_bind_blob(c->add, 1, put->key, (int)strlen(put->key), SQLITE_STATIC);
    sqlite3_bind_text(c->add, 2, digest->hex, SHA256_HEX_LEN, SQLITE_STATIC);
    sqlite3_bind_blob(c->add, 3, len > 0 ? put->data : "", (int)len, SQLITE_STATIC);
    error = dir_sqlite_do(c, c->add, "cannot store a blob");
    if (error != MLD_OK || sqlite3_changes(c->db) == 1)
        return error;
    error = dir_small_find(c, put->key, &found, NULL, NULL, &there);
    if (error == MLD_OK && (!found || strcmp(there.hex, digest->hex) != 0))
        put->result = MLD_EEXISTS;
    return error;
}

static enum mld_error publish(struct dir *d, struct dir_job *job)
{
    bool found = false;
    enum mld_error error = MLD_OK;

    if (job->published)
        return MLD_OK;
    error = dir_small_find(&d->small.writer, job->publish_key, &found, NULL, NULL, NULL);
    if (error == MLD_OK && found)
        error = blob_other_bytes(job->publish_key);
    if (error == MLD_OK)
        error = fs_rename(d->root_fd, job->from.text, job->to.text, false);
    job->published = error == MLD_OK;
    return error;
}

/* What fails here is the job's own affair. */
static enum mld_error do_job(struct dir *d, struct dir_job *job)
{
    struct dir_connection *c = &d->small.writer;
    enum mld_error error = MLD_OK;

    for (size_t i = 0; error == MLD_OK && i < job->n_puts; i++) {
        if (job->digests[i].hex[0] != '\0')
            error = put_one(d, &job->puts[i], &job->digests[i]);
    }
    if (error == MLD_OK && job->remove_key != NULL) {
        sqlite3_bind_blob(c->remove, 1, job->remove_key, (int)strlen(job->remove_key),
                          SQLITE_STATIC);
        error = dir_sqlite_do(c, c->remove, "cannot delete a blob");
    }
    if (error == MLD_OK && job->publish_key != NULL)
        error = publish(d, job);
    return error;
}

/* Remembers a failed write for good; *out_transaction tells whether there still is one. */
static void look_at_failure(struct dir *d, enum mld_error error, bool *out_transaction)
{
    struct dir_small *s = &d->small;

    *out_transaction = sqlite3_get_autocommit(s->writer.db) == 0;
    if (error != MLD_EIO || (sqlite3_errcode(s->writer.db) & 0xFF) != SQLITE_IOERR)
        return;
    error = error_prefix(error, "no small blob is stored until the server is started again");
    pthread_mutex_lock(&s->lock);
    error_save(error, &s->broken);
    pthread_mutex_unlock(&s->lock);
}

static bool is_broken(struct dir *d)
{
    pthread_mutex_lock(&d->small.lock);
    bool broken = d->small.broken.code != MLD_OK;
    pthread_mutex_unlock(&d->small.lock);
    return broken;
}

static bool writes(const struct dir_job *job)
{
    return job->n_puts > 0 || job->remove_key != NULL;
}

/* One transaction for all jobs from `first` until `end`. Sets the result of each when the
 * transaction is through; otherwise returns why not. */
static enum mld_error do_transaction(struct dir *d, struct dir_job *first,
                                     const struct dir_job *end)
{
    struct dir_connection *c = &d->small.writer;
    bool open = false;
    enum mld_error error = dir_sqlite_do(c, c->begin, "cannot begin");

    for (struct dir_job *job = first; error == MLD_OK && job != end; job = job->next) {
        error = do_job(d, job);
        if (error != MLD_OK) {
            error_save(error, &job->result);
            /* A name that is taken, or a file that cannot be renamed, harms nobody else. */
            if (!writes(job))
                error = MLD_OK;
        } else {
            job->result.code = MLD_OK;
        }
    }
    if (error == MLD_OK)
        error = dir_sqlite_do(c, c->commit, "cannot commit");
    if (error != MLD_OK) {
        look_at_failure(d, error, &open);
        struct error_copy why;
        error_save(error, &why);
        if (open)
            (void)dir_sqlite_do(c, c->rollback, "cannot roll back");
        error = error_restore(&why);
    }
    return error;
}

/* Deleting must be possible on a full disk: it needs room in the log. With the reserve given back,
 * all of the log goes into the database, and then there is room in it for good. */
static enum mld_error do_alone(struct dir *d, struct dir_job *job)
{
    struct error_copy result;
    enum mld_error error = do_transaction(d, job, job->next);

    if (error != MLD_ENOSPACE || job->remove_key == NULL)
        return error;
    dir_reserve_drop(d);
    (void)sqlite3_wal_checkpoint_v2(d->small.writer.db, NULL, SQLITE_CHECKPOINT_RESTART, NULL,
                                    NULL);
    error = do_transaction(d, job, job->next);
    error_save(error, &result);
    dir_reserve_take(d);
    return error == MLD_OK ? MLD_OK : error_restore(&result);
}

static void refuse(struct dir *d, struct dir_job *job)
{
    pthread_mutex_lock(&d->small.lock);
    job->result = d->small.broken;
    pthread_mutex_unlock(&d->small.lock);
}

static void do_batch(struct dir *d, struct dir_job *first)
{
    enum mld_error error = MLD_OK;
    bool any_broken = is_broken(d);

    if (!any_broken) {
        error = do_transaction(d, first, NULL);
        if (error == MLD_OK)
            return;
    }
    for (struct dir_job *job = first; job != NULL; job = job->next) {
        if (is_broken(d) && writes(job)) {
            refuse(d, job);
        } else {
            error = do_alone(d, job);
            if (error != MLD_OK)
                error_save(error, &job->result);
        }
    }
}

/* Takes what waits, up to a limit; with the lock held. */
static struct dir_job *take_batch(struct dir_small *s)
{
    struct dir_job *first = s->first;
    struct dir_job *last = first;
    size_t puts = first->n_puts;
    size_t bytes = first->bytes;
    unsigned n = 1;

    while (last->next != NULL && n < BATCH_MAX_JOBS &&
           puts + last->next->n_puts <= BATCH_MAX_PUTS &&
           bytes + last->next->bytes <= BATCH_MAX_BYTES) {
        last = last->next;
        puts += last->n_puts;
        bytes += last->bytes;
        n++;
    }
    s->first = last->next;
    if (s->first == NULL)
        s->last = NULL;
    last->next = NULL;
    s->n_jobs -= n;
    pthread_cond_broadcast(&s->room);
    return first;
}

static void *write_along(void *argument)
{
    struct dir *d = argument;
    struct dir_small *s = &d->small;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->first == NULL && !s->stopping)
            pthread_cond_wait(&s->work, &s->lock);
        if (s->first == NULL)
            break;
        struct dir_job *job = take_batch(s);
        pthread_mutex_unlock(&s->lock);
        do_batch(d, job);
        pthread_mutex_lock(&s->lock);
        while (job != NULL) {
            struct dir_job *next = job->next; /* the job is the caller's once it is done */
            job->done = true;
            pthread_cond_signal(&job->wake);
            job = next;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum mld_error dir_queue_start(struct dir *d)
{
    d->small.started = dir_thread_start(&d->small.thread, write_along, d);
    if (!d->small.started)
        return error_set(MLD_ENOMEM, "the blob store cannot start its writer");
    return MLD_OK;
}

void dir_queue_stop(struct dir *d)
{
    if (!d->small.started)
        return;
    pthread_mutex_lock(&d->small.lock);
    d->small.stopping = true;
    pthread_cond_signal(&d->small.work);
    pthread_mutex_unlock(&d->small.lock);
    pthread_join(d->small.thread, NULL);
    d->small.started = false;
}

enum mld_error dir_small_run(struct dir *d, struct dir_job *job)
{
    struct dir_small *s = &d->small;

    job->next = NULL;
    job->done = false;
    pthread_cond_init(&job->wake, NULL);
    pthread_mutex_lock(&s->lock);
    while (s->n_jobs >= DIR_MAX_JOBS)
        pthread_cond_wait(&s->room, &s->lock);
    assert(!s->stopping);
    if (s->last == NULL)
        s->first = job;
    else
        s->last->next = job;
    s->last = job;
    s->n_jobs++;
    pthread_cond_signal(&s->work);
    while (!job->done)
        pthread_cond_wait(&job->wake, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&job->wake);
    return job->result.code == MLD_OK ? MLD_OK : error_restore(&job->result);
}

enum mld_error dir_put_small(struct blob *b, struct blob_put *puts,
                             const struct blob_digest *digests, size_t n)
{
    struct dir_job job = {.puts = puts, .digests = digests, .n_puts = n};

    for (size_t i = 0; i < n; i++)
        job.bytes += puts[i].len;
    return dir_small_run((struct dir *)b, &job);
}

/* engine_upload.c: one large file. Threads take parts in turn, each with a connection and one part
 * in memory: it is hashed, then sent from there. Meanwhile the syncing thread goes on sending
 * lines, so that metrics do not wait for a checkpoint. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"
#include "sync/engine.h"

#define MAX_THREADS 8
#define MEMORY_BYTES (24u << 20) /* of all parts that are on the way */
#define PART_TRIES 5
#define LINES_EVERY_MS 1000

struct upload {
    struct engine *e;
    const struct sync_file *file;
    struct remote_upload remote;
    int fd;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t done;
    unsigned next;
    unsigned running;
    struct error_copy failure;
    int64_t retry_after_s; /* said with it */
};

/* The next part to send; false: there is none, or somebody failed. */
static bool take_part(struct upload *u, unsigned *out)
{
    pthread_mutex_lock(&u->lock);
    while (u->next < u->remote.parts && u->remote.have[u->next])
        u->next++;
    bool take = u->failure.code == MLD_OK && u->next < u->remote.parts && !atomic_load(&u->e->stop);
    if (take)
        *out = u->next++;
    pthread_mutex_unlock(&u->lock);
    return take;
}

static void fail(struct upload *u, enum mld_error error, int64_t retry_after_s)
{
    pthread_mutex_lock(&u->lock);
    if (u->failure.code == MLD_OK) {
        error_save(error, &u->failure);
        u->retry_after_s = retry_after_s;
    }
    pthread_mutex_unlock(&u->lock);
}

static enum mld_error hash_part(const void *data, size_t len, char out[SHA256_HEX_LEN + 1])
{
    struct sha256 h = {0};
    enum mld_error error = sha256_begin(&h);
    if (error == MLD_OK) {
        sha256_update(&h, data, len);
        error = sha256_end(&h, out);
    }
    sha256_free(&h);
    return error;
}

static enum mld_error read_part(const struct upload *u, unsigned part, char *data, size_t *out_len,
                                char out_sha256[SHA256_HEX_LEN + 1])
{
    uint64_t from = part * u->remote.part_size_bytes;
    uint64_t left = u->file->size_bytes - from;
    size_t want = (size_t)(left < u->remote.part_size_bytes ? left : u->remote.part_size_bytes);
    enum mld_error error = fs_pread(u->fd, data, want, (off_t)from, out_len, u->file->filename);
    if (error == MLD_OK && *out_len != want)
        error = error_set(MLD_ECHECKSUM, "its stored bytes are shorter than what was saved");
    return error == MLD_OK ? hash_part(data, *out_len, out_sha256) : error;
}

/* A broken connection, and bytes that arrived otherwise, are tried again a few times; then the file
 * waits for the next round. */
static enum mld_error send_part(struct upload *u, struct remote *r, unsigned part, char *data)
{
    size_t len = 0;
    char sha256[SHA256_HEX_LEN + 1];
    enum mld_error error = read_part(u, part, data, &len, sha256);
    for (unsigned i = 1; error == MLD_OK; i++) {
        error = remote_upload_part(r, remote_id_of(u->file), part, data, len, sha256);
        if (error == MLD_ECHECKSUM) /* on the way: they were hashed here a moment ago */
            error = error_set(MLD_EUNAVAILABLE, "other bytes arrived at the server");
        if (error != MLD_EUNAVAILABLE || i == PART_TRIES || atomic_load(&u->e->stop))
            break;
        engine_sleep(u->e, engine_pause_ms(r->retry_after_s, i));
        error = MLD_OK;
    }
    if (error == MLD_OK)
        engine_count(u->e, &u->e->status.bytes_sent, len);
    return error;
}

static enum mld_error send_parts(struct upload *u, struct remote *r)
{
    char *data = malloc((size_t)u->remote.part_size_bytes);
    enum mld_error error = data == NULL ? error_set(MLD_ENOMEM, "no memory for a part") : MLD_OK;
    unsigned part;
    while (error == MLD_OK && take_part(u, &part))
        error = send_part(u, r, part, data);
    free(data);
    return error;
}

static void *part_main(void *payload)
{
    struct upload *u = payload;
    struct remote r = {.retry_after_s = -1, .worked = true};
    enum mld_error error = http_client_new(&r.client, &u->e->server);
    memcpy(r.experiment, u->e->remote.experiment, sizeof r.experiment);
    if (error == MLD_OK)
        error = send_parts(u, &r);
    http_client_free(r.client);
    if (error != MLD_OK)
        fail(u, error, r.retry_after_s);
    engine_count(u->e, &u->e->part_requests, r.requests);
    pthread_mutex_lock(&u->lock);
    u->running--;
    pthread_cond_signal(&u->done);
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

/* Waits for the threads; now and then lines are sent. */
static void wait_for_parts(struct upload *u)
{
    struct engine *e = u->e;
    pthread_mutex_lock(&u->lock);
    while (u->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LINES_EVERY_MS / 1000;
        if (pthread_cond_timedwait(&u->done, &u->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&u->lock);
        /* An error here comes again in the next round; records wait until this file is through. */
        if (!e->diverging && sync_folder_scan(e->folder) == MLD_OK)
            engine_send_streams(e, false);
        if (e->diverging) /* the file belongs elsewhere */
            fail(u, error_set(MLD_ECONFLICT, "the folder is another experiment"), -1);
        engine_report(e);
        pthread_mutex_lock(&u->lock);
    }
    pthread_mutex_unlock(&u->lock);
}

static unsigned threads_for(const struct upload *u)
{
    uint64_t fit = MEMORY_BYTES / u->remote.part_size_bytes;
    unsigned n = u->e->part_threads;
    if (n > MAX_THREADS)
        n = MAX_THREADS;
    if (n > fit)
        n = (unsigned)fit;
    if (n > u->remote.parts)
        n = u->remote.parts;
    return n == 0 ? 1 : n;
}

static enum mld_error run_threads(struct upload *u)
{
    pthread_t threads[MAX_THREADS];
    pthread_condattr_t monotonic;
    sigset_t all, before;
    unsigned n = threads_for(u), started = 0;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; started < n; started++) {
        pthread_mutex_lock(&u->lock);
        u->running++;
        pthread_mutex_unlock(&u->lock);
        if (pthread_create(&threads[started], NULL, part_main, u) != 0) {
            pthread_mutex_lock(&u->lock);
            u->running--;
            pthread_mutex_unlock(&u->lock);
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started == 0)
        fail(u, error_set(MLD_ENOMEM, "no thread could be started to send a file"), -1);
    wait_for_parts(u);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->done);
    if (u->failure.code == MLD_OK && atomic_load(&u->e->stop))
        return error_set(MLD_EINTERRUPTED, "syncing was stopped");
    if (u->failure.code == MLD_OK)
        return MLD_OK;
    u->e->remote.retry_after_s = u->retry_after_s;
    return error_restore(&u->failure);
}

/* What the upload's end says of the file. */
static enum mld_error commit(struct upload *u)
{
    enum mld_error error = remote_upload_commit(&u->e->remote, remote_id_of(u->file));
    if (error == MLD_ECHECKSUM)
        return error_set(MLD_ECHECKSUM, "its stored bytes are not what was saved");
    if (error == MLD_ENOTFOUND) /* dropped meanwhile; it begins anew */
        return error_set(MLD_EUNAVAILABLE, "the upload was dropped");
    return error;
}

enum mld_error engine_upload(struct engine *e, const struct sync_file *file, int fd)
{
    struct upload u = {.e = e, .file = file, .fd = fd, .retry_after_s = -1};
    enum mld_error error = remote_upload_open(&e->remote, &u.remote, file);
    if (error == MLD_OK && u.remote.state == REMOTE_OPEN) {
        error = run_threads(&u);
        if (error == MLD_ENOTFOUND)
            error = error_set(MLD_EUNAVAILABLE, "the upload was dropped");
        if (error == MLD_OK)
            error = commit(&u);
    } else if (error == MLD_OK && u.remote.state == REMOTE_GONE) {
        error = error_set(MLD_ESUPERSEDED, "the server has given it up");
    } else if (error == MLD_OK && u.remote.state == REMOTE_ID_TAKEN) {
        error = error_set(MLD_EEXISTS, "its id is another file's");
    }
    remote_upload_free(&u.remote);
    return error;
}

/* The ring: 8 buffers of 1 MB. The calling thread reads into the next free buffer, writes it and
 * hands it on; the hashing thread follows in order. On two cores a warm 1 GB file costs the time of
 * its SHA-256 alone. */
#include "run/copy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"

#define RING_SLOTS 8
#define RING_BYTES (1u << 20)
#define PROGRESS_EVERY_BYTES (8u << 20)

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *data; /* RING_SLOTS buffers */
    size_t lens[RING_SLOTS];
    unsigned filled; /* buffers handed on so far */
    unsigned hashed; /* buffers done so far */
    bool finished;
    struct sha256 hash;
};

static void *hash_along(void *argument)
{
    struct ring *r = argument;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->hashed == r->filled && !r->finished)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->hashed == r->filled)
            break;
        unsigned slot = r->hashed % RING_SLOTS;
        pthread_mutex_unlock(&r->lock);
        sha256_update(&r->hash, r->data + (size_t)slot * RING_BYTES, r->lens[slot]);
        pthread_mutex_lock(&r->lock);
        r->hashed++;
        pthread_cond_signal(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static char *ring_free_slot(struct ring *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->filled - r->hashed == RING_SLOTS)
        pthread_cond_wait(&r->changed, &r->lock);
    unsigned slot = r->filled % RING_SLOTS;
    pthread_mutex_unlock(&r->lock);
    return r->data + (size_t)slot * RING_BYTES;
}

static void ring_hand_on(struct ring *r, size_t len)
{
    pthread_mutex_lock(&r->lock);
    r->lens[r->filled % RING_SLOTS] = len;
    r->filled++;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void ring_finish(struct ring *r, pthread_t thread)
{
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(thread, NULL);
}

/* Says how far it is, every few megabytes; false stops. */
static enum mld_error tell(uint64_t before, uint64_t now, const struct copy_options *o,
                           const char *name)
{
    if (o->progress == NULL || before / PROGRESS_EVERY_BYTES == now / PROGRESS_EVERY_BYTES)
        return MLD_OK;
    if (o->progress(now, o->total_bytes, o->payload))
        return MLD_OK;
    return error_set(MLD_EINTERRUPTED, "copying %s was stopped", name);
}

static enum mld_error check_limit(uint64_t size, const struct copy_options *o, const char *name)
{
    if (size <= o->max_bytes)
        return MLD_OK;
    return error_set(MLD_ETOOLARGE, "%s has more than the limit of %llu bytes", name,
                     (unsigned long long)o->max_bytes);
}

/* Two open files on their way from one to the other. */
struct pair {
    int source_fd;
    int destination_fd; /* -1: hash only */
    const char *source_name;
    const char *destination_name;
    uint64_t size; /* moved so far */
    const struct copy_options *options;
};

/* Reads the next piece and writes it. *out_len 0: the end. */
static enum mld_error move_piece(struct pair *p, char *buffer, size_t capacity, size_t *out_len)
{
    enum mld_error error =
        fs_pread(p->source_fd, buffer, capacity, (off_t)p->size, out_len, p->source_name);
    if (error != MLD_OK || *out_len == 0)
        return error;
    error = check_limit(p->size + *out_len, p->options, p->source_name);
    if (error == MLD_OK && p->destination_fd >= 0)
        error = fs_write_all(p->destination_fd, buffer, *out_len, p->destination_name);
    if (error == MLD_OK) {
        p->size += *out_len;
        error = tell(p->size - *out_len, p->size, p->options, p->source_name);
    }
    return error;
}

static enum mld_error start_hashing(pthread_t *out, struct ring *r)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the program's own threads */
    int failed = pthread_create(out, NULL, hash_along, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? MLD_OK : error_set_errno(failed, "cannot start a thread for hashing");
}

static enum mld_error copy_big(struct copy_result *out, struct pair *p)
{
    struct ring r = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    enum mld_error error = sha256_begin(&r.hash);
    if (error == MLD_OK && (r.data = malloc((size_t)RING_SLOTS * RING_BYTES)) == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for copying %s", p->source_name);
    if (error == MLD_OK)
        error = start_hashing(&thread, &r);
    if (error == MLD_OK) {
        size_t len = 1;
        while (error == MLD_OK && len > 0) {
            error = move_piece(p, ring_free_slot(&r), RING_BYTES, &len);
            if (error == MLD_OK && len > 0)
                ring_hand_on(&r, len);
        }
        ring_finish(&r, thread);
    }
    if (error == MLD_OK)
        error = sha256_end(&r.hash, out->checksum);
    sha256_free(&r.hash);
    free(r.data);
    return error;
}

/* One thread and a buffer of the file's size: one read, one write. */
static enum mld_error copy_small(struct copy_result *out, struct pair *p)
{
    struct sha256 hash = {NULL};
    uint64_t expected = p->options->total_bytes;
    size_t capacity = expected > 0 && expected < RING_BYTES ? (size_t)expected + 1 : RING_BYTES;
    size_t len = 1;
    char *buffer = malloc(capacity);
    if (buffer == NULL)
        return error_set(MLD_ENOMEM, "out of memory for copying %s", p->source_name);
    enum mld_error error = sha256_begin(&hash);
    while (error == MLD_OK && len > 0) {
        error = move_piece(p, buffer, capacity, &len);
        if (error == MLD_OK && len > 0)
            sha256_update(&hash, buffer, len);
        if (expected > 0 && len < capacity && p->size >= expected)
            break; /* a short read at the expected end: no second look */
    }
    if (error == MLD_OK)
        error = sha256_end(&hash, out->checksum);
    sha256_free(&hash);
    free(buffer);
    return error;
}

static enum mld_error run_pair(struct copy_result *out, struct pair *p)
{
    *out = (struct copy_result){0};
    enum mld_error error =
        p->options->total_bytes < RING_BYTES ? copy_small(out, p) : copy_big(out, p);
    out->size_bytes = p->size;
    return error;
}

enum mld_error copy_hash(struct copy_result *out, int fd, const char *name,
                         const struct copy_options *o)
{
    struct pair p = {fd, -1, name, name, 0, o};
    return run_pair(out, &p);
}

enum mld_error copy_file(struct copy_result *out, int source_fd, int destination_fd,
                         const char *source_name, const char *destination_name,
                         const struct copy_options *o)
{
    struct pair p = {source_fd, destination_fd, source_name, destination_name, 0, o};
    if (o->total_bytes >= RING_BYTES && fs_clone(source_fd, destination_fd))
        return copy_hash(out, destination_fd, destination_name, o);
    return run_pair(out, &p);
}

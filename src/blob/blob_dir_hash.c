/* blob_dir_hash.c: the SHA-256 of the whole, taken behind the parts as they come.
 *
 * A few threads take turns with the uploads that have something to hash. They read what was just
 * written, mostly from the page cache, through one small buffer each, so memory stays bounded
 * whatever the order and size of parts is. An upload is hashed by one thread at a time. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

#define HASH_STEP_BYTES ((uint64_t)16 << 20) /* then another upload has its turn */

enum mld_error dir_hash_range(struct sha256 *hash, int fd, uint64_t offset, uint64_t len,
                              unsigned char *buffer, const char *path)
{
    while (len > 0) {
        size_t want = len < DIR_COPY_BYTES ? (size_t)len : DIR_COPY_BYTES;
        size_t n;
        enum mld_error error =
            fs_pread(fd, buffer, want, (off_t)(DIR_DATA_OFFSET + offset), &n, path);
        if (error != MLD_OK)
            return error;
        if (n != want)
            return error_set(MLD_EIO, "'%s' in the blob store was cut", path);
        sha256_update(hash, buffer, n);
        offset += n;
        len -= n;
    }
    return MLD_OK;
}

/* Where the parts that follow each other from `begin` on end. */
static uint64_t prefix_end(const struct dir_upload *u, uint64_t begin, uint64_t limit)
{
    uint64_t part = begin / u->file.part_size_bytes;
    uint64_t end = begin;

    while (end < limit && part < u->file.n_parts && u->parts[part].hex[0] != '\0') {
        part++;
        end = part * u->file.part_size_bytes;
    }
    if (end > u->file.size_bytes)
        end = u->file.size_bytes;
    return end < limit ? end : limit;
}

/* Hashes one step with the lock given up meanwhile; nobody else does. *out_more: there was
 * something to do. */
static enum mld_error hash_step(struct dir *d, struct dir_upload *u, unsigned char *buffer,
                                bool *out_more)
{
    enum mld_error error = MLD_OK;
    uint64_t begin;
    uint64_t end;

    assert(!u->hashing);
    *out_more = false;
    if (u->hash_again)
        u->hashed = 0;
    u->hash_again = false;
    begin = u->hashed;
    end = prefix_end(u, begin, begin + HASH_STEP_BYTES);
    if (end == begin || u->gone || u->failed.code != MLD_OK)
        return MLD_OK;
    if (begin == 0)
        error = sha256_begin(&u->whole);
    if (error != MLD_OK)
        return error;
    *out_more = true;
    u->hashing = true;
    u->hash_end = end;
    pthread_mutex_unlock(&u->lock);
    error = dir_hash_range(&u->whole, u->fd, begin, end - begin, buffer, u->path.text);
    pthread_mutex_lock(&u->lock);
    u->hashing = false;
    if (error == MLD_OK && !u->hash_again)
        u->hashed = end;
    else if (error != MLD_OK)
        u->hash_again = true; /* what was hashed of the step is not known */
    pthread_cond_broadcast(&u->changed);
    return error == MLD_EIO ? dir_upload_fail(d, u, error) : error;
}

/* ---- the threads ---- */

static struct dir_upload *take_queued(struct dir_hashers *h)
{
    struct dir_upload *u = h->first;

    h->first = u->next_queued;
    if (h->first == NULL)
        h->last = NULL;
    u->next_queued = NULL;
    u->queued = false;
    return u;
}

static void hash_one(struct dir *d, struct dir_upload *u, unsigned char *buffer)
{
    bool more = false;

    pthread_mutex_lock(&u->lock);
    /* An error stays with the upload, or the commit meets it again. */
    if (!u->hashing && hash_step(d, u, buffer, &more) == MLD_OK && more)
        dir_hash_queue(d, u);
    pthread_mutex_unlock(&u->lock);
    dir_upload_unref(d, u);
}

static void *hash_along(void *argument)
{
    struct dir *d = argument;
    struct dir_hashers *h = &d->hashers;
    unsigned char *buffer = malloc(DIR_COPY_BYTES);

    pthread_mutex_lock(&h->lock);
    while (buffer != NULL && !h->stopping) {
        if (h->first == NULL) {
            h->n_idle++;
            pthread_cond_wait(&h->work, &h->lock);
            h->n_idle--;
            continue;
        }
        struct dir_upload *u = take_queued(h);
        pthread_mutex_unlock(&h->lock);
        hash_one(d, u, buffer);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    free(buffer);
    return NULL;
}

void dir_hash_queue(struct dir *d, struct dir_upload *u)
{
    struct dir_hashers *h = &d->hashers;

    if (u->file.n_parts == 1 && !u->loaded)
        return; /* its one part was checked: that is the whole */
    pthread_mutex_lock(&h->lock);
    if (!u->queued && !h->stopping) {
        dir_upload_ref(d, u);
        u->queued = true;
        u->next_queued = NULL;
        if (h->last == NULL)
            h->first = u;
        else
            h->last->next_queued = u;
        h->last = u;
        if (h->n_idle > 0)
            pthread_cond_signal(&h->work);
        else if (h->n_threads < h->max_threads &&
                 dir_thread_start(&h->threads[h->n_threads], hash_along, d))
            h->n_threads++;
        /* Without a thread the commit hashes. */
    }
    pthread_mutex_unlock(&h->lock);
}

void dir_hashers_open(struct dir *d)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    pthread_mutex_init(&d->hashers.lock, NULL);
    pthread_cond_init(&d->hashers.work, NULL);
    d->hashers.max_threads = 1;
    if (processors > 1)
        d->hashers.max_threads =
            processors < DIR_MAX_HASHERS ? (unsigned)processors : DIR_MAX_HASHERS;
}

void dir_hashers_close(struct dir *d)
{
    struct dir_hashers *h = &d->hashers;

    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->n_threads; i++)
        pthread_join(h->threads[i], NULL);
    while (h->first != NULL)
        dir_upload_unref(d, take_queued(h));
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->work);
}

static enum mld_error hash_rest(struct dir *d, struct dir_upload *u, unsigned char *buffer)
{
    enum mld_error error = MLD_OK;

    while (error == MLD_OK && (u->hashing || u->hash_again || u->hashed < u->file.size_bytes)) {
        bool more;
        if (u->hashing)
            pthread_cond_wait(&u->changed, &u->lock);
        else
            error = hash_step(d, u, buffer, &more);
        if (u->failed.code != MLD_OK)
            error = error_restore(&u->failed);
    }
    return error;
}

enum mld_error dir_hash_finish(struct dir *d, struct dir_upload *u)
{
    unsigned char *buffer;
    enum mld_error error = MLD_OK;

    assert(u->n_there == u->file.n_parts);
    if (u->whole_digest.hex[0] != '\0')
        return MLD_OK;
    if (u->file.n_parts == 1 && !u->loaded) {
        u->whole_digest = u->parts[0];
        return MLD_OK;
    }
    buffer = malloc(DIR_COPY_BYTES);
    if (buffer == NULL)
        return error_set(MLD_ENOMEM, "no memory to hash");
    if (u->file.size_bytes == 0)
        error = sha256_begin(&u->whole);
    if (error == MLD_OK)
        error = hash_rest(d, u, buffer);
    if (error == MLD_OK) {
        error = sha256_end(&u->whole, u->whole_digest.hex);
        u->hash_again = true; /* should it go on after all, it begins anew */
    }
    free(buffer);
    return error;
}

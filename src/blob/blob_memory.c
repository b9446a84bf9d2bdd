/* blob_memory.c: the reference store, for tests: plain memory behind one lock, as simple as the
 * contract allows. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "blob/store.h"

#define MEMORY_BUCKETS 4096 /* a power of two */

/* Bytes that readers may hold on to after the blob was deleted. */
struct memory_bytes {
    unsigned refs;
    size_t len;
    struct blob_digest digest;
    char upload[ID_RANDOM_LEN + 1]; /* the upload that made it; "" otherwise */
    char data[];
};
struct memory_blob {
    struct memory_blob *next;
    struct memory_bytes *bytes;
    char key[];
};
struct memory_upload {
    struct memory_upload *next;
    char name[ID_RANDOM_LEN + 1];
    uint64_t part_size_bytes;
    uint64_t n_parts;
    bool *there; /* one for each part */
    struct memory_bytes *bytes;
    char key[];
};
struct memory {
    struct blob base;
    pthread_mutex_t lock; /* guards all below, and reference counts */
    struct memory_blob *blobs[MEMORY_BUCKETS];
    struct memory_upload *uploads;
};
struct memory_part {
    struct blob_part base;
    char name[ID_RANDOM_LEN + 1]; /* of the upload */
    char data[];
};
struct memory_reader {
    struct blob_reader base;
    struct memory_bytes *bytes;
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for a blob");
}

static struct memory_bytes *bytes_new(size_t len)
{
    struct memory_bytes *bytes = NULL;

    if (len < SIZE_MAX - sizeof(*bytes))
        bytes = calloc(1, sizeof(*bytes) + len);
    if (bytes == NULL)
        return NULL;
    bytes->refs = 1;
    bytes->len = len;
    return bytes;
}

/* With the lock held. */
static void bytes_drop(struct memory_bytes *bytes)
{
    if (bytes != NULL && --bytes->refs == 0)
        free(bytes);
}

static void upload_free(struct memory_upload *u)
{
    if (u == NULL)
        return;
    bytes_drop(u->bytes);
    free(u->there);
    free(u);
}

/* Where the pointer to the blob is, or would be. */
static struct memory_blob **blob_slot(struct memory *m, const char *key)
{
    uint32_t hash = crc32c(0, key, strlen(key));
    struct memory_blob **slot = &m->blobs[hash & (MEMORY_BUCKETS - 1)];

    while (*slot != NULL && strcmp((*slot)->key, key) != 0)
        slot = &(*slot)->next;
    return slot;
}

static struct memory_upload **upload_slot(struct memory *m, const char *name)
{
    struct memory_upload **slot = &m->uploads;

    while (*slot != NULL && strcmp((*slot)->name, name) != 0)
        slot = &(*slot)->next;
    return slot;
}

/* The upload that this describes; *out is NULL after MLD_ENOTFOUND. */
static enum mld_error find_upload(struct memory_upload **out, struct memory *m,
                                  const struct blob_upload *upload)
{
    struct memory_upload *u = *upload_slot(m, upload->name);

    *out = NULL;
    if (u == NULL || strcmp(u->key, upload->key) != 0)
        return blob_no_upload(upload->name);
    if (u->bytes->len != upload->size_bytes || u->part_size_bytes != upload->part_size_bytes)
        return error_set(MLD_EINVALID, "blob '%.400s': the upload has another size", upload->key);
    *out = u;
    return MLD_OK;
}

/* Makes bytes visible, of which it takes a reference of its own. */
static enum mld_error add_blob(struct memory *m, const char *key, struct memory_bytes *bytes)
{
    struct memory_blob **slot = blob_slot(m, key);
    size_t len = strlen(key) + 1;

    if (*slot != NULL) {
        const struct memory_bytes *there = (*slot)->bytes;
        bool same = there->len == bytes->len && strcmp(there->digest.hex, bytes->digest.hex) == 0;
        return same ? MLD_OK : blob_other_bytes(key);
    }
    struct memory_blob *blob = malloc(sizeof(*blob) + len);
    if (blob == NULL)
        return no_memory();
    bytes->refs++;
    blob->next = NULL;
    blob->bytes = bytes;
    memcpy(blob->key, key, len);
    *slot = blob;
    return MLD_OK;
}

static enum mld_error memory_put(struct blob *b, const char *key, const void *data, size_t len,
                                 const struct blob_digest *digest)
{
    struct memory *m = (struct memory *)b;
    struct memory_bytes *bytes = bytes_new(len);

    if (bytes == NULL)
        return no_memory();
    if (len > 0)
        memcpy(bytes->data, data, len);
    bytes->digest = *digest;
    pthread_mutex_lock(&m->lock);
    enum mld_error error = add_blob(m, key, bytes);
    bytes_drop(bytes);
    pthread_mutex_unlock(&m->lock);
    return error;
}

static enum mld_error memory_put_small(struct blob *b, struct blob_put *puts,
                                       const struct blob_digest *digests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (digests[i].hex[0] == '\0')
            continue;
        puts[i].result = memory_put(b, puts[i].key, puts[i].data, puts[i].len, &digests[i]);
        if (puts[i].result == MLD_ENOMEM)
            return MLD_ENOMEM;
    }
    return MLD_OK;
}

static enum mld_error memory_create(struct blob *b, struct buf *out_name, const char *key,
                                    uint64_t size_bytes, uint64_t part_size_bytes)
{
    struct memory *m = (struct memory *)b;
    size_t key_size = strlen(key) + 1;
    struct memory_upload *u = calloc(1, sizeof(*u) + key_size);
    enum mld_error error;

    if (u == NULL)
        return no_memory();
    u->part_size_bytes = part_size_bytes;
    u->n_parts = blob_part_count(size_bytes, part_size_bytes);
    memcpy(u->key, key, key_size);
    u->there = calloc(u->n_parts + 1, sizeof(*u->there));
    u->bytes = bytes_new(size_bytes);
    error = u->there == NULL || u->bytes == NULL ? no_memory() : id_random(u->name);
    if (error != MLD_OK) {
        upload_free(u);
        return error;
    }
    memcpy(u->bytes->upload, u->name, sizeof(u->name));
    buf_puts(out_name, u->name);
    pthread_mutex_lock(&m->lock);
    u->next = m->uploads;
    m->uploads = u;
    pthread_mutex_unlock(&m->lock);
    return MLD_OK;
}

static enum mld_error memory_part_begin(struct blob_part **out, struct blob *b,
                                        const struct blob_upload *upload, unsigned number,
                                        uint64_t len, const struct blob_digest *digest)
{
    struct memory *m = (struct memory *)b;
    struct memory_part *part;
    struct memory_upload *u;
    enum mld_error error;

    pthread_mutex_lock(&m->lock);
    error = find_upload(&u, m, upload);
    pthread_mutex_unlock(&m->lock);
    if (error != MLD_OK)
        return error;
    part = calloc(1, sizeof(*part) + len);
    if (part == NULL)
        return no_memory();
    blob_part_fill(&part->base, b, number, len, digest);
    memcpy(part->name, upload->name, sizeof(part->name));
    *out = &part->base;
    return MLD_OK;
}

static enum mld_error memory_part_write(struct blob_part *part, const void *data, size_t len)
{
    memcpy(((struct memory_part *)part)->data + part->written, data, len);
    return MLD_OK;
}

static enum mld_error memory_part_finish(struct blob_part *base)
{
    struct memory *m = (struct memory *)base->blob;
    struct memory_part *part = (struct memory_part *)base;
    enum mld_error error = MLD_OK;

    pthread_mutex_lock(&m->lock);
    struct memory_upload *u = *upload_slot(m, part->name);
    if (u == NULL) {
        error = blob_no_upload(part->name);
    } else {
        memcpy(u->bytes->data + base->number * u->part_size_bytes, part->data, base->len);
        u->there[base->number] = true;
    }
    pthread_mutex_unlock(&m->lock);
    free(part);
    return error;
}

static void memory_part_abandon(struct blob_part *part)
{
    free((struct memory_part *)part);
}

static enum mld_error memory_upload_parts(struct blob *b, const struct blob_upload *upload,
                                          unsigned **out, size_t *out_n)
{
    struct memory *m = (struct memory *)b;
    struct memory_upload *u;
    enum mld_error error;

    pthread_mutex_lock(&m->lock);
    error = find_upload(&u, m, upload);
    if (error == MLD_OK)
        *out = calloc(u->n_parts + 1, sizeof(**out));
    if (error == MLD_OK && *out == NULL)
        error = no_memory();
    for (unsigned i = 0; error == MLD_OK && i < u->n_parts; i++) {
        if (u->there[i])
            (*out)[(*out_n)++] = i;
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

static enum mld_error check_whole(struct memory_upload *u, const struct blob_upload *upload,
                                  const struct blob_digest *digest)
{
    struct sha256 hash = {.context = NULL};
    uint64_t there = 0;
    enum mld_error error;

    for (uint64_t i = 0; i < u->n_parts; i++)
        there += u->there[i];
    if (there != u->n_parts)
        return blob_missing_parts(upload, there);
    error = sha256_begin(&hash);
    if (error == MLD_OK) {
        sha256_update(&hash, u->bytes->data, u->bytes->len);
        error = sha256_end(&hash, u->bytes->digest.hex);
    }
    sha256_free(&hash);
    if (error == MLD_OK && strcmp(u->bytes->digest.hex, digest->hex) != 0)
        error = blob_wrong_whole(upload, u->bytes->digest.hex);
    return error;
}

/* There is no such upload: perhaps because it was committed. */
static enum mld_error commit_again(struct memory *m, const struct blob_upload *upload,
                                   const struct blob_digest *digest)
{
    const struct memory_blob *blob = *blob_slot(m, upload->key);

    if (blob != NULL && strcmp(blob->bytes->digest.hex, digest->hex) == 0)
        return MLD_OK;
    if (blob != NULL && strcmp(blob->bytes->upload, upload->name) == 0)
        return blob_wrong_whole(upload, blob->bytes->digest.hex);
    return blob_no_upload(upload->name);
}

static enum mld_error memory_commit(struct blob *b, const struct blob_upload *upload,
                                    const struct blob_digest *digest,
                                    enum blob_verified *out_verified)
{
    struct memory *m = (struct memory *)b;
    struct memory_upload *u;
    enum mld_error error;

    pthread_mutex_lock(&m->lock);
    error = find_upload(&u, m, upload);
    if (error == MLD_ENOTFOUND)
        error = commit_again(m, upload, digest);
    else if (error == MLD_OK)
        error = check_whole(u, upload, digest);
    if (error == MLD_OK && u != NULL) {
        error = add_blob(m, upload->key, u->bytes);
        if (error == MLD_OK) {
            *upload_slot(m, u->name) = u->next;
            upload_free(u);
        }
    }
    pthread_mutex_unlock(&m->lock);
    *out_verified = BLOB_VERIFIED_WHOLE;
    return error;
}

static enum mld_error memory_abort(struct blob *b, const struct blob_upload *upload)
{
    struct memory *m = (struct memory *)b;
    struct memory_upload *u;

    pthread_mutex_lock(&m->lock);
    if (find_upload(&u, m, upload) == MLD_OK) {
        *upload_slot(m, u->name) = u->next;
        upload_free(u);
    }
    pthread_mutex_unlock(&m->lock);
    return MLD_OK;
}

static enum mld_error memory_open(struct blob_reader **out, struct blob *b, const char *key,
                                  uint64_t offset, uint64_t len)
{
    struct memory *m = (struct memory *)b;
    struct memory_reader *r = calloc(1, sizeof(*r));
    enum mld_error error = MLD_OK;

    if (r == NULL)
        return no_memory();
    pthread_mutex_lock(&m->lock);
    const struct memory_blob *blob = *blob_slot(m, key);
    if (blob == NULL)
        error = blob_no_key(key);
    else
        error = blob_reader_begin(&r->base, b, key, blob->bytes->len, offset, len);
    if (error == MLD_OK) {
        r->bytes = blob->bytes;
        r->bytes->refs++;
    }
    pthread_mutex_unlock(&m->lock);
    if (error == MLD_OK)
        *out = &r->base;
    else
        free(r);
    return error;
}

static enum mld_error memory_read(struct blob_reader *r, void *data, size_t len, size_t *out_len)
{
    memcpy(data, ((struct memory_reader *)r)->bytes->data + r->at, len);
    *out_len = len;
    return MLD_OK;
}

static void memory_reader_close(struct blob_reader *base)
{
    struct memory *m = (struct memory *)base->blob;
    struct memory_reader *r = (struct memory_reader *)base;

    pthread_mutex_lock(&m->lock);
    bytes_drop(r->bytes);
    pthread_mutex_unlock(&m->lock);
    free(r);
}

static enum mld_error memory_stat(struct blob *b, const char *key, uint64_t *out_size)
{
    struct memory *m = (struct memory *)b;

    pthread_mutex_lock(&m->lock);
    const struct memory_blob *blob = *blob_slot(m, key);
    if (blob != NULL)
        *out_size = blob->bytes->len;
    pthread_mutex_unlock(&m->lock);
    return blob != NULL ? MLD_OK : blob_no_key(key);
}

static enum mld_error memory_remove(struct blob *b, const char *key)
{
    struct memory *m = (struct memory *)b;

    pthread_mutex_lock(&m->lock);
    struct memory_blob **slot = blob_slot(m, key);
    struct memory_blob *blob = *slot;
    if (blob != NULL) {
        *slot = blob->next;
        bytes_drop(blob->bytes);
        free(blob);
    }
    pthread_mutex_unlock(&m->lock);
    return MLD_OK;
}

/* The visitor must not call the store: the lock is held. */
static enum mld_error memory_list(struct blob *b, blob_visit *visit, void *payload)
{
    struct memory *m = (struct memory *)b;
    enum mld_error error = MLD_OK;

    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < MEMORY_BUCKETS; i++) {
        const struct memory_blob *blob = m->blobs[i];
        for (; error == MLD_OK && blob != NULL; blob = blob->next)
            error = visit(blob->key, blob->bytes->len, payload);
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

static enum mld_error memory_health(struct blob *b)
{
    (void)b;
    return MLD_OK;
}

static void memory_close(struct blob *b)
{
    struct memory *m = (struct memory *)b;

    for (unsigned i = 0; i < MEMORY_BUCKETS; i++) {
        while (m->blobs[i] != NULL) {
            struct memory_blob *blob = m->blobs[i];
            m->blobs[i] = blob->next;
            bytes_drop(blob->bytes);
            free(blob);
        }
    }
    while (m->uploads != NULL) {
        struct memory_upload *u = m->uploads;
        m->uploads = u->next;
        upload_free(u);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct blob_ops memory_ops = {
    .kind = "memory",
    .put_small = memory_put_small,
    .put_large = memory_put,
    .create = memory_create,
    .part_begin = memory_part_begin,
    .part_write = memory_part_write,
    .part_finish = memory_part_finish,
    .part_abandon = memory_part_abandon,
    .upload_parts = memory_upload_parts,
    .commit = memory_commit,
    .abort = memory_abort,
    .open = memory_open,
    .read = memory_read,
    .reader_close = memory_reader_close,
    .stat = memory_stat,
    .remove = memory_remove,
    .list = memory_list,
    .health = memory_health,
    .close = memory_close,
};

enum mld_error blob_memory_open(struct blob **out)
{
    struct memory *m = calloc(1, sizeof(*m));

    *out = NULL;
    if (m == NULL)
        return no_memory();
    m->base.ops = &memory_ops;
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->base;
    return MLD_OK;
}

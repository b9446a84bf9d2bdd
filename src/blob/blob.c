/* blob.c: what all stores have in common: arguments, limits, checksums, and shorthands. */
#include "blob/blob.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "blob/store.h"

#define BLOB_PART_BYTES ((uint64_t)8 << 20)
#define BLOB_PART_STEP_BYTES ((uint64_t)1 << 20)
#define BLOB_MAX_UPLOAD_NAME_BYTES 128
#define BLOB_GET_CHUNK_BYTES (256u << 10)

enum mld_error blob_missing_parts(const struct blob_upload *upload, uint64_t there)
{
    unsigned long long all = blob_part_count(upload->size_bytes, upload->part_size_bytes);

    return error_set(MLD_ESTATE, "blob '%.400s': %llu of %llu parts are there; send the others",
                     upload->key, (unsigned long long)there, all);
}

enum mld_error blob_wrong_whole(const struct blob_upload *upload, const char *found)
{
    return error_set(MLD_ECHECKSUM,
                     "blob '%.400s': the SHA-256 of all its bytes is %s, not the one given",
                     upload->key, found);
}

static enum mld_error check_key(const char *key)
{
    if (key == NULL || key[0] == '\0')
        return error_set(MLD_EINVALID, "a blob needs a key");
    if (strnlen(key, BLOB_MAX_KEY_BYTES + 1) > BLOB_MAX_KEY_BYTES)
        return error_set(MLD_EINVALID, "blob '%.100s...': a key has at most %d bytes", key,
                         BLOB_MAX_KEY_BYTES);
    return MLD_OK;
}

/* Takes 64 hex digits of either case. */
static enum mld_error take_digest(struct blob_digest *out, const char *sha256, const char *key)
{
    bool good = sha256 != NULL && strnlen(sha256, SHA256_HEX_LEN + 1) == SHA256_HEX_LEN;

    *out = (struct blob_digest){.hex = ""};
    for (unsigned i = 0; good && i < SHA256_HEX_LEN; i++) {
        char c = sha256[i];
        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        out->hex[i] = c;
    }
    if (!good)
        return error_set(MLD_EINVALID, "blob '%.400s': its SHA-256 must be 64 hex digits", key);
    return MLD_OK;
}

static enum mld_error hash_bytes(struct sha256 *hash, const void *data, size_t len,
                                 struct blob_digest *out)
{
    enum mld_error error = sha256_begin(hash);

    if (error != MLD_OK)
        return error;
    sha256_update(hash, data, len);
    return sha256_end(hash, out->hex);
}

static enum mld_error check_put(const struct blob_put *put, struct sha256 *hash,
                                struct blob_digest *out)
{
    struct blob_digest given;
    enum mld_error error = check_key(put->key);

    if (error == MLD_OK && put->len > BLOB_SMALL_BYTES)
        error = error_set(MLD_ETOOLARGE, "blob '%.400s': more than %u bytes need an upload",
                          put->key, BLOB_SMALL_BYTES);
    if (error == MLD_OK && put->sha256 != NULL)
        error = take_digest(&given, put->sha256, put->key);
    if (error == MLD_OK)
        error = hash_bytes(hash, put->data, put->len, out);
    if (error == MLD_OK && put->sha256 != NULL && strcmp(given.hex, out->hex) != 0)
        error = error_set(MLD_ECHECKSUM,
                          "blob '%.400s': the SHA-256 of what arrived is %s; send it again",
                          put->key, out->hex);
    return error;
}

enum mld_error blob_put_small(struct blob *b, struct blob_put *puts, size_t n)
{
    struct sha256 hash = {.context = NULL};
    struct blob_digest *digests = NULL;
    enum mld_error error = MLD_OK;
    size_t good = 0;

    if (n == 0)
        return MLD_OK;
    if (n > BLOB_MAX_PUTS)
        return error_set(MLD_EINVALID, "at most %d blobs can be put at a time", BLOB_MAX_PUTS);
    digests = calloc(n, sizeof(*digests));
    if (digests == NULL)
        return error_set(MLD_ENOMEM, "no memory for checksums");
    for (size_t i = 0; i < n; i++) {
        puts[i].result = check_put(&puts[i], &hash, &digests[i]);
        if (puts[i].result == MLD_ENOMEM || puts[i].result == MLD_EIO) {
            error = puts[i].result;
            goto out;
        }
        if (puts[i].result == MLD_OK)
            good++;
        else
            digests[i].hex[0] = '\0';
    }
    if (good > 0)
        error = b->ops->put_small(b, puts, digests, n);
out:
    sha256_free(&hash);
    free(digests);
    return error;
}

enum mld_error blob_put(struct blob *b, const char *key, const void *data, size_t len)
{
    struct blob_put put = {.key = key, .data = data, .len = len};
    struct sha256 hash = {.context = NULL};
    struct blob_digest digest;
    enum mld_error error;

    if (len <= BLOB_SMALL_BYTES) {
        error = blob_put_small(b, &put, 1);
        if (error == MLD_OK && put.result == MLD_EEXISTS)
            return blob_other_bytes(key); /* a result brings no message from another thread */
        return error != MLD_OK ? error : put.result;
    }
    error = check_key(key);
    if (error == MLD_OK && len > BLOB_MAX_BYTES)
        error = error_set(MLD_ETOOLARGE, "blob '%.400s' is too large", key);
    if (error == MLD_OK)
        error = hash_bytes(&hash, data, len, &digest);
    if (error == MLD_OK)
        error = b->ops->put_large(b, key, data, len, &digest);
    sha256_free(&hash);
    return error;
}

uint64_t blob_part_size(const struct blob *b, uint64_t size_bytes)
{
    uint64_t least = size_bytes / BLOB_MAX_PARTS + 1;

    (void)b; /* the same for all stores: 8 MB is also what S3 likes */
    if (least <= BLOB_PART_BYTES)
        return BLOB_PART_BYTES;
    return (least + BLOB_PART_STEP_BYTES - 1) / BLOB_PART_STEP_BYTES * BLOB_PART_STEP_BYTES;
}

uint64_t blob_part_count(uint64_t size_bytes, uint64_t part_size_bytes)
{
    return size_bytes / part_size_bytes + (size_bytes % part_size_bytes != 0);
}

uint64_t blob_part_length(const struct blob_upload *upload, unsigned number)
{
    uint64_t begin = (uint64_t)number * upload->part_size_bytes;
    uint64_t left = upload->size_bytes - begin;

    assert(begin <= upload->size_bytes);
    return left < upload->part_size_bytes ? left : upload->part_size_bytes;
}

enum mld_error blob_create(struct blob *b, struct buf *out_name, const char *key,
                           uint64_t size_bytes)
{
    enum mld_error error = check_key(key);

    if (error == MLD_OK && size_bytes > BLOB_MAX_BYTES)
        error = error_set(MLD_ETOOLARGE, "blob '%.400s': at most %llu bytes can be stored", key,
                          (unsigned long long)BLOB_MAX_BYTES);
    if (error == MLD_OK && buf_reserve(out_name, BLOB_MAX_UPLOAD_NAME_BYTES) == NULL)
        error = buf_check(out_name, "name of an upload"); /* before there is one */
    if (error == MLD_OK)
        error = b->ops->create(b, out_name, key, size_bytes, blob_part_size(b, size_bytes));
    return error;
}

static enum mld_error check_upload(const struct blob_upload *upload)
{
    enum mld_error error = check_key(upload->key);

    if (error == MLD_OK && (upload->name == NULL || upload->name[0] == '\0'))
        error = blob_no_upload("");
    if (error == MLD_OK &&
        (upload->size_bytes > BLOB_MAX_BYTES || upload->part_size_bytes == 0 ||
         blob_part_count(upload->size_bytes, upload->part_size_bytes) > BLOB_MAX_PARTS))
        error =
            error_set(MLD_EINVALID, "blob '%.400s': no such size and size of parts", upload->key);
    return error;
}

enum mld_error blob_part_begin(struct blob_part **out, struct blob *b,
                               const struct blob_upload *upload, unsigned number, uint64_t len,
                               const char *sha256)
{
    struct blob_digest digest;
    struct sha256 hash = {.context = NULL};
    enum mld_error error = check_upload(upload);

    *out = NULL;
    if (error == MLD_OK)
        error = take_digest(&digest, sha256, upload->key);
    if (error == MLD_OK && number >= blob_part_count(upload->size_bytes, upload->part_size_bytes))
        error = error_set(MLD_EINVALID, "blob '%.400s' has no part %u", upload->key, number);
    if (error == MLD_OK && len != blob_part_length(upload, number))
        error = error_set(MLD_EINVALID, "blob '%.400s': part %u has %llu bytes, not %llu",
                          upload->key, number, (unsigned long long)blob_part_length(upload, number),
                          (unsigned long long)len);
    if (error == MLD_OK)
        error = sha256_begin(&hash);
    if (error == MLD_OK)
        error = b->ops->part_begin(out, b, upload, number, len, &digest);
    if (error != MLD_OK) {
        sha256_free(&hash);
        return error;
    }
    (*out)->hash = hash;
    return MLD_OK;
}

void blob_part_fill(struct blob_part *part, struct blob *b, unsigned number, uint64_t len,
                    const struct blob_digest *digest)
{
    part->blob = b;
    part->number = number;
    part->len = len;
    part->digest = *digest;
}

enum mld_error blob_part_write(struct blob_part *part, const void *data, size_t len)
{
    enum mld_error error;

    if (part->failed.code != MLD_OK)
        return error_restore(&part->failed);
    if (len == 0)
        return MLD_OK;
    if (len > part->len - part->written) {
        error = error_set(MLD_EINVALID, "part %u: more than its %llu bytes arrived", part->number,
                          (unsigned long long)part->len);
    } else {
        error = part->blob->ops->part_write(part, data, len);
    }
    if (error != MLD_OK) {
        error_save(error, &part->failed);
        return error;
    }
    sha256_update(&part->hash, data, len);
    part->written += len;
    return MLD_OK;
}

static enum mld_error check_part(struct blob_part *part)
{
    char found[SHA256_HEX_LEN + 1];
    enum mld_error error;

    if (part->failed.code != MLD_OK)
        return error_restore(&part->failed);
    if (part->written != part->len)
        return error_set(MLD_ECHECKSUM, "part %u: %llu of its %llu bytes arrived; send it again",
                         part->number, (unsigned long long)part->written,
                         (unsigned long long)part->len);
    error = sha256_end(&part->hash, found);
    if (error == MLD_OK && strcmp(found, part->digest.hex) != 0)
        error =
            error_set(MLD_ECHECKSUM, "part %u: the SHA-256 of what arrived is %s; send it again",
                      part->number, found);
    return error;
}

enum mld_error blob_part_finish(struct blob_part *part)
{
    enum mld_error error = check_part(part);

    sha256_free(&part->hash);
    if (error == MLD_OK)
        return part->blob->ops->part_finish(part);
    part->blob->ops->part_abandon(part);
    return error;
}

void blob_part_abandon(struct blob_part *part)
{
    if (part == NULL)
        return;
    sha256_free(&part->hash);
    part->blob->ops->part_abandon(part);
}

enum mld_error blob_upload_parts(struct blob *b, const struct blob_upload *upload, unsigned **out,
                                 size_t *out_n)
{
    enum mld_error error = check_upload(upload);

    *out = NULL;
    *out_n = 0;
    return error == MLD_OK ? b->ops->upload_parts(b, upload, out, out_n) : error;
}

enum mld_error blob_commit(struct blob *b, const struct blob_upload *upload, const char *sha256,
                           enum blob_verified *out_verified)
{
    struct blob_digest digest;
    enum blob_verified verified = BLOB_VERIFIED_PARTS;
    enum mld_error error = check_upload(upload);

    if (error == MLD_OK)
        error = take_digest(&digest, sha256, upload->key);
    if (error == MLD_OK)
        error = b->ops->commit(b, upload, &digest, &verified);
    if (out_verified != NULL)
        *out_verified = verified;
    return error;
}

enum mld_error blob_abort(struct blob *b, const struct blob_upload *upload)
{
    enum mld_error error = check_upload(upload);

    return error == MLD_OK ? b->ops->abort(b, upload) : error;
}

enum mld_error blob_reader_begin(struct blob_reader *r, struct blob *b, const char *key,
                                 uint64_t size, uint64_t offset, uint64_t len)
{
    if (offset > size || (len != UINT64_MAX && len > size - offset))
        return error_set(MLD_EINVALID, "blob '%.400s' has %llu bytes: the range leaves it", key,
                         (unsigned long long)size);
    r->blob = b;
    r->size = size;
    r->at = offset;
    r->end = len == UINT64_MAX ? size : offset + len;
    return MLD_OK;
}

enum mld_error blob_open(struct blob_reader **out, struct blob *b, const char *key, uint64_t offset,
                         uint64_t len)
{
    enum mld_error error = check_key(key);

    *out = NULL;
    return error == MLD_OK ? b->ops->open(out, b, key, offset, len) : error;
}

uint64_t blob_reader_size(const struct blob_reader *r)
{
    return r->size;
}

enum mld_error blob_read(struct blob_reader *r, void *data, size_t capacity, size_t *out_len)
{
    uint64_t left = r->end - r->at;
    size_t want = left < capacity ? (size_t)left : capacity;
    enum mld_error error;

    *out_len = 0;
    if (capacity == 0)
        return error_set(MLD_EINVALID, "a read needs room for a byte");
    if (want == 0)
        return MLD_OK;
    error = r->blob->ops->read(r, data, want, out_len);
    assert(error != MLD_OK || (*out_len > 0 && *out_len <= want));
    if (error == MLD_OK)
        r->at += *out_len;
    return error;
}

void blob_reader_close(struct blob_reader *r)
{
    if (r != NULL)
        r->blob->ops->reader_close(r);
}

enum mld_error blob_get(struct blob *b, const char *key, struct buf *out)
{
    struct blob_reader *r = NULL;
    size_t before = out->len;
    enum mld_error error = blob_open(&r, b, key, 0, UINT64_MAX);

    if (error == MLD_OK && r->size > out->max_bytes - before)
        error = error_set(MLD_ETOOLARGE, "blob '%.400s' is larger than %zu bytes", key,
                          out->max_bytes - before);
    while (error == MLD_OK && r->at < r->end) {
        uint64_t left = r->end - r->at;
        size_t want = left < BLOB_GET_CHUNK_BYTES ? (size_t)left : BLOB_GET_CHUNK_BYTES;
        char *to = buf_reserve(out, want);
        size_t n = 0;
        error = to == NULL ? buf_check(out, key) : blob_read(r, to, want, &n);
        if (n > 0)
            buf_advance(out, n);
    }
    if (error != MLD_OK && out->data != NULL) {
        out->len = before;
        out->data[before] = '\0';
    }
    blob_reader_close(r);
    return error;
}

enum mld_error blob_stat(struct blob *b, const char *key, uint64_t *out_size)
{
    enum mld_error error = check_key(key);

    *out_size = 0;
    return error == MLD_OK ? b->ops->stat(b, key, out_size) : error;
}

enum mld_error blob_delete(struct blob *b, const char *key)
{
    enum mld_error error = check_key(key);

    return error == MLD_OK ? b->ops->remove(b, key) : error;
}

enum mld_error blob_list(struct blob *b, blob_visit *visit, void *payload)
{
    return b->ops->list(b, visit, payload);
}

enum mld_error blob_drop_idle(struct blob *b, int64_t before_us, size_t *out_n)
{
    *out_n = 0;
    return b->ops->drop_idle == NULL ? MLD_OK : b->ops->drop_idle(b, before_us, out_n);
}

enum mld_error blob_health(struct blob *b)
{
    return b->ops->health(b);
}

const char *blob_kind(const struct blob *b)
{
    return b->ops->kind;
}

void blob_close(struct blob *b)
{
    if (b != NULL)
        b->ops->close(b);
}

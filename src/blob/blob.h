/* blob.h: the contract for bytes: put once under a key that never changes, read by range, deleted
 * (a directory, S3, or memory for tests). A store knows keys and bytes and nothing of what they
 * are.
 *
 * Bytes come in one of two ways. Small ones (BLOB_SMALL_BYTES at most) in one call, many at a time.
 * Others as an upload: it is created with its size and SHA-256, its parts arrive in any order and
 * in parallel, each with a SHA-256 of its own that is checked before the part counts; the commit
 * makes the whole visible under its key once its SHA-256 has been checked (or, where the store
 * cannot reread cheaply, once all parts were: blob_commit says which). Until then nothing can be
 * read.
 *
 * Every function may be called from any thread and blocks on I/O. What has returned is durable,
 * except parts: they are durable at the commit (a part lost in a crash is missing from
 * blob_upload_parts afterwards, and sent again). An upload that the disk fails is dropped: the call
 * that met it gets MLD_EIO, later ones MLD_ENOTFOUND, and it is begun again.
 *
 * Errors of all functions: MLD_EUNAVAILABLE, MLD_EIO, MLD_ENOSPACE, MLD_ENOMEM. */
#ifndef BLOB_BLOB_H
#define BLOB_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

#define BLOB_SMALL_BYTES (64u << 10)
#define BLOB_MAX_KEY_BYTES 1024
#define BLOB_MAX_PARTS 10000
#define BLOB_MAX_PUTS 1024                 /* of one blob_put_small */
#define BLOB_MAX_BYTES ((uint64_t)5 << 40) /* of one blob: what S3 takes */

struct blob; /* an open store */

/* One small blob to put, and afterwards what came of it: MLD_EEXISTS when the key is there with
 * other bytes (the same bytes are MLD_OK), MLD_ECHECKSUM, MLD_ETOOLARGE, MLD_EINVALID (the key is
 * empty or too long, or `sha256` is no SHA-256). */
struct blob_put {
    const char *key;
    const void *data;
    size_t len;
    const char *sha256; /* 64 hex digits, checked; NULL: not known beforehand */
    enum mld_error result;
};
/* Puts up to BLOB_MAX_PUTS blobs with one durable commit where the store can (puts of other threads
 * join it). MLD_OK: each has its result. */
enum mld_error blob_put_small(struct blob *b, struct blob_put *puts, size_t n);
/* Puts a blob of any size from memory, replacing nothing: MLD_EEXISTS as above. For what the server
 * itself makes. */
enum mld_error blob_put(struct blob *b, const char *key, const void *data, size_t len);

/* An upload under way is known by its key and the store's name for it, which the caller keeps. */
struct blob_upload {
    const char *key;
    const char *name;         /* from blob_create */
    uint64_t size_bytes;      /* of the whole */
    uint64_t part_size_bytes; /* of each part but the last */
};
/* The size of parts for a file of this size (the last one is shorter). */
uint64_t blob_part_size(const struct blob *b, uint64_t size_bytes);
/* Makes an upload for a key of the caller's choice; appends its name to `out_name` (letters, digits
 * and -, 128 bytes at most). */
enum mld_error blob_create(struct blob *b, struct buf *out_name, const char *key,
                           uint64_t size_bytes);

/* One part on its way in: begin, write all its bytes in order, finish. Parts are numbered from 0
 * and begin at number * part_size_bytes. One part is written by one thread at a time; different
 * parts in parallel. Sending a part again replaces it, which is harmless. */
struct blob_part;
/* MLD_ENOTFOUND: no such upload (any more). MLD_EINVALID: no such part, or `len` is not its size.
 */
enum mld_error blob_part_begin(struct blob_part **out, struct blob *b,
                               const struct blob_upload *upload, unsigned number, uint64_t len,
                               const char *sha256);
enum mld_error blob_part_write(struct blob_part *part, const void *data, size_t len);
/* Checks length and SHA-256: MLD_ECHECKSUM, and the part does not count. Frees `part` in any case.
 */
enum mld_error blob_part_finish(struct blob_part *part);
void blob_part_abandon(struct blob_part *part); /* NULL is fine */

/* Which parts are there: *out is `*out_n` numbers in order, freed by the caller with free(). */
enum mld_error blob_upload_parts(struct blob *b, const struct blob_upload *upload, unsigned **out,
                                 size_t *out_n);

enum blob_verified {
    BLOB_VERIFIED_PARTS, /* each part was checked on arrival */
    BLOB_VERIFIED_WHOLE  /* the SHA-256 of all bytes as stored is the one given */
};
/* Makes the whole visible. MLD_ESTATE: parts are missing. MLD_ECHECKSUM: the whole is not `sha256`;
 * nothing is visible, and the upload stays until it is aborted. Committing again what was committed
 * is MLD_OK. Blocks until the tail is hashed and everything is durable. */
enum mld_error blob_commit(struct blob *b, const struct blob_upload *upload, const char *sha256,
                           enum blob_verified *out_verified);
/* Drops an upload and its parts; one that is not there is fine. What was committed stays. */
enum mld_error blob_abort(struct blob *b, const struct blob_upload *upload);
/* Drops all uploads to which nothing was written since `before_us` (of clock_now_us); *out_n is how
 * many. For those whose names were lost, which hold room and nobody could abort: the time must be
 * further back than any upload is waited for. */
enum mld_error blob_drop_idle(struct blob *b, int64_t before_us, size_t *out_n);

/* A stored blob opened for reading [offset, offset + len). MLD_ENOTFOUND; MLD_EINVALID: the range
 * leaves the blob. len UINT64_MAX: to the end. */
struct blob_reader;
enum mld_error blob_open(struct blob_reader **out, struct blob *b, const char *key, uint64_t offset,
                         uint64_t len);
uint64_t blob_reader_size(const struct blob_reader *r); /* of the whole blob */
/* Up to `capacity` bytes; *out_len is 0 at the end of the range only. */
enum mld_error blob_read(struct blob_reader *r, void *data, size_t capacity, size_t *out_len);
void blob_reader_close(struct blob_reader *r); /* NULL is fine */
/* Appends a whole blob to `out`. */
enum mld_error blob_get(struct blob *b, const char *key, struct buf *out);

enum mld_error blob_stat(struct blob *b, const char *key, uint64_t *out_size);
/* Deletes; a key that is not there is fine. Readers that are open may go on or fail. */
enum mld_error blob_delete(struct blob *b, const char *key);

/* Calls `visit` for every stored key, in no order: for `admin check` only. */
typedef enum mld_error blob_visit(const char *key, uint64_t size, void *payload);
enum mld_error blob_list(struct blob *b, blob_visit *visit, void *payload);

/* Whether the store answers and has room: MLD_OK, or an error whose message says what is wrong. */
enum mld_error blob_health(struct blob *b);
const char *blob_kind(const struct blob *b); /* "directory", "s3", "memory" */
void blob_close(struct blob *b);             /* NULL is fine */

/* The stores. */
enum mld_error blob_memory_open(struct blob **out);
/* Directory (blob_dir.c): one folder, made when missing, for one process at a time (a second one is
 * MLD_ESTATE). A blob's path comes from a hash of its key and never from names; small blobs lie in
 * one SQLite file there, committed in groups. */
enum mld_error blob_dir_open(struct blob **out, const char *path);

#endif

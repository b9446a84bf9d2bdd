/* store.h: what an implementation of blob.h provides. blob.c checks arguments, limits and
 * checksums, then calls through this table, so that every store refuses the same. */
#ifndef BLOB_STORE_H
#define BLOB_STORE_H

#include "blob/blob.h"

/* A SHA-256 as 64 lower-case hex digits and NUL. */
struct blob_digest {
    char hex[SHA256_HEX_LEN + 1];
};

/* The first member of every store's own struct. */
struct blob {
    const struct blob_ops *ops;
};

/* The first member of every store's own part. blob.c counts and hashes the bytes. */
struct blob_part {
    struct blob *blob;
    unsigned number;
    uint64_t len;
    uint64_t written;
    struct sha256 hash;
    struct blob_digest digest; /* what it must be */
    struct error_copy failed;  /* the first failure of a write; nothing is written afterwards */
};

/* The first member of every store's own reader. */
struct blob_reader {
    struct blob *blob;
    uint64_t size; /* of the whole blob */
    uint64_t at;   /* the next byte */
    uint64_t end;  /* of the range */
};

/* Each slot is as the function of the same name in blob.h where nothing else is said; arguments
 * have been checked. All slots are set where nothing else is said, may be called
 * from any thread, and block on I/O. */
struct blob_ops {
    const char *kind;
    /* `digests` are those of the bytes, one for each put; "" where the put was refused already and
     * is left alone. When it fails, no result is looked at. */
    enum mld_error (*put_small)(struct blob *b, struct blob_put *puts,
                                const struct blob_digest *digests, size_t n);
    /* More than BLOB_SMALL_BYTES. */
    enum mld_error (*put_large)(struct blob *b, const char *key, const void *data, size_t len,
                                const struct blob_digest *digest);
    enum mld_error (*create)(struct blob *b, struct buf *out_name, const char *key,
                             uint64_t size_bytes, uint64_t part_size_bytes);
    /* `number` and `len` are those of a part of `upload`. Allocates *out, zeroed, and calls
     * blob_part_fill before other threads can see it. */
    enum mld_error (*part_begin)(struct blob_part **out, struct blob *b,
                                 const struct blob_upload *upload, unsigned number, uint64_t len,
                                 const struct blob_digest *digest);
    /* The next bytes, which begin at part->written. Not called again once it failed. */
    enum mld_error (*part_write)(struct blob_part *part, const void *data, size_t len);
    /* All bytes are there and right: make the part count. Frees it in any case. */
    enum mld_error (*part_finish)(struct blob_part *part);
    void (*part_abandon)(struct blob_part *part); /* frees it */
    enum mld_error (*upload_parts)(struct blob *b, const struct blob_upload *upload, unsigned **out,
                                   size_t *out_n);
    enum mld_error (*commit)(struct blob *b, const struct blob_upload *upload,
                             const struct blob_digest *digest, enum blob_verified *out_verified);
    enum mld_error (*abort)(struct blob *b, const struct blob_upload *upload);
    /* NULL: nothing outlives the process, or the store itself does it. */
    enum mld_error (*drop_idle)(struct blob *b, int64_t before_us, size_t *out_n);
    /* Allocates *out; the store calls blob_reader_begin once it knows the size. */
    enum mld_error (*open)(struct blob_reader **out, struct blob *b, const char *key,
                           uint64_t offset, uint64_t len);
    /* 1 to `len` bytes from r->at; `len` stays within the range. */
    enum mld_error (*read)(struct blob_reader *r, void *data, size_t len, size_t *out_len);
    void (*reader_close)(struct blob_reader *r); /* frees it */
    enum mld_error (*stat)(struct blob *b, const char *key, uint64_t *out_size);
    enum mld_error (*remove)(struct blob *b, const char *key);
    enum mld_error (*list)(struct blob *b, blob_visit *visit, void *payload);
    enum mld_error (*health)(struct blob *b);
    void (*close)(struct blob *b); /* frees b */
};

/* How many parts an upload has: none when it is empty. */
uint64_t blob_part_count(uint64_t size_bytes, uint64_t part_size_bytes);
/* The size of one of its parts. */
uint64_t blob_part_length(const struct blob_upload *upload, unsigned number);

/* Sets the common members of a new part. */
void blob_part_fill(struct blob_part *part, struct blob *b, unsigned number, uint64_t len,
                    const struct blob_digest *digest);

/* Sets the reader's size and range: MLD_EINVALID when the range leaves the blob. */
enum mld_error blob_reader_begin(struct blob_reader *r, struct blob *b, const char *key,
                                 uint64_t size, uint64_t offset, uint64_t len);

/* The errors that stores have in common, each with its message. */
static inline enum mld_error blob_no_key(const char *key)
{
    return error_set(MLD_ENOTFOUND, "there is no blob '%.400s'", key);
}
static inline enum mld_error blob_no_upload(const char *name)
{
    return error_set(MLD_ENOTFOUND, "there is no upload '%.128s' (any more): begin again", name);
}
static inline enum mld_error blob_other_bytes(const char *key)
{
    return error_set(MLD_EEXISTS, "the blob '%.400s' is there already, with other bytes", key);
}
/* MLD_ESTATE, with how many are there; MLD_ECHECKSUM, with what the whole is. */
enum mld_error blob_missing_parts(const struct blob_upload *upload, uint64_t there);
enum mld_error blob_wrong_whole(const struct blob_upload *upload, const char *found);

#endif

/* meta.h: the metadata contract: documents in a store that other processes may share (SQLite,
 * MongoDB, or memory for tests). A store knows documents and nothing of what is in them.
 *
 * A document is addressed by (partition, id), its only unique key. Names that must be unique are
 * documents of their own whose id is the name: inserting one reserves it. There is no transaction
 * over several documents, no counter, no change without the revision that was read. An operation on
 * several documents has one document that commits it; its later steps may be repeated.
 *
 * A document has up to META_MAX_TOKENS tokens ("tag:best", "run") and one order, a number. A find
 * reads one range: one partition, one token, an interval of (order, id), in either direction. It is
 * never more than META_MAX_FIND documents; what else the caller wants it filters itself.
 *
 * Every function may be called from any thread and blocks on I/O. Writes are durable when they
 * return: they survive the loss of power and, where there are replicas, of a minority of them.
 *
 * Errors of all functions: MLD_EUNAVAILABLE (the store cannot be reached now; of a write it is
 * unknown then whether it happened: reading the document again tells), MLD_EIO, MLD_EDAMAGED,
 * MLD_ENOSPACE, MLD_ENOMEM. Nothing of a write that failed with those is seen; only after MLD_EIO
 * it may still appear, if the machine or the process ends before the store recovered. Others are
 * named at each function. */
#ifndef META_META_H
#define META_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

#define META_MAX_FIND 1000
#define META_MAX_FIND_BYTES (32u << 20) /* of a page, all but its last document */
#define META_MAX_TOKENS 256
#define META_MAX_NAME_BYTES 1024 /* of a partition, an id, a token */
/* Of a document's text and data together. An append of 8 MiB that does not compress is one document
 * with what is said of up to 10,000 streams; MongoDB takes 16 MiB, names and tokens with them. */
#define META_MAX_BODY_BYTES (12u << 20)
#define META_MAX_WRITES 4096 /* of one meta_write */

struct meta; /* an open store */

/* `text` is JSON, `data` any bytes; either may be missing (NULL, 0). Neither is looked into. */
struct meta_doc {
    const char *partition;
    const char *id;
    int64_t revision; /* 1 when inserted, one more with each replacement */
    int64_t order;
    const char *const *tokens; /* no two the same */
    size_t n_tokens;
    const char *text;
    size_t text_len;
    const void *data;
    size_t data_len;
};

enum meta_op {
    META_INSERT,  /* result MLD_EEXISTS when (partition, id) is there */
    META_REPLACE, /* doc.revision: the one that was read. MLD_ECONFLICT when the document has
                     another; MLD_ENOTFOUND when it is gone */
    META_DELETE   /* as META_REPLACE; doc.revision 0: whichever there is, and none is MLD_OK */
};

/* One write: what to do, and after the call what came of it. */
struct meta_write {
    enum meta_op op;
    struct meta_doc doc;   /* borrowed; META_DELETE looks at partition, id and revision only */
    enum mld_error result; /* set by meta_write */
};

/* Documents that were read; everything lives in `arena`. Begin with a zeroed struct, end with
 * meta_docs_free. */
struct meta_docs {
    struct arena arena;
    struct meta_doc *docs;
    size_t n;
    bool more; /* of a find: there are further documents in the range */
};
void meta_docs_free(struct meta_docs *docs);

/* Where a page ended: the order and id of its last document. */
struct meta_cursor {
    int64_t order;
    const char *id; /* NULL: begin at the range's start */
};

struct meta_range {
    const char *partition;
    const char *token;
    int64_t min_order; /* both inclusive; INT64_MIN and INT64_MAX: open */
    int64_t max_order;
    bool descending; /* by (order, id); bytes of ids compare as memcmp does */
    struct meta_cursor after;
    size_t limit; /* 1 to META_MAX_FIND: anything else is MLD_EINVALID */
};

/* Does up to META_MAX_WRITES writes, each by itself: some may fail while others are done, in any
 * order. One durable commit for all of them where the store can (writes of other threads join it).
 * MLD_OK: every write has its result. Any other error: the first failure of the store itself, and
 * the writes that it hit have it as their result. Writes to one document in one call: MLD_EINVALID,
 * as are documents over the limits above; nothing is done then. */
enum mld_error meta_write(struct meta *m, struct meta_write *writes, size_t n);

/* Shorthands for one write; the result is the return value. */
enum mld_error meta_insert(struct meta *m, const struct meta_doc *doc);
enum mld_error meta_replace(struct meta *m, const struct meta_doc *doc);
enum mld_error meta_delete(struct meta *m, const char *partition, const char *id, int64_t revision);

/* Reads one document: out->docs[0]. MLD_ENOTFOUND. Sees every write that has returned, also those
 * of other servers. */
enum mld_error meta_get(struct meta *m, struct meta_docs *out, const char *partition,
                        const char *id);
/* Reads up to META_MAX_FIND documents of one partition by id; those that are missing are left out.
 * The order of the result is that of `ids`. */
enum mld_error meta_get_many(struct meta *m, struct meta_docs *out, const char *partition,
                             const char *const *ids, size_t n);
/* Reads a page of a range; MLD_EINVALID for a range without partition, token or limit. A page ends
 * before its limit, with `more`, when its documents are about META_MAX_FIND_BYTES; the first is
 * always there. Within one page each document is whole; a document changed between two pages may be
 * seen twice or not. */
enum mld_error meta_find(struct meta *m, struct meta_docs *out, const struct meta_range *range);
/* Counts the range's documents that are behind its cursor, at most `max` of them (time grows with
 * what is counted). The limit is not looked at. */
enum mld_error meta_count(struct meta *m, uint64_t *out, const struct meta_range *range,
                          uint64_t max);

/* Whether the store answers, and the last write of all could be kept: MLD_OK, or an error whose
 * message says what is wrong. Quick (a second at most). */
enum mld_error meta_health(struct meta *m);
/* "sqlite", "mongodb", "memory". */
const char *meta_kind(const struct meta *m);
/* Waits for writes under way; NULL is fine. */
void meta_close(struct meta *m);

/* The stores. */

/* Memory: for tests and as the reference of the conformance suite. Lost at close. */
enum mld_error meta_memory_open(struct meta **out);
/* SQLite (meta_sqlite.c): one file, made when missing, its directory must exist. Several processes
 * of one machine may open it (the server and the administrator's commands). WAL,
 * synchronous=FULL; one thread writes, and commits what has come together. Besides its name, those
 * with "-wal" and "-shm" are its own: never copy, move or delete one of the three while the store
 * is open, and open none of them in a process that has it open (closing it drops SQLite's locks).
 * Ignore SIGXFSZ, so that a limit of file sizes is an error. Memory: up to 16 MB of pages for each
 * of 9 connections. MLD_EFORMAT: another program's database, or another version's; MLD_EACCESS,
 * MLD_ENOTFOUND (the directory); MLD_EDAMAGED. */
enum mld_error meta_sqlite_open(struct meta **out, const char *path);

#endif

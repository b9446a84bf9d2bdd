/* blob_dir.h: what the blob_dir*.c files share: one folder that keeps blobs.
 *
 *   lock                   held (flock) while the store is open
 *   small.sqlite           blobs of up to BLOB_SMALL_BYTES: key, SHA-256, bytes
 *   blobs/ab/cd/{64 hex}   the others, one file each, named after the SHA-256 of the key
 *   uploads/{32 hex}       uploads under way, in the same format
 *   uploads/put-{32 hex}   being written by blob_put; removed at open
 *   reserve                room given back so that deleting works on a full disk
 *
 * A file of a blob says all about itself, so that there is no index beside it that could be lost or
 * disagree: one rename makes key, checksum and bytes visible together. Numbers are little-endian.
 *
 *   0     header, written once: "MLDBLOB1", size (8), size of a part (8), number of parts (4),
 *         length of the key (4), name of the upload (32), key (1,024), zeros, CRC-32C (4) at 2,044
 *   2048  seal, written by the commit: "SEAL", CRC-32C of the header and the digest (4), SHA-256 of
 *         the blob as 64 hex digits
 *   4096  the bytes
 *   then  one record for each part, 80 bytes: SHA-256 as 64 hex digits, boot (8), number of the
 *         part (4), CRC-32C (4). It is written when the part is there and right; zeros otherwise.
 *         It stays, and tells which part of a damaged blob is the bad one.
 *
 * After a crash of the process alone, what was written to a file is still there: the kernel has it.
 * So a part counts when its record's boot is this boot of the machine. After a power loss anything
 * may be missing: then a part counts only once its bytes were read and have its SHA-256.
 *
 * Locks, in order: that of an upload; of the hash threads; of the table of uploads. The queue of
 * small blobs is on its own, and no lock is held while waiting for it. */
#ifndef BLOB_BLOB_DIR_H
#define BLOB_BLOB_DIR_H

#include <pthread.h>

#include "base/id.h"
#include "blob/store.h"

#define DIR_HEADER_BYTES 2048
#define DIR_SEAL_BYTES 72
#define DIR_DATA_OFFSET 4096
#define DIR_RECORD_BYTES 80
#define DIR_MAX_PATH 96

#define DIR_BUCKETS 256     /* of the table of uploads */
#define DIR_MAX_UPLOADS 256 /* known in memory, beyond those in use */
#define DIR_MAX_HASHERS 8   /* threads that hash */
#define DIR_MAX_READERS 8   /* SQLite connections that read */
#define DIR_MAX_JOBS 1024   /* that wait for the writer; others wait outside */
#define DIR_COPY_BYTES (256u << 10)

struct dir;

/* ---- blob_dir_file.c: the format of a file, and paths ---- */

/* What a file says about itself. */
struct dir_file {
    uint64_t size_bytes;
    uint64_t part_size_bytes;
    uint32_t n_parts;
    char name[ID_RANDOM_LEN + 1];
    char key[BLOB_MAX_KEY_BYTES + 1];
    struct blob_digest digest; /* "" when there is no seal */
};

struct dir_path {
    char text[DIR_MAX_PATH];
};

/* Where the blob of a key lies. */
enum mld_error dir_blob_path(struct dir_path *out, const char *key);
/* The directory that a path lies in. */
struct dir_path dir_path_parent(const struct dir_path *path);
struct dir_path dir_upload_path(const char *prefix, const char *name);
/* Whether this can be the name of an upload: 32 hex digits. */
bool dir_is_name(const char *name);

/* The length of the whole file. */
uint64_t dir_file_length(const struct dir_file *file);
enum mld_error dir_header_write(int fd, const struct dir_file *file, const char *path);
enum mld_error dir_seal_write(int fd, const struct dir_file *file, const struct blob_digest *digest,
                              const char *path);
/* MLD_EDAMAGED when it is no such file, or shorter than it says; MLD_EFORMAT: of another version.
 */
enum mld_error dir_file_read(struct dir_file *out, int fd, const char *path);
/* Part `number` is there with this digest; NULL: it is not. */
enum mld_error dir_record_write(int fd, const struct dir_file *file, uint32_t number,
                                const struct blob_digest *digest, uint64_t boot, const char *path);
/* Sets the digests of the parts whose records are whole; `digests` has n_parts entries, "" before.
 * *out_boots_differ tells that some were written before this boot. */
enum mld_error dir_records_read(struct blob_digest *digests, uint64_t boot, bool *out_boots_differ,
                                int fd, const struct dir_file *file, const char *path);

/* ---- blob_dir_small.c: the SQLite file; blob_dir_queue.c: its writer, who makes all names ---- */

struct sqlite3;
struct sqlite3_stmt;

/* One connection with its statements, for one thread at a time. */
struct dir_connection {
    struct sqlite3 *db;
    struct sqlite3_stmt *get;
    struct sqlite3_stmt *add; /* of the writer only, as those below */
    struct sqlite3_stmt *remove;
    struct sqlite3_stmt *begin;
    struct sqlite3_stmt *commit;
    struct sqlite3_stmt *rollback;
};

/* One thing for the writer to do, on the stack of the caller who waits for it: puts, a removal, or
 * a file to be given its name. */
struct dir_job {
    struct dir_job *next;
    pthread_cond_t wake;
    bool done;
    struct error_copy result;

    struct blob_put *puts;
    const struct blob_digest *digests;
    size_t n_puts;
    size_t bytes; /* of the puts */
    const char *remove_key;
    const char *publish_key; /* MLD_EEXISTS when there is any blob of this key */
    struct dir_path from;
    struct dir_path to;
    bool published; /* not to be done again */
};

struct dir_small {
    char *path;                   /* of the SQLite file */
    struct dir_connection writer; /* the writer thread's, once it runs */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;
    pthread_cond_t room;
    struct dir_job *first;
    struct dir_job *last;
    unsigned n_jobs;
    bool stopping;
    struct error_copy broken; /* a write failed: nothing is written until the store is reopened */

    pthread_mutex_t reader_lock; /* guards all below */
    pthread_cond_t reader_free;
    struct dir_connection readers[DIR_MAX_READERS];
    bool reader_taken[DIR_MAX_READERS];
};

void dir_small_init(struct dir *d); /* then dir_small_close, in any case */
enum mld_error dir_small_open(struct dir *d, const char *folder);
void dir_small_close(struct dir *d);
/* Puts of any thread, committed together. */
enum mld_error dir_put_small(struct blob *b, struct blob_put *puts,
                             const struct blob_digest *digests, size_t n);
/* Queues a job and waits until it is done. */
enum mld_error dir_small_run(struct dir *d, struct dir_job *job);
enum mld_error dir_queue_start(struct dir *d);
void dir_queue_stop(struct dir *d);
/* An error of SQLite as ours. */
enum mld_error dir_sqlite_error(struct sqlite3 *db, const char *what);
/* Runs a statement that gives no row. */
enum mld_error dir_sqlite_do(struct dir_connection *c, struct sqlite3_stmt *statement,
                             const char *what);
/* The small blob of a key. *out is freed by the caller; `out` NULL: only size and digest, of which
 * each may be NULL. */
enum mld_error dir_small_find(struct dir_connection *c, const char *key, bool *out_found,
                              unsigned char **out, size_t *out_len, struct blob_digest *out_digest);
enum mld_error dir_small_get(struct dir *d, const char *key, bool *out_found, unsigned char **out,
                             size_t *out_len, struct blob_digest *out_digest);
enum mld_error dir_small_list(struct dir *d, blob_visit *visit, void *payload);
enum mld_error dir_small_health(struct dir *d);

/* ---- blob_dir_upload.c, _part.c, _commit.c, _hash.c, _idle.c ---- */

enum dir_mode {
    DIR_PLACE,  /* writes where the part belongs */
    DIR_SIDE,   /* writes to a file of its own: the place is taken, or has a finished part */
    DIR_NOTHING /* the part is there with these very bytes: nothing is written */
};

struct dir_part {
    struct blob_part base;
    struct dir_upload *upload; /* a reference */
    struct dir_part *next;     /* in upload->writers */
    enum dir_mode mode;
    int side_fd;     /* -1 but with DIR_SIDE */
    bool writing;    /* is in the middle of a write to its place */
    bool moving;     /* its bytes are right and go to their place now */
    bool superseded; /* lost its place to another who sent the same part */
};

struct dir_upload {
    struct dir_upload *next; /* in its bucket; guarded by the table's lock, as are the next three */
    unsigned refs;
    bool listed;       /* is in the table */
    uint64_t last_use; /* by the table's count of uses */

    struct dir_file file; /* constant, as are the next three; its digest is not used */
    struct dir_path path;
    int fd;
    bool loaded; /* from the disk: written, at least partly, by an earlier process or long ago */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct blob_digest *parts; /* "" where a part is missing */
    uint32_t n_there;
    bool unverified; /* parts written before this boot are still to be read */
    bool committing;
    bool gone; /* committed or aborted */
    struct error_copy failed;
    struct dir_part *writers;

    /* The SHA-256 of the whole, behind the parts that are there. */
    struct sha256 whole;
    uint64_t hashed;
    uint64_t hash_end;               /* what the thread that hashes will have hashed */
    bool hashing;                    /* some thread is at it, without the lock */
    bool hash_again;                 /* from the beginning: what was hashed was replaced */
    struct blob_digest whole_digest; /* "" until all is hashed */

    struct dir_upload *next_queued; /* guarded by the hash threads' lock, as is `queued` */
    bool queued;
};

struct dir_table {
    pthread_mutex_t lock;
    struct dir_upload *buckets[DIR_BUCKETS];
    unsigned n_listed;
    uint64_t uses;
};

struct dir_hashers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct dir_upload *first; /* queued, each with a reference */
    struct dir_upload *last;
    unsigned n_idle;
    unsigned n_threads;
    unsigned max_threads;
    pthread_t threads[DIR_MAX_HASHERS];
    bool stopping;
};

/* Finds or loads the upload and locks it, once no commit is under way; leave with dir_upload_leave.
 * MLD_ENOTFOUND: no such upload (any more). */
enum mld_error dir_upload_enter(struct dir_upload **out, struct dir *d,
                                const struct blob_upload *upload);
void dir_upload_leave(struct dir *d, struct dir_upload *u); /* unlocks and drops the reference */
void dir_upload_ref(struct dir *d, struct dir_upload *u);
void dir_upload_unref(struct dir *d, struct dir_upload *u);
/* With the upload's lock held: it is finished for good, without a file. The first failure of the
 * disk: whoever is using it gets it; for later calls there is no such upload. */
enum mld_error dir_upload_fail(struct dir *d, struct dir_upload *u, enum mld_error error);
/* Takes it out of the table; the file is no longer under its name. */
void dir_upload_forget(struct dir *d, struct dir_upload *u);
enum mld_error dir_uploads_open(struct dir *d); /* sweeps what has no state */
void dir_uploads_close(struct dir *d);
enum mld_error dir_create(struct blob *b, struct buf *out_name, const char *key,
                          uint64_t size_bytes, uint64_t part_size_bytes);
enum mld_error dir_upload_parts(struct blob *b, const struct blob_upload *upload, unsigned **out,
                                size_t *out_n);
enum mld_error dir_abort(struct blob *b, const struct blob_upload *upload);
enum mld_error dir_drop_idle(struct blob *b, int64_t before_us, size_t *out_n);

enum mld_error dir_part_begin(struct blob_part **out, struct blob *b,
                              const struct blob_upload *upload, unsigned number, uint64_t len,
                              const struct blob_digest *digest);
enum mld_error dir_part_write(struct blob_part *base, const void *data, size_t len);
enum mld_error dir_part_finish(struct blob_part *base);
void dir_part_abandon(struct blob_part *base);

enum mld_error dir_put_large(struct blob *b, const char *key, const void *data, size_t len,
                             const struct blob_digest *digest);
enum mld_error dir_commit(struct blob *b, const struct blob_upload *upload,
                          const struct blob_digest *digest, enum blob_verified *out_verified);

void dir_hashers_open(struct dir *d);
void dir_hashers_close(struct dir *d);
/* With the upload's lock held: there may be something to hash. */
void dir_hash_queue(struct dir *d, struct dir_upload *u);
/* With the upload's lock held, which it gives up meanwhile: waits until everything is hashed, and
 * hashes itself when no thread does. All parts are there and stay. */
enum mld_error dir_hash_finish(struct dir *d, struct dir_upload *u);
/* Feeds [offset, offset + len) of a descriptor to `hash`. `buffer`: DIR_COPY_BYTES. */
enum mld_error dir_hash_range(struct sha256 *hash, int fd, uint64_t offset, uint64_t len,
                              unsigned char *buffer, const char *path);

/* ---- blob_dir_read.c ---- */

/* Opens the file of a large blob; *out_fd is -1 when there is none. */
enum mld_error dir_file_find(struct dir *d, const char *key, int *out_fd, struct dir_file *out);
/* Makes sure that a large blob that was found survives a loss of power: whoever made it may not
 * have got that far. */
enum mld_error dir_file_confirm(struct dir *d, const char *key);
enum mld_error dir_open_reader(struct blob_reader **out, struct blob *b, const char *key,
                               uint64_t offset, uint64_t len);
enum mld_error dir_read(struct blob_reader *base, void *data, size_t len, size_t *out_len);
void dir_reader_close(struct blob_reader *base);
enum mld_error dir_stat(struct blob *b, const char *key, uint64_t *out_size);
enum mld_error dir_list(struct blob *b, blob_visit *visit, void *payload);

/* ---- blob_dir.c ---- */

struct dir {
    struct blob base;
    int root_fd;
    int lock_fd;
    uint64_t boot; /* of the machine: differs after a loss of power */
    struct dir_small small;
    struct dir_table table;
    struct dir_hashers hashers;
    pthread_mutex_t fan_lock;      /* held while directories are made */
    unsigned char fan_known[8192]; /* a bit for each directory blobs/ab/cd that is durable */
};

/* Makes the directory in which a blob will lie, so that it survives a loss of power. */
enum mld_error dir_make_fan(struct dir *d, const struct dir_path *blob);
/* A thread of ours: signals belong to the program's own. */
bool dir_thread_start(pthread_t *out, void *(*run)(void *), void *argument);
/* Gives the reserved room back, or takes it again if it can be had. */
void dir_reserve_drop(struct dir *d);
void dir_reserve_take(struct dir *d);

#endif

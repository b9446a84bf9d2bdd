/* sqlite.h: what the files of the SQLite store share. One connection writes, on one thread; others
 * read, each used by one thread at a time.
 *
 *   meta_sqlite.c     opens and closes the store
 *   sqlite_connect.c  one connection: file, schema, prepared statements, errors
 *   sqlite_read.c     gets, finds, counts
 *   sqlite_write.c    one write within a transaction
 *   sqlite_group.c    the queue and the thread that commits what came together */
#ifndef META_SQLITE_H
#define META_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "meta/store.h"

#define SQLITE_READERS 8
#define SQLITE_CACHE_KB 16384   /* of pages, per connection */
#define SQLITE_MAX_QUEUED 65536 /* writes that wait; more callers wait for a place */

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_TOUCH,         /* writes a page and changes nothing */
    ST_PARTITION,     /* partition -> its number */
    ST_ADD_PARTITION, /* writer only from here ... */
    ST_INSERT,
    ST_OLD,
    ST_UPDATE,
    ST_DELETE,
    ST_ADD_TOKEN,
    ST_DROP_TOKEN, /* ... to here */
    ST_GET,
    ST_FIND_UP,
    ST_FIND_DOWN,
    ST_COUNT,
    ST_HEALTH,
    N_STATEMENTS
};

struct connection {
    sqlite3 *db;
    sqlite3_stmt *statements[N_STATEMENTS]; /* prepared when first used */
    int wal_pages;                          /* in the log after this connection's last commit */
    struct connection *next;                /* of the idle readers */
};

struct job { /* one meta_write that waits; lives on its caller's stack */
    struct meta_write *writes;
    size_t n;
    size_t bytes;              /* of all texts and data */
    struct error_copy failure; /* code MLD_OK: each write has its result */
    bool done;
    pthread_cond_t cond;
    struct job *next;
};

struct sqlite_store {
    struct meta base;
    char *path;
    struct connection readers[SQLITE_READERS];
    pthread_mutex_t read_lock; /* guards `idle` */
    pthread_cond_t reader_idle;
    struct connection *idle;

    struct connection writer; /* the writing thread's alone */
    bool reopen;              /* a commit failed: the connection's state is not to be trusted */
    int checkpoint_at;        /* the size of the log, in pages, at which it is carried over next */
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, room;
    struct job *first, *last;
    size_t queued;
    bool stopping;
    struct error_copy commit_failure;     /* of the last group; code MLD_OK: it was committed */
    struct error_copy checkpoint_failure; /* likewise */
};

/* Opens a connection to the store's file; `create` makes the file and its tables. */
enum mld_error sqlite_connect(struct connection *c, const char *path, bool create);
void sqlite_disconnect(struct connection *c);
/* The prepared statement, reset; NULL: sqlite_fail says why. */
sqlite3_stmt *sqlite_prepare(struct connection *c, enum statement which);
/* This connection's last failure as an error that says what was done to which file. */
enum mld_error sqlite_fail(struct connection *c, const char *what);
/* Runs a statement that has no parameters and no rows. */
enum mld_error sqlite_run(struct connection *c, enum statement which);
/* Waits for other processes' locks for this long from now on. */
#define SQLITE_BUSY_MS 5000

/* Does one write in the transaction that is open, and sets its result. An error is the store's, not
 * the write's: the transaction must be rolled back. `arena` is for what the call needs. */
enum mld_error sqlite_do_write(struct connection *c, struct arena *arena, struct meta_write *w);

/* Slots of the store's table, and the writing thread. */
enum mld_error sqlite_get_many(struct meta *m, struct meta_docs *out, const char *partition,
                               const char *const *ids, size_t n);
enum mld_error sqlite_find(struct meta *m, struct meta_docs *out, const struct meta_range *range);
enum mld_error sqlite_count(struct meta *m, uint64_t *out, const struct meta_range *range,
                            uint64_t max);
enum mld_error sqlite_health(struct meta *m);
enum mld_error sqlite_write(struct meta *m, struct meta_write *writes, size_t n);
void *sqlite_writer_main(void *store);

#endif

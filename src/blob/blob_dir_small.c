/* blob_dir_small.c: small blobs in one SQLite file: opening it, reading through a few connections.
 * Writing is blob_dir_queue.c. */
#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "blob/blob_dir.h"

#define SMALL_VERSION 1
#define SMALL_BUSY_MS 10000
#define SMALL_LIST_ROWS 1000

/* FULL: a commit is on the disk when it returns. The log of the database is kept at its size, so
 * that the space in it is there also when the disk is full; what is in it and not yet in the
 * database, 4 MB and one batch, must fit into the reserve then. */
static const char settings[] = "PRAGMA page_size=16384;"
                               "PRAGMA journal_mode=WAL;"
                               "PRAGMA synchronous=FULL;"
                               "PRAGMA mmap_size=0;"
                               "PRAGMA cache_size=-4096;"
                               "PRAGMA wal_autocheckpoint=256;";
static const char schema[] = "CREATE TABLE IF NOT EXISTS small("
                             " id INTEGER PRIMARY KEY,"
                             " key BLOB NOT NULL UNIQUE,"
                             " sha256 TEXT NOT NULL,"
                             " data BLOB NOT NULL);"
                             "PRAGMA user_version=1;";

enum mld_error dir_sqlite_error(struct sqlite3 *db, const char *what)
{
    int extended = sqlite3_extended_errcode(db);
    int code = extended & 0xFF;
    int reason = sqlite3_system_errno(db);
    bool full = reason == ENOSPC || reason == EDQUOT;
    enum mld_error error = MLD_EIO;

    /* A failed fsync is never just a lack of room. */
    if (code == SQLITE_FULL || (code == SQLITE_IOERR && extended != SQLITE_IOERR_FSYNC && full))
        error = MLD_ENOSPACE;
    else if (code == SQLITE_NOMEM)
        error = MLD_ENOMEM;
    else if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        error = MLD_EDAMAGED;
    return error_set(error, "small.sqlite in the blob store: %s: %s", what, sqlite3_errmsg(db));
}

enum mld_error dir_sqlite_do(struct dir_connection *c, struct sqlite3_stmt *statement,
                             const char *what)
{
    enum mld_error error = MLD_OK;

    if (sqlite3_step(statement) != SQLITE_DONE)
        error = dir_sqlite_error(c->db, what);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return error;
}

static void connection_close(struct dir_connection *c)
{
    sqlite3_finalize(c->get);
    sqlite3_finalize(c->add);
    sqlite3_finalize(c->remove);
    sqlite3_finalize(c->begin);
    sqlite3_finalize(c->commit);
    sqlite3_finalize(c->rollback);
    sqlite3_close(c->db);
    *c = (struct dir_connection){.db = NULL};
}

static enum mld_error prepare(struct dir_connection *c, struct sqlite3_stmt **out, const char *sql)
{
    if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK)
        return MLD_OK;
    return dir_sqlite_error(c->db, "cannot prepare a statement");
}

static enum mld_error connect_file(struct dir_connection *c, const char *path, bool create)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
                (create ? SQLITE_OPEN_CREATE : 0);

    *c = (struct dir_connection){.db = NULL};
    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK) {
        if (c->db == NULL)
            return error_set(MLD_ENOMEM, "no memory for SQLite");
        return dir_sqlite_error(c->db, "cannot open it");
    }
    sqlite3_busy_timeout(c->db, SMALL_BUSY_MS);
    if (sqlite3_exec(c->db, settings, NULL, NULL, NULL) != SQLITE_OK)
        return dir_sqlite_error(c->db, "cannot set it up");
    return MLD_OK;
}

static enum mld_error prepare_get(struct dir_connection *c)
{
    return prepare(c, &c->get, "SELECT length(data), sha256, data FROM small WHERE key=?1");
}

/* The version of the file: 0 when it is new. */
static enum mld_error read_version(struct dir_connection *c, int *out)
{
    struct sqlite3_stmt *statement = NULL;
    enum mld_error error = prepare(c, &statement, "PRAGMA user_version");

    if (error == MLD_OK && sqlite3_step(statement) != SQLITE_ROW)
        error = dir_sqlite_error(c->db, "cannot read its version");
    *out = error == MLD_OK ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_finalize(statement);
    return error;
}

static enum mld_error prepare_writer(struct dir_connection *c)
{
    int version;
    enum mld_error error = read_version(c, &version);

    if (error == MLD_OK && version > SMALL_VERSION)
        error = error_set(MLD_EFORMAT,
                          "small.sqlite in the blob store is of version %d; this program knows %d",
                          version, SMALL_VERSION);
    if (error == MLD_OK && version == 0 &&
        sqlite3_exec(c->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        error = dir_sqlite_error(c->db, "cannot make its table");
    /* What an earlier process left in the log goes to the database and is synced there: after a
     * failed fsync of that process the log alone would not do. */
    if (error == MLD_OK &&
        sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL) != SQLITE_OK)
        error = dir_sqlite_error(c->db, "cannot bring it up to date");
    if (error == MLD_ENOSPACE)
        error = MLD_OK; /* reading and deleting must be possible then */
    if (error == MLD_OK)
        error = prepare_get(c);
    if (error == MLD_OK)
        error = prepare(c, &c->add,
                        "INSERT INTO small(key, sha256, data) VALUES(?1, ?2, ?3)"
                        " ON CONFLICT DO NOTHING");
    if (error == MLD_OK)
        error = prepare(c, &c->remove, "DELETE FROM small WHERE key=?1");
    if (error == MLD_OK)
        error = prepare(c, &c->begin, "BEGIN IMMEDIATE");
    if (error == MLD_OK)
        error = prepare(c, &c->commit, "COMMIT");
    if (error == MLD_OK)
        error = prepare(c, &c->rollback, "ROLLBACK");
    return error;
}

void dir_small_init(struct dir *d)
{
    struct dir_small *s = &d->small;

    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->reader_lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->room, NULL);
    pthread_cond_init(&s->reader_free, NULL);
}

enum mld_error dir_small_open(struct dir *d, const char *folder)
{
    struct dir_small *s = &d->small;
    enum mld_error error;

    if (asprintf(&s->path, "%s/small.sqlite", folder) < 0) {
        s->path = NULL;
        return error_set(MLD_ENOMEM, "no memory for a path");
    }
    error = connect_file(&s->writer, s->path, true);
    return error == MLD_OK ? prepare_writer(&s->writer) : error;
}

void dir_small_close(struct dir *d)
{
    struct dir_small *s = &d->small;

    for (unsigned i = 0; i < DIR_MAX_READERS; i++)
        connection_close(&s->readers[i]);
    connection_close(&s->writer); /* the last one: moves the log into the database */
    free(s->path);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->reader_lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->room);
    pthread_cond_destroy(&s->reader_free);
}

static enum mld_error take_columns(struct dir_connection *c, unsigned char **out, size_t *out_len,
                                   struct blob_digest *out_digest)
{
    size_t len = (size_t)sqlite3_column_int64(c->get, 0);
    const unsigned char *digest = sqlite3_column_text(c->get, 1);

    if (digest == NULL || strlen((const char *)digest) != SHA256_HEX_LEN)
        return error_set(MLD_EDAMAGED, "small.sqlite in the blob store: a SHA-256 is damaged");
    if (out_digest != NULL)
        memcpy(out_digest->hex, digest, SHA256_HEX_LEN + 1);
    if (out_len != NULL)
        *out_len = len;
    if (out == NULL)
        return MLD_OK;
    const void *data = sqlite3_column_blob(c->get, 2);
    if ((size_t)sqlite3_column_bytes(c->get, 2) != len || (data == NULL && len > 0))
        return dir_sqlite_error(c->db, "cannot read a blob");
    *out = malloc(len + 1);
    if (*out == NULL)
        return error_set(MLD_ENOMEM, "no memory for a blob");
    if (len > 0)
        memcpy(*out, data, len);
    return MLD_OK;
}

enum mld_error dir_small_find(struct dir_connection *c, const char *key, bool *out_found,
                              unsigned char **out, size_t *out_len, struct blob_digest *out_digest)
{
    enum mld_error error = MLD_OK;
    int result;

    *out_found = false;
    sqlite3_bind_blob(c->get, 1, key, (int)strlen(key), SQLITE_STATIC);
    result = sqlite3_step(c->get);
    if (result == SQLITE_ROW) {
        *out_found = true;
        error = take_columns(c, out, out_len, out_digest);
    } else if (result != SQLITE_DONE) {
        error = dir_sqlite_error(c->db, "cannot look for a blob");
    }
    sqlite3_reset(c->get);
    sqlite3_clear_bindings(c->get);
    return error;
}

/* A connection that nobody uses; waits for one. */
static enum mld_error take_reader(struct dir_small *s, unsigned *out)
{
    enum mld_error error = MLD_OK;
    unsigned i = DIR_MAX_READERS;

    pthread_mutex_lock(&s->reader_lock);
    while (i == DIR_MAX_READERS) {
        for (i = 0; i < DIR_MAX_READERS && s->reader_taken[i]; i++)
            ;
        if (i == DIR_MAX_READERS)
            pthread_cond_wait(&s->reader_free, &s->reader_lock);
    }
    s->reader_taken[i] = true;
    pthread_mutex_unlock(&s->reader_lock);
    *out = i;
    if (s->readers[i].get == NULL) {
        error = connect_file(&s->readers[i], s->path, false);
        if (error == MLD_OK)
            error = prepare_get(&s->readers[i]);
    }
    return error;
}

static void give_reader(struct dir_small *s, unsigned i)
{
    if (s->readers[i].get == NULL)
        connection_close(&s->readers[i]); /* could not be set up: the next one tries again */
    pthread_mutex_lock(&s->reader_lock);
    s->reader_taken[i] = false;
    pthread_cond_signal(&s->reader_free);
    pthread_mutex_unlock(&s->reader_lock);
}

enum mld_error dir_small_get(struct dir *d, const char *key, bool *out_found, unsigned char **out,
                             size_t *out_len, struct blob_digest *out_digest)
{
    unsigned i;
    enum mld_error error = take_reader(&d->small, &i);

    *out_found = false;
    if (error == MLD_OK)
        error = dir_small_find(&d->small.readers[i], key, out_found, out, out_len, out_digest);
    give_reader(&d->small, i);
    return error;
}

enum mld_error dir_small_health(struct dir *d)
{
    bool found;

    pthread_mutex_lock(&d->small.lock);
    enum mld_error error = d->small.broken.code;
    if (error != MLD_OK)
        error = error_restore(&d->small.broken);
    pthread_mutex_unlock(&d->small.lock);
    return error == MLD_OK ? dir_small_get(d, "", &found, NULL, NULL, NULL) : error;
}

/* One page of a listing, copied so that no transaction is open while the caller looks at it. */
struct page {
    struct arena arena;
    struct page_row {
        const char *key;
        uint64_t size;
    } rows[SMALL_LIST_ROWS];
    size_t n;
};

static enum mld_error read_page(struct dir_connection *c, struct page *page, int64_t after,
                                int64_t *out_last)
{
    struct sqlite3_stmt *statement = NULL;
    enum mld_error error = prepare(
        c, &statement, "SELECT id, key, length(data) FROM small WHERE id>?1 ORDER BY id LIMIT ?2");
    int result = SQLITE_DONE;

    page->n = 0;
    if (error == MLD_OK) {
        sqlite3_bind_int64(statement, 1, after);
        sqlite3_bind_int(statement, 2, SMALL_LIST_ROWS);
    }
    while (error == MLD_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct page_row *row = &page->rows[page->n++];
        const char *key = sqlite3_column_blob(statement, 1);
        size_t len = (size_t)sqlite3_column_bytes(statement, 1);
        assert(page->n <= SMALL_LIST_ROWS);
        *out_last = sqlite3_column_int64(statement, 0);
        row->size = (uint64_t)sqlite3_column_int64(statement, 2);
        row->key = key == NULL ? NULL : arena_strndup(&page->arena, key, len);
        if (row->key == NULL)
            error = error_set(MLD_ENOMEM, "no memory for a list of blobs");
    }
    if (error == MLD_OK && result != SQLITE_DONE)
        error = dir_sqlite_error(c->db, "cannot list blobs");
    sqlite3_finalize(statement);
    return error;
}

enum mld_error dir_small_list(struct dir *d, blob_visit *visit, void *payload)
{
    struct page *page = calloc(1, sizeof(*page));
    int64_t last = 0;
    enum mld_error error = MLD_OK;

    if (page == NULL)
        return error_set(MLD_ENOMEM, "no memory for a list of blobs");
    do {
        unsigned reader;
        error = take_reader(&d->small, &reader);
        if (error == MLD_OK)
            error = read_page(&d->small.readers[reader], page, last, &last);
        give_reader(&d->small, reader);
        for (size_t i = 0; error == MLD_OK && i < page->n; i++)
            error = visit(page->rows[i].key, page->rows[i].size, payload);
        arena_free(&page->arena);
    } while (error == MLD_OK && page->n == SMALL_LIST_ROWS);
    free(page);
    return error;
}

/* meta_sqlite.c: opening and closing the SQLite store.
 *
 * Tables: `partitions` gives each partition a number, since its name would otherwise stand in every
 * row of two tables. `docs` has the documents, found by (partition, id) or by row number; a
 * document's tokens are kept there too, each with its NUL, so that a replacement touches only those
 * that changed. `tokens` is the index of finds. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta/sqlite.h"

#define APPLICATION_ID 0x6d6c6464 /* "mldd" */
#define SCHEMA_VERSION 1
#define BUSY_TIMEOUT_MS 5000

static const char pragmas[] = "PRAGMA journal_mode=WAL;"
                              "PRAGMA synchronous=FULL;"
                              "PRAGMA cache_size=-16384;"
                              "PRAGMA mmap_size=0;" /* a file cut under mmap kills the process */
                              "PRAGMA journal_size_limit=67108864;"
                              "PRAGMA temp_store=MEMORY;"
                              "PRAGMA trusted_schema=OFF;";

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS partitions(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE IF NOT EXISTS docs(number INTEGER PRIMARY KEY, partition INTEGER NOT NULL,"
    " id TEXT NOT NULL, revision INTEGER NOT NULL, ord INTEGER NOT NULL, tokens BLOB, text BLOB,"
    " data BLOB, UNIQUE(partition, id));"
    "CREATE TABLE IF NOT EXISTS tokens(partition INTEGER NOT NULL, token TEXT NOT NULL,"
    " ord INTEGER NOT NULL, id TEXT NOT NULL, doc INTEGER NOT NULL,"
    " PRIMARY KEY(partition, token, ord, id)) WITHOUT ROWID;"
    "PRAGMA application_id=1835820132;"
    "PRAGMA user_version=1;"
    "COMMIT;";

#define COLUMNS "d.id, d.revision, d.ord, d.tokens, d.text, d.data"
#define FIND                                                                 \
    "SELECT " COLUMNS " FROM tokens t CROSS JOIN docs d ON d.number = t.doc" \
    " WHERE t.partition = ?1 AND t.token = ?2 AND t.ord BETWEEN ?3 AND ?4"

static const char *const statement_texts[N_STATEMENTS] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_PARTITION] = "SELECT number FROM partitions WHERE name = ?1",
    [ST_ADD_PARTITION] = "INSERT INTO partitions(name) VALUES(?1)",
    [ST_INSERT] = "INSERT INTO docs(partition, id, revision, ord, tokens, text, data)"
                  " VALUES(?1, ?2, 1, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    [ST_OLD] = "SELECT number, revision, ord, tokens FROM docs WHERE partition = ?1 AND id = ?2",
    [ST_UPDATE] = "UPDATE docs SET revision = revision + 1, ord = ?2, tokens = ?3, text = ?4,"
                  " data = ?5 WHERE number = ?1",
    [ST_DELETE] = "DELETE FROM docs WHERE number = ?1",
    [ST_ADD_TOKEN] =
        "INSERT INTO tokens(partition, token, ord, id, doc) VALUES(?1, ?2, ?3, ?4, ?5)",
    [ST_DROP_TOKEN] =
        "DELETE FROM tokens WHERE partition = ?1 AND token = ?2 AND ord = ?3 AND id = ?4",
    [ST_GET] = "SELECT " COLUMNS " FROM docs d WHERE d.partition = ?1 AND d.id = ?2",
    [ST_FIND_UP] = FIND " ORDER BY t.ord, t.id LIMIT ?5",
    [ST_FIND_UP_AFTER] = FIND " AND (t.ord, t.id) > (?6, ?7) ORDER BY t.ord, t.id LIMIT ?5",
    [ST_FIND_DOWN] = FIND " ORDER BY t.ord DESC, t.id DESC LIMIT ?5",
    [ST_FIND_DOWN_AFTER] =
        FIND " AND (t.ord, t.id) < (?6, ?7) ORDER BY t.ord DESC, t.id DESC LIMIT ?5",
    [ST_COUNT] = "SELECT count(*) FROM (SELECT 1 FROM tokens WHERE partition = ?1 AND token = ?2"
                 " AND ord BETWEEN ?3 AND ?4 LIMIT ?5)",
    [ST_HEALTH] = "SELECT number FROM docs LIMIT 1",
};

enum mld_error sqlite_fail(struct connection *c, const char *what)
{
    int code = c->db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(c->db);
    const char *words = c->db == NULL ? "out of memory" : sqlite3_errmsg(c->db);
    const char *file = c->db == NULL ? "the database" : sqlite3_db_filename(c->db, "main");
    switch (code & 0xff) {
    case SQLITE_FULL:
        return error_set(MLD_ENOSPACE, "%s %s: the disk is full", what, file);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(MLD_EUNAVAILABLE, "%s %s: another process holds it (%s)", what, file,
                         words);
    case SQLITE_NOMEM:
        return error_set(MLD_ENOMEM, "%s %s: out of memory", what, file);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(MLD_EDAMAGED, "%s %s: %s; restore it from a backup", what, file, words);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return error_set(MLD_EACCESS, "%s %s: %s", what, file, words);
    default:
        if (code == (SQLITE_IOERR | (0x03 << 8)) && errno == EFBIG) /* write */
            return error_set(MLD_ENOSPACE, "%s %s: the file may not grow any more", what, file);
        return error_set(MLD_EIO, "%s %s: %s (%d)", what, file, words, code);
    }
}

sqlite3_stmt *sqlite_prepare(struct connection *c, enum statement which)
{
    sqlite3_stmt **statement = &c->statements[which];
    if (*statement == NULL)
        sqlite3_prepare_v3(c->db, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement,
                           NULL);
    else
        sqlite3_reset(*statement);
    return *statement;
}

enum mld_error sqlite_partition(struct connection *c, const char *partition, int64_t *out)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_PARTITION);
    *out = 0;
    if (s == NULL || sqlite3_bind_text(s, 1, partition, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_fail(c, "reading");
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? MLD_OK : sqlite_fail(c, "reading");
}

static enum mld_error pragma_int(struct connection *c, const char *text, int *out)
{
    sqlite3_stmt *s = NULL;
    enum mld_error error = MLD_OK;
    if (sqlite3_prepare_v2(c->db, text, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        *out = sqlite3_column_int(s, 0);
    else
        error = sqlite_fail(c, "opening");
    sqlite3_finalize(s);
    return error;
}

/* Makes the tables in a new file; refuses what is not ours or newer. */
static enum mld_error check_schema(struct connection *c, const char *path)
{
    int version = 0, application = 0;
    enum mld_error error = pragma_int(c, "PRAGMA user_version", &version);
    if (error == MLD_OK)
        error = pragma_int(c, "PRAGMA application_id", &application);
    if (error != MLD_OK)
        return error;
    if (version == 0 && application == 0)
        return sqlite3_exec(c->db, schema, NULL, NULL, NULL) == SQLITE_OK
                   ? MLD_OK
                   : sqlite_fail(c, "making tables in");
    if (application != APPLICATION_ID)
        return error_set(MLD_EFORMAT, "'%.400s' is a database of another program", path);
    if (version > SCHEMA_VERSION)
        return error_set(MLD_EFORMAT,
                         "'%.400s' was written by a newer version (%d); this one knows %d", path,
                         version, SCHEMA_VERSION);
    return MLD_OK;
}

enum mld_error sqlite_connect(struct connection *c, const char *path, bool create)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    *c = (struct connection){.next = NULL};
    if (create) { /* SQLite would make it readable by all */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return error_set_errno(errno, "cannot open the database '%.400s'", path);
        close(fd);
    }
    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK)
        return sqlite_fail(c, "opening");
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
    if (sqlite3_exec(c->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_fail(c, "opening");
    return create ? check_schema(c, path) : MLD_OK;
}

void sqlite_disconnect(struct connection *c)
{
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(c->statements[i]);
    sqlite3_close(c->db);
    *c = (struct connection){.db = NULL};
}

static void sqlite_close_store(struct meta *m)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < SQLITE_READERS; i++)
        sqlite_disconnect(&s->readers[i]);
    sqlite_disconnect(&s->writer); /* last: it cleans up the WAL */
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->read_lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->room);
    pthread_cond_destroy(&s->reader_idle);
    free(s->path);
    free(s);
}

static const struct meta_ops sqlite_ops = {
    .kind = "sqlite",
    .write = sqlite_write,
    .get_many = sqlite_get_many,
    .find = sqlite_find,
    .count = sqlite_count,
    .health = sqlite_health,
    .close = sqlite_close_store,
};

static enum mld_error connect_all(struct sqlite_store *s)
{
    enum mld_error error = sqlite_connect(&s->writer, s->path, true);
    for (int i = 0; error == MLD_OK && i < SQLITE_READERS; i++) {
        error = sqlite_connect(&s->readers[i], s->path, false);
        s->readers[i].next = s->idle;
        s->idle = &s->readers[i];
    }
    return error;
}

enum mld_error meta_sqlite_open(struct meta **out, const char *path)
{
    struct sqlite_store *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return error_set(MLD_ENOMEM, "no memory for the store '%.400s'", path);
    }
    s->base.ops = &sqlite_ops;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->read_lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->room, NULL);
    pthread_cond_init(&s->reader_idle, NULL);
    enum mld_error error = connect_all(s);
    int failed = error == MLD_OK ? pthread_create(&s->thread, NULL, sqlite_writer_main, s) : 0;
    if (failed != 0)
        error = error_set_errno(failed, "cannot start the thread that writes '%.400s'", path);
    if (error != MLD_OK) {
        for (int i = 0; i < SQLITE_READERS; i++)
            sqlite_disconnect(&s->readers[i]);
        sqlite_disconnect(&s->writer);
        free(s->path);
        free(s);
        return error;
    }
    *out = &s->base;
    return MLD_OK;
}

/* sqlite_connect.c: one connection to the store's file.
 *
 * Tables: `partitions` gives each partition a number, since its name would otherwise stand in every
 * row of two tables. `docs` has the documents, found by (partition, id) or by row number; a
 * document's tokens are kept there too, each with its NUL, so that a replacement touches only those
 * that changed. `tokens` is the index of finds. No STRICT tables: SQLite before 3.37 could not open
 * the file then, and each value is bound with its type anyway.
 *
 * Nothing here opens the file but SQLite: closing any descriptor of it drops the locks of all
 * connections of the process, and another process may then delete the log under us. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "meta/sqlite.h"

#define APPLICATION_ID 0x6d6c6464 /* "mldd" */
#define SCHEMA_VERSION 1
#define TEXT_OF(number) TEXT_OF_(number)
#define TEXT_OF_(number) #number

static const char pragmas[] =
    "PRAGMA synchronous=FULL;"
    "PRAGMA cache_size=-" TEXT_OF(
        SQLITE_CACHE_KB) ";"
                         "PRAGMA mmap_size=0;" /* a file cut under mmap kills the process */
                         "PRAGMA journal_size_limit=67108864;"
                         "PRAGMA wal_autocheckpoint=0;" /* sqlite_group.c does it */
                         "PRAGMA temp_store=MEMORY;"
                         "PRAGMA trusted_schema=OFF;";

/* Another process may have made them meanwhile. */
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

/* Both ends of a range are exclusive pairs, which SQLite seeks to in the index; an interval of
 * `ord` with a cursor beside it would be read from its beginning for every page. */
#define IN_RANGE                                                                            \
    " WHERE t.partition = (SELECT number FROM partitions WHERE name = ?1) AND t.token = ?2" \
    " AND (t.ord, t.id) > (?3, ?4) AND (t.ord, t.id) < (?5, ?6)"
#define COLUMNS "d.id, d.revision, d.ord, d.tokens, d.text, d.data"
#define FIND "SELECT " COLUMNS " FROM tokens t CROSS JOIN docs d ON d.number = t.doc" IN_RANGE

static const char *const statement_texts[N_STATEMENTS] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_TOUCH] = "PRAGMA user_version=1",
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
    [ST_GET] = "SELECT " COLUMNS " FROM docs d WHERE d.id = ?2"
               " AND d.partition = (SELECT number FROM partitions WHERE name = ?1)",
    [ST_FIND_UP] = FIND " ORDER BY t.ord, t.id LIMIT ?7",
    [ST_FIND_DOWN] = FIND " ORDER BY t.ord DESC, t.id DESC LIMIT ?7",
    [ST_COUNT] = "SELECT count(*) FROM (SELECT 1 FROM tokens t" IN_RANGE " LIMIT ?7)",
    [ST_HEALTH] = "SELECT number FROM docs LIMIT 1",
};

/* What primary result codes are; all others are MLD_EIO. */
static const struct {
    int code;
    enum mld_error error;
} errors[] = {
    {SQLITE_FULL, MLD_ENOSPACE},       {SQLITE_BUSY, MLD_EUNAVAILABLE},
    {SQLITE_LOCKED, MLD_EUNAVAILABLE}, {SQLITE_NOMEM, MLD_ENOMEM},
    {SQLITE_CORRUPT, MLD_EDAMAGED},    {SQLITE_NOTADB, MLD_EDAMAGED},
    {SQLITE_CONSTRAINT, MLD_EDAMAGED}, /* two tables do not fit together */
    {SQLITE_PERM, MLD_EACCESS},        {SQLITE_READONLY, MLD_EACCESS},
    {SQLITE_AUTH, MLD_EACCESS},
};

/* SQLite says of many failed calls only that they failed: the system's error says why. */
static enum mld_error code_of(int code, int system_errno)
{
    int primary = code & 0xff;
    if (code == SQLITE_IOERR_NOMEM)
        return MLD_ENOMEM;
    if (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) {
        if (system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG)
            return MLD_ENOSPACE;
        return primary == SQLITE_CANTOPEN && system_errno == EACCES ? MLD_EACCESS : MLD_EIO;
    }
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code == primary)
            return errors[i].error;
    }
    return MLD_EIO;
}

enum mld_error sqlite_fail(struct connection *c, const char *what)
{
    static const char *const unknown = "the database";
    if (c->db == NULL)
        return error_set(MLD_ENOMEM, "%s %s: out of memory", what, unknown);
    int code = sqlite3_extended_errcode(c->db), system_errno = sqlite3_system_errno(c->db);
    if (system_errno == 0 && (code & 0xff) == SQLITE_IOERR)
        system_errno = errno; /* SQLite does not note it for a commit; sqlite_run begins with 0 */
    const char *file = sqlite3_db_filename(c->db, "main");
    const char *words = sqlite3_errmsg(c->db);
    enum mld_error error = code_of(code, system_errno);
    if (error == MLD_ENOSPACE)
        return error_set(error, "%s %s: no space is left for it, or a limit of size is reached",
                         what, file);
    if (error == MLD_EUNAVAILABLE)
        return error_set(error, "%s %s: another process holds it (%s)", what, file, words);
    if (error == MLD_EDAMAGED)
        return error_set(error, "%s %s: %s (%d); stop the server and restore it from a backup",
                         what, file, words, code);
    if (system_errno != 0)
        return error_set(error, "%s %s: %s (%d): %s", what, file, words, code,
                         strerror(system_errno));
    return error_set(error, "%s %s: %s (%d)", what, file, words, code);
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

enum mld_error sqlite_run(struct connection *c, enum statement which)
{
    sqlite3_stmt *s = sqlite_prepare(c, which);
    errno = 0;
    bool done = s != NULL && sqlite3_step(s) == SQLITE_DONE;
    enum mld_error error = done ? MLD_OK : sqlite_fail(c, "writing");
    sqlite3_reset(s);
    return error;
}

static enum mld_error read_int(struct connection *c, const char *text, int *out)
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

/* Refuses what is not ours or newer, before anything is changed. *out_empty: nothing is in it. */
static enum mld_error check_format(struct connection *c, const char *path, bool *out_empty)
{
    int version = 0, application = 0, tables = 0;
    *out_empty = false;
    if (sqlite3_exec(c->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK) /* one look at all three */
        return sqlite_fail(c, "opening");
    enum mld_error error = read_int(c, "SELECT count(*) FROM sqlite_master", &tables);
    if (error == MLD_OK)
        error = read_int(c, "PRAGMA user_version", &version);
    if (error == MLD_OK)
        error = read_int(c, "PRAGMA application_id", &application);
    if (error == MLD_OK && sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        error = sqlite_fail(c, "opening");
    *out_empty = version == 0 && application == 0 && tables == 0;
    if (error != MLD_OK || *out_empty)
        return error;
    if (application != APPLICATION_ID)
        return error_set(MLD_EFORMAT, "'%.400s' is a database of another program", path);
    if (version != SCHEMA_VERSION)
        return error_set(MLD_EFORMAT,
                         "'%.400s' has format %d, of another version; this one knows format %d",
                         path, version, SCHEMA_VERSION);
    return MLD_OK;
}

/* PRAGMA journal_mode answers with the mode that it is; being refused is no error of SQLite's. */
static enum mld_error set_wal(struct connection *c, const char *path)
{
    sqlite3_stmt *s = NULL;
    enum mld_error error = MLD_OK;
    if (sqlite3_prepare_v2(c->db, "PRAGMA journal_mode=WAL", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW)
        error = sqlite_fail(c, "opening");
    else if (strcmp((const char *)sqlite3_column_text(s, 0), "wal") != 0)
        error = error_set(MLD_EIO,
                          "'%.400s': the file system cannot share memory between processes, which "
                          "SQLite needs; put the database on a local disk",
                          path);
    sqlite3_finalize(s);
    return error;
}

/* Makes the file, which SQLite would let others read; its log gets the same mode. */
static enum mld_error make_file(const char *path)
{
    struct stat file, log;
    char log_path[4200];
    if (mknod(path, S_IFREG | 0600, 0) == 0)
        return MLD_OK;
    if (errno != EEXIST || stat(path, &file) != 0)
        return error_set_errno(errno, "cannot open the database '%.400s'", path);
    if (!S_ISREG(file.st_mode))
        return error_set(MLD_EACCESS, "the database '%.400s' is not a file", path);
    /* SQLite would take an emptied file for a new one, and throw its log away. */
    int len = snprintf(log_path, sizeof log_path, "%s-wal", path);
    if (file.st_size == 0 && len > 0 && (size_t)len < sizeof log_path &&
        stat(log_path, &log) == 0 && log.st_size > 0)
        return error_set(MLD_EDAMAGED,
                         "the database '%.400s' is empty but its log is not; restore both from a "
                         "backup",
                         path);
    return MLD_OK;
}

static int remember_wal_pages(void *payload, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    ((struct connection *)payload)->wal_pages = pages;
    return SQLITE_OK;
}

static enum mld_error prepare_file(struct connection *c, const char *path, bool create)
{
    bool empty;
    enum mld_error error = check_format(c, path, &empty);
    if (error == MLD_OK && empty && !create)
        error = error_set(MLD_EDAMAGED, "the database '%.400s' was emptied", path);
    if (error == MLD_OK)
        error = set_wal(c, path);
    if (error == MLD_OK && sqlite3_exec(c->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        error = sqlite_fail(c, "opening");
    if (error == MLD_OK && empty && sqlite3_exec(c->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        error = sqlite_fail(c, "making tables in");
    return error;
}

enum mld_error sqlite_connect(struct connection *c, const char *path, bool create)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    *c = (struct connection){.next = NULL};
    enum mld_error error = create ? make_file(path) : MLD_OK;
    if (error != MLD_OK)
        return error;
    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK)
        return sqlite_fail(c, "opening");
    if (sqlite3_db_filename(c->db, "main")[0] == '\0') /* ":memory:" */
        return error_set(MLD_EINVALID, "'%.400s' is no name for a database", path);
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, SQLITE_BUSY_MS);
    error = prepare_file(c, path, create);
    sqlite3_wal_hook(c->db, remember_wal_pages, c); /* the pragma about checkpoints sets it too */
    return error;
}

void sqlite_disconnect(struct connection *c)
{
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(c->statements[i]);
    sqlite3_close(c->db);
    *c = (struct connection){.db = NULL};
}

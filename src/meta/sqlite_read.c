/* sqlite_read.c: reading documents, each call on a connection of its own. */
#include <string.h>

#include "meta/sqlite.h"

static struct connection *take_reader(struct sqlite_store *s)
{
    pthread_mutex_lock(&s->read_lock);
    while (s->idle == NULL)
        pthread_cond_wait(&s->reader_idle, &s->read_lock);
    struct connection *c = s->idle;
    s->idle = c->next;
    pthread_mutex_unlock(&s->read_lock);
    return c;
}

static void give_reader(struct sqlite_store *s, struct connection *c)
{
    pthread_mutex_lock(&s->read_lock);
    c->next = s->idle;
    s->idle = c;
    pthread_cond_signal(&s->reader_idle);
    pthread_mutex_unlock(&s->read_lock);
}

/* Finds where each token begins in a document's token column; false when they are no tokens. */
static bool split_tokens(const char *texts, size_t len, struct meta_doc *doc,
                         const char *tokens[META_MAX_TOKENS])
{
    doc->tokens = tokens;
    if (len > 0 && (texts == NULL || texts[len - 1] != '\0'))
        return false;
    for (size_t at = 0; at < len; at += strlen(texts + at) + 1) {
        if (doc->n_tokens == META_MAX_TOKENS)
            return false;
        tokens[doc->n_tokens++] = texts + at;
    }
    return true;
}

/* A text or data; an empty one is not a missing one. */
static const void *column_bytes(sqlite3_stmt *s, int column, size_t *out_len)
{
    const void *bytes = sqlite3_column_blob(s, column);
    *out_len = (size_t)sqlite3_column_bytes(s, column);
    return bytes == NULL && sqlite3_column_type(s, column) != SQLITE_NULL ? "" : bytes;
}

/* The row that a statement with COLUMNS stands on. */
static enum mld_error add_row(struct connection *c, struct meta_docs *out, const char *partition,
                              sqlite3_stmt *s)
{
    const char *tokens[META_MAX_TOKENS];
    struct meta_doc doc = {.partition = partition};
    doc.id = (const char *)sqlite3_column_text(s, 0);
    doc.revision = sqlite3_column_int64(s, 1);
    doc.order = sqlite3_column_int64(s, 2);
    const char *texts = sqlite3_column_blob(s, 3);
    bool whole = split_tokens(texts, (size_t)sqlite3_column_bytes(s, 3), &doc, tokens);
    doc.text = column_bytes(s, 4, &doc.text_len);
    doc.data = column_bytes(s, 5, &doc.data_len);
    if (!whole || doc.id == NULL)
        return error_set(MLD_EDAMAGED,
                         "a document of '%.200s' in %s is damaged; restore it from a backup",
                         partition, sqlite3_db_filename(c->db, "main"));
    return meta_docs_add(out, &doc);
}

static enum mld_error get_one(struct connection *c, struct meta_docs *out, const char *partition,
                              const char *id)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_GET);
    if (s == NULL)
        return sqlite_fail(c, "reading");
    sqlite3_bind_text(s, 1, partition, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    enum mld_error error = MLD_OK;
    if (code == SQLITE_ROW)
        error = add_row(c, out, partition, s);
    else if (code != SQLITE_DONE)
        error = sqlite_fail(c, "reading");
    sqlite3_reset(s);
    return error;
}

enum mld_error sqlite_get_many(struct meta *m, struct meta_docs *out, const char *partition,
                               const char *const *ids, size_t n)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct connection *c = take_reader(s);
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < n; i++)
        error = get_one(c, out, partition, ids[i]);
    give_reader(s, c);
    return error;
}

/* A statement with IN_RANGE and a limit. The cursor takes the place of the end that it is within.
 * Ids are not empty: every one comes behind "", and in front of any blob. */
static sqlite3_stmt *bind_range(struct connection *c, enum statement which,
                                const struct meta_range *r, int64_t limit)
{
    sqlite3_stmt *s = sqlite_prepare(c, which);
    bool after = r->after.id != NULL;
    bool low = after && !r->descending && r->after.order >= r->min_order;
    bool high = after && r->descending && r->after.order <= r->max_order;
    if (s == NULL)
        return NULL;
    sqlite3_bind_text(s, 1, r->partition, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, low ? r->after.order : r->min_order);
    sqlite3_bind_text(s, 4, low ? r->after.id : "", -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 5, high ? r->after.order : r->max_order);
    if (high)
        sqlite3_bind_text(s, 6, r->after.id, -1, SQLITE_STATIC);
    else
        sqlite3_bind_zeroblob(s, 6, 0);
    sqlite3_bind_int64(s, 7, limit);
    return s;
}

static enum mld_error find_in(struct connection *c, struct meta_docs *out,
                              const struct meta_range *range)
{
    enum statement which = range->descending ? ST_FIND_DOWN : ST_FIND_UP;
    /* One more tells whether there is more. */
    sqlite3_stmt *s = bind_range(c, which, range, (int64_t)range->limit + 1);
    enum mld_error error = MLD_OK;
    int code = SQLITE_ROW;
    if (s == NULL)
        return sqlite_fail(c, "reading");
    while (error == MLD_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (out->n == range->limit || meta_docs_full(out)) {
            out->more = true;
            break;
        }
        error = add_row(c, out, range->partition, s);
    }
    if (error == MLD_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        error = sqlite_fail(c, "reading");
    sqlite3_reset(s);
    return error;
}

enum mld_error sqlite_find(struct meta *m, struct meta_docs *out, const struct meta_range *range)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct connection *c = take_reader(s);
    enum mld_error error = find_in(c, out, range);
    give_reader(s, c);
    return error;
}

enum mld_error sqlite_count(struct meta *m, uint64_t *out, const struct meta_range *range,
                            uint64_t max)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct connection *c = take_reader(s);
    sqlite3_stmt *st = bind_range(c, ST_COUNT, range, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    enum mld_error error = MLD_OK;
    if (st != NULL && sqlite3_step(st) == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(st, 0);
    else
        error = sqlite_fail(c, "reading");
    sqlite3_reset(st);
    give_reader(s, c);
    return error;
}

/* What the writing thread met last: a store that cannot write is not well, though it reads. */
static enum mld_error last_failure(struct sqlite_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct error_copy failure =
        s->commit_failure.code != MLD_OK ? s->commit_failure : s->checkpoint_failure;
    pthread_mutex_unlock(&s->lock);
    return failure.code == MLD_OK ? MLD_OK : error_restore(&failure);
}

enum mld_error sqlite_health(struct meta *m)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    enum mld_error error = last_failure(s);
    if (error != MLD_OK)
        return error;
    struct connection *c = take_reader(s);
    sqlite3_stmt *st = sqlite_prepare(c, ST_HEALTH);
    int code = st == NULL ? SQLITE_ERROR : sqlite3_step(st);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        error = sqlite_fail(c, "reading");
    sqlite3_reset(st);
    give_reader(s, c);
    return error;
}

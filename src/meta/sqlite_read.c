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

/* Where each token begins in a document's token column. */
static size_t split_tokens(const char *texts, size_t len, const char *out[META_MAX_TOKENS])
{
    size_t n = 0;
    for (size_t at = 0; at < len && n < META_MAX_TOKENS; at += strlen(texts + at) + 1)
        out[n++] = texts + at;
    return n;
}

/* The row that a statement with COLUMNS stands on. */
static enum mld_error add_row(struct meta_docs *out, const char *partition, sqlite3_stmt *s)
{
    const char *tokens[META_MAX_TOKENS];
    struct meta_doc doc = {.partition = partition, .tokens = tokens};
    doc.id = (const char *)sqlite3_column_text(s, 0);
    doc.revision = sqlite3_column_int64(s, 1);
    doc.order = sqlite3_column_int64(s, 2);
    const char *texts = sqlite3_column_blob(s, 3);
    doc.n_tokens = split_tokens(texts, (size_t)sqlite3_column_bytes(s, 3), tokens);
    doc.text = sqlite3_column_blob(s, 4);
    doc.text_len = (size_t)sqlite3_column_bytes(s, 4);
    doc.data = sqlite3_column_blob(s, 5);
    doc.data_len = (size_t)sqlite3_column_bytes(s, 5);
    if (doc.text == NULL && sqlite3_column_type(s, 4) != SQLITE_NULL)
        doc.text = "";
    if (doc.data == NULL && sqlite3_column_type(s, 5) != SQLITE_NULL)
        doc.data = "";
    return meta_docs_add(out, &doc);
}

static enum mld_error get_one(struct connection *c, struct meta_docs *out, const char *partition,
                              int64_t number, const char *id)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_GET);
    if (s == NULL)
        return sqlite_fail(c, "reading");
    sqlite3_bind_int64(s, 1, number);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    enum mld_error error = MLD_OK;
    if (code == SQLITE_ROW)
        error = add_row(out, partition, s);
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
    int64_t number;
    enum mld_error error = sqlite_partition(c, partition, &number);
    for (size_t i = 0; error == MLD_OK && number != 0 && i < n; i++)
        error = get_one(c, out, partition, number, ids[i]);
    give_reader(s, c);
    return error;
}

static sqlite3_stmt *bind_range(struct connection *c, int64_t number, const struct meta_range *r)
{
    bool after = r->after.id != NULL;
    enum statement which = r->descending ? (after ? ST_FIND_DOWN_AFTER : ST_FIND_DOWN)
                                         : (after ? ST_FIND_UP_AFTER : ST_FIND_UP);
    sqlite3_stmt *s = sqlite_prepare(c, which);
    if (s == NULL)
        return NULL;
    sqlite3_bind_int64(s, 1, number);
    sqlite3_bind_text(s, 2, r->token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, r->min_order);
    sqlite3_bind_int64(s, 4, r->max_order);
    sqlite3_bind_int64(s, 5, (int64_t)r->limit + 1); /* one more tells whether there is more */
    if (after) {
        sqlite3_bind_int64(s, 6, r->after.order);
        sqlite3_bind_text(s, 7, r->after.id, -1, SQLITE_STATIC);
    }
    return s;
}

static enum mld_error find_in(struct connection *c, struct meta_docs *out, int64_t number,
                              const struct meta_range *range)
{
    sqlite3_stmt *s = bind_range(c, number, range);
    enum mld_error error = MLD_OK;
    int code = SQLITE_ROW;
    if (s == NULL)
        return sqlite_fail(c, "reading");
    while (error == MLD_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (out->n == range->limit) {
            out->more = true;
            break;
        }
        error = add_row(out, range->partition, s);
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
    int64_t number;
    enum mld_error error = sqlite_partition(c, range->partition, &number);
    if (error == MLD_OK && number != 0)
        error = find_in(c, out, number, range);
    give_reader(s, c);
    return error;
}

static enum mld_error count_in(struct connection *c, uint64_t *out, int64_t number,
                               const struct meta_range *range, uint64_t max)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_COUNT);
    if (s == NULL)
        return sqlite_fail(c, "reading");
    sqlite3_bind_int64(s, 1, number);
    sqlite3_bind_text(s, 2, range->token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, range->min_order);
    sqlite3_bind_int64(s, 4, range->max_order);
    sqlite3_bind_int64(s, 5, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    enum mld_error error = MLD_OK;
    if (sqlite3_step(s) == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(s, 0);
    else
        error = sqlite_fail(c, "reading");
    sqlite3_reset(s);
    return error;
}

enum mld_error sqlite_count(struct meta *m, uint64_t *out, const struct meta_range *range,
                            uint64_t max)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct connection *c = take_reader(s);
    int64_t number;
    enum mld_error error = sqlite_partition(c, range->partition, &number);
    if (error == MLD_OK && number != 0)
        error = count_in(c, out, number, range, max);
    give_reader(s, c);
    return error;
}

enum mld_error sqlite_health(struct meta *m)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    struct connection *c = take_reader(s);
    sqlite3_stmt *statement = sqlite_prepare(c, ST_HEALTH);
    int code = statement == NULL ? SQLITE_ERROR : sqlite3_step(statement);
    enum mld_error error = MLD_OK;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        error = sqlite_fail(c, "reading");
    sqlite3_reset(statement);
    give_reader(s, c);
    return error;
}

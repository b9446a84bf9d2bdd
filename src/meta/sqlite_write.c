/* sqlite_write.c: one write within the transaction that is open. A write that does not apply (the
 * id is taken, the revision another) changes nothing, so that the others go on. */
#include <string.h>

#include "meta/sqlite.h"

/* The document a write is about, as it is now. */
struct old {
    bool found;
    int64_t number, revision, order;
    const char *tokens; /* each with its NUL; own memory of the arena */
    size_t tokens_len;
};

static enum mld_error run(struct connection *c, sqlite3_stmt *s)
{
    if (sqlite3_step(s) != SQLITE_DONE)
        return sqlite_fail(c, "writing");
    return MLD_OK;
}

/* The number of a partition; *out is 0 when it has none yet. */
static enum mld_error find_partition(struct connection *c, const char *partition, int64_t *out)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_PARTITION);
    *out = 0;
    if (s == NULL)
        return sqlite_fail(c, "reading");
    sqlite3_bind_text(s, 1, partition, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    enum mld_error error =
        code == SQLITE_ROW || code == SQLITE_DONE ? MLD_OK : sqlite_fail(c, "reading");
    sqlite3_reset(s);
    return error;
}

static enum mld_error need_partition(struct connection *c, const char *name, int64_t *out)
{
    enum mld_error error = find_partition(c, name, out);
    if (error != MLD_OK || *out != 0)
        return error;
    sqlite3_stmt *s = sqlite_prepare(c, ST_ADD_PARTITION);
    if (s == NULL)
        return sqlite_fail(c, "writing");
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    error = run(c, s);
    *out = sqlite3_last_insert_rowid(c->db);
    return error;
}

static enum mld_error read_old(struct connection *c, struct arena *arena, int64_t partition,
                               const char *id, struct old *out)
{
    sqlite3_stmt *s = sqlite_prepare(c, ST_OLD);
    *out = (struct old){.found = false};
    if (s == NULL)
        return sqlite_fail(c, "reading");
    sqlite3_bind_int64(s, 1, partition);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    enum mld_error error = MLD_OK;
    if (code == SQLITE_ROW) {
        out->found = true;
        out->number = sqlite3_column_int64(s, 0);
        out->revision = sqlite3_column_int64(s, 1);
        out->order = sqlite3_column_int64(s, 2);
        out->tokens_len = (size_t)sqlite3_column_bytes(s, 3);
        out->tokens = arena_strndup(arena, sqlite3_column_blob(s, 3), out->tokens_len);
        if (out->tokens == NULL)
            error = error_set(MLD_ENOMEM, "no memory for the tokens of '%.100s'", id);
    } else if (code != SQLITE_DONE) {
        error = sqlite_fail(c, "reading");
    }
    sqlite3_reset(s);
    return error;
}

static bool has_token(const char *tokens, size_t len, const char *token)
{
    for (size_t at = 0; at < len; at += strlen(tokens + at) + 1) {
        if (strcmp(tokens + at, token) == 0)
            return true;
    }
    return false;
}

static enum mld_error change_token(struct connection *c, enum statement which, int64_t partition,
                                   const char *token, int64_t order, const char *id, int64_t number)
{
    sqlite3_stmt *s = sqlite_prepare(c, which);
    if (s == NULL)
        return sqlite_fail(c, "writing");
    sqlite3_bind_int64(s, 1, partition);
    sqlite3_bind_text(s, 2, token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, order);
    sqlite3_bind_text(s, 4, id, -1, SQLITE_STATIC);
    if (which == ST_ADD_TOKEN)
        sqlite3_bind_int64(s, 5, number);
    return run(c, s);
}

/* Takes away the tokens that are not in `now` (all when the order changes), then adds the new ones.
 */
static enum mld_error change_tokens(struct connection *c, int64_t partition, const struct old *old,
                                    const struct meta_doc *doc, const char *now, size_t now_len,
                                    int64_t number)
{
    enum mld_error error = MLD_OK;
    bool same_order = old->found && old->order == doc->order;
    for (size_t at = 0; error == MLD_OK && at < old->tokens_len;
         at += strlen(old->tokens + at) + 1) {
        if (!same_order || !has_token(now, now_len, old->tokens + at))
            error =
                change_token(c, ST_DROP_TOKEN, partition, old->tokens + at, old->order, doc->id, 0);
    }
    for (size_t i = 0; error == MLD_OK && i < doc->n_tokens; i++) {
        if (!same_order || !has_token(old->tokens, old->tokens_len, doc->tokens[i]))
            error = change_token(c, ST_ADD_TOKEN, partition, doc->tokens[i], doc->order, doc->id,
                                 number);
    }
    return error;
}

static char *join_tokens(struct arena *arena, const struct meta_doc *doc, size_t *out_len)
{
    size_t len = 0;
    for (size_t i = 0; i < doc->n_tokens; i++)
        len += strlen(doc->tokens[i]) + 1;
    char *joined = arena_alloc(arena, len + 1);
    if (joined == NULL)
        return NULL;
    char *end = joined;
    for (size_t i = 0; i < doc->n_tokens; i++)
        end = stpcpy(end, doc->tokens[i]) + 1;
    *out_len = len;
    return joined;
}

/* Binds order, tokens, text and data, the first to parameter `first`. */
static void bind_body(sqlite3_stmt *s, int first, const struct meta_doc *doc, const char *tokens,
                      size_t tokens_len)
{
    sqlite3_bind_int64(s, first, doc->order);
    sqlite3_bind_blob64(s, first + 1, tokens, tokens_len, SQLITE_STATIC);
    if (doc->text == NULL)
        sqlite3_bind_null(s, first + 2);
    else
        sqlite3_bind_blob64(s, first + 2, doc->text, doc->text_len, SQLITE_STATIC);
    if (doc->data == NULL)
        sqlite3_bind_null(s, first + 3);
    else
        sqlite3_bind_blob64(s, first + 3, doc->data, doc->data_len, SQLITE_STATIC);
}

static enum mld_error insert(struct connection *c, struct arena *arena, int64_t partition,
                             struct meta_write *w)
{
    size_t len = 0;
    char *tokens = join_tokens(arena, &w->doc, &len);
    sqlite3_stmt *s = sqlite_prepare(c, ST_INSERT);
    if (tokens == NULL)
        return error_set(MLD_ENOMEM, "no memory for the tokens of '%.100s'", w->doc.id);
    if (s == NULL)
        return sqlite_fail(c, "writing");
    sqlite3_bind_int64(s, 1, partition);
    sqlite3_bind_text(s, 2, w->doc.id, -1, SQLITE_STATIC);
    bind_body(s, 3, &w->doc, tokens, len);
    enum mld_error error = run(c, s);
    if (error != MLD_OK)
        return error;
    w->result = sqlite3_changes(c->db) == 1 ? MLD_OK : MLD_EEXISTS;
    if (w->result != MLD_OK)
        return MLD_OK;
    struct old none = {.found = false};
    return change_tokens(c, partition, &none, &w->doc, tokens, len,
                         sqlite3_last_insert_rowid(c->db));
}

static enum mld_error replace(struct connection *c, struct arena *arena, int64_t partition,
                              const struct old *old, const struct meta_doc *doc)
{
    size_t len = 0;
    char *tokens = join_tokens(arena, doc, &len);
    sqlite3_stmt *s = sqlite_prepare(c, ST_UPDATE);
    if (tokens == NULL)
        return error_set(MLD_ENOMEM, "no memory for the tokens of '%.100s'", doc->id);
    if (s == NULL)
        return sqlite_fail(c, "writing");
    sqlite3_bind_int64(s, 1, old->number);
    bind_body(s, 2, doc, tokens, len);
    enum mld_error error = run(c, s);
    return error == MLD_OK ? change_tokens(c, partition, old, doc, tokens, len, old->number)
                           : error;
}

static enum mld_error drop(struct connection *c, int64_t partition, const struct old *old,
                           const struct meta_doc *doc)
{
    struct meta_doc nothing = {.id = doc->id, .order = old->order};
    sqlite3_stmt *s = sqlite_prepare(c, ST_DELETE);
    if (s == NULL)
        return sqlite_fail(c, "writing");
    sqlite3_bind_int64(s, 1, old->number);
    enum mld_error error = run(c, s);
    return error == MLD_OK ? change_tokens(c, partition, old, &nothing, "", 0, 0) : error;
}

enum mld_error sqlite_do_write(struct connection *c, struct arena *arena, struct meta_write *w)
{
    const struct meta_doc *doc = &w->doc;
    int64_t partition;
    struct old old;
    enum mld_error error = w->op == META_INSERT ? need_partition(c, doc->partition, &partition)
                                                : find_partition(c, doc->partition, &partition);
    if (error == MLD_OK && w->op == META_INSERT)
        return insert(c, arena, partition, w);
    if (error == MLD_OK)
        error = read_old(c, arena, partition, doc->id, &old);
    if (error != MLD_OK)
        return error;
    if (!old.found)
        w->result = w->op == META_DELETE && doc->revision == 0 ? MLD_OK : MLD_ENOTFOUND;
    else if (old.revision != doc->revision && (w->op == META_REPLACE || doc->revision != 0))
        w->result = MLD_ECONFLICT;
    else
        w->result = MLD_OK;
    if (!old.found || w->result != MLD_OK)
        return MLD_OK;
    return w->op == META_REPLACE ? replace(c, arena, partition, &old, doc)
                                 : drop(c, partition, &old, doc);
}

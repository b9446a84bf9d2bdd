/* meta.c: what every store does alike: arguments are checked here, then the store's table is
 * called.
 */
#include "meta/meta.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "meta/store.h"

static enum mld_error check_name(const char *what, const char *name)
{
    if (name == NULL || name[0] == '\0')
        return error_set(MLD_EINVALID, "a document has no %s", what);
    if (strlen(name) > META_MAX_NAME_BYTES)
        return error_set(MLD_EINVALID, "a document's %s is longer than %d bytes: %.60s...", what,
                         META_MAX_NAME_BYTES, name);
    return MLD_OK;
}

static enum mld_error check_tokens(const struct meta_doc *doc)
{
    struct map seen = {0};
    enum mld_error error = MLD_OK;
    if (doc->n_tokens > META_MAX_TOKENS)
        return error_set(MLD_EINVALID, "document '%.100s' has %zu tokens; at most %d are kept",
                         doc->id, doc->n_tokens, META_MAX_TOKENS);
    for (size_t i = 0; error == MLD_OK && i < doc->n_tokens; i++) {
        const char *token = doc->tokens[i];
        error = check_name("token", token);
        if (error == MLD_OK && map_get(&seen, token, strlen(token)) != NULL)
            error = error_set(MLD_EINVALID, "document '%.100s' has the token '%.100s' twice",
                              doc->id, token);
        if (error == MLD_OK)
            error = map_put(&seen, token, strlen(token), &seen);
    }
    map_free(&seen);
    return error;
}

static enum mld_error check_doc(const struct meta_write *w)
{
    const struct meta_doc *doc = &w->doc;
    if (w->op != META_INSERT && w->op != META_REPLACE && w->op != META_DELETE)
        return error_set(MLD_EINVALID, "there is no write of kind %d", (int)w->op);
    enum mld_error error = check_name("partition", doc->partition);
    if (error == MLD_OK)
        error = check_name("id", doc->id);
    if (error != MLD_OK || w->op == META_DELETE)
        return error;
    if ((doc->text == NULL && doc->text_len > 0) || (doc->data == NULL && doc->data_len > 0))
        return error_set(MLD_EINVALID, "document '%.100s' has a length without bytes", doc->id);
    if (doc->text_len > META_MAX_BODY_BYTES || doc->data_len > META_MAX_BODY_BYTES - doc->text_len)
        return error_set(MLD_EINVALID, "document '%.100s' is larger than %u bytes", doc->id,
                         META_MAX_BODY_BYTES);
    return check_tokens(doc);
}

/* A document may be named once in a call: which of two writes came first would be anybody's guess.
 */
static enum mld_error check_twice(struct map *seen, struct arena *arena, const struct meta_doc *doc)
{
    size_t partition = strlen(doc->partition) + 1;
    size_t len = partition + strlen(doc->id);
    char *key = arena_alloc(arena, len + 1);
    if (key == NULL)
        return error_set(MLD_ENOMEM, "no memory to check %zu bytes of names", len);
    memcpy(key, doc->partition, partition);
    memcpy(key + partition, doc->id, len - partition);
    if (map_get(seen, key, len) != NULL)
        return error_set(MLD_EINVALID, "document '%.100s' is written twice in one call", doc->id);
    return map_put(seen, key, len, key);
}

static enum mld_error check_writes(const struct meta_write *writes, size_t n)
{
    struct map seen = {0};
    struct arena arena = {0};
    enum mld_error error = MLD_OK;
    if (n > META_MAX_WRITES)
        return error_set(MLD_EINVALID, "%zu writes in one call; at most %d", n, META_MAX_WRITES);
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        error = check_doc(&writes[i]);
        if (error == MLD_OK && n > 1)
            error = check_twice(&seen, &arena, &writes[i].doc);
    }
    map_free(&seen);
    arena_free(&arena);
    return error;
}

enum mld_error meta_write(struct meta *m, struct meta_write *writes, size_t n)
{
    enum mld_error error = check_writes(writes, n);
    for (size_t i = 0; i < n; i++) /* never what was there: that may have been MLD_OK */
        writes[i].result = error == MLD_OK ? MLD_EUNAVAILABLE : error;
    return error != MLD_OK || n == 0 ? error : m->ops->write(m, writes, n);
}

/* One write; its result with a message. */
static enum mld_error write_one(struct meta *m, enum meta_op op, const struct meta_doc *doc)
{
    struct meta_write w = {.op = op, .doc = *doc};
    enum mld_error error = meta_write(m, &w, 1);
    if (error != MLD_OK || w.result == MLD_OK)
        return error;
    return error_set(w.result, "document '%.200s' of '%.200s': %s", doc->id, doc->partition,
                     mld_error_words(w.result));
}

enum mld_error meta_insert(struct meta *m, const struct meta_doc *doc)
{
    return write_one(m, META_INSERT, doc);
}

enum mld_error meta_replace(struct meta *m, const struct meta_doc *doc)
{
    return write_one(m, META_REPLACE, doc);
}

enum mld_error meta_delete(struct meta *m, const char *partition, const char *id, int64_t revision)
{
    struct meta_doc doc = {.partition = partition, .id = id, .revision = revision};
    return write_one(m, META_DELETE, &doc);
}

enum mld_error meta_get_many(struct meta *m, struct meta_docs *out, const char *partition,
                             const char *const *ids, size_t n)
{
    meta_docs_free(out);
    enum mld_error error = check_name("partition", partition);
    if (error == MLD_OK && n > META_MAX_FIND)
        error = error_set(MLD_EINVALID, "%zu documents in one call; at most %d", n, META_MAX_FIND);
    for (size_t i = 0; error == MLD_OK && i < n; i++)
        error = check_name("id", ids[i]);
    if (error == MLD_OK)
        error = m->ops->get_many(m, out, partition, ids, n);
    if (error != MLD_OK)
        meta_docs_free(out);
    return error;
}

enum mld_error meta_get(struct meta *m, struct meta_docs *out, const char *partition,
                        const char *id)
{
    enum mld_error error = meta_get_many(m, out, partition, &id, 1);
    if (error == MLD_OK && out->n == 0)
        error =
            error_set(MLD_ENOTFOUND, "there is no document '%.200s' in '%.200s'", id, partition);
    return error;
}

static enum mld_error check_range(const struct meta_range *range)
{
    enum mld_error error = check_name("partition", range->partition);
    if (error == MLD_OK)
        error = check_name("token", range->token);
    return error;
}

enum mld_error meta_find(struct meta *m, struct meta_docs *out, const struct meta_range *range)
{
    meta_docs_free(out);
    enum mld_error error = check_range(range);
    if (error == MLD_OK && (range->limit < 1 || range->limit > META_MAX_FIND))
        error = error_set(MLD_EINVALID, "a find reads 1 to %d documents, not %zu", META_MAX_FIND,
                          range->limit);
    if (error == MLD_OK)
        error = m->ops->find(m, out, range);
    if (error != MLD_OK)
        meta_docs_free(out);
    return error;
}

enum mld_error meta_count(struct meta *m, uint64_t *out, const struct meta_range *range,
                          uint64_t max)
{
    *out = 0;
    enum mld_error error = check_range(range);
    return error == MLD_OK ? m->ops->count(m, out, range, max) : error;
}

enum mld_error meta_health(struct meta *m)
{
    return m->ops->health(m);
}

const char *meta_kind(const struct meta *m)
{
    return m->ops->kind;
}

void meta_close(struct meta *m)
{
    if (m != NULL)
        m->ops->close(m);
}

void meta_docs_free(struct meta_docs *docs)
{
    arena_free(&docs->arena);
    free(docs->docs);
    *docs = (struct meta_docs){0};
}

/* Room for one more; the array doubles at powers of two. */
static enum mld_error grow(struct meta_docs *out)
{
    if (out->n != 0 && (out->n & (out->n - 1)) != 0)
        return MLD_OK;
    struct meta_doc *docs = realloc(out->docs, (out->n == 0 ? 1 : 2 * out->n) * sizeof *docs);
    if (docs == NULL)
        return error_set(MLD_ENOMEM, "no memory for %zu documents", out->n + 1);
    out->docs = docs;
    return MLD_OK;
}

enum mld_error meta_docs_add(struct meta_docs *out, const struct meta_doc *doc)
{
    struct arena *a = &out->arena;
    struct meta_doc copy = *doc;
    if (grow(out) != MLD_OK)
        return MLD_ENOMEM;
    copy.partition = arena_strdup(a, doc->partition);
    copy.id = arena_strdup(a, doc->id);
    copy.text = doc->text == NULL ? NULL : arena_strndup(a, doc->text, doc->text_len);
    copy.data = doc->data == NULL ? NULL : arena_strndup(a, doc->data, doc->data_len);
    const char **tokens = arena_alloc(a, (doc->n_tokens + 1) * sizeof *tokens);
    bool failed = copy.partition == NULL || copy.id == NULL || tokens == NULL ||
                  (copy.text == NULL) != (doc->text == NULL) ||
                  (copy.data == NULL) != (doc->data == NULL);
    for (size_t i = 0; !failed && i < doc->n_tokens; i++) {
        tokens[i] = arena_strdup(a, doc->tokens[i]);
        failed = tokens[i] == NULL;
    }
    if (failed)
        return error_set(MLD_ENOMEM, "no memory for document '%.100s'", doc->id);
    copy.tokens = tokens;
    out->docs[out->n++] = copy;
    return MLD_OK;
}

bool meta_docs_full(const struct meta_docs *docs)
{
    return docs->n > 0 && docs->arena.total_bytes >= META_MAX_FIND_BYTES;
}

#include "server/account_doc.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum mld_error account_no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for an account's document");
}

enum mld_error account_insert(struct meta *m, const char *partition, const char *id, json_t *object,
                              int64_t order, const char *const *tokens, size_t n)
{
    char *text = json_dumps(object, JSON_COMPACT);
    if (text == NULL)
        return account_no_memory();
    struct meta_doc doc = {.partition = partition,
                           .id = id,
                           .order = order,
                           .tokens = tokens,
                           .n_tokens = n,
                           .text = text,
                           .text_len = strlen(text)};
    enum mld_error error = meta_insert(m, &doc);
    free(text);
    return error;
}

enum mld_error account_parse(const struct meta_doc *doc, json_t **out)
{
    *out =
        json_loadb(doc->text == NULL ? "" : doc->text, doc->text_len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return error_set(MLD_EDAMAGED, "document '%.100s' of '%.100s' is no object", doc->id,
                         doc->partition);
    }
    return MLD_OK;
}

enum mld_error account_get(struct meta *m, const char *partition, const char *id, json_t **out,
                           struct meta_docs *out_doc)
{
    struct meta_docs docs = {0};
    *out = NULL;
    enum mld_error error = meta_get(m, &docs, partition, id);
    if (error == MLD_OK)
        error = account_parse(&docs.docs[0], out);
    if (error == MLD_OK && out_doc != NULL)
        *out_doc = docs;
    else
        meta_docs_free(&docs);
    return error;
}

enum mld_error account_replace(struct meta *m, const struct meta_docs *read, json_t *object)
{
    struct meta_doc doc = read->docs[0];
    char *text = json_dumps(object, JSON_COMPACT);
    if (text == NULL)
        return account_no_memory();
    doc.text = text;
    doc.text_len = strlen(text);
    enum mld_error error = meta_replace(m, &doc);
    free(text);
    return error;
}

enum mld_error account_find(struct meta *m, const char *partition, const char *token,
                            struct meta_docs *out)
{
    struct meta_range range = {.partition = partition,
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = ACCOUNTS_MAX_LIST};
    return meta_find(m, out, &range);
}

const char *account_text(struct arena *arena, json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return arena_strdup(arena, text == NULL ? "" : text);
}

int64_t account_int(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

enum mld_error account_reserve(struct meta *m, struct arena *arena, const char *kind,
                               const char *name, const char *id, const char *partition,
                               const char **out_id)
{
    struct meta_docs docs = {0};
    struct buf key;
    json_t *object = json_pack("{s:s}", "id", id), *there = NULL;
    buf_init(&key, META_MAX_NAME_BYTES);
    buf_printf(&key, "%s:%s", kind, name);
    enum mld_error error = object == NULL ? account_no_memory() : buf_check(&key, "a name");
    if (error == MLD_OK)
        error = account_insert(m, "names", buf_text(&key), object, 0, NULL, 0);
    *out_id = arena_strdup(arena, id);
    if (error == MLD_EEXISTS) {
        error = account_get(m, "names", buf_text(&key), &there, NULL);
        if (error == MLD_OK) {
            *out_id = account_text(arena, there, "id");
            error = *out_id == NULL ? account_no_memory() : MLD_OK;
        }
        if (error == MLD_OK) {
            error = meta_get(m, &docs, partition, *out_id);
            if (error == MLD_OK)
                error = error_set(MLD_EEXISTS, "the name '%s' is taken", name);
            else if (error == MLD_ENOTFOUND)
                error = MLD_OK;
        }
    } else if (error == MLD_OK && *out_id == NULL) {
        error = account_no_memory();
    }
    json_decref(there);
    json_decref(object);
    buf_free(&key);
    meta_docs_free(&docs);
    return error;
}

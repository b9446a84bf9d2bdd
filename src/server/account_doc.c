#include "server/account_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* "{kind}:{name}"; cut when it is longer than any name that can be there. */
#define NAME_KEY_MAX (ACCOUNTS_NAME_MAX + 16)
static void name_key(char out[NAME_KEY_MAX], const char *kind, const char *name)
{
    snprintf(out, NAME_KEY_MAX, "%s:%s", kind, name);
}

/* Reads a name's reservation. */
static enum mld_error read_name(struct meta *m, struct arena *arena, const char *kind,
                                const char *name, const char **out_id, bool *out_foreign)
{
    char key[NAME_KEY_MAX];
    json_t *there = NULL;
    *out_id = NULL;
    if (strlen(name) > ACCOUNTS_NAME_MAX)
        return error_set(MLD_ENOTFOUND, "no name is that long");
    name_key(key, kind, name);
    enum mld_error error = account_get(m, "names", key, &there, NULL);
    if (error == MLD_OK) {
        *out_id = account_text(arena, there, "id");
        *out_foreign = json_is_true(json_object_get(there, "foreign"));
        if (*out_id == NULL)
            error = account_no_memory();
        else if ((*out_id)[0] == '\0')
            error = error_set(MLD_EDAMAGED, "the name '%s' belongs to nothing", name);
    }
    json_decref(there);
    return error;
}

enum mld_error account_name_get(struct meta *m, struct arena *arena, const char *kind,
                                const char *name, const char **out_id)
{
    bool foreign;
    return read_name(m, arena, kind, name, out_id, &foreign);
}

/* The name is taken: by what is there, or by what never came to be. */
static enum mld_error look_at_taken(struct meta *m, struct arena *arena,
                                    const struct account_name *name, const char **out_id)
{
    struct meta_docs docs = {0};
    bool foreign = false;
    enum mld_error error = read_name(m, arena, name->kind, name->name, out_id, &foreign);
    if (error != MLD_OK)
        return error;
    error = meta_get(m, &docs, name->partition, *out_id);
    meta_docs_free(&docs);
    if (error != MLD_OK && error != MLD_ENOTFOUND)
        return error;
    bool own = strcmp(*out_id, name->id) == 0;
    if (error == MLD_ENOTFOUND && (own || (!foreign && !name->foreign)))
        return MLD_OK;
    return error_set(MLD_EEXISTS, "the name '%s' is taken", name->name);
}

enum mld_error account_reserve(struct meta *m, struct arena *arena, const struct account_name *name,
                               const char **out_id)
{
    char key[NAME_KEY_MAX];
    json_t *object = json_pack("{s:s,s:b}", "id", name->id, "foreign", name->foreign);
    *out_id = NULL;
    if (object == NULL)
        return account_no_memory();
    name_key(key, name->kind, name->name);
    enum mld_error error = account_insert(m, "names", key, object, 0, NULL, 0);
    json_decref(object);
    if (error == MLD_EEXISTS)
        return look_at_taken(m, arena, name, out_id);
    if (error == MLD_OK && (*out_id = arena_strdup(arena, name->id)) == NULL)
        error = account_no_memory();
    return error;
}

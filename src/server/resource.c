#include "server/resource.h"

#include <string.h>

#include "server/cursor.h"
#include "server/experiment_doc.h"
#include "server/http_json.h"
#include "server/server.h"

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

enum mld_error member_text(const json_t *object, const char *key, bool needed, const char **out)
{
    const json_t *value = member(object, key);
    *out = NULL;
    if (value == NULL && !needed)
        return MLD_OK;
    if (!json_is_string(value))
        return error_blame(
            error_set(MLD_EINVALID, value == NULL ? "%s is missing" : "%s is no text", key), key);
    *out = json_string_value(value);
    return MLD_OK;
}

enum mld_error member_uint(const json_t *object, const char *key, int64_t otherwise, uint64_t *out)
{
    const json_t *value = member(object, key);
    *out = (uint64_t)otherwise;
    if (value == NULL && otherwise >= 0)
        return MLD_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_blame(error_set(MLD_EINVALID, "%s is no integer of at least 0", key), key);
    *out = (uint64_t)json_integer_value(value);
    return MLD_OK;
}

enum mld_error member_bool(const json_t *object, const char *key, bool *out)
{
    const json_t *value = member(object, key);
    *out = json_is_true(value);
    if (value != NULL && !json_is_boolean(value))
        return error_blame(error_set(MLD_EINVALID, "%s is neither true nor false", key), key);
    return MLD_OK;
}

enum mld_error member_array(const json_t *object, const char *key, size_t max, json_t **out)
{
    *out = json_object_get(object, key);
    if (!json_is_array(*out))
        return error_blame(error_set(MLD_EINVALID, "%s is no array", key), key);
    if (json_array_size(*out) > max)
        return error_blame(error_set(MLD_EINVALID, "%s has more than %zu elements", key, max), key);
    return MLD_OK;
}

enum mld_error resource_place(struct request *r, struct arena *arena, struct files_place *out)
{
    const struct caller *caller = request_caller(r);
    struct server *server = request_server(r);
    struct experiment_doc e;
    enum mld_error error = experiment_doc_get(&e, arena, server->meta, caller->experiment_id);
    if (error != MLD_OK)
        return error;
    *out = (struct files_place){.meta = server->meta,
                                .blob = server->blob,
                                .experiment = e.id,
                                .project = e.project,
                                .namespace_name = caller->namespace_name,
                                .project_name = e.project_name != NULL ? e.project_name : "-"};
    return MLD_OK;
}

enum mld_error resource_page(const struct request *r, const char *query, struct arena *arena,
                             size_t *out_limit, struct meta_cursor *out_after)
{
    int64_t limit = 0;
    enum mld_error error = request_query_int(r, "limit", 100, 1, META_MAX_FIND, &limit);
    *out_limit = (size_t)limit;
    return error == MLD_OK ? cursor_read(out_after, arena, query, request_query(r, "after"))
                           : error;
}

void resource_next(struct buf *out, const char *query, bool more, int64_t order, const char *id)
{
    struct buf text;
    buf_init(&text, 8192);
    if (more && cursor_write(&text, query, order, id) != MLD_OK && out->failed == MLD_OK)
        out->failed = MLD_ENOMEM;
    doc_put_text(out, "next", more ? buf_text(&text) : NULL);
    buf_free(&text);
}

void resource_answer(struct request *r, enum mld_error error, struct buf *body)
{
    if (error == MLD_OK)
        error = buf_check(body, "answer");
    if (error == MLD_OK)
        respond_bytes(r, 200, "application/json", body);
    else
        respond_error(r, error, NULL);
    buf_free(body);
}

enum mld_error resource_split(const char *body, size_t len, json_t **out, const char **out_rest,
                              size_t *out_rest_len)
{
    const char *newline = len == 0 ? NULL : memchr(body, '\n', len);
    *out = NULL;
    if (newline == NULL)
        return error_blame(error_set(MLD_EINVALID, "the body does not begin with a line of JSON"),
                           "body");
    *out_rest = newline + 1;
    *out_rest_len = len - (size_t)(*out_rest - body);
    return http_json_read(out, body, (size_t)(newline - body));
}

#include "run/fields.h"

#include <string.h>

#include "base/utf8.h"

static bool is_text(const char *name, size_t len)
{
    const unsigned char *in = (const unsigned char *)name;
    size_t at = 0;

    while (at < len) {
        size_t width = utf8_sequence(in + at, len - at);
        if (width == 0 && utf8_is_surrogate(in + at, len - at))
            width = 3;
        if (width == 0)
            return false;
        at += width;
    }
    return true;
}

static enum mld_error check_name(const char *name, size_t len)
{
    if (len > FIELDS_MAX_NAME_BYTES)
        return error_set(MLD_EINVALID, "field \"%.40s...\": name is longer than %d bytes", name,
                         FIELDS_MAX_NAME_BYTES);
    if (!is_text(name, len))
        return error_set(MLD_EINVALID, "field \"%s\": name is not UTF-8", name);
    return MLD_OK;
}

/* How many arrays and objects are inside one another; JSON_MAX_DEPTH at most, by the parser. */
static unsigned depth_of(const struct json_doc *doc)
{
    uint32_t ends[JSON_MAX_DEPTH];
    unsigned depth = 0;
    unsigned deepest = 0;

    for (uint32_t i = 0; i < doc->count; i++) {
        const struct json_node *node = &doc->nodes[i];
        while (depth > 0 && ends[depth - 1] <= i)
            depth--;
        if (node->type != JSON_ARRAY && node->type != JSON_OBJECT)
            continue;
        ends[depth++] = node->next;
        if (depth > deepest)
            deepest = depth;
    }
    return deepest;
}

static enum mld_error parse_value(struct json_doc *doc, const struct mld_field *field)
{
    enum mld_error error = json_parse(doc, field->text, field->len);
    if (error != MLD_OK)
        return error_prefix(error, "field \"%s\"", field->name);
    if (depth_of(doc) > FIELDS_MAX_DEPTH)
        return error_set(MLD_EINVALID, "field \"%s\": nested deeper than %d", field->name,
                         FIELDS_MAX_DEPTH);
    return MLD_OK;
}

static void put_name(struct buf *out, const char *name, size_t len)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    json_put_string(out, name, len);
    buf_putc(out, ':');
}

static void put_raw(struct buf *out, const struct json_doc *doc, const struct json_node *value)
{
    size_t len;
    const char *raw = json_raw(doc, value, &len);

    json_put_compact(out, raw, len);
}

/* The members of `object` with dotted names behind path->data[0..path->len). An empty object has no
 * members to name and stays. */
static void put_flat(struct buf *out, const struct json_doc *doc, const struct json_node *value,
                     struct buf *path)
{
    const struct json_node *key = NULL;
    size_t len = path->len;

    if (value->type != JSON_OBJECT || value->count == 0) {
        put_name(out, buf_text(path), path->len);
        put_raw(out, doc, value);
        return;
    }
    while ((key = json_next(doc, value, key)) != NULL) {
        buf_putc(path, '.');
        json_decoded(doc, key, path);
        if (path->failed != MLD_OK) {
            out->failed = path->failed;
            return;
        }
        put_flat(out, doc, json_value_of(doc, key), path);
        path->len = len;
    }
}

static enum mld_error put_json(struct buf *out, struct json_doc *doc, enum fields_form form,
                               const struct mld_field *field, size_t name_len)
{
    enum mld_error error = parse_value(doc, field);
    if (error != MLD_OK)
        return error;

    const struct json_node *root = json_root(doc);
    if (form == FIELDS_AS_GIVEN || root->type != JSON_OBJECT) {
        put_name(out, field->name, name_len);
        put_raw(out, doc, root);
        return MLD_OK;
    }
    struct buf path;
    buf_init(&path, name_len + field->len + JSON_MAX_DEPTH);
    buf_put(&path, field->name, name_len);
    put_flat(out, doc, root, &path);
    buf_free(&path);
    return MLD_OK;
}

static enum mld_error put_field(struct buf *out, struct json_doc *doc, enum fields_form form,
                                const struct mld_field *field)
{
    if (field->name == NULL)
        return error_set(MLD_EINVALID, "a field has no name");
    size_t name_len = strlen(field->name);
    enum mld_error error = check_name(field->name, name_len);
    if (error != MLD_OK)
        return error;
    if ((field->kind == MLD_TEXT || field->kind == MLD_JSON) && field->text == NULL)
        return error_set(MLD_EINVALID, "field \"%s\": its text is NULL", field->name);
    if (field->kind == MLD_JSON)
        return put_json(out, doc, form, field, name_len);

    put_name(out, field->name, name_len);
    switch (field->kind) {
    case MLD_NULL:
        buf_puts(out, "null");
        return MLD_OK;
    case MLD_BOOL:
        json_put_bool(out, field->boolean);
        return MLD_OK;
    case MLD_INTEGER:
        json_put_int64(out, field->integer);
        return MLD_OK;
    case MLD_NUMBER:
        json_put_double(out, field->number);
        return MLD_OK;
    case MLD_TEXT:
        json_put_string(out, field->text, field->len);
        return MLD_OK;
    default:
        return error_set(MLD_EINVALID, "field \"%s\": unknown kind %d", field->name,
                         (int)field->kind);
    }
}

enum mld_error fields_put(struct buf *out, struct json_doc *doc, enum fields_form form,
                          const struct mld_field *fields, size_t n_fields)
{
    enum mld_error error = MLD_OK;

    if (fields == NULL && n_fields > 0)
        return error_set(MLD_EINVALID, "%zu fields were announced but none given", n_fields);
    for (size_t i = 0; i < n_fields && error == MLD_OK; i++)
        error = put_field(out, doc, form, &fields[i]);
    return error;
}

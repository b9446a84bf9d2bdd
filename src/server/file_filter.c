#include "server/file_filter.h"

#include <string.h>

#include "base/glob.h"
#include "base/json.h"

#define MAX_GLOB 4096
#define MAX_PATH 8192

enum mld_error file_filter_open(struct file_filter *f, const struct file_query *query)
{
    *f = (struct file_filter){.query = query};
    buf_init(&f->glob, MAX_PATH);
    for (size_t i = 0; i < query->n_metadata; i++) {
        buf_init(&f->values[i], 1024);
        if (!file_meta_value(&f->values[i], query->metadata[i].value,
                             strlen(query->metadata[i].value)))
            return error_blame(error_set(MLD_EINVALID, "a value of metadata has at most %d bytes",
                                         FILE_MAX_META_VALUE),
                               "metadata");
    }
    if (query->glob == NULL)
        return MLD_OK;
    if (strlen(query->glob) > MAX_GLOB)
        return error_blame(error_set(MLD_EINVALID, "glob is longer than %d bytes", MAX_GLOB),
                           "glob");
    if (strchr(query->glob, '/') != NULL) {
        if (query->prefix != NULL && strcmp(query->prefix, "/") != 0)
            buf_puts(&f->glob, query->prefix);
        if (query->glob[0] != '/')
            buf_putc(&f->glob, '/');
        buf_puts(&f->glob, query->glob);
    }
    return buf_check(&f->glob, "pattern");
}

void file_filter_close(struct file_filter *f)
{
    buf_free(&f->glob);
    for (size_t i = 0; i < FILE_LIST_MAX_TERMS; i++)
        buf_free(&f->values[i]);
}

static bool in_prefix(const char *prefix, const char *path)
{
    size_t len = prefix == NULL ? 0 : strlen(prefix);
    if (len <= 1) /* none, or "/" */
        return true;
    return strncmp(path, prefix, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool matches_glob(const struct file_filter *f, const struct file_doc *doc)
{
    char full[MAX_PATH];
    if (f->query->glob == NULL)
        return true;
    if (f->glob.len == 0)
        return glob_match(f->query->glob, doc->filename);
    size_t path_len = strcmp(doc->path, "/") == 0 ? 0 : strlen(doc->path);
    size_t name_len = strlen(doc->filename);
    if (path_len + name_len + 2 > sizeof full)
        return false;
    memcpy(full, doc->path, path_len);
    full[path_len] = '/';
    memcpy(full + path_len + 1, doc->filename, name_len + 1);
    return glob_match(f->glob.data, full);
}

static bool has_tags(const struct file_query *q, const struct file_doc *doc)
{
    for (size_t i = 0; i < q->n_tags; i++) {
        bool found = false;
        for (size_t j = 0; j < doc->tags.n && !found; j++)
            found = strcmp(doc->tags.items[j], q->tags[i]) == 0;
        if (!found)
            return false;
    }
    return true;
}

static bool same_value(const struct json_doc *json, const struct json_node *value,
                       const struct buf *wanted)
{
    struct buf text;
    struct buf form;
    size_t len;
    if (value == NULL || value->type == JSON_NULL || value->type == JSON_ARRAY ||
        value->type == JSON_OBJECT)
        return false;
    buf_init(&text, (size_t)16 << 20);
    buf_init(&form, 1024);
    const char *raw = json_raw(json, value, &len);
    if (value->type == JSON_STRING)
        json_decoded(json, value, &text);
    else
        buf_put(&text, raw, len);
    bool same = file_meta_value(&form, buf_text(&text), text.len) && form.len == wanted->len &&
                memcmp(buf_text(&form), buf_text(wanted), form.len) == 0;
    buf_free(&text);
    buf_free(&form);
    return same;
}

static bool has_metadata(const struct file_filter *f, const struct file_doc *doc)
{
    struct json_doc json;
    const struct file_query *q = f->query;
    if (q->n_metadata == 0)
        return true;
    json_doc_init(&json);
    bool all =
        doc->metadata != NULL && json_parse(&json, doc->metadata, strlen(doc->metadata)) == MLD_OK;
    for (size_t i = 0; i < q->n_metadata && all; i++)
        all =
            same_value(&json, json_get(&json, json_root(&json), q->metadata[i].key), &f->values[i]);
    json_doc_free(&json);
    return all;
}

bool file_filter_wants(const struct file_filter *f, const struct file_doc *doc)
{
    const struct file_query *q = f->query;
    if (q->experiment != NULL && strcmp(q->experiment, doc->experiment) != 0)
        return false;
    return in_prefix(q->prefix, doc->path) && matches_glob(f, doc) && has_tags(q, doc) &&
           has_metadata(f, doc);
}

#include "run/file_filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/name.h"

#define GLOB_MAX_BYTES 4096

/* A pattern with "/" is matched from the prefix down, any other against names alone. */
static enum mld_error prepare_glob(struct file_filter *filter)
{
    const char *glob = filter->options->glob;
    if (glob == NULL || strchr(glob, '/') == NULL)
        return MLD_OK;
    const char *prefix = buf_text(&filter->prefix);
    buf_puts(&filter->glob, strcmp(prefix, "/") == 0 ? "" : prefix);
    if (glob[0] != '/')
        buf_putc(&filter->glob, '/');
    buf_puts(&filter->glob, glob);
    return buf_check(&filter->glob, "pattern");
}

enum mld_error file_filter_init(struct file_filter *filter, const struct mld_list_options *options)
{
    *filter = (struct file_filter){.options = options};
    buf_init(&filter->prefix, NAME_MAX_PATH_BYTES + 1);
    buf_init(&filter->glob, GLOB_MAX_BYTES);
    json_doc_init(&filter->wanted);
    json_doc_init(&filter->doc);
    if (options->version != MLD_LIST_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "list options of version %u; this library knows %d",
                         options->version, MLD_LIST_OPTIONS_VERSION);
    enum mld_error error = MLD_OK;
    if (options->prefix != NULL)
        error = name_canonical_prefix(options->prefix, &filter->prefix);
    if (error == MLD_OK)
        error = prepare_glob(filter);
    if (error == MLD_OK)
        error = json_check("metadata", options->metadata_json, true, false);
    if (error == MLD_OK && options->metadata_json != NULL)
        error = json_parse(&filter->wanted, options->metadata_json, strlen(options->metadata_json));
    return error;
}

void file_filter_free(struct file_filter *filter)
{
    buf_free(&filter->prefix);
    buf_free(&filter->glob);
    json_doc_free(&filter->wanted);
    json_doc_free(&filter->doc);
}

static bool in_prefix(const struct file_filter *filter, const char *path)
{
    size_t len = filter->prefix.len;
    if (len <= 1) /* none, or "/" */
        return true;
    return strncmp(path, filter->prefix.data, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool matches_glob(const struct file_filter *filter, const struct file_entry *f)
{
    if (filter->options->glob == NULL)
        return true;
    if (filter->glob.len == 0)
        return glob_match(filter->options->glob, f->filename);
    char full[NAME_MAX_PATH_BYTES + NAME_MAX_COMPONENT_BYTES + 2];
    size_t path_len = strcmp(f->path, "/") == 0 ? 0 : strlen(f->path);
    size_t name_len = strlen(f->filename);
    if (path_len + name_len + 2 > sizeof full)
        return false;
    memcpy(full, f->path, path_len);
    full[path_len] = '/';
    memcpy(full + path_len + 1, f->filename, name_len + 1);
    return glob_match(filter->glob.data, full);
}

static bool contains(struct string_list list, const char *text)
{
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.items[i], text) == 0)
            return true;
    return false;
}

static bool has_tags(const struct mld_list_options *o, const struct file_entry *f)
{
    for (size_t i = 0; i < o->n_all_tags; i++)
        if (!contains(f->tags, o->all_tags[i]))
            return false;
    if (o->n_any_tags == 0)
        return true;
    for (size_t i = 0; i < o->n_any_tags; i++)
        if (contains(f->tags, o->any_tags[i]))
            return true;
    return false;
}

/* Each wanted member is equal in the file's metadata. */
static bool has_metadata(struct file_filter *filter, const struct file_entry *f)
{
    const struct json_node *wanted = json_root(&filter->wanted);
    if (filter->options->metadata_json == NULL || wanted->count == 0)
        return true;
    if (f->metadata == NULL || json_parse(&filter->doc, f->metadata, strlen(f->metadata)) != MLD_OK)
        return false;
    const struct json_node *key = NULL;
    while ((key = json_next(&filter->wanted, wanted, key)) != NULL) {
        char *name = json_strdup(&filter->wanted, key);
        const struct json_node *has =
            name == NULL ? NULL : json_get(&filter->doc, json_root(&filter->doc), name);
        const struct json_node *value = json_value_of(&filter->wanted, key);
        bool same = has != NULL && json_same(&filter->wanted, value, &filter->doc, has);
        free(name);
        if (!same)
            return false;
    }
    return true;
}

bool file_filter_matches(struct file_filter *filter, const struct file_entry *f)
{
    const struct mld_list_options *o = filter->options;
    if (!state_is_listed(f) || (!o->deleted && f->deleted_at != NULL))
        return false;
    if (!o->all_versions && f->deleted_at == NULL && state_newest(f->name) != f)
        return false;
    if (o->filename != NULL && strcmp(o->filename, f->filename) != 0)
        return false;
    if (o->bindr != NULL && !contains(f->bindrs, o->bindr))
        return false;
    return in_prefix(filter, f->path) && matches_glob(filter, f) && has_tags(o, f) &&
           has_metadata(filter, f);
}

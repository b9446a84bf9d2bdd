/* Views of other tools. What they say becomes records, as if this writer had said it; a reader
 * applies the same records in memory only. */
#include "run/foreign.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/name.h"
#include "run/copy.h"
#include "run/foreign_internal.h"
#include "run/record.h"
#include "run/series_find.h"
#include "run/views.h"

#define PARAMS_RECORD_BYTES (1u << 20) /* a record of parameters ends when it is that long */
#define LOGS_DIR "logs"

enum mld_error foreign_apply(struct taking *t)
{
    struct run *run = t->run;
    struct buf *line = &run->line;
    struct record_origin nobody = {0};
    t->n_taken++;
    record_end(line);
    if (!run->read_only)
        return run_write_record(run, line);
    enum mld_error error = buf_check(line, "record");
    if (error == MLD_OK)
        error = json_parse(&run->doc, line->data, line->len - 1);
    return error != MLD_OK ? error : state_apply(&run->state, &run->doc, &nobody);
}

enum mld_error foreign_problem(struct taking *t, uint64_t offset, const char *detail)
{
    return state_problem(&t->run->state, MLD_PROBLEM_VIEW, t->file, offset, detail);
}

static bool says_nothing(const struct json_node *node)
{
    return node == NULL || node->type == JSON_NULL;
}

bool foreign_same_text(const struct taking *t, const struct json_node *node, const char *text)
{
    if (says_nothing(node) || node->type != JSON_STRING)
        return true;
    return text != NULL && json_equals(&t->doc, node, text);
}

bool foreign_same_list(const struct taking *t, const struct json_node *node,
                       const struct string_list *list)
{
    if (says_nothing(node) || node->type != JSON_ARRAY)
        return true;
    size_t n = 0;
    const struct json_node *item = NULL;
    while ((item = json_next(&t->doc, node, item)) != NULL) {
        if (item->type != JSON_STRING)
            continue;
        if (n == list->count || !json_equals(&t->doc, item, list->items[n]))
            return false;
        n++;
    }
    return n == list->count;
}

bool foreign_same_json(struct taking *t, const struct json_node *node, const char *json)
{
    if (says_nothing(node))
        return true;
    return json != NULL && json_parse(&t->mine, json, strlen(json)) == MLD_OK &&
           json_same(&t->doc, node, &t->mine, json_root(&t->mine));
}

void foreign_put_json(struct taking *t, const char *key, const struct json_node *node)
{
    size_t len;
    if (says_nothing(node))
        return;
    const char *raw = json_raw(&t->doc, node, &len);
    json_put_key(&t->run->line, key);
    json_put_compact(&t->run->line, raw, len);
}

void foreign_put_text(struct taking *t, const char *key, const struct json_node *node)
{
    if (node != NULL && node->type == JSON_STRING)
        foreign_put_json(t, key, node);
}

void foreign_put_list(struct taking *t, const char *key, const struct json_node *node)
{
    struct buf *line = &t->run->line;
    const struct json_node *item = NULL;
    size_t len;
    if (node == NULL || node->type != JSON_ARRAY)
        return;
    json_put_key(line, key);
    buf_putc(line, '[');
    while ((item = json_next(&t->doc, node, item)) != NULL) {
        if (item->type != JSON_STRING)
            continue;
        const char *raw = json_raw(&t->doc, item, &len);
        if (line->data[line->len - 1] != '[')
            buf_putc(line, ',');
        buf_put(line, raw, len);
    }
    buf_putc(line, ']');
}

/* A folder or prefix without the slashes around it, or as it is when it could not be ours. */
static void put_path(struct taking *t, const char *key, const struct json_node *node)
{
    struct buf canonical;
    char *text = json_strdup(&t->doc, node);
    buf_init(&canonical, NAME_MAX_PATH_BYTES + 1);
    if (text != NULL && name_canonical_folder(key, text, &canonical) == MLD_OK) {
        free(text);
        text = canonical.len == 0 ? NULL : strdup(buf_text(&canonical));
    }
    record_put_text(&t->run->line, key, text);
    free(text);
    buf_free(&canonical);
}

static enum mld_error take_experiment(struct taking *t)
{
    const struct experiment_entry *x = &t->run->state.experiment;
    const struct json_node *root = json_root(&t->doc);
    struct buf *line = &t->run->line;
    const struct json_node *description = json_get(&t->doc, root, "description");
    const struct json_node *tags = json_get(&t->doc, root, "tags");
    const struct json_node *bindrs = json_get(&t->doc, root, "bindrs");
    const struct json_node *metadata = json_get(&t->doc, root, "metadata");
    buf_clear(line);
    record_begin(line, "experiment", run_clock(t->run));
    size_t empty = line->len;
    if (x->place_stamp == 0 && json_get(&t->doc, root, "name") != NULL) {
        foreign_put_text(t, "name", json_get(&t->doc, root, "name"));
        foreign_put_text(t, "project", json_get(&t->doc, root, "project"));
        put_path(t, "folder", json_get(&t->doc, root, "folder"));
        put_path(t, "prefix", json_get(&t->doc, root, "prefix"));
        foreign_put_text(t, "createdAt", json_get(&t->doc, root, "created_at"));
    }
    if (x->description_stamp <= t->since && !foreign_same_text(t, description, x->description))
        foreign_put_text(t, "description", description);
    if (x->tags_stamp <= t->since && !foreign_same_list(t, tags, &x->tags))
        foreign_put_list(t, "tags", tags);
    if (x->bindrs_stamp <= t->since && !foreign_same_list(t, bindrs, &x->bindrs))
        foreign_put_list(t, "bindrs", bindrs);
    if (x->metadata_stamp <= t->since && !foreign_same_json(t, metadata, x->metadata))
        foreign_put_json(t, "metadata", metadata);
    return line->len == empty ? MLD_OK : foreign_apply(t);
}

static void begin_params(struct taking *t)
{
    buf_clear(&t->run->line);
    record_begin(&t->run->line, "params", run_clock(t->run));
    json_put_key(&t->run->line, "data");
    buf_putc(&t->run->line, '{');
}

static enum mld_error end_params(struct taking *t)
{
    buf_putc(&t->run->line, '}');
    return foreign_apply(t);
}

/* True when the parameter's value is new to us. `name` is scratch. */
static bool is_new_param(struct taking *t, const struct json_node *key, struct buf *name)
{
    buf_clear(name);
    json_decoded(&t->doc, key, name);
    const struct param_entry *p = map_get(&t->run->state.params, buf_text(name), name->len);
    if (p == NULL)
        return true;
    if (p->stamp > t->since)
        return false;
    const struct json_node *value = json_value_of(&t->doc, key);
    return json_parse(&t->mine, p->json, strlen(p->json)) != MLD_OK ||
           !json_same(&t->doc, value, &t->mine, json_root(&t->mine));
}

static enum mld_error take_params(struct taking *t)
{
    const struct json_node *root = json_root(&t->doc);
    const struct json_node *data = json_get(&t->doc, root, "data");
    struct buf *line = &t->run->line;
    struct buf name;
    enum mld_error error = MLD_OK;
    if (data == NULL || data->type != JSON_OBJECT)
        data = root; /* just the parameters, as uploaders take them, too */
    buf_init(&name, VIEW_MAX_BYTES);
    begin_params(t);
    size_t empty = line->len;
    const struct json_node *key = NULL;
    while (error == MLD_OK && (key = json_next(&t->doc, data, key)) != NULL) {
        size_t len;
        if (!is_new_param(t, key, &name))
            continue;
        if (line->len > empty)
            buf_putc(line, ',');
        const char *raw = json_raw(&t->doc, key, &len);
        buf_put(line, raw, len);
        buf_putc(line, ':');
        raw = json_raw(&t->doc, json_value_of(&t->doc, key), &len);
        json_put_compact(line, raw, len);
        if (line->len > PARAMS_RECORD_BYTES) {
            error = end_params(t);
            begin_params(t);
        }
    }
    if (error == MLD_OK && line->len > empty)
        error = end_params(t);
    buf_free(&name);
    return error;
}

static const struct {
    const char *file;
    enum mld_error (*take)(struct taking *t);
} VIEWS[] = {
    {VIEW_EXPERIMENT, take_experiment},
    {VIEW_PARAMETERS, take_params},
    {VIEW_FILES, foreign_take_files},
};

/* True when the file is just as this library wrote it last. Its bytes are hashed only when its size
 * is right. */
static bool is_ours(const struct run *run, const char *file, const struct view_entry *known)
{
    struct stat st;
    struct copy_result found;
    const struct copy_options options = {.max_bytes = VIEW_MAX_BYTES};
    int fd;
    if (known == NULL || fs_stat(run->dir_fd, file, &st) != MLD_OK ||
        (uint64_t)st.st_size != known->size ||
        fs_open(&fd, run->dir_fd, file, O_RDONLY, 0) != MLD_OK)
        return false;
    bool same = copy_hash(&found, fd, file, &options) == MLD_OK &&
                strcmp(found.checksum, known->checksum) == 0;
    close(fd);
    return same;
}

static enum mld_error take_text(struct taking *t, const struct buf *text,
                                enum mld_error (*take)(struct taking *t), bool *out_unreadable)
{
    *out_unreadable = false;
    enum mld_error error = json_parse(&t->doc, text->len == 0 ? "" : text->data, text->len);
    if (error == MLD_ENOMEM)
        return error;
    *out_unreadable = text->len > 0 && error != MLD_OK;
    if (error != MLD_OK)
        return foreign_problem(t, 0, mld_error_message());
    if (json_root(&t->doc)->type != JSON_OBJECT)
        return foreign_problem(t, 0, "it is no JSON object");
    return take(t);
}

enum mld_error foreign_take(struct run *run, const char *file, enum foreign_news *out)
{
    struct taking t = {.run = run, .file = file};
    const struct view_entry *known = views_known(run, file);
    struct buf text;
    size_t i = 0;
    bool unreadable = false;
    *out = FOREIGN_NOTHING;
    if (is_ours(run, file, known))
        return MLD_OK;
    while (strcmp(VIEWS[i].file, file) != 0)
        i++;
    t.since = known == NULL ? 0 : known->stamp;
    buf_init(&text, VIEW_MAX_BYTES);
    json_doc_init(&t.doc);
    json_doc_init(&t.mine);
    enum mld_error error = fs_read_file(run->dir_fd, file, &text);
    if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    else if (error == MLD_OK)
        error = take_text(&t, &text, VIEWS[i].take, &unreadable);
    else if (error != MLD_ENOMEM)
        error = foreign_problem(&t, 0, mld_error_message());
    json_doc_free(&t.doc);
    json_doc_free(&t.mine);
    buf_free(&text);
    *out = unreadable ? FOREIGN_UNREADABLE : t.n_taken > 0 ? FOREIGN_TAKEN : FOREIGN_NOTHING;
    return error;
}

static enum mld_error merge_view(struct run *run, const char *file)
{
    enum foreign_news news;
    int lock = views_lock(run, file);
    enum mld_error error = foreign_take(run, file, &news);
    if (error == MLD_OK && news == FOREIGN_TAKEN && !run->read_only &&
        strcmp(file, VIEW_EXPERIMENT) != 0)
        error = views_write_one(run, file, MLD_RUNNING); /* opening writes the other one anyway */
    if (lock >= 0)
        close(lock);
    return error;
}

static enum mld_error note_log_shard(const char *name, unsigned char type, void *payload)
{
    struct run *run = payload;
    char file[SHARD_NAME_MAX + sizeof LOGS_DIR + 1];
    unsigned slot;
    unsigned part;
    if ((type != DT_REG && type != DT_UNKNOWN) || !shard_parse(name, "logs", &slot, &part))
        return MLD_OK;
    snprintf(file, sizeof file, LOGS_DIR "/%s", name);
    return state_add_shard(&run->state, &run->state.log_shards, file, slot);
}

enum mld_error foreign_merge(struct run *run)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < sizeof VIEWS / sizeof *VIEWS; i++)
        error = merge_view(run, VIEWS[i].file);
    if (error == MLD_OK)
        error = series_discover(run, MLD_METRIC);
    if (error == MLD_OK)
        error = series_discover(run, MLD_TRACK);
    if (error == MLD_OK)
        error = fs_list_dir(run->dir_fd, LOGS_DIR, note_log_shard, run);
    return error;
}

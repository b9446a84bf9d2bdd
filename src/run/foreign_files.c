/* files/.files_metadata.json of the published clients: files that we do not know are taken over
 * with their ids, changes of known ones are recorded, and versions of ours that another tool
 * replaced (it removes their directory) are gone. */
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/name.h"
#include "run/foreign_internal.h"
#include "run/record.h"

#define ID_MAX_BYTES 64

/* One element of "files". */
struct view_file {
    const struct json_node *node;
    const char *id, *path, *filename; /* in the arena; path in our form */
};

struct files_view {
    struct taking *t;
    struct arena arena;
    struct map ids; /* of all files in the view */
};

/* Fit to be one component of a path. Names that we would refuse to users are fine: the file is
 * there already. */
static bool is_component(const char *name, size_t len)
{
    return len > 0 && len <= NAME_MAX_COMPONENT_BYTES && strlen(name) == len &&
           strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static const char *text_member(struct files_view *v, const struct json_node *file, const char *key,
                               size_t *out_len)
{
    struct json_doc *doc = &v->t->doc;
    const struct json_node *node = json_get(doc, file, key);
    struct buf text;
    *out_len = 0;
    if (node == NULL || node->type != JSON_STRING)
        return NULL;
    if (!node->escaped) {
        *out_len = node->len;
        return arena_strndup(&v->arena, doc->text + node->start, node->len);
    }
    buf_init(&text, JSON_MAX_TEXT_BYTES);
    json_decoded(doc, node, &text);
    const char *copy = arena_strndup(&v->arena, buf_text(&text), text.len);
    *out_len = text.len;
    buf_free(&text);
    return copy;
}

/* "models/", "/models", "" as "/models" and "/"; NULL when it leads elsewhere. */
static const char *canonical_path(struct files_view *v, const char *path, size_t len)
{
    char *out = arena_alloc(&v->arena, len + 2);
    size_t used = 0;
    if (out == NULL || strlen(path) != len || len > NAME_MAX_PATH_BYTES)
        return NULL;
    for (const char *part = path; *part != '\0';) {
        size_t part_len = strcspn(part, "/");
        if (part_len > 0) {
            out[used++] = '/';
            memcpy(out + used, part, part_len);
            out[used + part_len] = '\0';
            if (!is_component(out + used, part_len))
                return NULL;
            used += part_len;
        }
        part += part_len + (part[part_len] == '/');
    }
    if (used == 0)
        out[0] = '/';
    return out;
}

/* Reads the names of one file; false (and a problem noted) when it cannot be one of ours. */
static bool read_names(struct files_view *v, struct view_file *f, enum mld_error *error)
{
    size_t id_len;
    size_t path_len;
    size_t name_len;
    f->id = text_member(v, f->node, "id", &id_len);
    f->filename = text_member(v, f->node, "filename", &name_len);
    const char *path = text_member(v, f->node, "path", &path_len);
    f->path = canonical_path(v, path == NULL ? "" : path, path_len);
    if (f->id != NULL && f->filename != NULL && f->path != NULL && id_len <= ID_MAX_BYTES &&
        is_component(f->id, id_len) && is_component(f->filename, name_len))
        return true;
    *error = foreign_problem(v->t, f->node->start,
                             "a file without a usable id, name or path in it is left out");
    return false;
}

/* Microseconds since the epoch; -1: none. */
static int64_t time_member(const struct taking *t, const struct json_node *file, const char *key)
{
    const struct json_node *node = json_get(&t->doc, file, key);
    if (node == NULL || node->type != JSON_STRING)
        return -1;
    return clock_parse_iso(t->doc.text + node->start, node->len);
}

static enum mld_error take_deletion(struct taking *t, const struct view_file *f)
{
    const struct json_node *at = json_get(&t->doc, f->node, "deletedAt");
    if (at == NULL || at->type != JSON_STRING)
        return MLD_OK;
    buf_clear(&t->run->line);
    record_begin(&t->run->line, "delete", run_clock(t->run));
    record_put_text(&t->run->line, "id", f->id);
    foreign_put_text(t, "at", at);
    return foreign_apply(t);
}

/* A size as JSON integer or as digits. */
static int64_t size_member(const struct taking *t, const struct json_node *file)
{
    const struct json_node *node = json_get(&t->doc, file, "sizeBytes");
    int64_t size = 0;
    if (node != NULL && node->type == JSON_STRING) {
        for (uint32_t i = 0; i < node->len && i < 18; i++) {
            char c = t->doc.text[node->start + i];
            if (c < '0' || c > '9')
                return 0;
            size = 10 * size + (c - '0');
        }
        return size;
    }
    return json_int64(&t->doc, node, &size) && size >= 0 ? size : 0;
}

static enum mld_error take_new(struct taking *t, const struct view_file *f)
{
    const struct json_node *n = f->node;
    struct buf *line = &t->run->line;
    buf_clear(line);
    record_begin(line, "file", run_clock(t->run));
    record_put_text(line, "id", f->id);
    record_put_text(line, "path", f->path);
    record_put_text(line, "filename", f->filename);
    foreign_put_text(t, "description", json_get(&t->doc, n, "description"));
    foreign_put_list(t, "tags", json_get(&t->doc, n, "tags"));
    foreign_put_list(t, "bindrs", json_get(&t->doc, n, "bindrs"));
    foreign_put_text(t, "contentType", json_get(&t->doc, n, "contentType"));
    json_put_key(line, "sizeBytes");
    json_put_int64(line, size_member(t, n));
    foreign_put_text(t, "checksum", json_get(&t->doc, n, "checksum"));
    foreign_put_json(t, "metadata", json_get(&t->doc, n, "metadata"));
    foreign_put_text(t, "uploadedAt", json_get(&t->doc, n, "uploadedAt"));
    foreign_put_text(t, "updatedAt", json_get(&t->doc, n, "updatedAt"));
    json_put_key(line, "foreign");
    json_put_bool(line, true);
    if (line->len > RECORD_MAX_BYTES)
        return foreign_problem(t, n->start, "a file whose details are too long is left out");
    enum mld_error error = foreign_apply(t);
    return error != MLD_OK ? error : take_deletion(t, f);
}

/* A known file: what another tool changed later than we did. */
static enum mld_error take_changes(struct taking *t, const struct view_file *f,
                                   const struct file_entry *known)
{
    int64_t theirs = time_member(t, f->node, "updatedAt");
    int64_t ours = known->updated_at == NULL
                       ? -1
                       : clock_parse_iso(known->updated_at, strlen(known->updated_at));
    struct buf *line = &t->run->line;
    enum mld_error error = MLD_OK;
    if (theirs <= ours || !state_is_listed(known))
        return MLD_OK;
    buf_clear(line);
    record_begin(line, "update", run_clock(t->run));
    record_put_text(line, "id", f->id);
    foreign_put_text(t, "at", json_get(&t->doc, f->node, "updatedAt"));
    const struct json_node *description = json_get(&t->doc, f->node, "description");
    const struct json_node *tags = json_get(&t->doc, f->node, "tags");
    const struct json_node *bindrs = json_get(&t->doc, f->node, "bindrs");
    const struct json_node *metadata = json_get(&t->doc, f->node, "metadata");
    if (!foreign_same_text(t, description, known->description))
        foreign_put_text(t, "description", description);
    if (!foreign_same_list(t, tags, &known->tags))
        foreign_put_list(t, "tags", tags);
    if (!foreign_same_list(t, bindrs, &known->bindrs))
        foreign_put_list(t, "bindrs", bindrs);
    if (!foreign_same_json(t, metadata, known->metadata))
        foreign_put_json(t, "metadata", metadata);
    bool deleted = known->deleted_at != NULL;
    error = foreign_apply(t);
    return error != MLD_OK || deleted ? error : take_deletion(t, f);
}

static bool has_bytes(const struct run *run, const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, 2 * NAME_MAX_PATH_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    bool found = fs_exists(run->dir_fd, buf_text(&path));
    buf_free(&path);
    return found;
}

/* Versions of a name for which another tool has put a new one: those that are neither in its view
 * nor on disk any more. */
static enum mld_error note_replaced(struct files_view *v, const struct file_entry *newest)
{
    struct run *run = v->t->run;
    enum mld_error error = MLD_OK;
    for (const struct file_entry *f = newest->older; f != NULL && error == MLD_OK; f = f->older) {
        if (!state_is_listed(f) || f->stamp > v->t->since ||
            map_get(&v->ids, f->id, strlen(f->id)) != NULL || has_bytes(run, f))
            continue;
        buf_clear(&run->line);
        record_begin(&run->line, "gone", run_clock(run));
        record_put_text(&run->line, "id", f->id);
        record_put_text(&run->line, "reason", "replaced by another tool");
        error = foreign_apply(v->t);
    }
    return error;
}

static enum mld_error take_file(struct files_view *v, struct view_file *f, bool *out_new)
{
    struct taking *t = v->t;
    enum mld_error error = MLD_OK;
    *out_new = false;
    if (f->node->type != JSON_OBJECT)
        return foreign_problem(t, f->node->start, "something that is no file is left out");
    if (!read_names(v, f, &error))
        return error;
    error = map_put(&v->ids, f->id, strlen(f->id), f);
    if (error != MLD_OK)
        return error;
    const struct file_entry *known = state_file(&t->run->state, f->id);
    if (known != NULL)
        return take_changes(t, f, known);
    *out_new = true;
    return take_new(t, f);
}

enum mld_error foreign_take_files(struct taking *t)
{
    const struct json_node *list = json_get(&t->doc, json_root(&t->doc), "files");
    struct files_view v = {.t = t};
    if (list == NULL || list->type != JSON_ARRAY)
        return foreign_problem(t, 0, "it has no list of files");
    struct view_file *new = arena_alloc(&v.arena, (list->count + 1) * sizeof *new);
    size_t n_new = 0;
    enum mld_error error =
        new == NULL ? error_set(MLD_ENOMEM, "out of memory for %s", t->file) : MLD_OK;
    const struct json_node *node = NULL;
    while (error == MLD_OK && (node = json_next(&t->doc, list, node)) != NULL) {
        bool is_new;
        new[n_new] = (struct view_file){.node = node};
        error = take_file(&v, &new[n_new], &is_new);
        n_new += is_new;
    }
    for (size_t i = 0; error == MLD_OK && i < n_new; i++) {
        const struct file_entry *f = state_file(&t->run->state, new[i].id);
        if (f != NULL && f->deleted_at == NULL)
            error = note_replaced(&v, f);
    }
    map_free(&v.ids);
    arena_free(&v.arena);
    return error;
}

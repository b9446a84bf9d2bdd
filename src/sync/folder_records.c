/* folder_records.c: what the syncer takes from records: streams, files, the experiment's place. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/record.h"
#include "run/stream.h"
#include "sync/folder_internal.h"

#define READ_BYTES (1u << 20)

struct record {
    struct json_doc doc;
    const struct json_node *root;
};

static char *text_of(const struct record *r, const char *key)
{
    return json_strdup(&r->doc, json_get(&r->doc, r->root, key));
}

static bool is_type(const struct record *r, const char *type)
{
    return json_equals(&r->doc, json_get(&r->doc, r->root, "type"), type);
}

/* The slot of a shard "metrics/loss/data.7.jsonl". */
static unsigned slot_of_file(const char *file, const char *stem)
{
    const char *slash = strrchr(file, '/');
    unsigned slot = 0, part = 0;
    shard_parse(slash == NULL ? file : slash + 1, stem, &slot, &part);
    return slot;
}

static enum mld_error add_data_stream(struct sync_folder *f, const struct record *r, bool is_log)
{
    char *file = text_of(r, "file"), *id = text_of(r, "stream"), *kind = text_of(r, "kind");
    const char *known_kind = is_log ? "log" : "metric";
    enum mld_error error = MLD_OK;
    struct sync_stream *s;
    if (kind != NULL && strcmp(kind, "track") == 0)
        known_kind = "track";
    if (file != NULL && id != NULL && strlen(id) == ID_RANDOM_LEN)
        error = folder_add_stream(f, &s, id, known_kind,
                                  slot_of_file(file, is_log ? "logs" : "data"), file);
    free(file);
    free(id);
    free(kind);
    return error;
}

static enum mld_error set_gone(struct sync_folder *f, const struct record *r, bool gone)
{
    char *id = text_of(r, "id");
    enum mld_error error = MLD_OK;
    if (id == NULL)
        return MLD_OK;
    bool *known = map_get(&f->gone, id, strlen(id));
    if (known == NULL && gone) {
        char *key = arena_strdup(&f->arena, id);
        known = arena_alloc(&f->arena, sizeof *known);
        error = key == NULL || known == NULL ? error_set(MLD_ENOMEM, "no memory for a file's id")
                                             : map_put(&f->gone, key, strlen(key), known);
    }
    if (error == MLD_OK && known != NULL)
        *known = gone;
    free(id);
    return error;
}

/* Members of a file's record that are texts, and where in struct sync_file they go. */
static const struct {
    const char *key;
    size_t offset;
} file_texts[] = {
    {"id", offsetof(struct sync_file, id)},
    {"path", offsetof(struct sync_file, path)},
    {"filename", offsetof(struct sync_file, filename)},
    {"contentType", offsetof(struct sync_file, content_type)},
    {"checksum", offsetof(struct sync_file, checksum)},
};
#define FILE_TEXTS (sizeof file_texts / sizeof file_texts[0])

/* The file with its texts behind it, in one piece; NULL without memory. */
static struct sync_file *file_new(const struct record *r)
{
    char *texts[FILE_TEXTS] = {NULL};
    size_t size = FILE_TEXTS;
    for (size_t i = 0; i < FILE_TEXTS; i++) {
        texts[i] = text_of(r, file_texts[i].key);
        size += texts[i] == NULL ? 0 : strlen(texts[i]);
    }
    struct sync_file *file = calloc(1, sizeof *file + size);
    char *at = file == NULL ? NULL : file->texts;
    for (size_t i = 0; i < FILE_TEXTS; i++) {
        if (file != NULL) {
            const char *copy = at;
            at = stpcpy(at, texts[i] == NULL ? "" : texts[i]) + 1;
            memcpy((char *)file + file_texts[i].offset, &copy, sizeof copy);
        }
        free(texts[i]);
    }
    return file;
}

static enum mld_error add_file(struct sync_folder *f, const struct sync_stream *s,
                               const struct record *r)
{
    struct sync_file *file = file_new(r);
    int64_t size = 0;
    if (file == NULL)
        return error_set(MLD_ENOMEM, "no memory for a file's record");
    bool whole = json_int64(&r->doc, json_get(&r->doc, r->root, "sizeBytes"), &size) && size >= 0 &&
                 file->id[0] != '\0' && file->path[0] == '/' && file->filename[0] != '\0' &&
                 strlen(file->checksum) == SHA256_HEX_LEN;
    if (!whole) {
        sync_file_free(file);
        f->garbled++;
        return MLD_OK;
    }
    file->stream = s->id;
    file->size_bytes = (uint64_t)size;
    sync_folder_put_back(f, file);
    return MLD_OK;
}

static void replace_text(char **slot, char *text)
{
    if (text == NULL)
        return;
    free(*slot);
    *slot = text;
}

void folder_take_prefix(struct sync_folder *f, const char *prefix)
{
    const char *first = strchr(prefix, '/');
    const char *second = first == NULL ? NULL : strchr(first + 1, '/');
    const char *last = strrchr(prefix, '/');
    if (first == NULL || prefix[0] == '/')
        return;
    replace_text(&f->owner, strndup(prefix, (size_t)(first - prefix)));
    if (second == NULL) { /* "owner/project": the experiment is called like the project */
        replace_text(&f->project, strdup(first + 1));
        replace_text(&f->name, strdup(first + 1));
        replace_text(&f->folder, strdup(""));
        return;
    }
    replace_text(&f->project, strndup(first + 1, (size_t)(second - first - 1)));
    replace_text(&f->name, strdup(last + 1));
    replace_text(&f->folder,
                 last == second ? strdup("") : strndup(second + 1, (size_t)(last - second - 1)));
}

static void take_place(struct sync_folder *f, const struct record *r)
{
    char *prefix = text_of(r, "prefix"), *folder = text_of(r, "folder");
    if (prefix != NULL) {
        folder_take_prefix(f, prefix);
        free(folder);
    } else {
        replace_text(&f->project, text_of(r, "project"));
        replace_text(&f->name, text_of(r, "name"));
        replace_text(&f->folder, folder);
    }
    free(prefix);
}

static enum mld_error apply_gone(struct sync_folder *f, const struct record *r)
{
    if (is_type(r, "retire") || is_type(r, "removed") || is_type(r, "gone"))
        return set_gone(f, r, true);
    if (is_type(r, "unretire") || is_type(r, "unremoved"))
        return set_gone(f, r, false);
    return MLD_OK;
}

static enum mld_error apply(struct sync_folder *f, struct sync_stream *s, const struct record *r)
{
    s->ended = is_type(r, "end");
    if (!is_type(r, "stream"))
        f->begun = true;
    if (is_type(r, "file"))
        return add_file(f, s, r);
    if (is_type(r, "series"))
        return add_data_stream(f, r, false);
    if (is_type(r, "logs"))
        return add_data_stream(f, r, true);
    if (is_type(r, "experiment"))
        take_place(f, r);
    return apply_gone(f, r);
}

enum mld_error folder_apply_record(struct sync_folder *f, struct sync_stream *s, const char *line,
                                   size_t len)
{
    struct record r;
    enum mld_error error = MLD_OK;
    json_doc_init(&r.doc);
    if (record_is_intact(line, len) && json_parse(&r.doc, line, len) == MLD_OK) {
        r.root = json_root(&r.doc);
        error = apply(f, s, &r);
    } else {
        f->garbled++;
    }
    json_doc_free(&r.doc);
    return error;
}

enum mld_error folder_apply_gone(struct sync_folder *f, const char *line, size_t len)
{
    struct record r;
    enum mld_error error = MLD_OK;
    json_doc_init(&r.doc);
    if (record_is_intact(line, len) && json_parse(&r.doc, line, len) == MLD_OK) {
        r.root = json_root(&r.doc);
        error = apply_gone(f, &r);
    }
    json_doc_free(&r.doc);
    return error;
}

/* Whole lines of `data`; *out_used is where the last one that was taken ends. */
static enum mld_error apply_lines(struct sync_folder *f, struct sync_stream *s, const char *data,
                                  size_t len, size_t *out_used)
{
    enum mld_error error = MLD_OK;
    *out_used = 0;
    while (error == MLD_OK && f->n_pending < FOLDER_MAX_PENDING) {
        const char *line = data + *out_used;
        const char *end = memchr(line, '\n', len - *out_used);
        if (end == NULL)
            break;
        error = folder_apply_record(f, s, line, (size_t)(end - line));
        *out_used += (size_t)(end - line) + 1;
    }
    return error;
}

enum mld_error folder_read_records(struct sync_folder *f, struct sync_stream *s)
{
    size_t capacity = READ_BYTES;
    char *data = malloc(capacity);
    enum mld_error error =
        data == NULL ? error_set(MLD_ENOMEM, "no memory to read records") : MLD_OK;
    while (error == MLD_OK && s->parsed < s->safe && f->n_pending < FOLDER_MAX_PENDING) {
        uint64_t left = s->safe - s->parsed;
        size_t len = left < capacity ? (size_t)left : capacity, got = 0, used = 0;
        error = sync_folder_check_stop(f);
        if (error == MLD_OK)
            error = sync_folder_read(f, s, s->parsed, data, len, &got);
        if (error == MLD_OK)
            error = apply_lines(f, s, data, got, &used);
        s->parsed += used;
        if (error != MLD_OK || s->vanished || got < len || used > 0)
            continue;
        /* A line longer than what was read. */
        char *more = capacity > RECORD_MAX_BYTES ? NULL : realloc(data, capacity * 2);
        if (more == NULL)
            break;
        data = more;
        capacity *= 2;
    }
    free(data);
    return error;
}

#include "sync/folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "run/mark.h"
#include "run/slot.h"
#include "run/stream.h"
#include "sync/folder_internal.h"

#define FORMAT_PATH ".mldash/format.json"
#define FORMAT_VERSION 1
#define FIRST_LINE_MAX 65536
#define TAIL_BYTES 65536

/* Name and project by where the folder lies, for records that do not say. */
static enum mld_error place_by_path(struct sync_folder *f, const char *dir)
{
    char *whole = realpath(dir, NULL);
    char *name = whole == NULL ? NULL : strrchr(whole, '/');
    if (name == NULL || name[1] == '\0') {
        free(whole);
        return error_set(MLD_EINVALID, "'%.400s' has no name", dir);
    }
    f->name = strdup(name + 1);
    *name = '\0';
    const char *project = strrchr(whole, '/');
    f->project = strdup(project == NULL || project[1] == '\0' ? "runs" : project + 1);
    f->folder = strdup("");
    free(whole);
    return f->name == NULL || f->project == NULL || f->folder == NULL
               ? error_set(MLD_ENOMEM, "no memory for a run folder")
               : MLD_OK;
}

static enum mld_error read_format(struct sync_folder *f, const char *dir)
{
    struct buf text;
    struct json_doc doc;
    int64_t version = 0;
    buf_init(&text, 65536);
    json_doc_init(&doc);
    enum mld_error error = fs_read_file(f->dir_fd, FORMAT_PATH, &text);
    if (error == MLD_ENOTFOUND)
        error = error_set(MLD_EFORMAT,
                          "'%.400s' is no run folder of ML-Dash; open it once with ML-Dash, if "
                          "another tool made it",
                          dir);
    if (error == MLD_OK)
        error = json_parse(&doc, buf_text(&text), text.len);
    if (error == MLD_OK) {
        char *id = json_strdup(&doc, json_get(&doc, json_root(&doc), "id"));
        json_int64(&doc, json_get(&doc, json_root(&doc), "version"), &version);
        if (version > FORMAT_VERSION)
            error = error_set(MLD_EFORMAT, "'%.400s' was written by a newer version", dir);
        else if (id == NULL || strlen(id) != ID_RANDOM_LEN)
            error = error_set(MLD_EFORMAT, "'%.400s/%s' has no id", dir, FORMAT_PATH);
        else
            memcpy(f->run, id, ID_RANDOM_LEN + 1);
        free(id);
    }
    json_doc_free(&doc);
    buf_free(&text);
    return error;
}

enum mld_error sync_folder_open(struct sync_folder **out, const char *dir)
{
    struct sync_folder *f = calloc(1, sizeof *f);
    *out = NULL;
    if (f == NULL || (f->dir = strdup(dir)) == NULL) {
        free(f);
        return error_set(MLD_ENOMEM, "no memory for a run folder");
    }
    f->dir_fd = -1;
    enum mld_error error = fs_open_root(&f->dir_fd, dir, false);
    if (error == MLD_OK)
        error = read_format(f, dir);
    if (error == MLD_OK)
        error = place_by_path(f, dir);
    if (error == MLD_OK)
        *out = f;
    else
        sync_folder_free(f);
    return error;
}

void sync_folder_free(struct sync_folder *f)
{
    if (f == NULL)
        return;
    struct sync_file *file;
    while ((file = sync_folder_take(f)) != NULL)
        sync_file_free(file);
    if (f->dir_fd >= 0)
        close(f->dir_fd);
    map_free(&f->by_id);
    map_free(&f->gone);
    map_free(&f->foreign);
    arena_free(&f->arena);
    free(f->dir);
    free(f->project);
    free(f->folder);
    free(f->name);
    free(f->owner);
    free(f);
}

enum mld_error folder_add_stream(struct sync_folder *f, struct sync_stream **out, const char *id,
                                 const char *kind, unsigned slot, const char *file)
{
    struct sync_stream *s = map_get(&f->by_id, id, strlen(id));
    *out = s;
    if (s != NULL)
        return MLD_OK;
    s = arena_alloc(&f->arena, sizeof *s);
    const char *path = arena_strdup(&f->arena, file);
    if (s == NULL || path == NULL)
        return error_set(MLD_ENOMEM, "no memory for stream %s", id);
    snprintf(s->id, sizeof s->id, "%s", id);
    s->kind = kind;
    s->slot = slot;
    s->file = path;
    sha256_state_init(&s->hash);
    s->next = f->streams;
    f->streams = s;
    *out = s;
    return map_put(&f->by_id, s->id, strlen(s->id), s);
}

enum mld_error sync_folder_read(const struct sync_folder *f, const struct sync_stream *s,
                                uint64_t from, void *data, size_t len, size_t *out_len)
{
    int fd;
    *out_len = 0;
    enum mld_error error = fs_open(&fd, f->dir_fd, s->file, O_RDONLY, 0);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    if (error != MLD_OK)
        return error;
    error = fs_pread(fd, data, len, (off_t)from, out_len, s->file);
    close(fd);
    return error;
}

/* A records shard is known by the stream id in its first line. */
static enum mld_error add_records_shard(struct sync_folder *f, const char *path, unsigned slot)
{
    char *line = malloc(FIRST_LINE_MAX);
    struct sync_stream probe = {.file = path}, *s;
    size_t len = 0;
    if (line == NULL)
        return error_set(MLD_ENOMEM, "no memory to read records");
    enum mld_error error = sync_folder_read(f, &probe, 0, line, FIRST_LINE_MAX, &len);
    const char *end = memchr(line, '\n', len);
    struct json_doc doc;
    json_doc_init(&doc);
    if (error == MLD_OK && end != NULL && json_parse(&doc, line, (size_t)(end - line)) == MLD_OK) {
        char *id = json_strdup(&doc, json_get(&doc, json_root(&doc), "stream"));
        if (id != NULL && strlen(id) == ID_RANDOM_LEN)
            error = folder_add_stream(f, &s, id, "records", slot, path);
        free(id);
    }
    json_doc_free(&doc);
    free(line);
    return error;
}

static enum mld_error visit_metadata(const char *name, unsigned char type, void *payload)
{
    struct sync_folder *f = payload;
    char path[SHARD_NAME_MAX + 16];
    unsigned slot, part;
    (void)type;
    if (!shard_parse(name, "records", &slot, &part))
        return MLD_OK;
    snprintf(path, sizeof path, ".mldash/%.63s", name);
    for (const struct sync_stream *s = f->streams; s != NULL; s = s->next) {
        if (!s->vanished && strcmp(s->file, path) == 0)
            return MLD_OK;
    }
    return add_records_shard(f, path, slot);
}

/* Where the last whole line at or before `size` ends. */
static enum mld_error last_line_end(int fd, const char *name, uint64_t from, uint64_t size,
                                    uint64_t *out)
{
    char tail[TAIL_BYTES];
    enum mld_error error = MLD_OK;
    *out = from;
    while (error == MLD_OK && size > from) {
        uint64_t start = size - from > sizeof tail ? size - sizeof tail : from;
        size_t len;
        error = fs_pread(fd, tail, (size_t)(size - start), (off_t)start, &len, name);
        const char *end = error == MLD_OK ? memrchr(tail, '\n', len) : NULL;
        if (end != NULL) {
            *out = start + (uint64_t)(end - tail) + 1;
            break;
        }
        size = start;
    }
    return error;
}

/* Makes what is there durable, and takes its whole lines as safe. */
static enum mld_error secure(struct sync_folder *f, struct sync_stream *s)
{
    struct stat st;
    int fd;
    enum mld_error error = fs_open(&fd, f->dir_fd, s->file, O_RDONLY, 0);
    if (error == MLD_ENOTFOUND) {
        s->vanished = true;
        return MLD_OK;
    }
    if (error != MLD_OK)
        return error;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > s->safe) {
        uint64_t end;
        error = fs_sync_data(fd, s->file);
        if (error == MLD_OK)
            error = last_line_end(fd, s->file, s->safe, (uint64_t)st.st_size, &end);
        if (error == MLD_OK)
            s->safe = end;
    }
    close(fd);
    return error;
}

/* What is known of one slot while a scan lasts. */
struct slot_view {
    bool looked;
    bool alive; /* certainly: its own mark will come. Of others nobody knows whether it will */
    struct map marked; /* stream id -> struct mark_stream */
};
struct scan {
    struct sync_folder *f;
    struct slot_view slots[SLOT_MAX];
    struct arena arena;
};

static bool slot_ended(const struct sync_folder *f, unsigned slot)
{
    bool ended = false;
    for (const struct sync_stream *s = f->streams; s != NULL; s = s->next) {
        if (s->slot == slot && strcmp(s->kind, "records") == 0 && !s->vanished)
            ended = s->ended && s->parsed > 0;
    }
    return ended;
}

static enum mld_error look_at_slot(struct scan *scan, unsigned slot, struct slot_view **out)
{
    struct slot_view *view = &scan->slots[slot];
    struct mark mark;
    *out = view;
    if (view->looked)
        return MLD_OK;
    view->looked = true;
    enum slot_life life = slot_life_of(scan->f->dir_fd, slot, slot_ended(scan->f, slot));
    view->alive = life == SLOT_ALIVE;
    scan->f->alive = scan->f->alive || view->alive;
    enum mld_error error = mark_read(&mark, &scan->arena, scan->f->dir_fd, slot);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < mark.count; i++) {
        const struct mark_stream *m = &mark.streams[i];
        error = map_put(&view->marked, m->stream, strlen(m->stream), (void *)(uintptr_t)m);
    }
    return error;
}

static enum mld_error update_safe(struct scan *scan, struct sync_stream *s)
{
    struct slot_view *view;
    enum mld_error error = sync_folder_check_stop(scan->f);
    if (error == MLD_OK)
        error = look_at_slot(scan, s->slot, &view);
    if (error != MLD_OK || s->vanished)
        return error;
    const struct mark_stream *marked = map_get(&view->marked, s->id, strlen(s->id));
    if (marked != NULL && marked->length > s->safe)
        s->safe = marked->length;
    return marked == NULL || !view->alive ? secure(scan->f, s) : MLD_OK;
}

static void scan_free(struct scan *scan)
{
    for (unsigned i = 0; i < SLOT_MAX; i++)
        map_free(&scan->slots[i].marked);
    arena_free(&scan->arena);
    free(scan);
}

/* New streams come in front of the list: those that records speak of are looked at in a further
 * round. */
static enum mld_error scan_streams(struct scan *scan)
{
    struct sync_folder *f = scan->f;
    enum mld_error error = MLD_OK;
    for (struct sync_stream *s = f->streams; error == MLD_OK && s != NULL; s = s->next)
        error = update_safe(scan, s);
    struct sync_stream *first = f->streams;
    for (struct sync_stream *s = first; error == MLD_OK && s != NULL; s = s->next) {
        if (strcmp(s->kind, "records") == 0)
            error = folder_read_records(f, s);
    }
    for (struct sync_stream *s = f->streams; error == MLD_OK && s != first; s = s->next)
        error = update_safe(scan, s);
    int64_t now = clock_monotonic_ms();
    for (struct sync_stream *s = f->streams; s != NULL; s = s->next) {
        if (s->safe <= s->sent || s->stuck)
            s->waiting_since_ms = 0;
        else if (s->waiting_since_ms == 0)
            s->waiting_since_ms = now;
    }
    return error;
}

enum mld_error sync_folder_check_stop(const struct sync_folder *f)
{
    return f->stop != NULL && atomic_load(f->stop)
               ? error_set(MLD_EINTERRUPTED, "syncing was stopped")
               : MLD_OK;
}

enum mld_error sync_folder_scan(struct sync_folder *f)
{
    struct scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL)
        return error_set(MLD_ENOMEM, "no memory to look at a run folder");
    scan->f = f;
    f->alive = false;
    enum mld_error error = fs_list_dir(f->dir_fd, ".mldash", visit_metadata, f);
    if (error == MLD_OK)
        error = scan_streams(scan);
    scan_free(scan);
    return error;
}

void sync_folder_restart(struct sync_folder *f)
{
    struct sync_file *file;
    while ((file = sync_folder_take(f)) != NULL)
        sync_file_free(file);
    for (struct sync_stream *s = f->streams; s != NULL; s = s->next) {
        s->sent = 0;
        s->parsed = 0;
        s->known = false;
        s->stuck = false;
        sha256_state_init(&s->hash);
    }
}

struct sync_file *sync_folder_take(struct sync_folder *f)
{
    struct sync_file *file = f->first;
    if (file == NULL)
        return NULL;
    f->first = file->next;
    if (f->first == NULL)
        f->last = NULL;
    file->next = NULL;
    f->n_pending--;
    f->pending_bytes -= file->size_bytes;
    return file;
}

void sync_folder_put_back(struct sync_folder *f, struct sync_file *file)
{
    file->next = NULL;
    if (f->last == NULL)
        f->first = file;
    else
        f->last->next = file;
    f->last = file;
    f->n_pending++;
    f->pending_bytes += file->size_bytes;
}

void sync_file_free(struct sync_file *file)
{
    free(file);
}

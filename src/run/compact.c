/* A slot's records shards are rewritten into one. Each line that stays keeps its bytes, and so its
 * clock; only the shard's id in `stream` lines is another, since the new shard is another history.
 * Who has read the old shards reads the same lines again, which changes nothing. */
#include "run/compact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/name.h"
#include "run/mark.h"
#include "run/record.h"
#include "run/shards.h"

#define RECORDS_DIR ".mldash"
#define SAVES_AT_LEAST (1u << 20)
#define TEXT_MAX_BYTES (1u << 30)
#define MAX_PARTS 64
#define PATH_MAX_BYTES 4096

struct old_shard {
    struct shard_cursor *cursor;
    char path[SHARD_NAME_MAX + sizeof RECORDS_DIR + 1];
    unsigned part;
    uint64_t size;
};

struct compaction {
    struct run *run;
    unsigned slot;
    struct old_shard shards[MAX_PARTS];
    size_t n_shards;
    unsigned next_part;
    uint64_t old_bytes;
    char stream[ID_RANDOM_LEN + 1]; /* the new id */
    struct buf text;                /* of the new shard */
};

/* --- what still matters --- */

/* Its bytes are not there and never will be. */
static bool is_dead(const struct run *run, const struct file_entry *f)
{
    struct buf path;
    if (!f->removed && !f->gone && f->retired_by == NULL)
        return false;
    buf_init(&path, PATH_MAX_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    bool there = buf_check(&path, "path") != MLD_OK || fs_exists(run->dir_fd, buf_text(&path));
    buf_free(&path);
    return !there;
}

static const struct file_entry *file_of(const struct compaction *c)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *id = json_get(doc, json_root(doc), "id");
    if (id == NULL || id->type != JSON_STRING || id->escaped)
        return NULL;
    return map_get(&c->run->state.files, doc->text + id->start, id->len);
}

/* An `update` counts while one of its members is the last word. */
static bool matters_as_update(const struct compaction *c, const struct file_entry *f,
                              state_stamp stamp)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *at = json_get(doc, json_root(doc), "at");
    return f->description_stamp == stamp || f->tags_stamp == stamp || f->bindrs_stamp == stamp ||
           f->metadata_stamp == stamp ||
           (f->updated_at != NULL && at != NULL && json_equals(doc, at, f->updated_at));
}

/* Records about one file. All of a dead file go, if its first record is among those rewritten. */
static bool matters_to_file(const struct compaction *c, const char *type, state_stamp stamp)
{
    const struct file_entry *f = file_of(c);
    if (f == NULL || f->stamp == 0)
        return true;
    if (f->slot == c->slot && is_dead(c->run, f))
        return false;
    if (strcmp(type, "update") == 0)
        return matters_as_update(c, f, stamp);
    if (strcmp(type, "delete") == 0 || strcmp(type, "restore") == 0)
        return f->deleted_stamp == stamp;
    if (strcmp(type, "retire") == 0 || strcmp(type, "unretire") == 0)
        return f->retired_stamp == stamp;
    if (strcmp(type, "removed") == 0 || strcmp(type, "unremoved") == 0)
        return f->removed_stamp == stamp;
    return true; /* file, gone */
}

static bool matters_to_params(const struct compaction *c, state_stamp stamp)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *data = json_get(doc, json_root(doc), "data");
    const struct json_node *key = NULL;
    bool matters = false;
    struct buf name;
    buf_init(&name, RECORD_MAX_BYTES);
    while (!matters && (key = json_next(doc, data, key)) != NULL) {
        buf_clear(&name);
        json_decoded(doc, key, &name);
        const struct param_entry *p = map_get(&c->run->state.params, buf_text(&name), name.len);
        matters = p == NULL || p->stamp == stamp;
    }
    buf_free(&name);
    return matters;
}

static bool matters_to_experiment(const struct compaction *c, state_stamp stamp)
{
    const struct json_doc *doc = &c->run->doc;
    const struct experiment_entry *x = &c->run->state.experiment;
    return x->place_stamp == stamp || x->description_stamp == stamp || x->tags_stamp == stamp ||
           x->bindrs_stamp == stamp || x->metadata_stamp == stamp ||
           json_get(doc, json_root(doc), "createdAt") != NULL;
}

static bool matters_to_alias(const struct compaction *c, state_stamp stamp)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *root = json_root(doc);
    char *path = json_strdup(doc, json_get(doc, root, "path"));
    char *filename = json_strdup(doc, json_get(doc, root, "filename"));
    const struct name_entry *name = NULL;
    bool matters = true;
    if (path != NULL && filename != NULL)
        name = state_name(&c->run->state, path, filename);
    free(path);
    free(filename);
    for (const struct alias_entry *a = name == NULL ? NULL : name->aliases; a != NULL; a = a->next)
        if (json_equals(doc, json_get(doc, root, "alias"), a->alias))
            matters = a->stamp == stamp;
    return matters;
}

static bool matters_to_view(const struct compaction *c, state_stamp stamp)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *file = json_get(doc, json_root(doc), "file");
    for (const struct view_entry *v = c->run->state.views; v != NULL; v = v->next)
        if (file != NULL && json_equals(doc, file, v->file))
            return v->stamp == stamp;
    return true;
}

/* How far one of the old shards was checked is of no use. */
static bool matters_to_checked(const struct compaction *c)
{
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *stream = json_get(doc, json_root(doc), "stream");
    for (size_t i = 0; i < c->n_shards; i++)
        if (stream != NULL && json_equals(doc, stream, c->shards[i].cursor->stream))
            return false;
    return true;
}

/* The line was parsed into run->doc. Types that this library does not know always matter. */
static bool matters(const struct compaction *c)
{
    static const char *const OF_FILES[] = {"file",     "update",  "delete",    "restore", "retire",
                                           "unretire", "removed", "unremoved", "gone"};
    const struct json_doc *doc = &c->run->doc;
    const struct json_node *root = json_root(doc);
    const struct json_node *type = json_get(doc, root, "type");
    int64_t clock;
    if (type == NULL || !json_int64(doc, json_get(doc, root, "clock"), &clock))
        return true;
    state_stamp stamp = state_stamp_of(clock, c->slot);
    for (size_t i = 0; i < sizeof OF_FILES / sizeof *OF_FILES; i++)
        if (json_equals(doc, type, OF_FILES[i]))
            return matters_to_file(c, OF_FILES[i], stamp);
    if (json_equals(doc, type, "params"))
        return matters_to_params(c, stamp);
    if (json_equals(doc, type, "experiment"))
        return matters_to_experiment(c, stamp);
    if (json_equals(doc, type, "alias"))
        return matters_to_alias(c, stamp);
    if (json_equals(doc, type, "view"))
        return matters_to_view(c, stamp);
    return !json_equals(doc, type, "checked") || matters_to_checked(c);
}

/* --- the new shard --- */

/* All shards of the slot that this one stands for, also those that its predecessors did. */
static void put_replaced(const struct compaction *c, struct buf *line)
{
    json_put_key(line, "replaces");
    buf_putc(line, '[');
    for (const struct shard_cursor *s = c->run->cursors; s != NULL; s = s->next) {
        bool replaced = s->replaced && s->origin.slot == c->slot;
        for (size_t i = 0; i < c->n_shards; i++)
            replaced = replaced || c->shards[i].cursor == s;
        if (!replaced)
            continue;
        if (line->data[line->len - 1] != '[')
            buf_putc(line, ',');
        json_put_cstring(line, s->name);
    }
    buf_putc(line, ']');
}

/* A `stream` line with the new id, and, when it is the first, what it replaces. */
static void put_stream_line(struct compaction *c, const char *line, size_t len, const char *old_id)
{
    const size_t tail_len = strlen(",\"crc\":\"00000000\"}");
    struct buf copy;
    buf_init(&copy, RECORD_MAX_BYTES + PATH_MAX_BYTES);
    buf_put(&copy, line, len - tail_len);
    char *id = memmem(copy.data, copy.len, old_id, ID_RANDOM_LEN);
    if (id != NULL)
        memcpy(id, c->stream, ID_RANDOM_LEN);
    static const char REPLACES[] = ",\"replaces\":[";
    char *old = memmem(copy.data, copy.len, REPLACES, sizeof REPLACES - 1);
    if (old != NULL) /* it is the last member */
        copy.len = (size_t)(old - copy.data);
    if (c->text.len == 0)
        put_replaced(c, &copy);
    record_end(&copy);
    buf_put(&c->text, copy.data, copy.len);
    buf_free(&copy);
}

static enum mld_error put_line(struct compaction *c, const struct old_shard *shard,
                               const char *line, size_t len)
{
    struct json_doc *doc = &c->run->doc;
    enum mld_error error = record_is_intact(line, len) ? json_parse(doc, line, len) : MLD_EDAMAGED;
    if (error == MLD_ENOMEM)
        return error;
    if (error == MLD_OK && !matters(c))
        return MLD_OK;
    if (error == MLD_OK && json_equals(doc, json_get(doc, json_root(doc), "type"), "stream")) {
        put_stream_line(c, line, len, shard->cursor->stream);
        return MLD_OK;
    }
    if (c->text.len == 0)
        return error_set(MLD_ESTATE, "%s does not begin with its stream record", shard->path);
    buf_put(&c->text, line, len); /* garbled ones, too, so that verify goes on telling */
    buf_putc(&c->text, '\n');
    return MLD_OK;
}

static enum mld_error put_shard(struct compaction *c, const struct old_shard *shard)
{
    struct buf old;
    buf_init(&old, TEXT_MAX_BYTES);
    enum mld_error error = fs_read_file(c->run->dir_fd, shard->path, &old);
    const char *line = old.data;
    const char *end = line + old.len;
    const char *newline;
    while (error == MLD_OK && old.len > 0 &&
           (newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        error = put_line(c, shard, line, (size_t)(newline - line));
        line = newline + 1;
    }
    buf_free(&old);
    return error;
}

static int by_part(const void *a, const void *b)
{
    const struct old_shard *x = a;
    const struct old_shard *y = b;
    return (x->part > y->part) - (x->part < y->part);
}

/* The slot's shards that are on disk. Those that were replaced before go at once. */
static void find_shards(struct compaction *c, uint64_t *bytes_freed)
{
    struct run *run = c->run;
    for (struct shard_cursor *cursor = run->cursors; cursor != NULL; cursor = cursor->next) {
        struct old_shard *shard = &c->shards[c->n_shards];
        struct stat st;
        unsigned slot;
        if (cursor->origin.slot != c->slot || c->n_shards == MAX_PARTS ||
            !shard_parse(cursor->name, "records", &slot, &shard->part))
            continue;
        if (shard->part >= c->next_part)
            c->next_part = shard->part + 1;
        snprintf(shard->path, sizeof shard->path, RECORDS_DIR "/%s", cursor->name);
        if (fs_stat(run->dir_fd, shard->path, &st) != MLD_OK)
            continue;
        shard->cursor = cursor;
        shard->size = (uint64_t)st.st_size;
        if (cursor->replaced && fs_unlink(run->dir_fd, shard->path) == MLD_OK) {
            *bytes_freed += shard->size;
            continue;
        }
        c->old_bytes += shard->size;
        c->n_shards++;
    }
    qsort(c->shards, c->n_shards, sizeof *c->shards, by_part);
}

/* The slot's mark with the new shard, which is durable, in place of the old ones. */
static enum mld_error rewrite_mark(const struct compaction *c, const char *path)
{
    struct mark mark;
    struct arena arena = {0};
    enum mld_error error = mark_read(&mark, &arena, c->run->dir_fd, c->slot);
    if (error == MLD_OK) {
        struct mark_stream *streams = arena_alloc(&arena, (mark.count + 1) * sizeof *streams);
        size_t n = 0;
        for (size_t i = 0; streams != NULL && i < mark.count; i++)
            if (strncmp(mark.streams[i].file, RECORDS_DIR "/", sizeof RECORDS_DIR) != 0)
                streams[n++] = mark.streams[i];
        if (streams != NULL) {
            streams[n++] = (struct mark_stream){c->stream, path, c->text.len,
                                                crc32c(0, c->text.data, c->text.len)};
            mark.streams = streams;
            mark.count = n;
            error = mark_write(c->run->dir_fd, c->slot, &mark);
        }
    }
    arena_free(&arena);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

/* This writer goes on in the new shard. */
static enum mld_error move_on(struct compaction *c, const char *path)
{
    struct run *run = c->run;
    struct stream *stream;
    struct shard_cursor *cursor;
    struct shard_cursor *old = run->cursors;
    while (strcmp(old->name, strrchr(run->records->path, '/') + 1) != 0)
        old = old->next;
    enum mld_error error = stream_open(&stream, &run->streams, path, c->stream, NULL);
    if (error == MLD_OK)
        error = shards_cursor(run, &cursor, strrchr(path, '/') + 1, c->slot);
    if (error != MLD_OK)
        return error;
    memcpy(cursor->stream, c->stream, sizeof cursor->stream);
    cursor->origin.writer = old->origin.writer;
    cursor->origin.mine = true;
    cursor->mine = true;
    cursor->offset = stream->length;
    stream->safe_length = stream->length;
    stream->safe_crc = stream->crc;
    stream_reserve(stream);
    run->records->broken = true;
    run->records = stream;
    return MLD_OK;
}

static enum mld_error write_shard(struct compaction *c, uint64_t *bytes_freed)
{
    char name[SHARD_NAME_MAX];
    char path[SHARD_NAME_MAX + sizeof RECORDS_DIR + 1];
    bool own = (int)c->slot == c->run->slot.number;
    shard_name(name, "records", c->slot, c->next_part);
    snprintf(path, sizeof path, RECORDS_DIR "/%s", name);
    enum mld_error error = fs_create_file(c->run->dir_fd, path, c->text.data, c->text.len, true);
    if (error == MLD_OK)
        error = own ? move_on(c, path) : rewrite_mark(c, path);
    for (size_t i = 0; error == MLD_OK && i < c->n_shards; i++) {
        c->shards[i].cursor->replaced = true;
        c->shards[i].cursor->ended = false;
        error = fs_unlink(c->run->dir_fd, c->shards[i].path);
    }
    if (error == MLD_OK)
        *bytes_freed += c->old_bytes - c->text.len;
    return error;
}

/* The slot is held by this process. */
static enum mld_error compact_held(struct run *run, unsigned slot, uint64_t *bytes_freed)
{
    struct compaction *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(MLD_ENOMEM, "out of memory for rewriting records");
    c->run = run;
    c->slot = slot;
    buf_init(&c->text, TEXT_MAX_BYTES);
    find_shards(c, bytes_freed);
    enum mld_error error = id_random(c->stream);
    if (c->old_bytes >= SAVES_AT_LEAST && error == MLD_OK) {
        for (size_t i = 0; i < c->n_shards && error == MLD_OK; i++)
            error = put_shard(c, &c->shards[i]);
        if (error == MLD_OK)
            error = buf_check(&c->text, "records");
        if (error == MLD_OK && c->text.len <= c->old_bytes / 2 &&
            c->old_bytes - c->text.len >= SAVES_AT_LEAST)
            error = write_shard(c, bytes_freed);
    }
    buf_free(&c->text);
    free(c);
    return error == MLD_ESTATE || error == MLD_ETOOLARGE ? MLD_OK : error; /* it stays as it is */
}

/* Takes the slot for as long as its shards are rewritten, so that no new writer continues them. */
static enum mld_error compact_gone(struct run *run, unsigned slot, uint64_t *bytes_freed)
{
    struct slot held;
    enum mld_error error = slot_take_number(&held, run->dir_fd, slot);
    if (error != MLD_OK || held.number < 0)
        return error;
    error = run_refresh(run); /* what its last writer added just before */
    if (error == MLD_OK)
        error = compact_held(run, slot, bytes_freed);
    slot_release(&held, run->dir_fd);
    return error;
}

enum mld_error compact_records(struct run *run, uint64_t *bytes_freed)
{
    bool seen[SLOT_MAX] = {false};
    enum mld_error error = MLD_OK;
    for (const struct shard_cursor *c = run->cursors; c != NULL; c = c->next)
        if (c->origin.slot < SLOT_MAX)
            seen[c->origin.slot] = true;
    for (unsigned slot = 0; slot < SLOT_MAX && error == MLD_OK; slot++) {
        if (!seen[slot])
            continue;
        if ((int)slot == run->slot.number)
            error = compact_held(run, slot, bytes_freed);
        else if (run_slot_is_gone(run, slot))
            error = compact_gone(run, slot, bytes_freed);
    }
    return error;
}

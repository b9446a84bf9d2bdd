/* The entries of a track in order of time, and reading them. */
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "run/series_line.h"
#include "run/series_points.h"

#define WINDOW_MIN_BYTES (16u << 10)
#define WINDOW_MAX_BYTES (1u << 20)

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the entries of a track");
}

static int compare(const void *x, const void *y, void *payload)
{
    const struct track_entry *a = x;
    const struct track_entry *b = y;
    const struct series_reader *reader = payload;

    if (a->time_s != b->time_s)
        return a->time_s < b->time_s ? -1 : 1;
    if (a->shard != b->shard)
        return reader->shards[a->shard]->rank < reader->shards[b->shard]->rank ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool in_order(struct series_reader *reader)
{
    for (size_t i = 1; i < reader->n_entries; i++)
        if (compare(&reader->entries[i - 1], &reader->entries[i], reader) > 0)
            return false;
    return true;
}

enum mld_error series_track_sort(struct series_reader *reader)
{
    size_t n = reader->n_entries;

    if (reader->sorted)
        return MLD_OK;
    size_t *groups = realloc(reader->groups, (n + 1) * sizeof(*groups));
    if (groups == NULL)
        return no_memory();
    reader->groups = groups;
    reader->n_groups = 0;
    if (!in_order(reader)) /* most often it is: time goes on */
        qsort_r(reader->entries, n, sizeof(*reader->entries), compare, reader);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || reader->entries[i].time_s != reader->entries[i - 1].time_s)
            groups[reader->n_groups++] = i;
    groups[reader->n_groups] = n;
    reader->sorted = true;
    return MLD_OK;
}

size_t series_track_search(const struct series_reader *reader, double time_s, bool above)
{
    size_t low = 0;
    size_t high = reader->n_groups;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        double at = reader->entries[reader->groups[middle]].time_s;
        if (at < time_s || (above && at == time_s))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A part of one shard in memory: entries in order of time are mostly in order of place, too. */
struct window {
    struct line_reader file; /* only its descriptor */
    const struct series_shard *shard;
    char *data;
    size_t capacity;
    off_t offset;
    size_t len;
    size_t next_read; /* grows while entries follow one another */
};

static void window_close(struct window *w)
{
    if (w->shard != NULL)
        lines_close(&w->file);
    w->shard = NULL;
    w->len = 0;
}

static enum mld_error window_turn(struct window *w, const struct run *run,
                                  const struct series_shard *shard)
{
    if (w->shard == shard)
        return MLD_OK;
    window_close(w);
    w->shard = shard;
    w->next_read = WINDOW_MIN_BYTES;
    return lines_open(&w->file, run->dir_fd, shard->index.file, 0);
}

static enum mld_error window_read(struct window *w, off_t offset, size_t len)
{
    bool follows = offset >= w->offset && offset <= w->offset + (off_t)w->len;

    if (!follows)
        w->next_read = WINDOW_MIN_BYTES;
    else if (w->next_read < WINDOW_MAX_BYTES)
        w->next_read *= 2;
    size_t want = len > w->next_read ? len : w->next_read;
    if (want > w->capacity) {
        char *data = realloc(w->data, want);
        if (data == NULL)
            return no_memory();
        w->data = data;
        w->capacity = want;
    }
    w->offset = offset;
    return fs_pread(w->file.fd, w->data, want, offset, &w->len, w->file.file);
}

/* Parses the line of an entry into run->doc, as long as the window does not move. */
static enum mld_error parse_entry(struct window *w, struct run *run,
                                  const struct series_reader *reader,
                                  const struct track_entry *entry, struct series_line *out)
{
    enum mld_error error = window_turn(w, run, reader->shards[entry->shard]);
    off_t end = entry->offset + entry->len;

    if (error == MLD_OK && (entry->offset < w->offset || end > w->offset + (off_t)w->len))
        error = window_read(w, entry->offset, entry->len);
    if (error != MLD_OK)
        return error;
    if (end > w->offset + (off_t)w->len)
        return error_set(MLD_EDAMAGED, "%s became shorter while it was read", w->file.file);
    error = json_parse(&run->doc, w->data + (entry->offset - w->offset), entry->len);
    if (error != MLD_OK || !series_line_read(&run->doc, MLD_TRACK, out))
        return error_set(MLD_EDAMAGED, "%s changed while it was read", w->file.file);
    return MLD_OK;
}

/* One field of an entry that is merged of several. */
struct member {
    const char *key; /* with quotes, as in the line */
    size_t key_len;
    const char *value;
    size_t value_len;
    struct member *next;
};

struct merge {
    struct arena arena;
    struct map by_name;
    struct member *first, **end;
};

static enum mld_error merge_member(struct merge *m, const struct json_doc *doc,
                                   const struct json_node *key)
{
    struct buf name;
    size_t key_len, value_len;
    const char *raw_key = json_raw(doc, key, &key_len);
    const char *raw = json_raw(doc, json_value_of(doc, key), &value_len);

    buf_init(&name, key_len);
    json_decoded(doc, key, &name);
    struct member *member = map_get(&m->by_name, buf_text(&name), name.len);
    if (member == NULL) {
        char *kept = arena_strndup(&m->arena, buf_text(&name), name.len);
        member = arena_alloc(&m->arena, sizeof(*member));
        if (kept != NULL && member != NULL &&
            map_put(&m->by_name, kept, name.len, member) == MLD_OK) {
            member->key = arena_strndup(&m->arena, raw_key, key_len);
            member->key_len = key_len;
            *m->end = member;
            m->end = &member->next;
        } else {
            member = NULL;
        }
    }
    buf_free(&name);
    if (member == NULL || member->key == NULL)
        return no_memory();
    member->value = arena_strndup(&m->arena, raw, value_len);
    member->value_len = value_len;
    return member->value == NULL ? no_memory() : MLD_OK;
}

static void put_member(struct buf *out, const char *key, size_t key_len, const char *value,
                       size_t value_len)
{
    if (out->len > 1)
        buf_putc(out, ',');
    buf_put(out, key, key_len);
    buf_putc(out, ':');
    buf_put(out, value, value_len);
}

/* The only entry of its time: its members as they are. */
static void put_alone(struct buf *out, const struct json_doc *doc, const struct json_node *data)
{
    const struct json_node *key = NULL;
    size_t key_len, len;

    while ((key = json_next(doc, data, key)) != NULL) {
        if (series_line_is_time(doc, MLD_TRACK, key))
            continue;
        const char *raw_key = json_raw(doc, key, &key_len);
        const char *raw = json_raw(doc, json_value_of(doc, key), &len);
        put_member(out, raw_key, key_len, raw, len);
    }
}

static enum mld_error merge_entry(struct merge *m, const struct json_doc *doc,
                                  const struct json_node *data)
{
    const struct json_node *key = NULL;
    enum mld_error error = MLD_OK;

    while (error == MLD_OK && (key = json_next(doc, data, key)) != NULL) {
        if (!series_line_is_time(doc, MLD_TRACK, key))
            error = merge_member(m, doc, key);
    }
    return error;
}

/* Several entries of one time, in order. */
static enum mld_error put_merged(struct buf *out, struct window *w, struct run *run,
                                 const struct series_reader *reader, size_t first, size_t end)
{
    struct merge m = {.first = NULL};
    struct series_line parsed;
    enum mld_error error = MLD_OK;

    m.end = &m.first;
    for (size_t i = first; i < end && error == MLD_OK; i++) {
        error = parse_entry(w, run, reader, &reader->entries[i], &parsed);
        if (error == MLD_OK)
            error = merge_entry(&m, &run->doc, parsed.data);
    }
    for (const struct member *each = m.first; error == MLD_OK && each != NULL; each = each->next)
        put_member(out, each->key, each->key_len, each->value, each->value_len);
    map_free(&m.by_name);
    arena_free(&m.arena);
    return error;
}

static enum mld_error read_group(struct points_box *box, struct window *w, struct run *run,
                                 const struct series_reader *reader, size_t group)
{
    size_t first = reader->groups[group];
    size_t end = reader->groups[group + 1];
    struct mld_point point = {.index = (int64_t)group, .time_s = reader->entries[first].time_s};
    struct series_line parsed;
    struct buf *text = &run->line;
    enum mld_error error;

    buf_clear(text);
    buf_putc(text, '{');
    if (end - first > 1) {
        error = put_merged(text, w, run, reader, first, end);
    } else {
        error = parse_entry(w, run, reader, &reader->entries[first], &parsed);
        if (error == MLD_OK)
            put_alone(text, &run->doc, parsed.data);
    }
    buf_putc(text, '}');
    if (error == MLD_OK)
        error = buf_check(text, "entry of a track");
    if (error != MLD_OK)
        return error;
    point.data_len = text->len;
    point.data_json = arena_strndup(&box->arena, text->data, text->len);
    return point.data_json == NULL ? no_memory() : points_add(box, &point);
}

enum mld_error series_track_read(struct points_box *box, struct run *run,
                                 const struct series_reader *reader, size_t start, size_t end)
{
    struct window w = {.shard = NULL};
    enum mld_error error = MLD_OK;

    if (start < end)
        error = points_reserve(box, end - start);
    for (size_t group = start; group < end && error == MLD_OK; group++)
        error = read_group(box, &w, run, reader, group);
    window_close(&w);
    free(w.data);
    return error;
}

#include "run/series_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/series_line.h"

/* A shard that is being indexed. */
struct indexing {
    struct series_reader *reader;
    struct series_shard *shard;
    uint32_t number; /* of the shard in reader->shards */
    struct buf name; /* scratch */
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for reading a series");
}

static void reader_clear(struct series_reader *reader)
{
    for (size_t i = 0; i < reader->n_shards; i++) {
        shard_index_free(&reader->shards[i]->index);
        free(reader->shards[i]);
    }
    free(reader->shards);
    free(reader->order);
    free(reader->entries);
    free(reader->groups);
    map_free(&reader->columns);
    arena_free(&reader->arena);
    *reader = (struct series_reader){.kind = reader->kind};
}

void series_readers_free(struct state *state)
{
    for (struct series_entry *e = state->series; e != NULL; e = e->next) {
        struct series_reader *reader = e->reader;
        e->reader = NULL;
        if (reader == NULL)
            continue;
        reader_clear(reader);
        free(reader);
    }
}

static enum mld_error note_column(struct indexing *in, const struct json_doc *doc,
                                  const struct json_node *key)
{
    struct series_reader *reader = in->reader;
    const char *name = doc->text + key->start;
    size_t len = key->len;

    if (key->escaped) {
        buf_clear(&in->name);
        json_decoded(doc, key, &in->name);
        if (in->name.failed != MLD_OK)
            return no_memory();
        name = buf_text(&in->name);
        len = in->name.len;
    }
    if (map_get(&reader->columns, name, len) != NULL || reader->columns.count >= SERIES_MAX_COLUMNS)
        return MLD_OK;
    char *kept = arena_strndup(&reader->arena, name, len);
    return kept == NULL ? no_memory() : map_put(&reader->columns, kept, len, kept);
}

static enum mld_error note_columns(struct indexing *in, const struct json_doc *doc,
                                   const struct json_node *data)
{
    const struct json_node *key = NULL;
    enum mld_error error = MLD_OK;

    while (error == MLD_OK && (key = json_next(doc, data, key)) != NULL) {
        if (!series_line_is_time(doc, in->reader->kind, key))
            error = note_column(in, doc, key);
    }
    return error;
}

static enum mld_error note_entry(struct indexing *in, double time_s, const struct line *line)
{
    struct series_reader *reader = in->reader;

    if (reader->n_entries == reader->entries_capacity) {
        size_t capacity = reader->entries_capacity == 0 ? 64 : 2 * reader->entries_capacity;
        struct track_entry *entries = realloc(reader->entries, capacity * sizeof(*entries));
        if (entries == NULL)
            return no_memory();
        reader->entries = entries;
        reader->entries_capacity = capacity;
    }
    reader->entries[reader->n_entries++] = (struct track_entry){
        .time_s = time_s, .offset = line->offset, .len = (uint32_t)line->len, .shard = in->number};
    reader->sorted = false;
    return MLD_OK;
}

/* first_s and last_s of a track are its least and greatest time. */
static void note_track_time(struct series_shard *shard, double time_s)
{
    if (!shard->timed || time_s < shard->first_s)
        shard->first_s = time_s;
    if (!shard->timed || time_s > shard->last_s)
        shard->last_s = time_s;
    shard->timed = true;
}

static enum mld_error check_line(const struct json_doc *doc, const struct line *line, void *payload,
                                 bool *out_good)
{
    struct indexing *in = payload;
    struct series_shard *shard = in->shard;
    struct series_line parsed;
    enum mld_error error = MLD_OK;

    *out_good = series_line_read(doc, in->reader->kind, &parsed);
    if (!*out_good)
        return MLD_OK;
    if (in->reader->kind == MLD_TRACK) {
        double time_s = series_line_time(doc, &parsed);
        note_track_time(shard, time_s);
        error = note_entry(in, time_s, line);
    } else if (!shard->timed) {
        shard->timed = true;
        shard->first_s = series_line_time(doc, &parsed);
        shard->created_us = series_line_created(doc, &parsed);
    }
    shard->last_line = line->offset;
    return error == MLD_OK ? note_columns(in, doc, parsed.data) : error;
}

/* The time of a metric's last line: read again, since parsing the time of each line would be most
 * of the work. */
static enum mld_error note_last_line(struct run *run, struct series_shard *shard)
{
    struct line_reader lines;
    struct line line;
    struct series_line parsed;

    enum mld_error error = lines_open(&lines, run->dir_fd, shard->index.file, shard->last_line);
    if (error == MLD_OK)
        error = lines_next(&lines, &line);
    if (error == MLD_OK && line.text != NULL &&
        json_parse(&run->doc, line.text, line.len) == MLD_OK &&
        series_line_read(&run->doc, MLD_METRIC, &parsed)) {
        shard->last_s = series_line_time(&run->doc, &parsed);
        shard->updated_us = series_line_created(&run->doc, &parsed);
    }
    lines_close(&lines);
    return error;
}

static enum mld_error index_shard(struct series_reader *reader, struct run *run, uint32_t number,
                                  bool *out_replaced)
{
    struct series_shard *shard = reader->shards[number];
    struct indexing in = {.reader = reader, .shard = shard, .number = number};
    int64_t before = shard->index.count;

    shard->index.file = shard->entry->file; /* a mirror's longer copy may take its place */

    buf_init(&in.name, LINES_MAX_BYTES);
    enum mld_error error = shard_index_update(&shard->index, run, check_line, &in, out_replaced);
    buf_free(&in.name);
    if (error == MLD_OK && reader->kind == MLD_METRIC && shard->index.count > before)
        error = note_last_line(run, shard);
    if (reader->kind == MLD_TRACK && shard->timed) {
        shard->created_us = (int64_t)(shard->entry->first >> 10); /* when it was recorded */
        shard->updated_us = shard->index.changed_us;
        if (shard->created_us == 0)
            shard->created_us = -1;
    }
    return error;
}

static enum mld_error grow(struct series_reader *reader)
{
    size_t capacity = reader->shards_capacity == 0 ? 4 : 2 * reader->shards_capacity;
    struct series_shard **shards =
        realloc(reader->shards, capacity * sizeof(struct series_shard *));

    if (shards == NULL)
        return no_memory();
    reader->shards = shards;
    struct series_shard **order = realloc(reader->order, capacity * sizeof(struct series_shard *));
    if (order == NULL)
        return no_memory();
    reader->order = order;
    reader->shards_capacity = capacity;
    return MLD_OK;
}

static enum mld_error find_shard(struct series_reader *reader, const struct shard_entry *entry,
                                 uint32_t *out_number)
{
    for (*out_number = 0; *out_number < reader->n_shards; (*out_number)++)
        if (reader->shards[*out_number]->entry == entry)
            return MLD_OK;
    if (reader->n_shards == reader->shards_capacity) {
        enum mld_error error = grow(reader);
        if (error != MLD_OK)
            return error;
    }
    struct series_shard *shard = calloc(1, sizeof(*shard));
    if (shard == NULL)
        return no_memory();
    *shard = (struct series_shard){.entry = entry,
                                   .index = {.file = entry->file},
                                   .first_s = (double)NAN,
                                   .last_s = (double)NAN,
                                   .created_us = -1,
                                   .updated_us = -1};
    reader->shards[reader->n_shards++] = shard;
    return MLD_OK;
}

/* One pass over all shards in merged order. */
static enum mld_error update_shards(struct series_reader *reader, struct run *run,
                                    const struct series_entry *series, bool *out_replaced)
{
    enum mld_error error = MLD_OK;
    unsigned rank = 0;

    reader->lines = 0;
    *out_replaced = false;
    for (const struct shard_entry *e = series->shards; e != NULL; e = e->next, rank++) {
        uint32_t number;
        error = find_shard(reader, e, &number);
        if (error == MLD_OK)
            error = index_shard(reader, run, number, out_replaced);
        if (error != MLD_OK || *out_replaced)
            break;
        struct series_shard *shard = reader->shards[number];
        shard->rank = rank; /* a new one in between brings new entries, which are sorted then */
        shard->before = reader->lines;
        reader->order[rank] = shard;
        reader->lines += shard->index.count;
    }
    return error;
}

enum mld_error series_reader_update(struct series_reader **out, struct run *run,
                                    struct series_entry *series)
{
    struct series_reader *reader = series->reader;
    bool replaced = false;

    *out = NULL;
    if (reader == NULL) {
        reader = calloc(1, sizeof(*reader));
        if (reader == NULL)
            return no_memory();
        reader->kind = series->kind;
        series->reader = reader;
    }
    enum mld_error error = update_shards(reader, run, series, &replaced);
    if (error == MLD_OK && replaced) { /* another tool began the file anew: so do we */
        reader_clear(reader);
        error = update_shards(reader, run, series, &replaced);
    }
    if (error == MLD_OK)
        *out = reader;
    return error;
}

int64_t series_reader_total(const struct series_reader *reader)
{
    return reader->kind == MLD_TRACK ? (int64_t)reader->n_groups : reader->lines;
}

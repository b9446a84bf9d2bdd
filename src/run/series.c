/* Handles to metrics and tracks, and appending a point: one line, one write(2). */
#include "run/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/name.h"
#include "run/record.h"
#include "run/series_find.h"
#include "run/series_line.h"
#include "run/series_reader.h"

#define KEY_HEAD_BYTES (sizeof(uintptr_t) + 2) /* before the name; see make_key */
#define KEY_MAX_BYTES (NAME_MAX_PATH_BYTES + 32)
#define DIR_MAX_BYTES (NAME_MAX_PATH_BYTES + 64)

/* What this writer has open for one series. */
struct series_writer {
    struct stream *stream;
    bool recorded; /* a `series` record names the shard */
    uint64_t base; /* its length when it was opened */
};

/* All of a run: run->series. */
struct open_series {
    struct arena arena;
    struct map handles; /* of an experiment handle, a kind and a name: mld_series */
    struct map writers; /* of a kind and a name: struct series_writer */
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the series of an experiment");
}

static enum mld_error table_of(struct open_series **out, struct run *run)
{
    if (run->series == NULL)
        run->series = calloc(1, sizeof(*run->series));
    *out = run->series;
    return run->series != NULL ? MLD_OK : no_memory();
}

void series_free(struct run *run)
{
    series_readers_free(&run->state);
    if (run->series == NULL)
        return;
    map_free(&run->series->handles);
    map_free(&run->series->writers);
    arena_free(&run->series->arena);
    free(run->series);
    run->series = NULL;
}

/* `experiment` NULL: the key of a writer. */
static size_t make_key(char out[KEY_MAX_BYTES], const mld_experiment *experiment,
                       enum mld_series_kind kind, const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);
    uintptr_t owner = (uintptr_t)experiment;
    size_t at = sizeof(owner);

    memcpy(out, &owner, sizeof(owner));
    out[at++] = kind == MLD_METRIC ? 'm' : 't';
    out[at++] = name == NULL ? '-' : '=';
    if (len > 0)
        memcpy(out + at, name, len);
    return at + len;
}

static enum mld_error check_options(const struct mld_series_options *options)
{
    enum mld_error error = MLD_OK;

    if (options == NULL)
        return MLD_OK;
    if (options->version != MLD_SERIES_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "series options of version %u; this library knows %d",
                         options->version, MLD_SERIES_OPTIONS_VERSION);
    if (options->n_tags > NAME_MAX_TAGS)
        return error_set(MLD_EINVALID, "%zu tags; at most %d are allowed", options->n_tags,
                         NAME_MAX_TAGS);
    for (size_t i = 0; i < options->n_tags && error == MLD_OK; i++)
        error = name_check_tag("tag", options->tags[i]);
    if (error == MLD_OK)
        error = json_check("metadata of the series", options->metadata_json, true, true);
    return error;
}

static enum mld_error check_name(enum mld_series_kind kind, const char *name)
{
    if (kind != MLD_METRIC && kind != MLD_TRACK)
        return error_set(MLD_EINVALID, "unknown kind of series: %d", (int)kind);
    if (name == NULL && kind == MLD_METRIC)
        return MLD_OK;
    return name_check_series(name);
}

static bool options_tell(const struct mld_series_options *options)
{
    return options != NULL &&
           (options->description != NULL || options->n_tags > 0 || options->metadata_json != NULL);
}

/* The first call that gives them decides. */
static enum mld_error keep_options(struct open_series *table, mld_series *series,
                                   const struct mld_series_options *options)
{
    struct arena *arena = &table->arena;

    if (series->tells || !options_tell(options))
        return MLD_OK;
    const char **tags = arena_alloc(arena, (options->n_tags + 1) * sizeof(*tags));
    if (tags == NULL)
        return no_memory();
    for (size_t i = 0; i < options->n_tags; i++) {
        tags[i] = arena_strdup(arena, options->tags[i]);
        if (tags[i] == NULL)
            return no_memory();
    }
    series->tags = (struct string_list){tags, options->n_tags};
    series->description = arena_strdup(arena, options->description);
    series->metadata = arena_strdup(arena, options->metadata_json);
    series->tells = true;
    return MLD_OK;
}

static enum mld_error new_handle(mld_series **out, struct open_series *table,
                                 mld_experiment *experiment, enum mld_series_kind kind,
                                 const char *name)
{
    char key[KEY_MAX_BYTES];
    size_t len = make_key(key, experiment, kind, name);

    *out = map_get(&table->handles, key, len);
    if (*out != NULL)
        return MLD_OK;
    mld_series *series = arena_alloc(&table->arena, sizeof(*series));
    char *kept = arena_strndup(&table->arena, key, len);
    if (series == NULL || kept == NULL)
        return no_memory();
    series->experiment = experiment;
    series->kind = kind;
    series->name = name == NULL ? NULL : kept + KEY_HEAD_BYTES;
    *out = series;
    return map_put(&table->handles, kept, len, series);
}

enum mld_error mld_series_open(mld_series **out, mld_experiment *experiment,
                               enum mld_series_kind kind, const char *name,
                               const struct mld_series_options *options)
{
    struct run *run;
    struct open_series *table;
    mld_series *series = NULL;

    *out = NULL;
    enum mld_error error = check_name(kind, name);
    if (error == MLD_OK)
        error = check_options(options);
    if (error == MLD_OK)
        error = run_enter(&run, experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = table_of(&table, run);
    if (error == MLD_OK)
        error = new_handle(&series, table, experiment, kind, name);
    if (error == MLD_OK)
        error = keep_options(table, series, options);
    run_leave(run);
    if (error == MLD_OK)
        *out = series;
    return error;
}

static enum mld_error find_writer(struct series_writer **out, struct run *run,
                                  const mld_series *series)
{
    char key[KEY_MAX_BYTES];
    size_t len = make_key(key, NULL, series->kind, series->name);
    struct open_series *table;

    *out = NULL;
    enum mld_error error = table_of(&table, run);
    if (error != MLD_OK)
        return error;
    *out = map_get(&table->writers, key, len);
    if (*out != NULL)
        return MLD_OK;
    *out = arena_alloc(&table->arena, sizeof(**out));
    char *kept = arena_strndup(&table->arena, key, len);
    if (*out == NULL || kept == NULL)
        return no_memory();
    return map_put(&table->writers, kept, len, *out);
}

/* True when another series was first in this directory: topics "a/b" and "a_b" would have the same
 * one. */
static bool is_taken(const struct run *run, const struct series_entry *own, const char *dir)
{
    const struct series_entry *first = map_get(&run->state.series_by_dir, dir, strlen(dir));

    return first != NULL && first != own;
}

static enum mld_error choose_dir(char out[DIR_MAX_BYTES], struct run *run, const mld_series *series,
                                 const struct series_entry *known)
{
    struct buf dir;

    buf_init(&dir, DIR_MAX_BYTES - 1);
    if (known != NULL)
        buf_puts(&dir, known->dir);
    else
        name_series_dir(&dir, series_kind_dir(series->kind), series->name);
    size_t len = dir.len;
    for (unsigned n = 2; dir.failed == MLD_OK && is_taken(run, known, buf_text(&dir)); n++) {
        dir.len = len;
        buf_printf(&dir, "~%u", n);
    }
    enum mld_error error = buf_check(&dir, "directory of the series");
    if (error == MLD_OK)
        memcpy(out, dir.data, dir.len + 1);
    buf_free(&dir);
    return error;
}

static enum mld_error write_record(struct run *run, mld_series *series, const char *dir,
                                   const struct series_writer *writer)
{
    struct buf *line = &run->line;

    buf_clear(line);
    record_begin(line, "series", run_clock(run));
    record_put_text(line, "kind", series->kind == MLD_METRIC ? "metric" : "track");
    record_put_text(line, "name", series->name);
    record_put_text(line, "dir", dir);
    record_put_text(line, "file", writer->stream->path);
    record_put_text(line, "stream", writer->stream->id);
    json_put_key(line, "base");
    json_put_int64(line, (int64_t)writer->base);
    if (series->tells && !series->told) {
        record_put_text(line, "description", series->description);
        record_put_strings(line, "tags", series->tags.items, series->tags.count);
        record_put_json(line, "metadata", series->metadata);
    }
    record_end(line);
    enum mld_error error = run_write_record(run, line);
    if (error == MLD_OK)
        series->told = series->tells;
    return error;
}

static const struct shard_entry *shard_of(const struct series_entry *entry, const char *file)
{
    const struct shard_entry *s = entry == NULL ? NULL : entry->shards;

    while (s != NULL && strcmp(s->file, file) != 0)
        s = s->next;
    return s;
}

/* Opens the shard, in a new part when the last one is broken, and says so in a record, unless an
 * earlier one of this slot did. */
static enum mld_error open_writer(struct run *run, mld_series *series, struct series_writer *writer)
{
    char dir[DIR_MAX_BYTES];
    struct series_entry *entry;
    bool is_new = false;

    enum mld_error error = series_find(&entry, run, series->kind, series->name);
    if (error == MLD_OK)
        error = choose_dir(dir, run, series, entry);
    if (error != MLD_OK)
        return error;
    if (writer->stream == NULL || writer->stream->broken) {
        struct stream *stream;
        error = run_open_stream(run, &stream, &is_new, dir, "data",
                                entry == NULL ? NULL : entry->shards);
        if (error != MLD_OK)
            return error;
        const struct shard_entry *shard = shard_of(entry, stream->path);
        writer->stream = stream;
        writer->recorded = !is_new;
        writer->base = is_new || shard == NULL ? (uint64_t)stream->length : shard->base;
    }
    if (entry != NULL && entry->info_stamp != 0)
        series->told = series->tells;
    if (!writer->recorded || series->tells != series->told)
        error = write_record(run, series, dir, writer);
    writer->recorded = error == MLD_OK;
    return error;
}

/* True when series_ready has nothing to do. */
static bool is_ready(const struct run *run, const mld_series *series)
{
    const struct series_writer *writer = series->run == run ? series->writer : NULL;

    return writer != NULL && writer->recorded && !writer->stream->broken &&
           series->tells == series->told;
}

enum mld_error series_ready(struct stream **out, struct run *run, mld_series *series)
{
    enum mld_error error = MLD_OK;

    *out = NULL;
    if (series->run != run) {
        series->writer = NULL;
        series->run = run;
        error = find_writer(&series->writer, run, series);
    }
    if (error == MLD_OK && !is_ready(run, series))
        error = open_writer(run, series, series->writer);
    if (error == MLD_OK)
        *out = series->writer->stream;
    return error;
}

static enum mld_error encode(struct run *run, const mld_series *series, int64_t index,
                             const struct mld_field *fields, size_t n_fields, double time_s)
{
    char created[CLOCK_ISO_LEN + 1];
    struct buf *line = &run->line;

    buf_clear(line);
    if (series->kind == MLD_METRIC)
        series_line_begin(line, index);
    enum mld_error error =
        series_line_put_data(line, &run->doc, series->kind, fields, n_fields, time_s);
    if (error != MLD_OK)
        return error;
    if (series->kind == MLD_METRIC) {
        clock_format_iso(created, clock_now_us());
        series_line_end(line, created);
    }
    return buf_check(line, "a point");
}

enum mld_error mld_series_append(mld_series *series, const struct mld_field *fields,
                                 size_t n_fields, double time_s, int64_t *out_index)
{
    struct run *run;
    struct stream *stream;
    int64_t index = -1;

    if (out_index != NULL)
        *out_index = -1;
    enum mld_error error = run_enter(&run, series->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    if (!is_ready(run, series)) /* refuse bad fields before anything is made */
        error = encode(run, series, 0, fields, n_fields, time_s);
    if (error == MLD_OK)
        error = series_ready(&stream, run, series);
    if (error == MLD_OK) {
        index = stream->lines;
        error = encode(run, series, index, fields, n_fields, time_s);
    }
    if (error == MLD_OK)
        error = stream_append(&run->streams, stream, run->line.data, run->line.len, 1);
    if (error == MLD_OK)
        run_stream_written(run, stream);
    run_leave(run);
    if (error == MLD_OK && out_index != NULL)
        *out_index = index;
    return error;
}

/* What is known of series without reading their points. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "run/series.h"
#include "run/series_find.h"
#include "run/series_reader.h"

#define METADATA_MAX_BYTES (16u << 20)

struct list_box {
    struct mld_series_list list; /* first */
    struct arena arena;
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for a list of series");
}

void mld_series_list_free(struct mld_series_list *list)
{
    struct list_box *box = (struct list_box *)list;

    if (box == NULL)
        return;
    arena_free(&box->arena);
    free(box);
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static enum mld_error fill_columns(struct mld_series_info *info, struct arena *arena,
                                   const struct series_reader *reader)
{
    const char **columns = arena_alloc(arena, (reader->columns.count + 1) * sizeof(*columns));
    size_t n = 0;

    if (columns == NULL)
        return no_memory();
    for (size_t i = 0; i < reader->columns.capacity; i++) {
        const char *name = reader->columns.slots[i].value;
        if (name != NULL && (columns[n++] = arena_strdup(arena, name)) == NULL)
            return no_memory();
    }
    qsort(columns, n, sizeof(*columns), by_text);
    info->columns = columns;
    info->n_columns = n;
    return MLD_OK;
}

static enum mld_error keep_time(const char **out, struct arena *arena, int64_t us)
{
    char text[CLOCK_ISO_LEN + 1];

    *out = NULL;
    if (us < 0)
        return MLD_OK;
    clock_format_iso(text, us);
    *out = arena_strdup(arena, text);
    return *out == NULL ? no_memory() : MLD_OK;
}

/* Times of the whole: the earliest beginning and the latest end of its shards. */
static enum mld_error fill_times(struct mld_series_info *info, struct arena *arena,
                                 const struct series_reader *reader)
{
    int64_t created_us = -1;
    int64_t updated_us = -1;

    for (size_t i = 0; i < reader->n_shards; i++) {
        const struct series_shard *s = reader->shards[i];
        info->bytes += (uint64_t)s->index.offset;
        if (!s->timed)
            continue;
        if (s->created_us >= 0 && (created_us < 0 || s->created_us < created_us))
            created_us = s->created_us;
        if (s->updated_us > updated_us)
            updated_us = s->updated_us;
        if (!isnan(s->first_s) && !(info->first_s <= s->first_s))
            info->first_s = s->first_s;
        if (!isnan(s->last_s) && !(info->last_s >= s->last_s))
            info->last_s = s->last_s;
    }
    enum mld_error error = keep_time(&info->created_at, arena, created_us);
    return error == MLD_OK ? keep_time(&info->updated_at, arena, updated_us) : error;
}

static enum mld_error copy_text(const char **out, struct arena *arena, const char *text)
{
    *out = arena_strdup(arena, text);
    return *out == NULL && text != NULL ? no_memory() : MLD_OK;
}

/* Description, tags and metadata as records say. */
static enum mld_error fill_recorded(struct mld_series_info *info, struct arena *arena,
                                    const struct series_entry *entry)
{
    const char **tags = arena_alloc(arena, (entry->tags.count + 1) * sizeof(*tags));
    enum mld_error error = tags == NULL ? no_memory() : MLD_OK;

    for (size_t i = 0; i < entry->tags.count && error == MLD_OK; i++)
        error = copy_text(&tags[i], arena, entry->tags.items[i]);
    info->tags = tags;
    info->n_tags = entry->tags.count;
    if (error == MLD_OK)
        error = copy_text(&info->description, arena, entry->description);
    if (error == MLD_OK)
        error = copy_text(&info->metadata_json, arena, entry->metadata);
    return error;
}

static const char *keep_json_text(struct arena *arena, const struct json_doc *doc,
                                  const struct json_node *node)
{
    char *text = json_strdup(doc, node);
    const char *kept = arena_strdup(arena, text);

    free(text);
    return kept;
}

/* The same from the metadata.json of another tool, when no record tells. */
static enum mld_error fill_foreign(struct mld_series_info *info, struct arena *arena,
                                   const struct json_doc *doc)
{
    const struct json_node *root = json_root(doc);
    const struct json_node *tags = json_get(doc, root, "tags");
    const struct json_node *metadata = json_get(doc, root, "metadata");
    const struct json_node *each = NULL;
    size_t len;

    info->description = keep_json_text(arena, doc, json_get(doc, root, "description"));
    if (info->created_at == NULL) /* a track's lines do not say */
        info->created_at = keep_json_text(arena, doc, json_get(doc, root, "createdAt"));
    if (metadata != NULL && metadata->type == JSON_OBJECT) {
        const char *raw = json_raw(doc, metadata, &len);
        info->metadata_json = arena_strndup(arena, raw, len);
    }
    if (tags == NULL || tags->type != JSON_ARRAY)
        return MLD_OK;
    const char **kept = arena_alloc(arena, (tags->count + 1) * sizeof(*kept));
    if (kept == NULL)
        return no_memory();
    info->tags = kept;
    while ((each = json_next(doc, tags, each)) != NULL) {
        kept[info->n_tags] = keep_json_text(arena, doc, each);
        info->n_tags += kept[info->n_tags] != NULL;
    }
    return MLD_OK;
}

static enum mld_error fill_told(struct mld_series_info *info, struct arena *arena, struct run *run,
                                const struct series_entry *entry)
{
    struct buf text;
    enum mld_error error = MLD_OK;

    if (entry->info_stamp != 0)
        return fill_recorded(info, arena, entry);
    buf_init(&text, METADATA_MAX_BYTES);
    if (series_read_metadata(run, entry->dir, &text, &run->doc))
        error = fill_foreign(info, arena, &run->doc);
    buf_free(&text);
    return error;
}

static enum mld_error fill_info(struct mld_series_info *info, struct arena *arena, struct run *run,
                                struct series_entry *entry)
{
    struct series_reader *reader;

    info->kind = entry->kind;
    info->first_s = (double)NAN;
    info->last_s = (double)NAN;
    enum mld_error error = copy_text(&info->name, arena, entry->name);
    if (error == MLD_OK)
        error = series_reader_update(&reader, run, entry);
    if (error == MLD_OK && entry->kind == MLD_TRACK)
        error = series_track_sort(reader);
    if (error == MLD_OK) {
        info->total = series_reader_total(reader);
        error = fill_columns(info, arena, reader);
    }
    if (error == MLD_OK)
        error = fill_times(info, arena, reader);
    return error == MLD_OK ? fill_told(info, arena, run, entry) : error;
}

static int by_name(const void *x, const void *y)
{
    const struct mld_series_info *a = x;
    const struct mld_series_info *b = y;

    if (a->name == NULL || b->name == NULL)
        return (a->name != NULL) - (b->name != NULL);
    return strcmp(a->name, b->name);
}

static enum mld_error fill_list(struct list_box *box, struct run *run, enum mld_series_kind kind)
{
    size_t n = 0;
    enum mld_error error = series_discover(run, kind);

    if (error != MLD_OK)
        return error;
    for (const struct series_entry *e = run->state.series; e != NULL; e = e->next)
        n += e->kind == kind;
    struct mld_series_info *items = arena_alloc(&box->arena, (n + 1) * sizeof(*items));
    if (items == NULL)
        return no_memory();
    for (struct series_entry *e = run->state.series; e != NULL && error == MLD_OK; e = e->next) {
        if (e->kind == kind)
            error = fill_info(&items[box->list.count++], &box->arena, run, e);
    }
    qsort(items, box->list.count, sizeof(*items), by_name);
    box->list.series = items;
    return error;
}

/* The one series, or an empty one when nothing was appended yet. */
static enum mld_error fill_one(struct list_box *box, struct run *run, const mld_series *series)
{
    struct series_entry *entry;
    struct series_entry nothing = {.kind = series->kind, .name = series->name};
    struct mld_series_info *info = arena_alloc(&box->arena, sizeof(*info));

    if (info == NULL)
        return no_memory();
    box->list.series = info;
    box->list.count = 1;
    enum mld_error error = series_find(&entry, run, series->kind, series->name);
    if (error != MLD_OK || entry != NULL)
        return error == MLD_OK ? fill_info(info, &box->arena, run, entry) : error;
    info->kind = series->kind;
    info->first_s = (double)NAN;
    info->last_s = (double)NAN;
    nothing.description = series->description;
    nothing.tags = series->tags;
    nothing.metadata = series->metadata;
    error = copy_text(&info->name, &box->arena, series->name);
    return error == MLD_OK ? fill_recorded(info, &box->arena, &nothing) : error;
}

static enum mld_error list(struct mld_series_list **out, mld_experiment *experiment,
                           const mld_series *one, enum mld_series_kind kind)
{
    struct run *run;
    struct list_box *box = calloc(1, sizeof(*box));

    *out = NULL;
    if (box == NULL)
        return no_memory();
    enum mld_error error = run_enter(&run, experiment, RUN_READ);
    if (error != MLD_OK) {
        free(box);
        return error;
    }
    error = run_refresh(run);
    if (error == MLD_OK)
        error = one != NULL ? fill_one(box, run, one) : fill_list(box, run, kind);
    run_leave(run);
    if (error != MLD_OK)
        mld_series_list_free(&box->list);
    else
        *out = &box->list;
    return error;
}

enum mld_error mld_series_stats(struct mld_series_list **out_one, mld_series *series)
{
    return list(out_one, series->experiment, series, series->kind);
}

enum mld_error mld_series_list(struct mld_series_list **out, mld_experiment *experiment,
                               enum mld_series_kind kind)
{
    return list(out, experiment, NULL, kind);
}

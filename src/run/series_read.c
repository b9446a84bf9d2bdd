/* Reading points: by index, and by time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/series.h"
#include "run/series_find.h"
#include "run/series_line.h"
#include "run/series_points.h"

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the points of a series");
}

void mld_points_free(struct mld_points *points)
{
    struct points_box *box = (struct points_box *)points;

    if (box == NULL)
        return;
    arena_free(&box->arena);
    free(box->items);
    free(box);
}

enum mld_error points_reserve(struct points_box *box, size_t count)
{
    if (count <= box->capacity)
        return MLD_OK;
    struct mld_point *items = realloc(box->items, count * sizeof(*items));
    if (items == NULL)
        return no_memory();
    box->items = items;
    box->capacity = count;
    return MLD_OK;
}

enum mld_error points_add(struct points_box *box, const struct mld_point *point)
{
    if (box->points.count == box->capacity) {
        enum mld_error error = points_reserve(box, box->capacity == 0 ? 64 : 2 * box->capacity);
        if (error != MLD_OK)
            return error;
    }
    box->items[box->points.count++] = *point;
    return MLD_OK;
}

static enum mld_error keep_string(struct arena *arena, const struct json_doc *doc,
                                  const struct json_node *string, const char **out)
{
    char *decoded = NULL;

    *out = NULL;
    if (string == NULL)
        return MLD_OK;
    if (!string->escaped) {
        *out = arena_strndup(arena, doc->text + string->start, string->len);
    } else {
        decoded = json_strdup(doc, string);
        *out = arena_strdup(arena, decoded);
        free(decoded);
    }
    return *out != NULL ? MLD_OK : no_memory();
}

static enum mld_error add_metric_point(struct points_box *box, const struct json_doc *doc,
                                       const struct series_line *line, int64_t index)
{
    struct mld_point point = {.index = index, .time_s = series_line_time(doc, line)};
    const char *raw = json_raw(doc, line->data, &point.data_len);

    point.data_json = arena_strndup(&box->arena, raw, point.data_len);
    if (point.data_json == NULL)
        return no_memory();
    enum mld_error error = keep_string(&box->arena, doc, line->created, &point.created_at);
    return error == MLD_OK ? points_add(box, &point) : error;
}

/* Which points of a metric: [start, end) by index, and only those in [start_s, end_s] unless NaN.
 */
struct selection {
    int64_t start, end;
    double start_s, end_s;
};

static bool is_within(double time_s, double start_s, double end_s)
{
    return !isnan(time_s) && (isnan(start_s) || time_s >= start_s) &&
           (isnan(end_s) || time_s <= end_s);
}

static enum mld_error read_shard(struct points_box *box, struct run *run,
                                 const struct series_shard *shard, const struct selection *wanted,
                                 bool slice)
{
    struct line_reader lines;
    struct line line;
    struct series_line parsed;
    int64_t first = wanted->start > shard->before ? wanted->start - shard->before : 0;
    int64_t end = wanted->end - shard->before;
    int64_t at = 0;

    if (end > shard->index.count)
        end = shard->index.count;
    if (first >= end)
        return MLD_OK;
    enum mld_error error = shard_index_seek(&shard->index, run, first, &lines, &at);
    while (error == MLD_OK && at < end) {
        error = lines_next(&lines, &line);
        if (error != MLD_OK || line.text == NULL)
            break;
        if (json_parse(&run->doc, line.text, line.len) != MLD_OK ||
            !series_line_read(&run->doc, MLD_METRIC, &parsed))
            continue;
        if (at >= first && (!slice || is_within(series_line_time(&run->doc, &parsed),
                                                wanted->start_s, wanted->end_s)))
            error = add_metric_point(box, &run->doc, &parsed, shard->before + at);
        at++;
    }
    lines_close(&lines);
    return error;
}

static enum mld_error read_metric(struct points_box *box, struct run *run,
                                  const struct series_reader *reader,
                                  const struct selection *wanted, bool slice)
{
    enum mld_error error = MLD_OK;
    size_t count = 0;

    if (!slice)
        error = points_reserve(box, (size_t)(wanted->end - wanted->start));
    for (int64_t lines = 0; error == MLD_OK && lines < reader->lines; count++) {
        error = read_shard(box, run, reader->order[count], wanted, slice);
        lines += reader->order[count]->index.count;
    }
    return error;
}

static int by_time(const void *x, const void *y)
{
    const struct mld_point *a = x;
    const struct mld_point *b = y;

    if (a->time_s != b->time_s)
        return a->time_s < b->time_s ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static void sort_points(struct points_box *box)
{
    size_t i = 1;

    while (i < box->points.count && by_time(&box->items[i - 1], &box->items[i]) <= 0)
        i++;
    if (i < box->points.count)
        qsort(box->items, box->points.count, sizeof(*box->items), by_time);
}

/* What a read asks for: a range of indexes or, with `slice`, of times. */
struct request {
    bool slice;
    int64_t start;
    size_t limit;
    double start_s, end_s;
};

/* The indexes [*out_start, *out_end) of a series of `total` points that the request means. */
static void index_range(const struct request *request, int64_t total, int64_t *out_start,
                        int64_t *out_end)
{
    int64_t start = request->start;

    if (start < 0)
        start = start < -total ? 0 : total + start;
    if (start > total)
        start = total;
    *out_start = start;
    *out_end = total;
    if (request->limit > 0 && request->limit < (uint64_t)(total - start))
        *out_end = start + (int64_t)request->limit;
}

static enum mld_error read_points(struct points_box *box, struct run *run,
                                  struct series_reader *reader, const struct request *request)
{
    struct selection wanted = {.start_s = request->start_s, .end_s = request->end_s};
    bool track = reader->kind == MLD_TRACK;
    enum mld_error error = track ? series_track_sort(reader) : MLD_OK;

    if (error != MLD_OK)
        return error;
    box->points.total = series_reader_total(reader);
    index_range(request, box->points.total, &wanted.start, &wanted.end);
    box->points.has_more = wanted.end < box->points.total;
    if (!track)
        error = read_metric(box, run, reader, &wanted, request->slice);
    else if (!request->slice)
        error = series_track_read(box, run, reader, (size_t)wanted.start, (size_t)wanted.end);
    else
        error = series_track_read(
            box, run, reader,
            isnan(request->start_s) ? 0 : series_track_search(reader, request->start_s, false),
            isnan(request->end_s) ? reader->n_groups
                                  : series_track_search(reader, request->end_s, true));
    if (error == MLD_OK && request->slice && !track)
        sort_points(box);
    return error;
}

static enum mld_error read_series(struct mld_points **out, mld_series *series,
                                  const struct request *request)
{
    struct run *run;
    struct series_entry *entry;
    struct series_reader *reader;

    *out = NULL;
    struct points_box *box = calloc(1, sizeof(*box));
    if (box == NULL)
        return no_memory();
    enum mld_error error = run_enter(&run, series->experiment, RUN_READ);
    if (error != MLD_OK) {
        free(box);
        return error;
    }
    error = run_refresh(run);
    if (error == MLD_OK)
        error = series_find(&entry, run, series->kind, series->name);
    if (error == MLD_OK && entry != NULL) {
        error = series_reader_update(&reader, run, entry);
        if (error == MLD_OK)
            error = read_points(box, run, reader, request);
    }
    run_leave(run);
    box->points.points = box->items;
    if (error != MLD_OK)
        mld_points_free(&box->points);
    else
        *out = &box->points;
    return error;
}

enum mld_error mld_series_read(struct mld_points **out, mld_series *series, int64_t start,
                               size_t limit)
{
    struct request request = {
        .start = start, .limit = limit, .start_s = (double)NAN, .end_s = (double)NAN};

    return read_series(out, series, &request);
}

enum mld_error mld_series_slice(struct mld_points **out, mld_series *series, double start_s,
                                double end_s)
{
    struct request request = {.slice = true, .start_s = start_s, .end_s = end_s};

    return read_series(out, series, &request);
}

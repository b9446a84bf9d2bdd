#include "run/views_series.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "run/record.h"
#include "run/series_find.h"
#include "run/series_line.h"
#include "run/series_reader.h"
#include "run/views.h"

#define PATH_MAX_BYTES 4096
#define TEXT_MAX_BYTES (64u << 20)
#define TAIL_BYTES (64u << 10)
#define LOGS_FILE "logs/logs.jsonl"
#define LOGS_VIEW "logs/.log_sequence"

/* A metadata.json that is being made. */
struct series_view {
    struct run *run;
    struct series_entry *series;
    char data[PATH_MAX_BYTES]; /* "metrics/loss/data.jsonl" */
    char file[PATH_MAX_BYTES]; /* "metrics/loss/metadata.json" */
    struct buf old_text;
    struct json_doc old; /* what the file says now: it may know more than the records */
    const struct json_node *root;
    struct buf text;
};

static bool is_newer(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec > b->st_mtim.tv_sec
                                                  : a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
}

/* True when `data` is there and the view of it is not, or is older. */
static bool is_stale(const struct run *run, const char *data, const char *view)
{
    struct stat st;
    struct stat view_st;
    if (fs_stat(run->dir_fd, data, &st) != MLD_OK)
        return false;
    return fs_stat(run->dir_fd, view, &view_st) != MLD_OK || is_newer(&st, &view_st);
}

/* Whole lines of a file: as its stream knows, else counted. */
static enum mld_error count_lines(int64_t *out, struct run *run, const char *file)
{
    struct line_reader reader;
    struct line line;
    *out = 0;
    const struct stream *s = stream_set_find(&run->streams, file);
    if (s != NULL) {
        *out = s->lines;
        return MLD_OK;
    }
    enum mld_error error = lines_open(&reader, run->dir_fd, file, 0);
    while (error == MLD_OK && (error = lines_next(&reader, &line)) == MLD_OK && line.text != NULL)
        ++*out;
    lines_close(&reader);
    return error;
}

/* When the point of this line was made; -1: it does not say. */
static int64_t created_us(struct run *run, const char *line, size_t len)
{
    struct series_line parsed;
    if (json_parse(&run->doc, line, len) != MLD_OK ||
        !series_line_read(&run->doc, MLD_METRIC, &parsed))
        return -1;
    return series_line_created(&run->doc, &parsed);
}

/* Of the first whole line. */
static int64_t first_created_us(struct run *run, const char *file)
{
    struct line_reader reader;
    struct line line;
    int64_t us = -1;
    if (lines_open(&reader, run->dir_fd, file, 0) == MLD_OK &&
        lines_next(&reader, &line) == MLD_OK && line.text != NULL)
        us = created_us(run, line.text, line.len);
    lines_close(&reader);
    return us;
}

/* Of the last line, if it is no longer than TAIL_BYTES. */
static int64_t last_created_us(struct run *run, const char *file)
{
    struct line_reader reader;
    struct line line;
    struct stat st;
    int64_t us = -1;
    if (fs_stat(run->dir_fd, file, &st) != MLD_OK)
        return -1;
    off_t from = st.st_size > (off_t)TAIL_BYTES ? st.st_size - (off_t)TAIL_BYTES : 0;
    if (lines_open(&reader, run->dir_fd, file, from) == MLD_OK) {
        while (lines_next(&reader, &line) == MLD_OK && line.text != NULL) {
            int64_t found = created_us(run, line.text, line.len);
            us = found >= 0 ? found : us; /* the first is half a line, most often */
        }
    }
    lines_close(&reader);
    return us;
}

static void put_time(struct buf *text, const char *key, int64_t us)
{
    char iso[CLOCK_ISO_LEN + 1];
    clock_format_iso(iso, us);
    record_put_text(text, key, us < 0 ? NULL : iso);
}

static void put_old(struct series_view *v, const char *key, const char *otherwise)
{
    const struct json_node *node = json_get(&v->old, v->root, key);
    size_t len;
    json_put_key(&v->text, key);
    if (node == NULL) {
        buf_puts(&v->text, otherwise);
        return;
    }
    const char *raw = json_raw(&v->old, node, &len);
    json_put_compact(&v->text, raw, len);
}

static int64_t old_number(const struct series_view *v, const char *key)
{
    int64_t value = 0;
    return json_int64(&v->old, json_get(&v->old, v->root, key), &value) ? value : 0;
}

/* What records tell; if they tell nothing, what another tool wrote. */
static void put_told(struct series_view *v)
{
    const struct series_entry *e = v->series;
    if (e->info_stamp == 0) {
        put_old(v, "description", "null");
        put_old(v, "tags", "[]");
        put_old(v, "metadata", "null");
        return;
    }
    record_put_text(&v->text, "description", e->description);
    record_put_strings(&v->text, "tags", e->tags.items, e->tags.count);
    record_put_json(&v->text, "metadata", e->metadata);
}

/* metricId is "local-metric-None" for the unnamed one. */
static void put_id(struct series_view *v, const char *key, const char *kind, const char *name)
{
    struct buf id;
    buf_init(&id, PATH_MAX_BYTES);
    buf_printf(&id, "local-%s-%s", kind, name == NULL ? "None" : name);
    record_put_text(&v->text, key, buf_text(&id));
    buf_free(&id);
}

static enum mld_error put_metric(struct series_view *v)
{
    int64_t count;
    enum mld_error error = count_lines(&count, v->run, v->data);
    if (error != MLD_OK)
        return error;
    if (count < old_number(v, "nextIndex"))
        count = old_number(v, "nextIndex"); /* the other tool writes beside us */
    put_id(v, "metricId", "metric", v->series->name);
    record_put_text(&v->text, "name", v->series->name);
    put_told(v);
    json_put_key(&v->text, "totalDataPoints");
    json_put_int64(&v->text, count);
    json_put_key(&v->text, "nextIndex");
    json_put_int64(&v->text, count);
    put_time(&v->text, "createdAt", first_created_us(v->run, v->data));
    put_time(&v->text, "updatedAt", last_created_us(v->run, v->data));
    return MLD_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum mld_error put_columns(struct buf *text, const struct series_reader *reader)
{
    const char **columns = calloc(reader->columns.count + 1, sizeof *columns);
    size_t n = 0;
    if (columns == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the columns of a track");
    for (size_t i = 0; i < reader->columns.capacity; i++)
        if (reader->columns.slots[i].value != NULL)
            columns[n++] = reader->columns.slots[i].value;
    qsort(columns, n, sizeof *columns, by_text);
    record_put_strings(text, "columns", columns, n);
    free(columns);
    return MLD_OK;
}

static void put_timestamp(struct buf *text, const char *key, double time_s)
{
    json_put_key(text, key);
    if (isnan(time_s))
        buf_puts(text, "null");
    else
        json_put_double(text, time_s);
}

static enum mld_error put_track(struct series_view *v)
{
    struct series_reader *reader;
    double first_s = (double)NAN;
    double last_s = (double)NAN;
    int64_t created = -1;
    enum mld_error error = series_reader_update(&reader, v->run, v->series);
    if (error != MLD_OK)
        return error;
    for (size_t i = 0; i < reader->n_shards; i++) {
        const struct series_shard *s = reader->shards[i];
        if (!isnan(s->first_s) && !(first_s <= s->first_s))
            first_s = s->first_s;
        if (!isnan(s->last_s) && !(last_s >= s->last_s))
            last_s = s->last_s;
        if (s->created_us >= 0 && (created < 0 || s->created_us < created))
            created = s->created_us;
    }
    put_id(v, "trackId", "track", strchr(v->series->dir, '/') + 1);
    record_put_text(&v->text, "topic", v->series->name);
    put_told(v);
    error = put_columns(&v->text, reader);
    json_put_key(&v->text, "totalEntries");
    json_put_int64(&v->text, reader->lines);
    put_timestamp(&v->text, "firstTimestamp", first_s);
    put_timestamp(&v->text, "lastTimestamp", last_s);
    if (json_get(&v->old, v->root, "createdAt") != NULL)
        put_old(v, "createdAt", "null");
    else
        put_time(&v->text, "createdAt", created);
    return error;
}

static enum mld_error write_view(struct series_view *v)
{
    bool metric = v->series->kind == MLD_METRIC;
    buf_init(&v->old_text, TEXT_MAX_BYTES);
    buf_init(&v->text, TEXT_MAX_BYTES);
    json_doc_init(&v->old);
    if (series_read_metadata(v->run, v->series->dir, &v->old_text, &v->old))
        v->root = json_root(&v->old);
    buf_putc(&v->text, '{');
    enum mld_error error = metric ? put_metric(v) : put_track(v);
    buf_putc(&v->text, '}');
    if (error == MLD_OK)
        error = buf_check(&v->text, v->file);
    if (error == MLD_OK)
        error = fs_replace_file(v->run->dir_fd, v->file, v->text.data, v->text.len, false);
    json_doc_free(&v->old);
    buf_free(&v->old_text);
    buf_free(&v->text);
    return error;
}

static enum mld_error write_series(struct run *run, struct series_entry *series)
{
    struct series_view v = {.run = run, .series = series};
    snprintf(v.data, sizeof v.data, "%s/data.jsonl", series->dir);
    snprintf(v.file, sizeof v.file, "%s/metadata.json", series->dir);
    if (!is_stale(run, v.data, v.file))
        return MLD_OK;
    int lock = views_lock(run, v.file);
    enum mld_error error = write_view(&v);
    if (lock >= 0)
        close(lock);
    return error;
}

static enum mld_error write_log_sequence(struct run *run)
{
    char text[32];
    struct buf old;
    int64_t count;
    if (!is_stale(run, LOGS_FILE, LOGS_VIEW))
        return MLD_OK;
    int lock = views_lock(run, LOGS_VIEW);
    enum mld_error error = count_lines(&count, run, LOGS_FILE);
    buf_init(&old, sizeof text);
    if (error == MLD_OK) {
        if (fs_read_file(run->dir_fd, LOGS_VIEW, &old) == MLD_OK &&
            strtoll(buf_text(&old), NULL, 10) > count)
            count = strtoll(buf_text(&old), NULL, 10);
        int len = snprintf(text, sizeof text, "%lld", (long long)count);
        error = fs_replace_file(run->dir_fd, LOGS_VIEW, text, (size_t)len, false);
    }
    buf_free(&old);
    if (lock >= 0)
        close(lock);
    return error;
}

enum mld_error views_write_series(struct run *run)
{
    enum mld_error error = MLD_OK;
    for (struct series_entry *e = run->state.series; e != NULL && error == MLD_OK; e = e->next)
        error = write_series(run, e);
    return error == MLD_OK ? write_log_sequence(run) : error;
}

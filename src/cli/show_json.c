/* show_json.c: an experiment for programs. */
#include <math.h>

#include "base/json.h"
#include "cli/records.h"
#include "cli/show.h"

static void json_number_or_null(struct buf *out, const char *key, double value)
{
    json_put_key(out, key);
    if (isnan(value))
        buf_puts(out, "null");
    else
        json_put_double(out, value);
}

static void json_text(struct buf *out, const char *key, const char *value)
{
    json_put_key(out, key);
    json_put_cstring(out, value);
}

static void json_field(struct buf *out, const struct metric_field *field)
{
    buf_putc(out, '{');
    json_text(out, "name", field->name);
    records_put_json(out, "last", field->last);
    json_number_or_null(out, "min", field->low);
    json_number_or_null(out, "max", field->high);
    json_number_or_null(out, "mean", metric_mean(field));
    buf_putc(out, '}');
}

/* `metric`: NULL for a track. */
static void json_series(struct buf *out, const struct mld_series_info *info,
                        const struct metric *metric)
{
    buf_putc(out, '{');
    json_text(out, metric ? "name" : "topic", info->name);
    json_text(out, "description", info->description);
    records_put_strings(out, "tags", info->tags, info->n_tags);
    records_put_json(out, "metadata", info->metadata_json);
    json_put_key(out, metric ? "totalDataPoints" : "totalEntries");
    json_put_int64(out, info->total);
    json_text(out, "createdAt", info->created_at);
    json_text(out, "updatedAt", info->updated_at);
    json_number_or_null(out, "firstTimestamp", info->first_s);
    json_number_or_null(out, "lastTimestamp", info->last_s);
    records_put_strings(out, "columns", info->columns, info->n_columns);
    if (metric) {
        json_put_key(out, "fields");
        buf_putc(out, '[');
        for (size_t i = 0; i < metric->n_fields; i++) {
            if (i)
                buf_putc(out, ',');
            json_field(out, &metric->fields[i]);
        }
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
}

/* `metrics`: NULL for tracks. */
static void json_series_list(struct buf *out, const char *key, const struct mld_series_list *list,
                             const struct metric *metrics)
{
    json_put_key(out, key);
    buf_putc(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buf_putc(out, ',');
        json_series(out, &list->series[i], metrics ? &metrics[i] : NULL);
    }
    buf_putc(out, ']');
}

static void json_logs(struct show *s)
{
    const struct mld_log_line *line;
    size_t count;
    json_put_key(&s->out, "logs");
    buf_putc(&s->out, '[');
    for (size_t i = 0; (line = show_log_line(s, i, &count)); i++) {
        buf_puts(&s->out, i ? ",{" : "{");
        json_put_key(&s->out, "sequenceNumber");
        json_put_int64(&s->out, line->sequence);
        json_text(&s->out, "timestamp", line->timestamp);
        json_text(&s->out, "level", line->level);
        json_put_key(&s->out, "message");
        json_put_string(&s->out, line->message, line->message_len);
        records_put_json(&s->out, "metadata", line->metadata_json);
        buf_putc(&s->out, '}');
    }
    buf_putc(&s->out, ']');
}

void show_put_json(struct show *s)
{
    buf_putc(&s->out, '{');
    json_put_key(&s->out, "experiment");
    records_put_experiment(&s->out, s->info);
    records_put_json(&s->out, "parameters", s->parameters);
    json_series_list(&s->out, "metrics", s->metrics, s->summaries);
    json_series_list(&s->out, "tracks", s->tracks, NULL);
    json_logs(s);
    records_put_files(&s->out, "files", s->files);
    buf_puts(&s->out, "}\n");
}

/* show_text.c: an experiment for people. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/records.h"
#include "cli/show.h"
#include "cli/target.h"

#define VALUE_MAX_BYTES 200 /* of one value; longer ones are cut */

/* Integers are shown whole, whatever their size. */
static bool is_integer(const char *json, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((json[i] < '0' || json[i] > '9') && json[i] != '-')
            return false;
    }
    return true;
}

/* A JSON value as people write it: text without quotes, numbers short. Long ones are cut. */
static void put_value(struct buf *out, const char *json, size_t len)
{
    struct json_doc doc;
    struct buf text;
    double number;
    json_doc_init(&doc);
    buf_init(&text, CLI_MAX_OUTPUT_BYTES);
    if (json_parse(&doc, json, len) != MLD_OK)
        buf_put(&text, json, len);
    else if (json_root(&doc)->type == JSON_STRING)
        json_decoded(&doc, json_root(&doc), &text);
    else if (!is_integer(json, len) && json_double(&doc, json_root(&doc), &number))
        text_put_number(&text, number);
    else
        json_put_compact(&text, json, len);
    bool cut = text.len > VALUE_MAX_BYTES;
    size_t shown = cut ? VALUE_MAX_BYTES : text.len;
    while (cut && shown && ((unsigned char)text.data[shown] & 0xC0) == 0x80)
        shown--;
    text_put_bytes(out, buf_text(&text), shown);
    if (cut)
        buf_puts(out, "…");
    buf_free(&text);
    json_doc_free(&doc);
}

static void put_heading(struct show *s, const char *title)
{
    buf_putc(&s->out, '\n');
    text_put_style(&s->out, s->colour, TEXT_BOLD, title);
}

/* "Title (12)\n" */
static void put_counted(struct show *s, const char *title, size_t count)
{
    put_heading(s, title);
    buf_puts(&s->out, " (");
    text_put_count(&s->out, count);
    buf_puts(&s->out, ")\n");
}

static void put_fact(struct show *s, const char *name, const char *value, enum text_style style)
{
    char padded[16];
    snprintf(padded, sizeof(padded), "  %-12s", name);
    text_put_style(&s->out, s->colour, TEXT_DIM, padded);
    text_put_style(&s->out, s->colour, style, value);
    buf_putc(&s->out, '\n');
}

/* A text that may come from anywhere; nothing for none. */
static void put_named(struct show *s, struct buf *cell, const char *name, const char *text,
                      enum text_style style)
{
    if (!text || !*text)
        return;
    buf_clear(cell);
    text_put(cell, text);
    put_fact(s, name, buf_text(cell), style);
}

static void put_tags(struct show *s, struct buf *cell, const char *name, const char *const *items,
                     size_t count)
{
    if (!count)
        return;
    buf_clear(cell);
    records_put_names(cell, items, count);
    put_fact(s, name, buf_text(cell), TEXT_CYAN);
}

static void put_time(struct show *s, struct buf *cell, const char *name, const char *iso)
{
    if (!iso)
        return;
    buf_clear(cell);
    text_put_time(cell, iso, true);
    double seconds = records_seconds(s->info);
    if (iso == s->info->started_at && seconds >= 0) {
        buf_puts(cell, s->info->ended_at ? ", took " : ", for ");
        text_put_duration(cell, seconds);
    }
    put_fact(s, name, buf_text(cell), TEXT_PLAIN);
}

static void put_head(struct show *s)
{
    const struct mld_experiment_info *info = s->info;
    struct buf cell, name;
    enum text_style style;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    buf_init(&name, CLI_MAX_OUTPUT_BYTES);
    target_put_name(&name, info);
    text_put(&cell, buf_text(&name));
    text_put_style(&s->out, s->colour, TEXT_BOLD, buf_text(&cell));
    buf_putc(&s->out, '\n');
    const char *status = records_status(info, &style);
    put_fact(s, "status", status, style);
    put_named(s, &cell, "error", info->error, TEXT_RED);
    put_time(s, &cell, "created", info->created_at);
    put_time(s, &cell, "started", info->started_at);
    put_time(s, &cell, "ended", info->ended_at);
    put_named(s, &cell, "folder", info->directory, TEXT_PLAIN);
    put_named(s, &cell, "description", info->description, TEXT_PLAIN);
    put_tags(s, &cell, "tags", info->tags, info->n_tags);
    put_tags(s, &cell, "bindrs", info->bindrs, info->n_bindrs);
    if (info->metadata_json) {
        buf_clear(&cell);
        put_value(&cell, info->metadata_json, strlen(info->metadata_json));
        put_fact(s, "metadata", buf_text(&cell), TEXT_PLAIN);
    }
    buf_free(&name);
    buf_free(&cell);
}

static enum mld_error put_parameters(struct show *s)
{
    struct json_doc doc;
    struct text_table table;
    struct buf cell, name;
    const struct json_node *key = NULL;
    json_doc_init(&doc);
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    buf_init(&name, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, NULL, 2);
    enum mld_error error = json_parse(&doc, s->parameters, strlen(s->parameters));
    while (error == MLD_OK && (key = json_next(&doc, json_root(&doc), key))) {
        size_t len;
        buf_clear(&name);
        json_decoded(&doc, key, &name);
        text_put_bytes(&cell, buf_text(&name), name.len);
        text_table_add(&table, &cell, TEXT_PLAIN);
        const char *raw = json_raw(&doc, json_value_of(&doc, key), &len);
        put_value(&cell, raw, len);
        text_table_add(&table, &cell, TEXT_BOLD);
    }
    if (table.count) {
        put_counted(s, "Parameters", table.count / 2);
        text_table_put(&s->out, &table, "  ", s->colour);
    }
    text_table_free(&table);
    buf_free(&name);
    buf_free(&cell);
    json_doc_free(&doc);
    return error;
}

static void put_limit(struct buf *cell, double value)
{
    if (!isnan(value))
        text_put_number(cell, value);
}

/* A row per field; the metric's name and count stand in its first row. */
static void add_metric(struct text_table *table, struct buf *cell,
                       const struct mld_series_info *info, const struct metric *metric)
{
    for (size_t i = 0; i < metric->n_fields; i++) {
        const struct metric_field *field = &metric->fields[i];
        double trend[METRIC_TREND];
        if (i == 0)
            text_put(cell, info->name ? info->name : "(unnamed)");
        text_table_add(table, cell, TEXT_PLAIN);
        text_put(cell, field->name);
        text_table_add(table, cell, TEXT_PLAIN);
        if (i == 0)
            text_put_count(cell, (uint64_t)info->total);
        text_table_add(table, cell, TEXT_DIM);
        if (field->last)
            put_value(cell, field->last, strlen(field->last));
        text_table_add(table, cell, TEXT_BOLD);
        put_limit(cell, field->low);
        text_table_add(table, cell, TEXT_PLAIN);
        put_limit(cell, field->high);
        text_table_add(table, cell, TEXT_PLAIN);
        metric_trend(metric, field, trend);
        if (!isnan(field->low))
            text_put_sparkline(cell, trend, metric->n_trend);
        text_table_add(table, cell, TEXT_CYAN);
    }
}

static void put_metrics(struct show *s)
{
    static const char *const headers[] = {"NAME", "FIELD", ">POINTS", ">LAST",
                                          ">LOW", ">HIGH", "TREND"};
    struct text_table table;
    struct buf cell;
    if (!s->metrics->count)
        return;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, headers, sizeof(headers) / sizeof(headers[0]));
    for (size_t i = 0; i < s->metrics->count; i++)
        add_metric(&table, &cell, &s->metrics->series[i], &s->summaries[i]);
    put_counted(s, "Metrics", s->metrics->count);
    text_table_put(&s->out, &table, "  ", s->colour);
    text_table_free(&table);
    buf_free(&cell);
}

static void put_tracks(struct show *s)
{
    static const char *const headers[] = {"TOPIC", ">ENTRIES", ">SPAN", "FIELDS"};
    struct text_table table;
    struct buf cell;
    if (!s->tracks->count)
        return;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, headers, sizeof(headers) / sizeof(headers[0]));
    for (size_t i = 0; i < s->tracks->count; i++) {
        const struct mld_series_info *info = &s->tracks->series[i];
        text_put(&cell, info->name ? info->name : "(unnamed)");
        text_table_add(&table, &cell, TEXT_PLAIN);
        text_put_count(&cell, (uint64_t)info->total);
        text_table_add(&table, &cell, TEXT_PLAIN);
        if (info->last_s >= info->first_s)
            text_put_duration(&cell, info->last_s - info->first_s);
        text_table_add(&table, &cell, TEXT_PLAIN);
        records_put_names(&cell, info->columns, info->n_columns);
        text_table_add(&table, &cell, TEXT_DIM);
    }
    put_counted(s, "Tracks", s->tracks->count);
    text_table_put(&s->out, &table, "  ", s->colour);
    text_table_free(&table);
    buf_free(&cell);
}

static enum text_style level_style(const char *level)
{
    if (strcmp(level, "error") == 0 || strcmp(level, "fatal") == 0)
        return TEXT_RED;
    if (strcmp(level, "warn") == 0)
        return TEXT_YELLOW;
    return TEXT_DIM;
}

static void put_logs(struct show *s)
{
    struct text_table table;
    struct buf cell;
    size_t count;
    const struct mld_log_line *line;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, NULL, 3);
    for (size_t i = 0; (line = show_log_line(s, i, &count)); i++) {
        text_put_time(&cell, line->timestamp, true);
        text_table_add(&table, &cell, TEXT_DIM);
        text_put(&cell, line->level);
        text_table_add(&table, &cell, level_style(line->level));
        text_put_bytes(&cell, line->message, line->message_len);
        text_table_add(&table, &cell, TEXT_PLAIN);
    }
    if (count) {
        put_heading(s, "Logs");
        buf_printf(&s->out, " (the last %zu)\n", count);
        text_table_put(&s->out, &table, "  ", s->colour);
    }
    text_table_free(&table);
    buf_free(&cell);
}

static void put_files(struct show *s)
{
    size_t count = s->files->count;
    size_t first = count > s->n_files ? count - s->n_files : 0;
    if (!count)
        return;
    put_heading(s, "Files");
    buf_puts(&s->out, " (");
    text_put_count(&s->out, count);
    buf_puts(&s->out, ", ");
    text_put_size(&s->out, s->info->file_bytes);
    if (first)
        buf_printf(&s->out, "; the last %zu, `ml-dash list` shows all", count - first);
    buf_puts(&s->out, ")\n");
    if (first < count)
        records_put_table(&s->out, s->files, first, "  ", s->colour);
}

enum mld_error show_put_text(struct show *s)
{
    put_head(s);
    enum mld_error error = put_parameters(s);
    if (error != MLD_OK)
        return error;
    put_metrics(s);
    put_tracks(s);
    put_logs(s);
    put_files(s);
    return MLD_OK;
}

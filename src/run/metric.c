#include "run/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"

#define POINTS_AT_ONCE 100000

struct reading {
    struct metric *metric;
    const struct mld_series_info *info;
    struct json_doc doc;
};

static bool keep_last(struct metric_field *field, const char *raw, size_t len)
{
    char *copy = realloc(field->last, len + 1);
    if (!copy)
        return false;
    memcpy(copy, raw, len);
    copy[len] = '\0';
    field->last = copy;
    return true;
}

/* Looks first where the previous field was found: points mostly have the same fields in order. */
static struct metric_field *find_field(const struct metric *metric, const struct json_doc *doc,
                                       const struct json_node *key, size_t *hint)
{
    for (size_t i = 0; i < metric->n_fields; i++) {
        size_t at = (*hint + i) % metric->n_fields;
        if (json_equals(doc, key, metric->fields[at].name)) {
            *hint = at + 1;
            return &metric->fields[at];
        }
    }
    return NULL;
}

static void add_number(struct metric_field *field, double value, size_t part)
{
    if (!isfinite(value))
        return;
    field->low = fmin(field->low, value); /* NaN is ignored by fmin */
    field->high = fmax(field->high, value);
    field->sums[part] += value;
    field->counts[part]++;
}

static enum mld_error add_point(struct reading *r, const struct mld_point *point)
{
    size_t hint = 0;
    enum mld_error error = json_parse(&r->doc, point->data_json, point->data_len);
    if (error != MLD_OK)
        return error;
    const struct json_node *root = json_root(&r->doc), *key = NULL;
    size_t part =
        (size_t)((double)point->index / (double)r->info->total * (double)r->metric->n_trend);
    if (part >= r->metric->n_trend)
        part = r->metric->n_trend - 1;
    while ((key = json_next(&r->doc, root, key))) {
        struct metric_field *field = find_field(r->metric, &r->doc, key, &hint);
        const struct json_node *value = json_value_of(&r->doc, key);
        double number;
        size_t len;
        if (!field)
            continue;
        if (json_double(&r->doc, value, &number))
            add_number(field, number, part);
        const char *raw = json_raw(&r->doc, value, &len);
        if (!keep_last(field, raw, len))
            return error_set(MLD_ENOMEM, "out of memory for what a metric comes to");
    }
    return MLD_OK;
}

static enum mld_error add_points(struct reading *r, const struct mld_points *points)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < points->count && error == MLD_OK; i++)
        error = add_point(r, &points->points[i]);
    return error;
}

static enum mld_error init_fields(struct metric *metric, const struct mld_series_info *info)
{
    metric->fields = calloc(info->n_columns + 1, sizeof(*metric->fields));
    if (!metric->fields)
        return error_set(MLD_ENOMEM, "out of memory for what a metric comes to");
    for (size_t i = 0; i < info->n_columns; i++) {
        if (strcmp(info->columns[i], "_ts") == 0)
            continue;
        struct metric_field *field = &metric->fields[metric->n_fields++];
        field->name = info->columns[i];
        field->low = field->high = NAN;
    }
    metric->n_trend = info->total < METRIC_TREND ? (size_t)info->total : METRIC_TREND;
    return MLD_OK;
}

enum mld_error metric_read(struct metric *out, mld_experiment *experiment,
                           const struct mld_series_info *info)
{
    struct reading r = {out, info, {0}};
    mld_series *series = NULL;
    memset(out, 0, sizeof(*out));
    json_doc_init(&r.doc);
    enum mld_error error = init_fields(out, info);
    if (error == MLD_OK)
        error = mld_series_open(&series, experiment, info->kind, info->name, NULL);
    bool more = out->n_trend > 0 && out->n_fields > 0;
    for (int64_t start = 0; error == MLD_OK && more;) {
        struct mld_points *points = NULL;
        error = mld_series_read(&points, series, start, POINTS_AT_ONCE);
        if (error != MLD_OK)
            break;
        error = add_points(&r, points);
        start += (int64_t)points->count;
        more = points->has_more && points->count > 0;
        mld_points_free(points);
    }
    json_doc_free(&r.doc);
    return error;
}

void metric_trend(const struct metric *metric, const struct metric_field *field,
                  double out[METRIC_TREND])
{
    for (size_t i = 0; i < metric->n_trend; i++)
        out[i] = field->counts[i] ? field->sums[i] / (double)field->counts[i] : NAN;
}

double metric_mean(const struct metric_field *field)
{
    double sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < METRIC_TREND; i++) {
        sum += field->sums[i];
        count += field->counts[i];
    }
    return count ? sum / (double)count : NAN;
}

void metric_free(struct metric *metric)
{
    for (size_t i = 0; i < metric->n_fields; i++)
        free(metric->fields[i].last);
    free(metric->fields);
    memset(metric, 0, sizeof(*metric));
}

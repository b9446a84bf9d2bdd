#include "run/series_line.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "run/fields.h"

#define TRACK_TIME "timestamp"
#define METRIC_TIME "_ts"

/* Now, but later than any that was given out: a track's entries of equal time are merged. */
static double fresh_time(void)
{
    static _Atomic int64_t last_us;
    int64_t last = atomic_load(&last_us);
    int64_t now;

    do {
        now = clock_now_us();
        if (now <= last)
            now = last + 1;
    } while (!atomic_compare_exchange_weak(&last_us, &last, now));
    return (double)now / 1e6;
}

static enum mld_error put_metric_data(struct buf *out, struct json_doc *doc,
                                      const struct mld_field *fields, size_t n_fields,
                                      double time_s)
{
    buf_putc(out, '{');
    enum mld_error error = fields_put(out, doc, FIELDS_AS_GIVEN, fields, n_fields);
    if (error != MLD_OK)
        return error;
    if (!isnan(time_s)) {
        json_put_key(out, METRIC_TIME);
        json_put_double(out, time_s);
    }
    buf_putc(out, '}');
    return MLD_OK;
}

static enum mld_error put_entry(struct buf *out, struct json_doc *doc,
                                const struct mld_field *fields, size_t n_fields, double time_s)
{
    for (size_t i = 0; fields != NULL && i < n_fields; i++) {
        if (fields[i].name != NULL && strcmp(fields[i].name, TRACK_TIME) == 0)
            return error_set(MLD_EINVALID, "field \"" TRACK_TIME "\": a track's entry has its time "
                                           "there; give it as the time or choose another name");
    }
    buf_puts(out, "{\"" TRACK_TIME "\":");
    json_put_double(out, isnan(time_s) ? fresh_time() : time_s);
    enum mld_error error = fields_put(out, doc, FIELDS_FLAT, fields, n_fields);
    buf_puts(out, "}\n");
    return error;
}

enum mld_error series_line_put_data(struct buf *out, struct json_doc *doc,
                                    enum mld_series_kind kind, const struct mld_field *fields,
                                    size_t n_fields, double time_s)
{
    if (isinf(time_s))
        return error_set(MLD_EINVALID, "the time of a point must be finite, in seconds");
    if (kind == MLD_METRIC)
        return put_metric_data(out, doc, fields, n_fields, time_s);
    return put_entry(out, doc, fields, n_fields, time_s);
}

void series_line_begin(struct buf *out, int64_t index)
{
    static const char head[] = "{\"index\":";
    static const char data[] = ",\"data\":";

    buf_put(out, head, sizeof(head) - 1);
    json_put_int64(out, index);
    buf_put(out, data, sizeof(data) - 1);
}

void series_line_end(struct buf *out, const char *created)
{
    static const char key[] = ",\"createdAt\":\"";

    buf_put(out, key, sizeof(key) - 1);
    buf_put(out, created, CLOCK_ISO_LEN);
    buf_put(out, "\"}\n", 3);
}

static const struct json_node *of_type(const struct json_node *node, enum json_type type)
{
    return node != NULL && node->type == type ? node : NULL;
}

bool series_line_read(const struct json_doc *doc, enum mld_series_kind kind,
                      struct series_line *out)
{
    const struct json_node *root = of_type(json_root(doc), JSON_OBJECT);
    double time_s;

    *out = (struct series_line){0};
    if (kind == MLD_TRACK) {
        out->data = root;
        out->stamp = json_get(doc, root, TRACK_TIME);
        return json_double(doc, out->stamp, &time_s) && !isnan(time_s);
    }
    out->data = of_type(json_get(doc, root, "data"), JSON_OBJECT);
    out->created = of_type(json_get(doc, root, "createdAt"), JSON_STRING);
    out->stamp = json_get(doc, out->data, METRIC_TIME);
    if (out->stamp == NULL && out->created == NULL)
        out->stamp = json_get(doc, root, TRACK_TIME); /* flat files of old clients */
    return out->data != NULL;
}

static int64_t parse_iso(const struct json_doc *doc, const struct json_node *text)
{
    if (of_type(text, JSON_STRING) == NULL)
        return -1;
    return clock_parse_iso(doc->text + text->start, text->len);
}

double series_line_time(const struct json_doc *doc, const struct series_line *line)
{
    double time_s;

    if (json_double(doc, line->stamp, &time_s) && !isnan(time_s))
        return time_s;
    int64_t us = parse_iso(doc, line->created != NULL ? line->created : line->stamp);
    return us < 0 ? (double)NAN : (double)us / 1e6;
}

int64_t series_line_created(const struct json_doc *doc, const struct series_line *line)
{
    int64_t us = parse_iso(doc, line->created);

    return us >= 0 ? us : parse_iso(doc, line->stamp);
}

bool series_line_is_time(const struct json_doc *doc, enum mld_series_kind kind,
                         const struct json_node *key)
{
    return json_equals(doc, key, kind == MLD_TRACK ? TRACK_TIME : METRIC_TIME);
}

/* series_line.h: one line of a metric or a track: how it is written, and what a parsed one says. */
#ifndef RUN_SERIES_LINE_H
#define RUN_SERIES_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "mldash/series.h"

/* Appends what the caller gave: a metric's `{...}` for "data" (with `_ts` unless time_s is NaN), a
 * track's whole line. A track's time of NaN becomes now, and never the same now twice. MLD_EINVALID
 * names the field; `out` may hold a part then. */
enum mld_error series_line_put_data(struct buf *out, struct json_doc *doc,
                                    enum mld_series_kind kind, const struct mld_field *fields,
                                    size_t n_fields, double time_s);
/* A metric's line around its data. `created`: as of clock_format_iso. */
void series_line_begin(struct buf *out, int64_t index);
void series_line_end(struct buf *out, const char *created);

struct series_line {
    const struct json_node *data;    /* the object that has the fields; tracks: the whole line */
    const struct json_node *created; /* `createdAt`; NULL: none */
    const struct json_node *stamp;   /* `_ts` or `timestamp`; NULL: none */
};
/* False when the parsed line is none of a series of this kind. */
bool series_line_read(const struct json_doc *doc, enum mld_series_kind kind,
                      struct series_line *out);
/* Its time in seconds; NaN when it has none. */
double series_line_time(const struct json_doc *doc, const struct series_line *line);
/* `createdAt` in microseconds since the epoch; -1 when there is none. */
int64_t series_line_created(const struct json_doc *doc, const struct series_line *line);
/* True for the members that are no fields: `_ts` of a metric, `timestamp` of a track. */
bool series_line_is_time(const struct json_doc *doc, enum mld_series_kind kind,
                         const struct json_node *key);

#endif

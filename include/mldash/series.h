/* mldash/series.h: metrics (points in order) and tracks (entries with a time of their own).
 *
 * A call that appends has written its line when it returns: a kill -9 loses nothing. A metric's
 * point keeps its fields as given. A track's entries are read sorted by time, entries of equal time
 * merged.
 */
#ifndef MLDASH_SERIES_H
#define MLDASH_SERIES_H

#include "mldash/experiment.h"
#include "mldash/value.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mld_series mld_series;

enum mld_series_kind { MLD_METRIC, MLD_TRACK };

struct mld_series_options {
    unsigned version;        /* MLD_SERIES_OPTIONS_VERSION */
    const char *description; /* these are kept from the first call that gives them */
    const char *const *tags;
    size_t n_tags;
    const char *metadata_json;
};
#define MLD_SERIES_OPTIONS_VERSION 1
#define MLD_SERIES_OPTIONS_INIT MLD_INIT(MLD_SERIES_OPTIONS_VERSION)

/* The series of this name; nothing is written before the first append. `name` may have "/"; NULL is
 * the unnamed metric. *out is borrowed from the experiment and valid until its close; the same name
 * gives the same handle. NULL options: none. */
MLD_API enum mld_error mld_series_open(mld_series **out, mld_experiment *experiment,
                                       enum mld_series_kind kind, const char *name,
                                       const struct mld_series_options *options);

/* Appends one point or entry. `time_s`: seconds since the epoch, kept as `_ts` (metrics) or
 * `timestamp` (tracks); NaN means now (a metric's point then has no `_ts`, only its createdAt).
 * *out_index (NULL: not wanted) is its index in this writer's shard. */
MLD_API enum mld_error mld_series_append(mld_series *series, const struct mld_field *fields,
                                         size_t n_fields, double time_s, int64_t *out_index);

/* Many at once: collected in memory, then written together. All or nothing. Not for two threads at
 * once. */
typedef struct mld_batch mld_batch;
MLD_API enum mld_error mld_batch_new(mld_batch **out, mld_series *series);
MLD_API enum mld_error mld_batch_add(mld_batch *batch, const struct mld_field *fields,
                                     size_t n_fields, double time_s);
/* Indexes of the first and last point; both -1 for an empty batch. The batch is empty again
 * afterwards. */
MLD_API enum mld_error mld_batch_commit(mld_batch *batch, int64_t *out_first, int64_t *out_last);
MLD_API void mld_batch_free(mld_batch *batch);

struct mld_point {
    int64_t index; /* its position in the merged order; tracks: in order of time */
    double time_s; /* `_ts` or `timestamp`, else from createdAt; NaN when there is neither */
    const char *created_at; /* NULL: tracks have none */
    const char *data_json;  /* a JSON object: the fields (tracks: without timestamp) */
    size_t data_len;
};
struct mld_points {
    size_t count;
    const struct mld_point *points;
    int64_t total; /* points in the series now */
    bool has_more; /* behind the last one read */
};
/* Points [start, start + limit) by index; limit 0: all. A negative start counts from the end. Free
 * with mld_points_free. */
MLD_API enum mld_error mld_series_read(struct mld_points **out, mld_series *series, int64_t start,
                                       size_t limit);
/* Points with start_s <= time <= end_s (NaN: open end), in order of time. */
MLD_API enum mld_error mld_series_slice(struct mld_points **out, mld_series *series, double start_s,
                                        double end_s);
MLD_API void mld_points_free(struct mld_points *points);

/* A snapshot of one series. */
struct mld_series_info {
    enum mld_series_kind kind;
    const char *name;        /* NULL: the unnamed metric */
    const char *description; /* NULL: none */
    const char *const *tags;
    size_t n_tags;
    const char *metadata_json; /* NULL: none */
    int64_t total;
    uint64_t bytes;
    const char *created_at;     /* NULL: nothing yet */
    const char *updated_at;     /* of the last point */
    double first_s, last_s;     /* times; NaN when empty */
    const char *const *columns; /* field names in alphabetical order */
    size_t n_columns;
};
struct mld_series_list {
    size_t count;
    const struct mld_series_info *series; /* by name */
};
MLD_API enum mld_error mld_series_stats(struct mld_series_list **out_one, mld_series *series);
MLD_API enum mld_error mld_series_list(struct mld_series_list **out, mld_experiment *experiment,
                                       enum mld_series_kind kind);
MLD_API void mld_series_list_free(struct mld_series_list *list);

#ifdef __cplusplus
}
#endif
#endif

/* metric.h: what a metric's points come to: per field the last value, the range, and a trend for a
 * sparkline. Reads the points piece by piece, so that a long metric needs little memory. */
#ifndef RUN_METRIC_H
#define RUN_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "mldash/series.h"

#define METRIC_TREND 24 /* most values of a trend */

struct metric_field {
    const char *name; /* borrowed from the series' info */
    char *last;       /* JSON text of the last value; NULL: none */
    double low, high; /* of finite values; NaN when there is none */
    double sums[METRIC_TREND];
    uint64_t counts[METRIC_TREND];
};
struct metric {
    struct metric_field *fields;
    size_t n_fields;
    size_t n_trend;
};

/* `info` must outlive the metric. metric_free it in either case. */
enum mld_error metric_read(struct metric *out, mld_experiment *experiment,
                           const struct mld_series_info *info);
/* The means of even parts of the series, n_trend of them; NaN where a part has no number. */
void metric_trend(const struct metric *metric, const struct metric_field *field,
                  double out[METRIC_TREND]);
/* The mean of all finite values; NaN when there is none. */
double metric_mean(const struct metric_field *field);
void metric_free(struct metric *metric);

#endif

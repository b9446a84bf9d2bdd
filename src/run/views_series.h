/* views_series.h: metadata.json of metrics and tracks, and the next number of the logs: what the
 * published clients need to read what we appended and to go on behind it. */
#ifndef RUN_VIEWS_SERIES_H
#define RUN_VIEWS_SERIES_H

#include "run/run.h"

/* Writes those that are missing or older than the lines they tell about. Only the plain shards
 * (data.jsonl, logs.jsonl) count: other tools see no others. Needs the run's lock. */
enum mld_error views_write_series(struct run *run);

#endif

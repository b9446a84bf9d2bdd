/* compact.h: records shards without the records that no longer matter. */
#ifndef RUN_COMPACT_H
#define RUN_COMPACT_H

#include "run/run.h"

/* For each slot whose writer is gone, and for this writer's own: when that saves at least half of
 * its records and 1 MB, what still matters is written to a new shard, made durable, and the old
 * shards go. With the run's lock, all records read. Adds what was freed to *bytes_freed. */
enum mld_error compact_records(struct run *run, uint64_t *bytes_freed);

#endif

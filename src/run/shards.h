/* shards.h: cursors over the records shards of a run; reading itself is run_refresh (run.h). */
#ifndef RUN_SHARDS_H
#define RUN_SHARDS_H

#include "run/run.h"

/* The cursor of a shard, made when missing. */
enum mld_error shards_cursor(struct run *run, struct shard_cursor **out, const char *name,
                             unsigned slot);
void shards_free(struct run *run);

#endif

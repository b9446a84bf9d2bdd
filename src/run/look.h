/* look.h: a look at the streams when a folder is opened, so that a line lost to a crash or a bad
 * disk is told at once and not only by verify. */
#ifndef RUN_LOOK_H
#define RUN_LOOK_H

#include "run/run.h"

/* Adds what is torn, garbled, missing or not as it was marked to the state's problems: of metrics,
 * tracks and logs, their marked bytes by CRC-32C and the lines after the mark; of records (whose
 * lines are all read anyway), length and tail. It costs at most LOOK_MAX_FILES files,
 * LOOK_MAX_MARKED_BYTES hashed and LOOK_MAX_LINE_BYTES of lines parsed, an eighth of each on
 * a file system that machines share; what lies beyond is left to verify. With the run's lock, all
 * records read and the shards of other tools found. Only MLD_ENOMEM. */
#define LOOK_MAX_FILES 2048
#define LOOK_MAX_MARKED_BYTES (64u << 20)
#define LOOK_MAX_LINE_BYTES (8u << 20)
#define LOOK_MAX_SHARD_LINE_BYTES (1u << 20) /* of one shard: its end */
#define LOOK_MAX_GARBLED 64                  /* lines told of */
enum mld_error look_at_streams(struct run *run);

#endif

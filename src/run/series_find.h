/* series_find.h: which metrics and tracks a folder has: those that records name, and those that
 * other tools wrote. All needs the run's lock. */
#ifndef RUN_SERIES_FIND_H
#define RUN_SERIES_FIND_H

#include "run/run.h"

/* "metrics" or "tracks". */
const char *series_kind_dir(enum mld_series_kind kind);
/* Adds every series and shard of this kind that lies in the folder but in no record. */
enum mld_error series_discover(struct run *run, enum mld_series_kind kind);
/* The series of this name, with the shards of other tools in its directory; NULL: there is none
 * yet. */
enum mld_error series_find(struct series_entry **out, struct run *run, enum mld_series_kind kind,
                           const char *name);
/* Parses {dir}/metadata.json into `doc`, whose text is in `text` (an empty buffer with a maximum).
 * False when there is none or it does not read. */
bool series_read_metadata(const struct run *run, const char *dir, struct buf *text,
                          struct json_doc *doc);

#endif

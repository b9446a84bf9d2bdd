/* foreign.h: what other tools (the published clients) wrote into the folder: files, parameters,
 * metrics, tracks, logs without records. */
#ifndef RUN_FOREIGN_H
#define RUN_FOREIGN_H

#include "run/run.h"

/* Both need the run's lock. */

/* Merges views that differ from what this library last wrote into the state, and adds shards
 * without record. A writer then records the difference and writes the view anew; a reader only
 * shows it. A view that does not read is a problem (MLD_PROBLEM_VIEW), not an error. Called at
 * open, before the run is shared. */
enum mld_error foreign_merge(struct run *run);

enum foreign_news {
    FOREIGN_NOTHING,
    FOREIGN_TAKEN,
    FOREIGN_UNREADABLE /* there are bytes, but they are no view */
};
/* One view, `file` as in views.h; the caller holds its lock. */
enum mld_error foreign_take(struct run *run, const char *file, enum foreign_news *out);

#endif

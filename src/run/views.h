/* views.h: the files that other tools read, made from the state (docs/run-folder.md, "Views"). */
#ifndef RUN_VIEWS_H
#define RUN_VIEWS_H

#include "run/run.h"

#define VIEW_EXPERIMENT "experiment.json"
#define VIEW_PARAMETERS "parameters.json"
#define VIEW_FILES "files/.files_metadata.json"
#define VIEW_MAX_BYTES (1u << 30)

/* All need the run's lock. */

/* Writes every view whose content changed, atomically, and a `view` record for each of the three
 * above. What other tools changed meanwhile is taken in before. `status`: what experiment.json
 * shall say. */
enum mld_error views_write(struct run *run, enum mld_status status);

/* Only experiment.json: at open, so that other tools find the folder. */
enum mld_error views_write_experiment(struct run *run, enum mld_status status);

/* Only this one of the three, and nothing is taken in; the caller holds its lock. */
enum mld_error views_write_one(struct run *run, const char *file, enum mld_status status);

/* The lock that the published clients take for this view, where they left a lock file: waits for it
 * a second at most. -1: not to be had, which is no reason to give up. The caller closes it. */
int views_lock(const struct run *run, const char *file);
/* A view as this library wrote it last; NULL: never. */
const struct view_entry *views_known(const struct run *run, const char *file);

#endif

/* views.h: the files that other tools read, made from the state (docs/run-folder.md, "Views"). */
#ifndef RUN_VIEWS_H
#define RUN_VIEWS_H

#include "run/run.h"

/* Writes every view whose content changed, atomically, and a `view` record for each. With the run's
 * lock held. `status`: what experiment.json shall say. */
enum mld_error views_write(struct run *run, enum mld_status status);

/* Only experiment.json: at open, so that other tools find the folder. */
enum mld_error views_write_experiment(struct run *run, enum mld_status status);

#endif

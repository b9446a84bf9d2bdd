/* recover.h: after another boot without a clean end, what lies past the mark is checked against its
 * bytes. */
#ifndef RUN_RECOVER_H
#define RUN_RECOVER_H

#include "run/run.h"

/* Called by a writer at open, once all records are read. Writes `damaged` records for files whose
 * size or SHA-256 is wrong or whose bytes are missing, and `checked` for what was looked at.
 * Problems are in the state afterwards; only I/O that prevents the check is an error. */
enum mld_error recover_after_boot(struct run *run);

#endif

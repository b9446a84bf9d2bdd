/* file_find.h: from an id, or a name and an alias, to a file's entry. All need the run's lock; the
 * entry is valid as long as the run. */
#ifndef RUN_FILE_FIND_H
#define RUN_FILE_FIND_H

#include "run/run.h"

/* MLD_ENOTFOUND: no such id, or its bytes were collected; MLD_ESUPERSEDED: they went for a newer
 * version, which the message names. Deleted files are found. */
enum mld_error file_find_by_id(struct run *run, struct file_entry **out, const char *id);
/* The newest version, or the one with `alias` (NULL or "latest": the newest). MLD_ENAME,
 * MLD_ENOTFOUND. */
enum mld_error file_find_by_name(struct run *run, struct file_entry **out, const char *prefix,
                                 const char *filename, const char *alias);

#endif

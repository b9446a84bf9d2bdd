/* file_snapshot.h: from a file's entry to the record that users get. All need the run's lock. */
#ifndef RUN_FILE_SNAPSHOT_H
#define RUN_FILE_SNAPSHOT_H

#include "mldash/file.h"
#include "run/state.h"

/* Fills *out; every string is copied into the arena. */
enum mld_error file_snapshot_fill(struct mld_file *out, const struct file_entry *f,
                                  struct arena *arena);
/* An own snapshot, for mld_file_free. */
enum mld_error file_snapshot_new(struct mld_file **out, const struct file_entry *f);

#endif

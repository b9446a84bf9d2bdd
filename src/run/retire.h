/* retire.h: replaced versions go once their successor is durable (docs/run-folder.md, "Bytes"). */
#ifndef RUN_RETIRE_H
#define RUN_RETIRE_H

#include "run/run.h"

/* A name whose newest version is durable, and how many versions stay. */
struct retire_item {
    const struct file_entry *newest;
    int keep;
};

/* Retires versions that this writer saved itself, unless they have an alias. Takes the run's lock
 * where it needs it; call without. */
enum mld_error retire_versions(struct run *run, const struct retire_item *items, size_t count);
/* Unlinks the bytes of a version and its directory; best effort: what stays is found by gc. */
void retire_remove_bytes(struct run *run, const struct file_entry *f);

#endif

/* retire.h: the bytes of replaced versions go, once the newer one is durable (docs/run-folder.md,
 * "Bytes"). */
#ifndef RUN_RETIRE_H
#define RUN_RETIRE_H

#include "run/run.h"

struct retire_item {
    const struct file_entry *newest; /* durable */
    int keep;                        /* >= 1: versions that stay, it included */
};

/* Retires what is asked for: only versions that this writer saved, without alias, not
 * deleted. Without the run's lock; blocks on fsync. What fails stays for gc. */
void retire_versions(struct run *run, const struct retire_item *items, size_t n);

#endif

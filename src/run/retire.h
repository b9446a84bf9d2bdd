/* retire.h: the bytes of replaced versions go, once the newer one is durable (docs/run-folder.md,
 * "Bytes"). */
#ifndef RUN_RETIRE_H
#define RUN_RETIRE_H

#include "run/run.h"

struct retire_item {
    const struct file_entry *newest; /* durable */
    int keep;                        /* >= 1: versions that stay, it included */
    bool thorough;                   /* look also at those older than what a former round retired */
};

/* Retires what is asked for: only versions that this writer saved, or (not on a file system that
 * machines share) one that is certainly gone; without alias, not deleted. Without the run's lock;
 * blocks on fsync. What fails stays for gc. */
void retire_versions(struct run *run, const struct retire_item *items, size_t n);
/* Asks the keeper again for all names whose newest version this writer saved: others may have ended
 * since. With the run's lock, all records read. */
void retire_ask_again(struct run *run);

/* One process at a time retires or collects what it did not save itself (retire.c says why): a
 * flock on format.json. *out_fd is -1, and the result MLD_OK, when another has it. */
enum mld_error retire_guard_try(int *out_fd, const struct run *run);
void retire_guard_release(int fd); /* -1 is fine */

#endif

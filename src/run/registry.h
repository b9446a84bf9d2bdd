/* registry.h: the run folders that this process has open, by device and inode, and what fork() does
 * to them. The one global state of the library. */
#ifndef RUN_REGISTRY_H
#define RUN_REGISTRY_H

#include "run/run.h"

/* run.c, for registry.c: opens without looking at the registry (`dir_fd` moves in); frees; drops
 * what a child inherited. */
enum mld_error run_open(struct run **out, const char *dir, int dir_fd, enum run_purpose purpose);
void run_free(struct run *run, bool clean);
void run_forget_after_fork(struct run *run);

/* After the writer's end: later opens of the folder get a new run; handles to this one can still
 * read. */
void registry_forget(struct run *run);

#endif

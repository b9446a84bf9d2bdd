/* entries.h: directory entries that are known to survive power loss, so that each directory above
 * a new file is fsynced only until its own entry is safe. Thread-safe. */
#ifndef RUN_ENTRIES_H
#define RUN_ENTRIES_H

#include <pthread.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"

struct entries {
    pthread_mutex_t lock; /* guards known and arena */
    struct map known;     /* paths below the run folder; "." is the folder itself */
    struct arena arena;
    int dir_fd;      /* the run folder; borrowed */
    const char *dir; /* its absolute path; borrowed */
};

void entries_init(struct entries *e, int dir_fd, const char *dir);
void entries_free(struct entries *e);
/* Makes the entry of `path` durable by fsync of its directory, then those of its directories, up to
 * the first that is known. Blocks. MLD_ENOTFOUND when a directory is gone. */
enum mld_error entries_sync(struct entries *e, const char *path);

#endif

/* keeper_batch.h: what waits to become durable, and one round of making it so. For keeper.c. */
#ifndef RUN_KEEPER_BATCH_H
#define RUN_KEEPER_BATCH_H

#include "run/entries.h"
#include "run/keeper.h"
#include "run/mark.h"
#include "run/retire.h"
#include "run/run.h"

struct waiting_file {
    int fd; /* -1: to be opened by its path */
    char *path;
};

struct batch {
    struct waiting_file files[KEEPER_MAX_FDS];
    size_t n_files;
    bool everything;        /* more than that: one syncfs for all */
    struct stream *streams; /* listed ones, by next_dirty */
    struct retire_item *retires;
    size_t n_retires, retires_capacity;
};

/* A stream as it was when the round began. */
struct stream_goal {
    struct stream *stream;
    int fd; /* -1: covered by syncfs */
    off_t length;
    uint32_t crc;
    struct error_copy failure; /* of its fsync */
};

/* Adds a file; `fd` moves in. */
void batch_add_file(struct batch *b, int fd, const char *path);
/* Closes the descriptors and frees. */
void batch_free(struct batch *b);

/* One round, in three steps. batch_begin needs the run's lock: *out (n of them, malloc) is where
 * each stream of the batch stands now; they are no longer listed. */
enum mld_error batch_begin(struct stream_goal **out, size_t *out_n, struct batch *b,
                           struct run *run);
/* fsync of files, their directories, then streams; without locks. Failures of streams are in their
 * goals; the result is the first failure of files, whose `unsafe` record names *out_failed. */
enum mld_error batch_sync(struct batch *b, struct stream_goal *goals, size_t n, struct run *run,
                          struct entries *entries, const char **out_failed);

#endif

/* keeper.h: the background thread that makes things durable: data first, then the streams, then the
 * mark; then it retires replaced versions. The thread exists only while something is not durable.
 *
 * At most KEEPER_MAX_FDS descriptors wait. Beyond that one syncfs makes the batch durable. A failed
 * fsync is never tried again: it is recorded (`unsafe`), the streams concerned are given up for new
 * shards, and the next call, flush and end report it. */
#ifndef RUN_KEEPER_H
#define RUN_KEEPER_H

#include "base/error.h"

#define KEEPER_MAX_FDS 64
#define KEEPER_DELAY_MS 1000 /* between the first write of a batch and its fsync */

struct run;
struct stream;
struct file_entry;
struct keeper;

enum mld_error keeper_new(struct keeper **out, struct run *run);

/* The next three are called with the run's lock held, and are quick.
 * keeper_add_file: bytes were written to `path` (relative to the run folder). `fd` (open on them)
 * moves to the keeper. */
void keeper_add_file(struct keeper *k, int fd, const char *path);
/* keeper_add_stream: lines were appended. */
void keeper_add_stream(struct keeper *k, struct stream *stream);
/* keeper_add_retire: once all added so far is durable, versions of this name beyond `keep` go. */
void keeper_add_retire(struct keeper *k, const struct file_entry *newest, int keep);

/* Returns when all that was added before the call is durable and retired, or reports what failed.
 * Without the run's lock. Blocks. */
enum mld_error keeper_flush(struct keeper *k);
/* The failure that no call has reported yet: sets the thread's error and returns its code, once.
 * Never blocks on I/O. */
enum mld_error keeper_take_failure(struct keeper *k);
/* Ends the thread (waiting for its fsync) and frees. Without the run's lock. */
void keeper_free(struct keeper *k);

#endif

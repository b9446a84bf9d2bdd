/* keeper.h: makes things durable in the background: file bytes first, then streams, then the mark;
 * then it retires replaced versions. Its thread exists only while something is not durable.
 *
 * At most KEEPER_MAX_FDS files or streams are made durable one by one; more at a time by one
 * syncfs. A failed fsync is never tried again: it is recorded (`unsafe`), kept, and reported by the
 * next call. */
#ifndef RUN_KEEPER_H
#define RUN_KEEPER_H

#include <stdbool.h>

#include "base/error.h"

#define KEEPER_MAX_FDS 64
#define KEEPER_DELAY_MS 1000 /* between a write and the start of its fsync */

struct run;
struct stream;
struct file_entry;
struct keeper;

/* With the run's lock held, its slot taken. */
enum mld_error keeper_new(struct keeper **out, struct run *run);

/* Called with the run's lock held; quick, never block on I/O.
 * keeper_add_file: bytes were written to `path` (relative to the run folder, with its new
 * directories). `fd` moves to the keeper; -1 when the caller closed it. */
void keeper_add_file(struct keeper *k, int fd, const char *path);
void keeper_add_stream(struct keeper *k, struct stream *stream);
/* Asks that versions of this file's name beyond `keep` be retired once all added so far is durable.
 * `thorough`: also those that a former round left, since their writer was alive. */
void keeper_add_retire(struct keeper *k, const struct file_entry *newest, int keep, bool thorough);

/* Makes the directory entry of `path` durable, and those of the directories that it lies in up to
 * and above the run folder, unless they are known to be. Without any lock. Blocks on fsync. */
enum mld_error keeper_sync_entry(struct keeper *k, const char *path);
/* With the run's lock held, after an fsync of this stream failed (the thread's error says why, and
 * still does afterwards): nothing is appended to it any more, an `unsafe` record is written, and
 * other calls learn of it. */
void keeper_stream_failed(struct keeper *k, struct stream *stream);

/* Returns when all that was added before the call is durable and retired, or failed. Without the
 * run's lock. Blocks. */
enum mld_error keeper_flush(struct keeper *k);
/* The failure that no call has reported yet: sets the thread's error and returns its code, once. */
enum mld_error keeper_take_failure(struct keeper *k);
/* Ends the thread (waiting for its fsync) and frees. Without the run's lock. NULL is fine. */
void keeper_free(struct keeper *k);
/* In a forked child: only closes the descriptors that waited, which would keep retired bytes on the
 * disk. No lock is touched; the memory stays. NULL is fine. */
void keeper_forget(struct keeper *k);

#endif

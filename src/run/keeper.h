/* keeper.h: the background thread that makes things durable: data first, then records, then the
 * mark; then it retires replaced versions. The thread exists only while something is not durable.
 *
 * At most KEEPER_MAX_FDS descriptors wait. Beyond that one syncfs makes the batch durable. A failed
 * fsync is never tried again: it is recorded (`unsafe`), kept, and reported by the next call. */
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

enum mld_error keeper_new(struct keeper **out, struct run *run);

/* Called with the run's lock held; quick, never block on I/O.
 * keeper_add_file: bytes were written to `path` (relative to the run folder, with its new
 * directories). `fd` moves to the keeper; -1 when the caller closed it. */
void keeper_add_file(struct keeper *k, int fd, const char *path);
void keeper_add_stream(struct keeper *k, struct stream *stream);
/* Asks that versions of this file's name beyond `keep` be retired once all added so far is durable.
 */
void keeper_add_retire(struct keeper *k, const struct file_entry *newest, int keep);

/* Returns when all that was added before the call is durable and retired, or failed. Without the
 * run's lock. Blocks. */
enum mld_error keeper_flush(struct keeper *k);
/* The failure that no call has reported yet: sets the thread's error and returns its code, once. */
enum mld_error keeper_take_failure(struct keeper *k);
/* Ends the thread (waiting for its fsync) and frees. In a forked child (`forked`) it only forgets:
 * no lock is touched, nothing is waited for. */
void keeper_free(struct keeper *k, bool forked);

#endif

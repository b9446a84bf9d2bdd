/* sweeper.h: what is finished in the background: work that somebody began and did not finish
 * (work.h), uploads that nobody goes on with, bytes on their way out, lanes that are due to be
 * sealed. One thread a server; any number of servers may sweep one store, since each step is a
 * compare-and-set. */
#ifndef SERVER_SWEEPER_H
#define SERVER_SWEEPER_H

#include <stddef.h>
#include <stdint.h>

#include "blob/blob.h"
#include "meta/meta.h"
#include "server/lane.h"

#define SWEEPER_QUEUE 1024 /* lanes that wait to be sealed; more are found by their work */

struct sweeper;
/* Starts the thread, which also seals lanes as `lanes` tells that they are due. */
enum mld_error sweeper_start(struct sweeper **out, struct meta *meta, struct blob *blob,
                             struct lanes *lanes);
/* Ends the thread after what it is doing. NULL is fine. */
void sweeper_stop(struct sweeper *sweeper);

/* Does what is due at `now_us`, up to `max` things; *out_n is how many there were. For the thread,
 * and for tests. */
enum mld_error sweep(struct meta *meta, struct blob *blob, struct lanes *lanes, int64_t now_us,
                     size_t max, size_t *out_n);

#endif

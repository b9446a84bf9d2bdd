/* sync_watch.h: ml-dash sync --watch: many folders, of which few are written at a time. Those that
 * change are synced by a background thread each, until they rest; of the others only a timestamp
 * is looked at. One thread uses it. */
#ifndef CLI_SYNC_WATCH_H
#define CLI_SYNC_WATCH_H

#include "mldash/sync.h"

struct sync_watch;

/* `options` and what they lead to must outlive it; `progress` is called on several threads. `told`
 * gets the final numbers of each folder that was live and rests now. NULL: no memory. */
struct sync_watch *sync_watch_new(const struct mld_sync_options *options,
                                  void (*told)(const char *folder,
                                               const struct mld_sync_status *status, void *payload),
                                  void *payload);
/* This folder exists; `is_synced`: all of it was sent a moment ago. Known ones are looked at. */
void sync_watch_look(struct sync_watch *w, const char *folder, bool is_synced);
/* Ends what rests. The sums of all that is live: what is left, and how many folders. */
void sync_watch_turn(struct sync_watch *w, struct mld_sync_status *out_sum, size_t *out_live);
/* Stops all, within about two seconds. NULL is fine. */
void sync_watch_free(struct sync_watch *w);

#endif

/* state_internal.h: what state.c and state_apply.c share. */
#ifndef RUN_STATE_INTERNAL_H
#define RUN_STATE_INTERNAL_H

#include "run/state.h"

enum mld_error state_no_memory(void);

/* The entry of a key, made when missing. NULL: out of memory. */
struct file_entry *state_file_slot(struct state *s, const char *id, size_t len);
struct name_entry *state_name_slot(struct state *s, const char *path, const char *filename);
struct param_entry *state_param_slot(struct state *s, const char *name, size_t len);
struct shard_entry *state_shard_slot(struct state *s, struct shard_entry **list, const char *file,
                                     state_stamp first);
/* Puts a file whose path, filename and stamp are set into the list of all and among the versions of
 * its name. */
enum mld_error state_link_file(struct state *s, struct file_entry *f);

#endif

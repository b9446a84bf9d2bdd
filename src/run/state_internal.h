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
/* The id here of a file that a shard of the mirror names `id` (state_contest.c). */
const char *state_renamed(const struct state *s, const char *shard, const char *id);
/* Two machines made the same id: of `holder`, which has it, and the file that a record in `shard`
 * names so, one gets another id; it is a mirrored one. Returns the entry of the record's file,
 * without a stamp when it is new. NULL: out of memory. */
struct file_entry *state_contest(struct state *s, struct file_entry *holder, const char *shard,
                                 bool mirrored);
/* Puts a file whose path, filename and stamp are set into the list of all and among the versions of
 * its name. */
enum mld_error state_link_file(struct state *s, struct file_entry *f);

#endif

/* folder_internal.h: what folder.c and folder_records.c share. */
#ifndef SYNC_FOLDER_INTERNAL_H
#define SYNC_FOLDER_INTERNAL_H

#include "sync/folder.h"

/* The stream of this id, made when missing; `kind` is a constant. */
enum mld_error folder_add_stream(struct sync_folder *f, struct sync_stream **out, const char *id,
                                 const char *kind, unsigned slot, const char *file);
/* Reads a records stream on, up to where it is safe or enough files are pending. */
enum mld_error folder_read_records(struct sync_folder *f, struct sync_stream *s);
/* What one record says. `line` without its newline. */
enum mld_error folder_apply_record(struct sync_folder *f, struct sync_stream *s, const char *line,
                                   size_t len);

/* The place that a prefix "owner/project/a/b/name" stands for. */
void folder_take_prefix(struct sync_folder *f, const char *prefix);
/* Takes only what a record says of files given up. */
enum mld_error folder_apply_gone(struct sync_folder *f, const char *line, size_t len);

#endif

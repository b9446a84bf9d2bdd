/* records.h: an experiment's and its files' records as JSON and as tables. The JSON has the names
 * of the published clients (sizeBytes, uploadedAt). */
#ifndef CLI_RECORDS_H
#define CLI_RECORDS_H

#include <stdbool.h>

#include "cli/cli.h"
#include "cli/text.h"

void records_put_experiment(struct buf *out, const struct mld_experiment_info *info);
void records_put_file(struct buf *out, const struct mld_file *file);
/* "key":[...] of all files. */
void records_put_files(struct buf *out, const char *key, const struct mld_file_list *list);
void records_put_strings(struct buf *out, const char *key, const char *const *items, size_t count);
/* "key":text; null for NULL. The text is JSON, known to be valid. */
void records_put_json(struct buf *out, const char *key, const char *json);

/* "models/best.pt": the file's prefix and name without the first slash, as they are. */
void records_put_path(struct buf *out, const struct mld_file *file);
/* A table of files [first, list->count), with names made harmless. */
void records_put_table(struct buf *out, const struct mld_file_list *list, size_t first,
                       const char *indent, bool colour);
/* The status as people read it, with its style: "RUNNING (lost)". */
const char *records_status(const struct mld_experiment_info *info, enum text_style *out_style);
/* Seconds that the run took, or has taken so far; negative when unknown. */
double records_seconds(const struct mld_experiment_info *info);
/* "a, b", names made harmless. */
void records_put_names(struct buf *out, const char *const *items, size_t count);

#endif

/* file_filter.h: which files a mld_list_options means. */
#ifndef RUN_FILE_FILTER_H
#define RUN_FILE_FILTER_H

#include "base/json.h"
#include "mldash/file.h"
#include "run/state.h"

struct file_filter {
    const struct mld_list_options *options; /* borrowed */
    struct buf prefix;                      /* canonical; empty: any */
    struct buf glob;                        /* of path and name, when the pattern has a "/" */
    struct json_doc wanted;                 /* metadata_json */
    struct json_doc doc;                    /* scratch: a file's metadata */
};

/* Checks and prepares; free with file_filter_free in any case. MLD_ENAME, MLD_EINVALID. */
enum mld_error file_filter_init(struct file_filter *filter, const struct mld_list_options *options);
void file_filter_free(struct file_filter *filter);
bool file_filter_matches(struct file_filter *filter, const struct file_entry *f);

#endif

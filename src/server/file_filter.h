/* file_filter.h: whether one file is wanted by a query. */
#ifndef SERVER_FILE_FILTER_H
#define SERVER_FILE_FILTER_H

#include "server/file_list.h"

struct file_filter {
    const struct file_query *query;
    struct buf glob;                        /* the whole pattern, when it has "/" */
    struct buf values[FILE_LIST_MAX_TERMS]; /* of metadata, as they are searched */
};
/* End with file_filter_close, also after a failure. MLD_EINVALID. */
enum mld_error file_filter_open(struct file_filter *f, const struct file_query *query);
void file_filter_close(struct file_filter *f);
bool file_filter_wants(const struct file_filter *f, const struct file_doc *doc);

#endif

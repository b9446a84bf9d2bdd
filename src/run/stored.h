/* stored.h: whether a file's stored bytes are those of its record. */
#ifndef RUN_STORED_H
#define RUN_STORED_H

#include <stdbool.h>
#include <stdint.h>

#include "mldash/folder.h"

struct stored_expected {
    const char *path; /* below the run folder */
    uint64_t size_bytes;
    const char *checksum;   /* NULL: compare sizes only */
    mld_progress *progress; /* NULL: none; `done` is of this file */
    void *payload;
};
struct stored_result {
    bool intact;
    enum mld_problem problem; /* unless intact */
    char detail[256];
    uint64_t bytes_read;
};

/* Looks at the bytes without any lock. An error is only MLD_EINTERRUPTED (by progress) or
 * MLD_ENOMEM; all else is a result. */
enum mld_error stored_check(struct stored_result *out, int dir_fd,
                            const struct stored_expected *expected);

#endif

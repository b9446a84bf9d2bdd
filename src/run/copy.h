/* copy.h: one pass over a file's bytes: copied and hashed. */
#ifndef RUN_COPY_H
#define RUN_COPY_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "mldash/file.h"

struct copy_options {
    uint64_t total_bytes; /* expected, for progress and to choose the way */
    uint64_t max_bytes;   /* more is MLD_ETOOLARGE */
    mld_progress *progress;
    void *payload;
};
struct copy_result {
    uint64_t size_bytes;
    char checksum[SHA256_HEX_LEN + 1]; /* of the bytes written */
};

/* Copies all of source_fd to destination_fd (its own offset 0 on; both files' positions do not
 * matter for the source and must be 0 for the destination). A clone is made where the file system
 * can, and is hashed; else big files go through a ring of buffers that the calling thread fills and
 * writes and another hashes. Names are for messages. Calls progress on this thread every few
 * megabytes; MLD_EINTERRUPTED when it says so. The caller removes what is half written. */
enum mld_error copy_file(struct copy_result *out, int source_fd, int destination_fd,
                         const char *source_name, const char *destination_name,
                         const struct copy_options *options);
/* Hashes what is in a file already. */
enum mld_error copy_hash(struct copy_result *out, int fd, const char *name,
                         const struct copy_options *options);

/* A user's file, open for reading. */
struct copy_source {
    int fd;
    const char *path; /* borrowed */
    struct stat st;   /* as it was when opened */
};
/* MLD_ENOTFOUND, MLD_EACCESS; MLD_EINVALID when it is no regular file. Never waits for the other
 * end of a FIFO. */
enum mld_error copy_source_open(struct copy_source *out, const char *path);
/* MLD_ECHANGED unless size, mtime and ctime are what they were. */
enum mld_error copy_source_check(const struct copy_source *source);
void copy_source_close(struct copy_source *source);

#endif

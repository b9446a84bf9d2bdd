#include "run/stored.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/copy.h"

static void found(struct stored_result *out, enum mld_problem problem, const char *detail)
{
    out->intact = false;
    out->problem = problem;
    snprintf(out->detail, sizeof out->detail, "%s", detail);
}

static void found_size(struct stored_result *out, uint64_t expected, uint64_t size)
{
    char detail[128];
    snprintf(detail, sizeof detail, "%" PRIu64 " bytes are stored, %" PRIu64 " were saved", size,
             expected);
    found(out, MLD_PROBLEM_SIZE, detail);
}

static enum mld_error check_bytes(struct stored_result *out, int dir_fd,
                                  const struct stored_expected *e)
{
    struct copy_result bytes;
    const struct copy_options options = {.total_bytes = e->size_bytes,
                                         .max_bytes = UINT64_MAX,
                                         .progress = e->progress,
                                         .payload = e->payload};
    int fd;
    enum mld_error error = fs_open(&fd, dir_fd, e->path, O_RDONLY, 0);
    if (error == MLD_OK) {
        error = copy_hash(&bytes, fd, e->path, &options);
        close(fd);
    }
    if (error == MLD_EINTERRUPTED || error == MLD_ENOMEM)
        return error;
    if (error != MLD_OK) {
        found(out, MLD_PROBLEM_UNREADABLE, mld_error_message());
        return MLD_OK;
    }
    out->bytes_read = bytes.size_bytes;
    if (bytes.size_bytes != e->size_bytes)
        found_size(out, e->size_bytes, bytes.size_bytes);
    else if (strcmp(bytes.checksum, e->checksum) != 0)
        found(out, MLD_PROBLEM_CHECKSUM, "the stored bytes are not those that were saved");
    return MLD_OK;
}

enum mld_error stored_check(struct stored_result *out, int dir_fd, const struct stored_expected *e)
{
    struct stat st;
    *out = (struct stored_result){.intact = true};
    enum mld_error error = fs_stat(dir_fd, e->path, &st);
    if (error == MLD_ENOTFOUND)
        found(out, MLD_PROBLEM_MISSING, "its bytes are not there");
    else if (error != MLD_OK)
        found(out, MLD_PROBLEM_UNREADABLE, mld_error_message());
    else if (!S_ISREG(st.st_mode))
        found(out, MLD_PROBLEM_FOREIGN, "in place of its bytes there is something else");
    else if ((uint64_t)st.st_size != e->size_bytes)
        found_size(out, e->size_bytes, (uint64_t)st.st_size);
    else if (e->checksum != NULL)
        return check_bytes(out, dir_fd, e);
    return MLD_OK;
}

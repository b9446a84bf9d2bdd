/* blob_dir_idle.c: uploads that nobody goes on with. A server that dies between making an upload
 * and writing down its name leaves one that nobody knows, with room on the disk for all of it. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

struct idle {
    struct dir *d;
    int64_t before_us;
    size_t dropped;
    struct error_copy failed; /* the first failure: others are dropped all the same */
};

/* Whether its file was last written before the time. Every part changes that time. */
static enum mld_error is_idle(bool *out, const struct idle *idle, int fd, const char *path)
{
    struct stat st;

    *out = false;
    if (fstat(fd, &st) != 0)
        return error_set(MLD_EIO, "cannot look at '%s' in the blob store", path);
    *out = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000 < idle->before_us;
    return MLD_OK;
}

static enum mld_error drop_idle(struct idle *idle, const char *name)
{
    struct dir_path path = dir_upload_path("", name);
    struct dir_file file;
    bool old = false;
    int fd;
    enum mld_error error = fs_open(&fd, idle->d->root_fd, path.text, O_RDONLY, 0);

    if (error != MLD_OK)
        return error == MLD_ENOTFOUND ? MLD_OK : error; /* committed or aborted meanwhile */
    error = is_idle(&old, idle, fd, path.text);
    if (error == MLD_OK && old)
        error = dir_file_read(&file, fd, path.text);
    close(fd);
    if (error == MLD_OK && old) {
        struct blob_upload upload = {.key = file.key, .name = name};
        error = dir_abort(&idle->d->base, &upload);
        idle->dropped += error == MLD_OK;
    }
    return error;
}

static enum mld_error visit(const char *name, unsigned char type, void *payload)
{
    struct idle *idle = payload;

    if (type != DT_REG || !dir_is_name(name))
        return MLD_OK;
    enum mld_error error = drop_idle(idle, name);
    if (error != MLD_OK && idle->failed.code == MLD_OK)
        error_save(error, &idle->failed);
    return MLD_OK;
}

enum mld_error dir_drop_idle(struct blob *b, int64_t before_us, size_t *out_n)
{
    struct idle idle = {.d = (struct dir *)b, .before_us = before_us};
    enum mld_error error = fs_list_dir(idle.d->root_fd, "uploads", visit, &idle);

    *out_n = idle.dropped;
    if (error == MLD_OK && idle.failed.code != MLD_OK)
        error = error_restore(&idle.failed);
    return error;
}

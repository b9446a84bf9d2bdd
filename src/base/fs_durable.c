/* fs_durable.c: making files appear whole, renaming, linking, removing, and fsync. */
#include "base/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_internal.h"
#include "base/id.h"

/* ".mldash." is reserved by name.h, so no name of a user's can be that of a temporary file. */
#define FS_TEMP_PREFIX ".mldash."
#define FS_TEMP_SUFFIX ".tmp"
#define FS_TEMP_LEN (sizeof(FS_TEMP_PREFIX FS_TEMP_SUFFIX) + ID_RANDOM_LEN)
#define FS_STATUS_BYTES 4096

static enum mld_error sync_failed(const char *name)
{
    error_set_errno(errno, "cannot make '%.400s' durable", name);
    return MLD_EIO; /* whatever the system called it, what was written is in doubt */
}

/* EINTR says that nothing was tried; every other failure is final: the kernel reports it once and
 * then calls the lost pages clean. */
enum mld_error fs_sync(int fd, const char *name)
{
    int result;

    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? MLD_OK : sync_failed(name);
}

enum mld_error fs_sync_data(int fd, const char *name)
{
    int result;

    do {
        result = fdatasync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? MLD_OK : sync_failed(name);
}

void fs_write_back(int fd, off_t offset, off_t len)
{
    (void)sync_file_range(fd, offset, len, SYNC_FILE_RANGE_WRITE);
}

enum mld_error fs_sync_filesystem(int fd, const char *name)
{
    int result;

    do {
        result = syncfs(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? MLD_OK : sync_failed(name);
}

/* EINVAL: the file system has no fsync for directories, because it needs none. */
static enum mld_error sync_dir_fd(int dir_fd, const char *path)
{
    int result;

    do {
        result = fsync(dir_fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 || errno == EINVAL ? MLD_OK : sync_failed(path);
}

enum mld_error fs_sync_dir(int root_fd, const char *path)
{
    enum mld_error error;
    int fd;

    error = fs_open_dir(&fd, root_fd, path);
    if (error != MLD_OK)
        return error;
    error = sync_dir_fd(fd, path);
    close(fd);
    return error;
}

/* umask(2) can only be asked by changing it, which other threads would see; /proc has it for
 * reading. */
static mode_t current_umask(void)
{
    char text[FS_STATUS_BYTES];
    size_t len = 0;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (fs_pread(fd, text, sizeof(text) - 1, 0, &len, "/proc/self/status") != MLD_OK)
            len = 0;
        close(fd);
    }
    text[len] = '\0';
    const char *line = strstr(text, "\nUmask:");
    if (line != NULL)
        return (mode_t)strtoul(line + strlen("\nUmask:"), NULL, 8);
    mode_t mask = umask(077); /* no /proc: for a moment others may make files too private */
    umask(mask);
    return mask;
}

/* `from` gets the name `to` only if there is nothing yet; atomic either way. */
static int rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return -1;
    /* NFS and others have no such flag, but link(2) refuses an existing name too. */
    if (linkat(from_dir, from, to_dir, to, 0) != 0)
        return -1;
    return unlinkat(from_dir, from, 0);
}

/* Writes the temporary file; on failure it is gone again. */
static enum mld_error write_temporary(int dir_fd, const char *temp, const char *path,
                                      const void *data, size_t len, bool durable)
{
    enum mld_error error;
    int fd;

    do {
        fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return error_set_errno(errno, "cannot make a file beside '%.400s'", path);

    error = fs_write_all(fd, data, len, path);
    if (error == MLD_OK)
        (void)fchmod(fd, 0666 & ~current_umask()); /* no failure where modes are made up */
    if (error == MLD_OK && durable)
        error = fs_sync(fd, path);
    if (error == MLD_OK)
        error = fs_close(&fd, path);
    if (fd >= 0)
        close(fd);
    if (error != MLD_OK)
        unlinkat(dir_fd, temp, 0);
    return error;
}

static enum mld_error put_file(int root_fd, const char *path, const void *data, size_t len,
                               bool durable, bool replace)
{
    char random[ID_RANDOM_LEN + 1];
    char temp[FS_TEMP_LEN];
    struct fs_place place;
    enum mld_error error;
    int result;

    assert(root_fd >= 0);
    error = fs_place_open(&place, root_fd, path, durable);
    if (error == MLD_OK)
        error = id_random(random);
    if (error != MLD_OK)
        goto out;
    snprintf(temp, sizeof(temp), FS_TEMP_PREFIX "%s" FS_TEMP_SUFFIX, random);
    error = write_temporary(place.dir_fd, temp, path, data, len, durable);
    if (error != MLD_OK)
        goto out;
    if (replace)
        result = renameat(place.dir_fd, temp, place.dir_fd, place.leaf);
    else
        result = rename_new(place.dir_fd, temp, place.dir_fd, place.leaf);
    if (result != 0) {
        error = error_set_errno(errno, "cannot make '%.400s'", path);
        unlinkat(place.dir_fd, temp, 0);
    } else if (durable) {
        error = sync_dir_fd(place.dir_fd, path);
    }
out:
    fs_place_close(&place);
    return error;
}

enum mld_error fs_replace_file(int root_fd, const char *path, const void *data, size_t len,
                               bool durable)
{
    return put_file(root_fd, path, data, len, durable, true);
}

enum mld_error fs_create_file(int root_fd, const char *path, const void *data, size_t len,
                              bool durable)
{
    return put_file(root_fd, path, data, len, durable, false);
}

enum mld_error fs_rename(int root_fd, const char *from, const char *to, bool replace)
{
    struct fs_place source;
    struct fs_place target = {.dir_fd = -1};
    enum mld_error error;
    int result;

    assert(root_fd >= 0);
    error = fs_place_open(&source, root_fd, from, false);
    if (error == MLD_OK)
        error = fs_place_open(&target, root_fd, to, false);
    if (error == MLD_OK) {
        if (replace)
            result = renameat(source.dir_fd, source.leaf, target.dir_fd, target.leaf);
        else
            result = rename_new(source.dir_fd, source.leaf, target.dir_fd, target.leaf);
        if (result != 0)
            error = error_set_errno(errno, "cannot rename '%.400s' to '%.400s'", from, to);
    }
    fs_place_close(&source);
    fs_place_close(&target);
    return error;
}

enum mld_error fs_link(int from_root_fd, const char *from, int to_root_fd, const char *to)
{
    struct fs_place source;
    struct fs_place target = {.dir_fd = -1};
    enum mld_error error;

    assert(to_root_fd >= 0);
    error = fs_place_open(&source, from_root_fd, from, false);
    if (error == MLD_OK)
        error = fs_place_open(&target, to_root_fd, to, false);
    if (error == MLD_OK && linkat(source.dir_fd, source.leaf, target.dir_fd, target.leaf, 0) != 0)
        error = error_set_errno(errno, "cannot link '%.400s' to '%.400s'", from, to);
    fs_place_close(&source);
    fs_place_close(&target);
    return error;
}

enum mld_error fs_unlink(int root_fd, const char *path)
{
    struct fs_place place;
    enum mld_error error;

    assert(root_fd >= 0);
    error = fs_place_open(&place, root_fd, path, false);
    if (error == MLD_OK && unlinkat(place.dir_fd, place.leaf, 0) != 0)
        error = error_set_errno(errno, "cannot remove '%.400s'", path);
    fs_place_close(&place);
    return error;
}

/* fs.c: opening, reading, writing and locking. */
#include "base/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fs_internal.h"

#define FS_READ_CHUNK_BYTES 65536

/* Set once the kernel, or a container's filter, has shown that it has no openat2. */
static atomic_bool openat2_missing;

void fs_testing_disable_openat2(bool disable)
{
    atomic_store(&openat2_missing, disable);
}

enum mld_error fs_check_path(const char *path)
{
    const char *at = path;

    if (strcmp(path, ".") == 0)
        return MLD_OK;
    for (;;) {
        size_t len = strcspn(at, "/");
        if (len == 0)
            return error_set(MLD_ENAME, "path '%.400s': has an empty component", path);
        if (len <= 2 && strncmp(at, "..", len) == 0)
            return error_set(MLD_ENAME, "path '%.400s': '.' and '..' are not allowed in it", path);
        if (at[len] == '\0')
            return MLD_OK;
        at += len + 1;
    }
}

/* One component, without following a symlink; a symlink fails with ELOOP whatever the flags are. */
static int open_component(int dir_fd, const char *name, int flags, mode_t mode)
{
    struct stat st;
    int fd;

    do {
        fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    /* O_DIRECTORY turns the ELOOP of O_NOFOLLOW into ENOTDIR. */
    if (fd < 0 && errno == ENOTDIR) {
        bool is_link = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = is_link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* What openat2 does, component by component. */
static int open_by_walk(int root_fd, const char *path, int flags, mode_t mode)
{
    char name[NAME_MAX + 1];
    int dir_fd = root_fd;
    int fd = -1;

    for (;;) {
        size_t len = strcspn(path, "/");
        bool last = path[len] == '\0';
        int error;

        if (len > NAME_MAX) {
            fd = -1;
            error = ENAMETOOLONG;
        } else {
            memcpy(name, path, len);
            name[len] = '\0';
            fd = open_component(dir_fd, name, last ? flags : O_PATH | O_DIRECTORY, last ? mode : 0);
            error = errno;
        }
        if (dir_fd != root_fd)
            close(dir_fd);
        if (last || fd < 0) {
            errno = error;
            return fd;
        }
        dir_fd = fd;
        path += len + 1;
    }
}

int fs_open_beneath(int root_fd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;

    if (atomic_load_explicit(&openat2_missing, memory_order_relaxed))
        return open_by_walk(root_fd, path, flags, mode);
    do {
        fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
        return fd;

    /* EPERM is how old container profiles refuse openat2, and also a plain answer for a file that
     * is immutable: only when the walk gets through was it the container. */
    bool surely_missing = errno == ENOSYS;
    fd = open_by_walk(root_fd, path, flags, mode);
    if (surely_missing || fd >= 0)
        atomic_store(&openat2_missing, true);
    return fd;
}

enum mld_error fs_open_failed(int errno_value, const char *path)
{
    if (errno_value == ELOOP || errno_value == EXDEV)
        return error_set(MLD_EACCESS,
                         "'%.400s': a symlink leaves the folder here, or could; none is followed: "
                         "put the file or directory itself there",
                         path);
    return error_set_errno(errno_value, "cannot open '%.400s'", path);
}

/* Opened without O_EXCL, a name may turn out to be a FIFO or a device that somebody put there. */
static enum mld_error check_regular(int fd, const char *path)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return error_set_errno(errno, "cannot look at '%.400s'", path);
    if (S_ISDIR(st.st_mode))
        return error_set(MLD_EIO, "'%.400s' is a directory where a file should be", path);
    if (!S_ISREG(st.st_mode))
        return error_set(MLD_EACCESS, "'%.400s' is not a regular file; remove it", path);
    return MLD_OK;
}

enum mld_error fs_open(int *out_fd, int root_fd, const char *path, int flags, mode_t mode)
{
    bool unsure = !(flags & O_DIRECTORY) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    enum mld_error error = fs_check_path(path);

    assert(root_fd >= 0);
    *out_fd = -1;
    if (error != MLD_OK)
        return error;
    /* O_NONBLOCK: opening a FIFO must not wait for its other end. It changes nothing for files. */
    int fd = fs_open_beneath(root_fd, path, unsure ? flags | O_NONBLOCK : flags, mode);
    if (fd < 0)
        return fs_open_failed(errno, path);
    if (unsure)
        error = check_regular(fd, path);
    if (error != MLD_OK)
        close(fd);
    else
        *out_fd = fd;
    return error;
}

enum mld_error fs_place_open(struct fs_place *out, int root_fd, const char *path, bool readable)
{
    const char *slash = strrchr(path, '/');

    *out = (struct fs_place){.dir_fd = root_fd, .leaf = path};
    if (root_fd == AT_FDCWD)
        return MLD_OK;
    enum mld_error error = fs_check_path(path);
    if (error != MLD_OK || slash == NULL)
        return error;

    char *parent = strndup(path, (size_t)(slash - path));
    if (parent == NULL)
        return error_set(MLD_ENOMEM, "no memory for a path");
    int fd = fs_open_beneath(root_fd, parent, (readable ? O_RDONLY : O_PATH) | O_DIRECTORY, 0);
    if (fd < 0)
        error = fs_open_failed(errno, parent);
    else
        *out = (struct fs_place){.dir_fd = fd, .owned = true, .leaf = slash + 1};
    free(parent);
    return error;
}

void fs_place_close(struct fs_place *place)
{
    if (place->owned)
        close(place->dir_fd);
    place->owned = false;
}

enum mld_error fs_stat(int root_fd, const char *path, struct stat *out)
{
    struct fs_place place;
    enum mld_error error;

    assert(root_fd >= 0);
    memset(out, 0, sizeof(*out));
    error = fs_place_open(&place, root_fd, path, false);
    if (error == MLD_OK && fstatat(place.dir_fd, place.leaf, out, AT_SYMLINK_NOFOLLOW) != 0)
        error = error_set_errno(errno, "cannot look at '%.400s'", path);
    fs_place_close(&place);
    return error;
}

bool fs_exists(int root_fd, const char *path)
{
    struct stat st;

    return fs_stat(root_fd, path, &st) == MLD_OK;
}

enum mld_error fs_pread(int fd, void *data, size_t len, off_t offset, size_t *out_len,
                        const char *name)
{
    size_t done = 0;

    *out_len = 0;
    while (done < len) {
        ssize_t n = pread(fd, (char *)data + done, len - done, offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(errno, "cannot read '%.400s'", name);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_len = done;
    return MLD_OK;
}

/* Reads from the descriptor's position to the end. */
static enum mld_error read_rest(int fd, size_t expected, struct buf *out, const char *path)
{
    for (;;) {
        size_t room = out->max_bytes - out->len;
        size_t want = expected > 0 && expected < room ? expected : FS_READ_CHUNK_BYTES;
        char last;
        bool full = room == 0; /* is there one byte too many? */

        want = want < room ? want : room;
        char *to = full ? &last : buf_reserve(out, want);
        if (to == NULL)
            return buf_check(out, path);
        ssize_t n = read(fd, to, full ? 1 : want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(errno, "cannot read '%.400s'", path);
        if (n == 0)
            return MLD_OK;
        if (full)
            return error_set(MLD_ETOOLARGE, "'%.400s' is larger than %zu bytes", path,
                             out->max_bytes);
        buf_advance(out, (size_t)n);
        expected -= (size_t)n < expected ? (size_t)n : expected;
    }
}

enum mld_error fs_read_file(int root_fd, const char *path, struct buf *out)
{
    size_t before = out->len;
    struct stat st;
    enum mld_error error;
    int fd = -1;

    error = fs_open(&fd, root_fd, path, O_RDONLY, 0);
    if (error != MLD_OK)
        return error;
    if (fstat(fd, &st) != 0)
        error = error_set_errno(errno, "cannot look at '%.400s'", path);
    else if ((uintmax_t)st.st_size > out->max_bytes - before)
        error = error_set(MLD_ETOOLARGE, "'%.400s' is larger than %zu bytes", path, out->max_bytes);
    else
        error = read_rest(fd, (size_t)st.st_size, out, path);
    if (error != MLD_OK && out->data != NULL) {
        out->len = before;
        out->data[before] = '\0';
    }
    close(fd);
    return error;
}

enum mld_error fs_write_all(int fd, const void *data, size_t len, const char *name)
{
    const char *at = data;

    while (len > 0) {
        size_t n;
        enum mld_error error = fs_write_once(fd, at, len, &n, name);
        if (error != MLD_OK)
            return error;
        at += n;
        len -= n;
    }
    return MLD_OK;
}

enum mld_error fs_write_once(int fd, const void *data, size_t len, size_t *out_written,
                             const char *name)
{
    ssize_t n;

    *out_written = 0;
    if (len == 0)
        return MLD_OK;
    do {
        n = write(fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set_errno(errno, "cannot write '%.400s'", name);
    if (n == 0)
        return error_set(MLD_EIO, "cannot write '%.400s': the system took no byte", name);
    *out_written = (size_t)n;
    return MLD_OK;
}

enum mld_error fs_pwrite_all(int fd, const void *data, size_t len, off_t offset, const char *name)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, at, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(errno, "cannot write '%.400s'", name);
        if (n == 0)
            return error_set(MLD_EIO, "cannot write '%.400s': the system took no byte", name);
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return MLD_OK;
}

enum mld_error fs_truncate(int fd, off_t len, const char *name)
{
    int result;

    do {
        result = ftruncate(fd, len);
    } while (result != 0 && errno == EINTR);
    if (result != 0)
        return error_set_errno(errno, "cannot cut '%.400s' to %lld bytes", name, (long long)len);
    return MLD_OK;
}

enum mld_error fs_close(int *fd, const char *name)
{
    int closing = *fd;

    *fd = -1;
    if (closing < 0)
        return MLD_OK;
    /* After EINTR the descriptor is gone on Linux: a second close could hit somebody else's. */
    if (close(closing) != 0 && errno != EINTR)
        return error_set_errno(errno, "cannot finish writing '%.400s'", name);
    return MLD_OK;
}

void fs_preallocate(int fd, off_t offset, off_t len)
{
    (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, len);
}

enum mld_error fs_allocate(int fd, off_t len, const char *name)
{
    struct statvfs room;
    int result;

    if (len == 0)
        return fs_truncate(fd, 0, name);
    /* Asked first, because ext4 would fill the disk to find out. */
    if (fstatvfs(fd, &room) == 0 && room.f_bavail < (uint64_t)len / room.f_frsize)
        return error_set_errno(ENOSPC, "cannot make room for %lld bytes in '%.400s'",
                               (long long)len, name);
    do {
        result = fallocate(fd, 0, 0, len);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return MLD_OK;
    if (errno == EOPNOTSUPP || errno == ENOSYS)
        return fs_truncate(fd, len, name);
    return error_set_errno(errno, "cannot make room for %lld bytes in '%.400s'", (long long)len,
                           name);
}

bool fs_clone(int source_fd, int destination_fd)
{
    return ioctl(destination_fd, FICLONE, source_fd) == 0;
}

bool fs_is_network(int fd)
{
    static const unsigned long magics[] = {
        0x00006969, /* NFS */ 0x0BD00BD0,      /* Lustre */ 0xFF534D42, /* CIFS */
        0xFE534D42, /* SMB2 */ 0x0000517B,     /* SMB */ 0x65735546,    /* FUSE */
        0x00C36400, /* Ceph */ 0x5346414F,     /* AFS */ 0x01021997,    /* 9P */
        0x47504653, /* GPFS */ 0x19830326,     /* BeeGFS */ 0x73757245, /* Coda */
        0x7461636F, /* OCFS2 */ 0x01161970,    /* GFS2 */ 0xAAD7AAEA,   /* PanFS */
        0x20030528, /* OrangeFS */ 0x786F4256,                          /* vboxsf */
    };
    struct statfs st;

    if (fstatfs(fd, &st) != 0)
        return true; /* the careful answer */
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        if (((unsigned long)st.f_type & 0xFFFFFFFF) == magics[i])
            return true;
    }
    return false;
}

enum mld_error fs_try_lock(int fd, bool *out_locked, const char *name)
{
    int result;

    *out_locked = false;
    do {
        result = flock(fd, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    *out_locked = result == 0;
    if (result == 0 || errno == EWOULDBLOCK)
        return MLD_OK;
    int reason = errno;
    error_set_errno(reason, "cannot lock '%.400s'", name);
    return error_prefix(MLD_EIO,
                        "this file system has no working locks (mount NFS with lockd, Lustre "
                        "with -o flock, or keep the folder on a local disk)");
}

void fs_unlock(int fd)
{
    (void)flock(fd, LOCK_UN);
}

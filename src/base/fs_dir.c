/* fs_dir.c: directories: opening, making, listing. */
#include "base/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_internal.h"

#define FS_DIR_MODE 0777 /* less the umask */
#define FS_MAKE_ATTEMPTS 8
#define FS_WALK_MAX_PENDING_BYTES (256u << 20)

/* mkdir -p for a path of the user's choice, which may go through symlinks. */
static enum mld_error make_user_dirs(const char *path)
{
    char *copy = strdup(path);
    enum mld_error error = MLD_OK;

    if (copy == NULL)
        return error_set(MLD_ENOMEM, "no memory for a path");
    for (char *at = copy; error == MLD_OK && *at != '\0';) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        struct stat st;
        /* Some systems answer EROFS or EACCES, not EEXIST, for a directory that is there: look
         * before complaining. */
        if (mkdir(copy, FS_DIR_MODE) != 0) {
            int reason = errno;
            if (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode))
                error = error_set_errno(reason, "cannot make the directory '%.400s'", copy);
        }
        *at = kept;
    }
    free(copy);
    return error;
}

enum mld_error fs_open_root(int *out_fd, const char *path, bool create)
{
    int fd;

    *out_fd = -1;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == ENOENT && create) {
        enum mld_error error = make_user_dirs(path);
        return error != MLD_OK ? error : fs_open_root(out_fd, path, false);
    }
    if (fd < 0)
        return error_set_errno(errno, "cannot open the directory '%.400s'", path);
    *out_fd = fd;
    return MLD_OK;
}

enum mld_error fs_open_dir(int *out_fd, int root_fd, const char *path)
{
    return fs_open(out_fd, root_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

/* dir_fd may be O_PATH. */
static enum mld_error sync_dir_of(int dir_fd, const char *path)
{
    enum mld_error error = fs_sync_dir(dir_fd, ".");

    return error == MLD_OK ? MLD_OK : error_prefix(error, "the directory of '%.400s'", path);
}

/* Makes one directory, or finds it there. */
static enum mld_error make_one(int dir_fd, const char *name, bool durable, const char *path)
{
    struct stat st;

    if (mkdirat(dir_fd, name, FS_DIR_MODE) == 0)
        return durable ? sync_dir_of(dir_fd, path) : MLD_OK;
    if (errno != EEXIST)
        return error_set_errno(errno, "cannot make the directory '%.400s'", path);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return error_set_errno(errno, "cannot look at '%.400s'", path);
    if (S_ISLNK(st.st_mode))
        return fs_open_failed(ELOOP, path);
    if (!S_ISDIR(st.st_mode))
        return error_set(MLD_EEXISTS, "cannot make the directory '%.400s': '%s' is a file", path,
                         name);
    return MLD_OK;
}

/* From the root down. MLD_ENOTFOUND when somebody removed an empty directory on the way. */
static enum mld_error make_from_root(int root_fd, const char *path, bool durable)
{
    char *copy = strdup(path);
    char *rest = copy;
    int dir_fd = root_fd;
    enum mld_error error = MLD_OK;

    if (copy == NULL)
        return error_set(MLD_ENOMEM, "no memory for a path");
    while (rest != NULL && error == MLD_OK) {
        char *name = strsep(&rest, "/");
        int next = -1;

        error = make_one(dir_fd, name, durable, path);
        if (error == MLD_OK && rest != NULL) {
            next = fs_open_beneath(dir_fd, name, O_PATH | O_DIRECTORY, 0);
            if (next < 0)
                error = fs_open_failed(errno, path);
        }
        if (dir_fd != root_fd)
            close(dir_fd);
        dir_fd = next;
    }
    free(copy);
    return error;
}

enum mld_error fs_make_dirs(int root_fd, const char *path, bool durable)
{
    struct fs_place place;
    enum mld_error error;

    assert(root_fd >= 0);
    error = fs_place_open(&place, root_fd, path, false);
    if (error == MLD_OK)
        error = make_one(place.dir_fd, place.leaf, durable, path);
    fs_place_close(&place);
    for (int i = 0; error == MLD_ENOTFOUND && i < FS_MAKE_ATTEMPTS; i++)
        error = make_from_root(root_fd, path, durable);
    return error;
}

enum mld_error fs_remove_empty_dir(int root_fd, const char *path, bool *out_removed)
{
    struct fs_place place;
    bool removed = false;
    enum mld_error error;

    assert(root_fd >= 0);
    error = fs_place_open(&place, root_fd, path, false);
    if (error == MLD_OK) {
        removed = unlinkat(place.dir_fd, place.leaf, AT_REMOVEDIR) == 0;
        if (!removed && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
            error = error_set_errno(errno, "cannot remove the directory '%.400s'", path);
    }
    fs_place_close(&place);
    if (out_removed != NULL)
        *out_removed = removed;
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

/* Some file systems do not say in the listing what an entry is. */
static unsigned char entry_type(int dir_fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return IFTODT(st.st_mode);
}

static enum mld_error visit_entries(DIR *dir, const char *path, fs_visit *visit, void *payload)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0)
            return error_set_errno(errno, "cannot list '%.400s'", path);
        if (entry == NULL)
            return MLD_OK;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        enum mld_error error = visit(entry->d_name, entry_type(dirfd(dir), entry), payload);
        if (error != MLD_OK)
            return error;
    }
}

enum mld_error fs_list_dir(int root_fd, const char *path, fs_visit *visit, void *payload)
{
    enum mld_error error;
    int fd;

    error = fs_open_dir(&fd, root_fd, path);
    if (error != MLD_OK)
        return error == MLD_ENOTFOUND ? MLD_OK : error;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        error = error_set_errno(errno, "cannot list '%.400s'", path);
        close(fd);
        return error;
    }
    error = visit_entries(dir, path, visit, payload);
    closedir(dir);
    return error;
}

struct walk {
    struct buf
        pending; /* NUL-terminated directory paths, relative to the start; the last comes next */
    struct buf current; /* the directory being listed, "" for the start, else with a final "/" */
    fs_visit *visit;
    void *payload;
};

static enum mld_error walk_entry(const char *name, unsigned char type, void *payload)
{
    struct walk *walk = payload;
    size_t base = walk->current.len;
    enum mld_error error = MLD_OK;

    if (type == DT_DIR) {
        buf_puts(&walk->pending, buf_text(&walk->current));
        buf_put(&walk->pending, name, strlen(name) + 1);
        return buf_check(&walk->pending, "directories to visit");
    }
    if (type != DT_REG)
        return MLD_OK;
    buf_puts(&walk->current, name);
    error = buf_check(&walk->current, name);
    if (error != MLD_OK)
        return error;
    error = walk->visit(buf_text(&walk->current), type, walk->payload);
    walk->current.len = base;
    walk->current.data[base] = '\0';
    return error;
}

/* Moves the last pending path to `current`, with a "/" behind it. */
static enum mld_error walk_next(struct walk *walk)
{
    struct buf *pending = &walk->pending;
    size_t start = pending->len - 1;

    while (start > 0 && pending->data[start - 1] != '\0')
        start--;
    buf_clear(&walk->current);
    buf_puts(&walk->current, pending->data + start);
    buf_putc(&walk->current, '/');
    pending->len = start;
    return buf_check(&walk->current, "path below the folder");
}

enum mld_error fs_walk(int root_fd, const char *path, fs_visit *visit, void *payload)
{
    struct walk walk = {.visit = visit, .payload = payload};
    enum mld_error error;
    int start_fd;

    error = fs_open_dir(&start_fd, root_fd, path);
    if (error != MLD_OK)
        return error == MLD_ENOTFOUND ? MLD_OK : error;
    buf_init(&walk.pending, FS_WALK_MAX_PENDING_BYTES);
    buf_init(&walk.current, PATH_MAX + NAME_MAX + 1);
    error = fs_list_dir(start_fd, ".", walk_entry, &walk);
    while (error == MLD_OK && walk.pending.len > 0) {
        error = walk_next(&walk);
        if (error != MLD_OK)
            break;
        char *directory = strndup(walk.current.data, walk.current.len - 1);
        if (directory == NULL)
            error = error_set(MLD_ENOMEM, "no memory for a path");
        else
            error = fs_list_dir(start_fd, directory, walk_entry, &walk);
        free(directory);
    }
    buf_free(&walk.pending);
    buf_free(&walk.current);
    close(start_fd);
    return error;
}

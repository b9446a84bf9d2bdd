/* fs.h: every access to the file system that must be safe or durable. fs.c alone calls rename, fsync and openat2.
 *
 * Names never reach the system raw: paths here are relative to a root descriptor, were made by name.h, and are opened with
 * openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS); where the kernel or a container refuses openat2 (ENOSYS, EPERM), a walk component
 * by component with O_NOFOLLOW does the same. A symlink that leaves the root is MLD_EACCESS and the message says so.
 *
 * All functions restart on EINTR, open with O_CLOEXEC, and name the path in their error. None is cancelled. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Opens a directory of the user's choice (any path). With `create`, makes it and its parents. */
enum mld_error fs_open_root(int *out_fd, const char *path, bool create);

/* Opens `path` below `root_fd`. `flags` as for open(2). */
enum mld_error fs_open(int *out_fd, int root_fd, const char *path, int flags, mode_t mode);
enum mld_error fs_open_dir(int *out_fd, int root_fd, const char *path);
/* Makes the directory `path` (like "files/models/17") with its missing parents below root. With `durable`, each
 * directory in which an entry was made is fsynced. Existing ones are fine. */
enum mld_error fs_make_dirs(int root_fd, const char *path, bool durable);
enum mld_error fs_stat(int root_fd, const char *path, struct stat *out); /* lstat */
bool fs_exists(int root_fd, const char *path);

/* Reads a whole file below root into `out` (appended); MLD_ETOOLARGE past the buffer's maximum. */
enum mld_error fs_read_file(int root_fd, const char *path, struct buf *out);
/* Reads exactly [offset, offset + len) unless the file ends; *out_len is what was read. */
enum mld_error fs_pread(int fd, void *data, size_t len, off_t offset, size_t *out_len, const char *name);
enum mld_error fs_write_all(int fd, const void *data, size_t len, const char *name);
/* One write(2). *out_written may be short (full disk): the caller cuts its own torn line. */
enum mld_error fs_write_once(int fd, const void *data, size_t len, size_t *out_written, const char *name);
enum mld_error fs_truncate(int fd, off_t len, const char *name);
enum mld_error fs_close(int *fd, const char *name); /* checked close; *fd becomes -1 in any case; -1 is MLD_OK */
/* Reserves blocks behind the end (KEEP_SIZE), best effort: never fails. */
void fs_preallocate(int fd, off_t offset, off_t len);

/* A new file with exactly these bytes appears under its name, or nothing does: temporary file beside it (0600 until
 * complete, then 0666 & ~umask), write, optional fsync, rename or link. */
enum mld_error fs_replace_file(int root_fd, const char *path, const void *data, size_t len, bool durable);
/* The same, but MLD_EEXISTS if the name is there (link(2); rename without replace where links are refused). */
enum mld_error fs_create_file(int root_fd, const char *path, const void *data, size_t len, bool durable);

enum mld_error fs_rename(int root_fd, const char *from, const char *to, bool replace);
enum mld_error fs_link(int from_root_fd, const char *from, int to_root_fd, const char *to);
enum mld_error fs_unlink(int root_fd, const char *path);
/* Removes a directory if it is empty; *out_removed may be NULL. A non-empty or missing one is MLD_OK. */
enum mld_error fs_remove_empty_dir(int root_fd, const char *path, bool *out_removed);

/* fsync reports a failure once: callers never try again on the same descriptor. */
enum mld_error fs_sync(int fd, const char *name);
enum mld_error fs_sync_data(int fd, const char *name);
enum mld_error fs_sync_dir(int root_fd, const char *path);
enum mld_error fs_sync_filesystem(int fd, const char *name); /* syncfs: everything on that file system */

/* FICLONE; false where the file system cannot. */
bool fs_clone(int source_fd, int destination_fd);
/* True for file systems that several machines share or that emulate locks (NFS, Lustre, CIFS, FUSE ...). */
bool fs_is_network(int fd);

/* A lock on an open file (flock, exclusive, not waiting). *out_locked is false when another holds it. ENOLCK and the like are
 * MLD_EIO with advice. */
enum mld_error fs_try_lock(int fd, bool *out_locked, const char *name);

/* Calls `visit` for each entry of a directory but "." and "..", in no order; it stops at the first error. `type` is DT_*. A missing
 * directory is no entries. */
typedef enum mld_error fs_visit(const char *name, unsigned char type, void *payload);
enum mld_error fs_list_dir(int root_fd, const char *path, fs_visit *visit, void *payload);
/* The same for every regular file below `path`, with its path relative to `path`; does not follow symlinks. */
enum mld_error fs_walk(int root_fd, const char *path, fs_visit *visit, void *payload);

#endif

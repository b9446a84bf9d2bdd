/* fs.h: every access to the file system that must be safe or durable. The fs*.c files alone call
 * rename, fsync and openat2.
 *
 * Names never reach the system raw: paths here are relative to a root descriptor and were made by
 * name.h. "." is the root itself; absolute paths, "..", and empty components are MLD_ENAME. They
 * are opened with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS); where the kernel or a container
 * refuses openat2 (ENOSYS, EPERM), a walk component by component with O_NOFOLLOW does the same. No
 * symlink below a root is followed, wherever it points: MLD_EACCESS, and the message says so. The
 * root's own path may go through symlinks.
 *
 * Calls that name an entry (make, stat, rename, link, unlink) first open its directory, so that a
 * symlink put there meanwhile cannot lead them out: two cheap system calls more, which a path of
 * one component saves.
 *
 * All functions restart on EINTR, open with O_CLOEXEC, and name the path in their error. None is
 * cancelled. */
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

/* Opens `path` below `root_fd`. `flags` as for open(2). What is there must be a regular file, or a
 * directory with O_DIRECTORY: a FIFO or device is MLD_EACCESS and does not block. One system call
 * with O_CREAT | O_EXCL. */
enum mld_error fs_open(int *out_fd, int root_fd, const char *path, int flags, mode_t mode);
enum mld_error fs_open_dir(int *out_fd, int root_fd, const char *path);
/* Makes the directory `path` (like "files/models/17") with its missing parents below root. With
 * `durable`, each directory in which an entry was made is fsynced. Existing ones are fine. */
enum mld_error fs_make_dirs(int root_fd, const char *path, bool durable);
enum mld_error fs_stat(int root_fd, const char *path, struct stat *out); /* lstat */
bool fs_exists(int root_fd, const char *path);

/* Reads a whole file below root into `out` (appended); MLD_ETOOLARGE past the buffer's maximum. */
enum mld_error fs_read_file(int root_fd, const char *path, struct buf *out);
/* Reads exactly [offset, offset + len) unless the file ends; *out_len is what was read. */
enum mld_error fs_pread(int fd, void *data, size_t len, off_t offset, size_t *out_len,
                        const char *name);
enum mld_error fs_write_all(int fd, const void *data, size_t len, const char *name);
/* All bytes at `offset`, whatever the descriptor's position is. */
enum mld_error fs_pwrite_all(int fd, const void *data, size_t len, off_t offset, const char *name);
/* One write(2). *out_written may be short (full disk), which is MLD_OK: the caller cuts its own
 * torn line. */
enum mld_error fs_write_once(int fd, const void *data, size_t len, size_t *out_written,
                             const char *name);
enum mld_error fs_truncate(int fd, off_t len, const char *name);
/* Checked close; *fd becomes -1 in any case; -1 is MLD_OK. */
enum mld_error fs_close(int *fd, const char *name);
/* Reserves blocks behind the end (KEEP_SIZE), best effort: never fails. */
void fs_preallocate(int fd, off_t offset, off_t len);
/* Makes the file `len` bytes long with room on the disk for all of them: MLD_ENOSPACE when there is
 * none. Where the file system cannot reserve, the room is only looked at. */
enum mld_error fs_allocate(int fd, off_t len, const char *name);

/* A new file with exactly these bytes appears under its name, or nothing does: temporary file
 * beside it (0600 until complete, then 0666 & ~umask), write, optional fsync, rename. A killed
 * process may leave the temporary file: ".mldash.{32 hex}.tmp", a name that users cannot have. */
enum mld_error fs_replace_file(int root_fd, const char *path, const void *data, size_t len,
                               bool durable);
/* The same, but MLD_EEXISTS if the name is there (rename without replace, link(2) where there is
 * none). */
enum mld_error fs_create_file(int root_fd, const char *path, const void *data, size_t len,
                              bool durable);

/* Without `replace`: MLD_EEXISTS if `to` is there (by link and unlink where the file system has no
 * such rename). */
enum mld_error fs_rename(int root_fd, const char *from, const char *to, bool replace);
/* MLD_EEXISTS if `to` is there. With AT_FDCWD as from_root_fd, `from` is any path of the user's
 * choice. Other file systems (EXDEV) and those without links are MLD_EIO or MLD_EACCESS: copy
 * instead. A symlink is linked itself. */
enum mld_error fs_link(int from_root_fd, const char *from, int to_root_fd, const char *to);
enum mld_error fs_unlink(int root_fd, const char *path);
/* Removes a directory if it is empty; *out_removed may be NULL. A non-empty or missing one is
 * MLD_OK. */
enum mld_error fs_remove_empty_dir(int root_fd, const char *path, bool *out_removed);

/* A failure is MLD_EIO, reported once by the system: never try again on the same descriptor. */
enum mld_error fs_sync(int fd, const char *name);
enum mld_error fs_sync_data(int fd, const char *name);
enum mld_error fs_sync_dir(int root_fd, const char *path);
/* Asks the system to begin writing these bytes to the disk, so that a later fs_sync has less to do.
 * A hint: promises nothing and reports nothing. May block while the disk is busy. */
void fs_write_back(int fd, off_t offset, off_t len);
/* syncfs: everything on that file system. */
enum mld_error fs_sync_filesystem(int fd, const char *name);

/* FICLONE; false where the file system cannot. */
bool fs_clone(int source_fd, int destination_fd);
/* True for file systems that several machines share or that emulate locks: NFS, Lustre, CIFS, FUSE
 * and others, and when the system does not tell. */
bool fs_is_network(int fd);

/* A lock on an open file (flock, exclusive, not waiting). *out_locked is false when another holds
 * it. ENOLCK and the like are MLD_EIO with advice. */
enum mld_error fs_try_lock(int fd, bool *out_locked, const char *name);
/* Gives it up at once, even when a forked child has a copy of the descriptor: close() would not. */
void fs_unlock(int fd);

/* Calls `visit` for each entry of a directory but "." and "..", in no order; it stops at the first
 * error. `type` is DT_*. A missing directory is no entries. */
typedef enum mld_error fs_visit(const char *name, unsigned char type, void *payload);
enum mld_error fs_list_dir(int root_fd, const char *path, fs_visit *visit, void *payload);
/* The same for every regular file below `path`, with its path relative to `path`; does not follow
 * symlinks. */
enum mld_error fs_walk(int root_fd, const char *path, fs_visit *visit, void *payload);

#endif

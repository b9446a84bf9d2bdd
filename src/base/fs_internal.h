/* fs_internal.h: what the fs*.c files share. Nothing else includes it, but tests of the fallback.
 */
#ifndef BASE_FS_INTERNAL_H
#define BASE_FS_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* Where an entry is: its directory, opened below the root without following a symlink, and its name
 * there. System calls on (dir_fd, leaf) cannot be led out of the root. */
struct fs_place {
    int dir_fd; /* O_PATH, or for reading if asked for; the root's own when there is one component
                 */
    bool owned; /* dir_fd is to be closed */
    const char *leaf; /* borrowed from the path */
};

/* Finds the place of `path`. AT_FDCWD as root stands for a path of the user's choice, not checked.
 * Close it with fs_place_close, also after a failure. `readable` opens the directory so that it can
 * be fsynced. */
enum mld_error fs_place_open(struct fs_place *out, int root_fd, const char *path, bool readable);
void fs_place_close(struct fs_place *place);

/* Refuses paths that name.h would not have made: absolute, "..", "." inside, empty components. "."
 * alone is the root. */
enum mld_error fs_check_path(const char *path);

/* The system call without the checks of fs_open: a descriptor, or -1 and errno. */
int fs_open_beneath(int root_fd, const char *path, int flags, mode_t mode);

/* As error_set_errno for a failed open, with words for symlinks (ELOOP). */
enum mld_error fs_open_failed(int errno_value, const char *path);

/* Makes fs_open_beneath do without openat2 (true), or try it again (false). For tests. */
void fs_testing_disable_openat2(bool disable);

#endif

#include "run/entries.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

void entries_init(struct entries *e, int dir_fd, const char *dir)
{
    *e = (struct entries){.dir_fd = dir_fd, .dir = dir};
    pthread_mutex_init(&e->lock, NULL);
}

void entries_free(struct entries *e)
{
    map_free(&e->known);
    arena_free(&e->arena);
    pthread_mutex_destroy(&e->lock);
}

static bool is_known(struct entries *e, const char *path)
{
    pthread_mutex_lock(&e->lock);
    bool known = map_get(&e->known, path, strlen(path)) != NULL;
    pthread_mutex_unlock(&e->lock);
    return known;
}

/* Without memory it is not remembered, and made durable once more next time. */
static void remember(struct entries *e, const char *path)
{
    pthread_mutex_lock(&e->lock);
    char *copy = arena_strdup(&e->arena, path);
    if (copy != NULL)
        (void)map_put(&e->known, copy, strlen(copy), copy);
    pthread_mutex_unlock(&e->lock);
}

/* Turns a path below the run folder into that of its directory; "." at the end. */
static void to_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        *slash = '\0';
    else
        memcpy(path, ".", 2);
}

/* The directories above the run folder, as far as they are of its file system and can be opened:
 * opening the experiment may have made them. */
static enum mld_error sync_above(const struct entries *e)
{
    char path[PATH_MAX];
    struct stat own;
    enum mld_error error = MLD_OK;
    if (fstat(e->dir_fd, &own) != 0 ||
        (size_t)snprintf(path, sizeof path, "%s", e->dir) >= sizeof path)
        return MLD_OK;
    char *slash;
    while (error == MLD_OK && (slash = strrchr(path, '/')) != NULL) {
        struct stat st;
        int fd;
        *slash = '\0';
        if (fs_open_root(&fd, path[0] == '\0' ? "/" : path, false) != MLD_OK)
            break;
        bool same = fstat(fd, &st) == 0 && st.st_dev == own.st_dev;
        if (same)
            error = fs_sync_dir(fd, ".");
        close(fd);
        if (!same)
            break;
    }
    return error;
}

enum mld_error entries_sync(struct entries *e, const char *path)
{
    char at[PATH_MAX];
    enum mld_error error = MLD_OK;
    if ((size_t)snprintf(at, sizeof at, "%s", path) >= sizeof at)
        return error_set(MLD_ENAME, "path '%.400s' is too long", path);
    while (error == MLD_OK && !is_known(e, at)) {
        if (strcmp(at, ".") == 0) {
            error = sync_above(e);
            break;
        }
        to_parent(at);
        error = fs_sync_dir(e->dir_fd, at);
    }
    if (error != MLD_OK)
        return error;
    snprintf(at, sizeof at, "%s", path);
    while (!is_known(e, at)) { /* now that all above them are safe, too */
        remember(e, at);
        if (strcmp(at, ".") == 0 || !is_known(e, at))
            break;
        to_parent(at);
    }
    return MLD_OK;
}

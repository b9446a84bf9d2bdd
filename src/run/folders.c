/* mld_folders_find: every directory at or below a root that is a run folder. Nothing below a run
 * folder is looked at, so that a hundred thousand files cost nothing. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "mldash/folder.h"

#define MAX_PENDING_BYTES (64u << 20)
#define MAX_PATH_BYTES 4000 /* the system takes no longer ones */

struct found {
    struct mld_folders public; /* first, so that its address is ours */
    struct arena arena;
    char **paths;
    size_t capacity;
};

struct search {
    struct found *found;
    const char *root;
    int root_fd;
    struct buf pending; /* NUL-terminated paths below the root; the last comes next */
    const char *current;
};

/* `dir` is "." or a path below the root. */
static bool has_file(int root_fd, const char *dir, const char *file)
{
    struct buf path;
    buf_init(&path, MAX_PATH_BYTES + 64);
    if (strcmp(dir, ".") != 0)
        buf_printf(&path, "%s/", dir);
    buf_puts(&path, file);
    bool found = buf_check(&path, "path") == MLD_OK && fs_exists(root_fd, buf_text(&path));
    buf_free(&path);
    return found;
}

static bool is_run_folder(int root_fd, const char *dir)
{
    return has_file(root_fd, dir, "experiment.json") ||
           has_file(root_fd, dir, ".mldash/format.json");
}

static enum mld_error add(struct search *s, const char *dir)
{
    struct found *found = s->found;
    size_t root_len = strlen(s->root);
    if (found->public.count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : 2 * found->capacity;
        char **paths = realloc(found->paths, capacity * sizeof *paths);
        if (paths == NULL)
            return error_set(MLD_ENOMEM, "out of memory for a list of run folders");
        found->paths = paths;
        found->capacity = capacity;
    }
    while (root_len > 1 && s->root[root_len - 1] == '/')
        root_len--;
    char *path = arena_alloc(&found->arena, root_len + strlen(dir) + 2);
    if (path == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a list of run folders");
    memcpy(path, s->root, root_len);
    if (strcmp(dir, ".") != 0) {
        if (path[root_len - 1] != '/')
            path[root_len++] = '/';
        memcpy(path + root_len, dir, strlen(dir)); /* the arena's memory is zeroed */
    }
    found->paths[found->public.count++] = path;
    return MLD_OK;
}

static enum mld_error note_directory(const char *name, unsigned char type, void *payload)
{
    struct search *s = payload;
    bool top = strcmp(s->current, ".") == 0;
    if (type != DT_DIR || strlen(s->current) + strlen(name) + 1 > MAX_PATH_BYTES)
        return MLD_OK;
    if (!top) {
        buf_puts(&s->pending, s->current);
        buf_putc(&s->pending, '/');
    }
    buf_put(&s->pending, name, strlen(name) + 1);
    return buf_check(&s->pending, "directories to visit");
}

/* One directory: a run folder, or its subdirectories are to be visited. One that may not be read
 * has none. */
static enum mld_error visit(struct search *s, const char *dir)
{
    if (is_run_folder(s->root_fd, dir))
        return add(s, dir);
    s->current = dir;
    enum mld_error error = fs_list_dir(s->root_fd, dir, note_directory, s);
    return error == MLD_EACCESS && strcmp(dir, ".") != 0 ? MLD_OK : error;
}

static enum mld_error search(struct search *s)
{
    enum mld_error error = visit(s, ".");
    while (error == MLD_OK && s->pending.len > 0) {
        size_t start = s->pending.len - 1;
        while (start > 0 && s->pending.data[start - 1] != '\0')
            start--;
        char *dir = strdup(s->pending.data + start);
        if (dir == NULL)
            return error_set(MLD_ENOMEM, "out of memory for a path");
        s->pending.len = start;
        error = visit(s, dir);
        free(dir);
    }
    return error;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum mld_error mld_folders_find(struct mld_folders **out, const char *root)
{
    struct search s = {.root = root};
    *out = NULL;
    enum mld_error error = fs_open_root(&s.root_fd, root, false);
    if (error != MLD_OK)
        return error;
    buf_init(&s.pending, MAX_PENDING_BYTES);
    s.found = calloc(1, sizeof *s.found);
    error = s.found == NULL ? error_set(MLD_ENOMEM, "out of memory for a list of run folders")
                            : search(&s);
    buf_free(&s.pending);
    close(s.root_fd);
    if (error != MLD_OK) {
        mld_folders_free(s.found == NULL ? NULL : &s.found->public);
        return error;
    }
    if (s.found->public.count > 0)
        qsort(s.found->paths, s.found->public.count, sizeof *s.found->paths, by_path);
    s.found->public.paths = (const char *const *)s.found->paths;
    *out = &s.found->public;
    return MLD_OK;
}

void mld_folders_free(struct mld_folders *folders)
{
    struct found *found = (struct found *)folders;
    if (found == NULL)
        return;
    arena_free(&found->arena);
    free(found->paths);
    free(found);
}

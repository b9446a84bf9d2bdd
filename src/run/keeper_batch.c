#include "run/keeper_batch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

void batch_add_file(struct batch *b, int fd, const char *path)
{
    char *copy = b->n_files < KEEPER_MAX_FDS ? strdup(path) : NULL;
    if (copy != NULL) {
        b->files[b->n_files++] = (struct waiting_file){fd, copy};
        return;
    }
    b->everything = true;
    if (fd >= 0)
        close(fd);
}

void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->n_files; i++) {
        int fd = b->files[i].fd;
        b->files[i].fd = -1; /* first: a child forked meanwhile must not close another's number */
        if (fd >= 0)
            close(fd);
        free(b->files[i].path);
    }
    free(b->retires);
    *b = (struct batch){.n_files = 0};
}

enum mld_error batch_begin(struct stream_goal **out, size_t *out_n, struct batch *b,
                           struct run *run)
{
    size_t n = 0;
    for (struct stream *s = b->streams; s != NULL; s = s->next_dirty)
        n++;
    *out_n = 0;
    *out = calloc(n + 1, sizeof **out);
    if (n > KEEPER_MAX_FDS)
        b->everything = true;
    for (struct stream *s = b->streams; s != NULL; s = s->next_dirty) {
        s->listed = false;
        if (*out == NULL || s->sync_failed)
            continue;
        struct stream_goal *goal = &(*out)[(*out_n)++];
        *goal = (struct stream_goal){.stream = s, .fd = -1, .length = s->length, .crc = s->crc};
        if (!b->everything && stream_dup_fd(&goal->fd, &run->streams, s) != MLD_OK)
            b->everything = true;
    }
    b->streams = NULL;
    return *out == NULL ? error_set(MLD_ENOMEM, "out of memory for making records durable")
                        : MLD_OK;
}

/* Cuts the last component off; false when there is none. */
static bool to_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

/* What is not there any more needs no fsync: it was retired or collected. */
static enum mld_error unless_gone(enum mld_error error)
{
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

/* One file's bytes. *out_give_up: no descriptor is to be had, so all is left to syncfs. */
static enum mld_error sync_file(struct waiting_file *file, int dir_fd, bool *out_give_up)
{
    if (file->fd < 0) {
        enum mld_error error = fs_open(&file->fd, dir_fd, file->path, O_RDONLY, 0);
        *out_give_up = unless_gone(error) != MLD_OK;
        if (error != MLD_OK)
            return MLD_OK;
    }
    return fs_sync(file->fd, file->path);
}

/* Directories of the files: each its own one, and the one that this lies in, once per batch. */
static enum mld_error sync_directories(struct batch *b, int dir_fd, struct entries *entries,
                                       const char **out_failed)
{
    const char *last = NULL;
    for (size_t i = 0; i < b->n_files; i++) {
        char *path = b->files[i].path;
        *out_failed = path;
        if (!to_parent(path))
            continue;
        enum mld_error error = unless_gone(fs_sync_dir(dir_fd, path));
        if (error == MLD_OK && to_parent(path) && (last == NULL || strcmp(path, last) != 0)) {
            last = path;
            error = unless_gone(fs_sync_dir(dir_fd, path));
            if (error == MLD_OK)
                error = unless_gone(entries_sync(entries, path));
        }
        if (error != MLD_OK)
            return error;
    }
    return MLD_OK;
}

static enum mld_error sync_files(struct batch *b, int dir_fd, struct entries *entries,
                                 const char **out_failed)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < b->n_files && error == MLD_OK && !b->everything; i++) {
        *out_failed = b->files[i].path;
        error = sync_file(&b->files[i], dir_fd, &b->everything);
    }
    if (error == MLD_OK && !b->everything)
        error = sync_directories(b, dir_fd, entries, out_failed);
    return error;
}

static void sync_stream(struct stream_goal *goal, bool done, struct entries *entries)
{
    enum mld_error error = MLD_OK;
    if (!done)
        error = fs_sync_data(goal->fd, goal->stream->path);
    if (error == MLD_OK && !done)
        error = entries_sync(entries, goal->stream->path);
    if (error != MLD_OK)
        error_save(error, &goal->failure);
}

enum mld_error batch_sync(struct batch *b, struct stream_goal *goals, size_t n, struct run *run,
                          struct entries *entries, const char **out_failed)
{
    enum mld_error error = sync_files(b, run->dir_fd, entries, out_failed);
    if (b->everything) {
        *out_failed = "files";
        error = fs_sync_filesystem(run->dir_fd, run->dir);
    }
    for (size_t i = 0; i < n; i++) {
        if (b->everything && error != MLD_OK)
            error_save(error, &goals[i].failure);
        else
            sync_stream(&goals[i], b->everything, entries);
        if (goals[i].fd >= 0)
            close(goals[i].fd);
    }
    return error;
}

/* Saving a file from a path or from memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/copy.h"
#include "run/new_file.h"

#define PIECE_BYTES (8u << 20) /* of memory, between two calls of progress */

static const char *own_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static enum mld_error copy_bytes(struct new_file *f, const struct copy_source *source,
                                 const struct copy_options *copy, struct copy_result *result)
{
    enum mld_error error = new_file_create(f);
    if (error == MLD_OK)
        error = copy_file(result, source->fd, f->fd, source->path, f->path.data, copy);
    return error;
}

/* Whether a file lies in the run folder, at any depth. */
static enum mld_error is_inside(bool *out, int dir_fd, const char *path)
{
    struct stat run, above;
    char *whole = realpath(path, NULL);
    char *slash;
    *out = false;
    if (whole == NULL || fstat(dir_fd, &run) != 0) {
        free(whole);
        return error_set_errno(errno, "%s cannot be moved", path);
    }
    while (!*out && (slash = strrchr(whole, '/')) != NULL) {
        *slash = '\0';
        *out = stat(whole[0] == '\0' ? "/" : whole, &above) == 0 && above.st_ino == run.st_ino &&
               above.st_dev == run.st_dev;
    }
    free(whole);
    return MLD_OK;
}

/* A symlink would be linked instead of what it names, and a second name of the same file could
 * change the version later. The run folder's own files are its truth, or another version. */
static enum mld_error check_movable(const struct new_file *f, const struct copy_source *source)
{
    struct stat st;
    bool inside;
    enum mld_error error = is_inside(&inside, f->dir_fd, source->path);
    if (error != MLD_OK)
        return error;
    if (inside)
        return error_set(MLD_EINVALID, "%s is the experiment's own; save without move",
                         source->path);
    if (lstat(source->path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_ino != source->st.st_ino ||
        st.st_dev != source->st.st_dev)
        return error_set(MLD_EINVALID,
                         "%s is a symlink; move the file that it names, or save without move",
                         source->path);
    if (st.st_nlink > 1)
        return error_set(MLD_EINVALID,
                         "%s has %llu hard links, which could change it later; save without move",
                         source->path, (unsigned long long)st.st_nlink);
    return MLD_OK;
}

/* On the same file system the bytes stay where they are and get their name here; else a copy. */
static enum mld_error move_bytes(struct new_file *f, struct copy_source *source,
                                 const struct copy_options *copy, struct copy_result *result)
{
    struct stat linked;
    if (fs_link(AT_FDCWD, source->path, f->dir_fd, f->path.data) != MLD_OK)
        return copy_bytes(f, source, copy, result);
    enum mld_error error = fs_stat(f->dir_fd, f->path.data, &linked);
    if (error == MLD_OK && (linked.st_ino != source->st.st_ino || linked.st_nlink != 2))
        error = error_set(MLD_ECHANGED, "%s was replaced while it was moved", source->path);
    if (error != MLD_OK)
        return error;
    source->st.st_ctim = linked.st_ctim; /* the link is a change, too */
    return copy_hash(result, source->fd, source->path, copy);
}

static enum mld_error take_bytes(struct new_file *f, struct copy_source *source,
                                 const struct mld_save_options *o, struct copy_result *result)
{
    const struct copy_options copy = {.total_bytes = (uint64_t)source->st.st_size,
                                      .max_bytes = f->max_bytes,
                                      .progress = o->progress,
                                      .payload = o->payload};
    enum mld_error error =
        o->move ? move_bytes(f, source, &copy, result) : copy_bytes(f, source, &copy, result);
    if (error == MLD_OK)
        error = new_file_check_process(f); /* progress may have forked */
    if (error == MLD_OK)
        error = copy_source_check(source);
    if (error == MLD_OK && result->size_bytes != (uint64_t)source->st.st_size)
        error = error_set(MLD_ECHANGED,
                          "%s holds more than its size says: it is being written to, or is no "
                          "file on a disk; read it and save its bytes",
                          source->path);
    return error;
}

static enum mld_error remove_source(const struct copy_source *source)
{
    struct stat now;
    if (lstat(source->path, &now) != 0 || now.st_ino != source->st.st_ino)
        return error_set(MLD_ECHANGED, "%s was replaced while it was moved", source->path);
    if (unlink(source->path) != 0)
        return error_set_errno(errno, "%s cannot be removed; save without move", source->path);
    return MLD_OK;
}

static enum mld_error save_source(struct mld_file **out, struct new_file *f,
                                  struct copy_source *source, const struct mld_save_options *o)
{
    struct copy_result result;
    enum mld_error error = new_file_check_size(f, (uint64_t)source->st.st_size);
    if (error == MLD_OK && o->move) {
        f->durable = true; /* the only copy is about to go */
        error = check_movable(f, source);
    }
    if (error == MLD_OK)
        error = take_bytes(f, source, o, &result);
    if (error == MLD_OK)
        error = new_file_commit(out, f, result.size_bytes, result.checksum);
    if (error == MLD_OK && o->move)
        error = remove_source(source);
    return error;
}

enum mld_error mld_file_save(struct mld_file **out, mld_experiment *e, const char *source_path,
                             const struct mld_save_options *o)
{
    struct new_file f;
    struct copy_source source;
    if (out != NULL)
        *out = NULL;
    if (source_path == NULL || source_path[0] == '\0')
        return error_set(MLD_EINVALID, "no source path was given");
    enum mld_error error = copy_source_open(&source, source_path);
    if (error != MLD_OK)
        return error;
    error = new_file_begin(&f, e, o, o->filename == NULL ? own_name(source_path) : o->filename);
    if (error == MLD_OK)
        error = save_source(out, &f, &source, o);
    copy_source_close(&source);
    error = new_file_end(&f, error);
    if (error != MLD_OK && out != NULL) {
        mld_file_free(*out);
        *out = NULL;
    }
    return error;
}

/* Memory goes through a writer, so that large arrays are hashed while they are written. */
static enum mld_error write_pieces(mld_writer *writer, const char *data, size_t len,
                                   const struct mld_save_options *o)
{
    enum mld_error error = MLD_OK;
    for (size_t at = 0; at < len && error == MLD_OK;) {
        size_t piece = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;
        error = mld_writer_write(writer, data + at, piece);
        at += piece;
        if (error == MLD_OK && o->progress != NULL && len >= PIECE_BYTES &&
            !o->progress(at, len, o->payload))
            error = error_set(MLD_EINTERRUPTED, "saving %s was stopped", o->filename);
    }
    return error;
}

enum mld_error mld_file_save_bytes(struct mld_file **out, mld_experiment *e, const void *data,
                                   size_t len, const struct mld_save_options *o)
{
    mld_writer *writer;
    struct error_copy failure;
    if (out != NULL)
        *out = NULL;
    if (data == NULL && len > 0)
        return error_set(MLD_EINVALID, "no data was given");
    enum mld_error error = mld_writer_open(&writer, e, o, MLD_SEQUENTIAL);
    if (error != MLD_OK)
        return error;
    error = write_pieces(writer, data, len, o);
    if (error == MLD_OK)
        return mld_writer_commit(out, writer);
    error_save(error, &failure);
    mld_writer_abandon(writer);
    return error_restore(&failure);
}

/* Files that are written piece by piece, straight under their final name. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/copy.h"
#include "run/hasher.h"
#include "run/new_file.h"

struct mld_writer {
    struct new_file file;
    enum mld_writer_mode mode;
    uint64_t offset; /* where the next write goes */
    uint64_t at;     /* where the descriptor stands */
    uint64_t size;
    struct hasher hasher; /* sequential only */
    struct error_copy failure;
    mld_progress *progress;
    void *payload;
};

static enum mld_error keep_failure(mld_writer *w, enum mld_error error)
{
    if (error != MLD_OK && w->failure.code == MLD_OK)
        error_save(error, &w->failure);
    return error;
}

/* The failure that sticks, or that of a writer which came along through fork(). */
static enum mld_error check(mld_writer *w)
{
    if (w->failure.code != MLD_OK)
        return error_restore(&w->failure);
    return new_file_check_process(&w->file);
}

/* Ends and frees; the hashing thread is the parent's in a forked child. */
static enum mld_error finish(mld_writer *w, enum mld_error error)
{
    if (w->file.generation == run_fork_generation())
        hasher_free(&w->hasher);
    error = new_file_end(&w->file, error);
    free(w);
    return error;
}

/* The experiment may be closed before a writer is abandoned, so it has a descriptor of its own. */
static enum mld_error own_dir(struct new_file *f)
{
    int fd = fcntl(f->dir_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(errno, "cannot open a writer for %s", f->path.data);
    f->dir_fd = fd;
    f->owns_dir = true;
    return MLD_OK;
}

enum mld_error mld_writer_open(mld_writer **out, mld_experiment *e,
                               const struct mld_save_options *o, enum mld_writer_mode mode)
{
    *out = NULL;
    mld_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a writer");
    w->mode = mode;
    w->progress = o->progress;
    w->payload = o->payload;
    enum mld_error error = new_file_begin(&w->file, e, o, o->filename);
    if (error == MLD_OK)
        error = own_dir(&w->file);
    if (error == MLD_OK)
        error = new_file_create(&w->file);
    if (error == MLD_OK)
        error = hasher_begin(&w->hasher);
    if (error != MLD_OK)
        return finish(w, error);
    *out = w;
    return MLD_OK;
}

static enum mld_error go_to_offset(mld_writer *w)
{
    if (w->at == w->offset)
        return MLD_OK;
    if (lseek(w->file.fd, (off_t)w->offset, SEEK_SET) < 0)
        return error_set_errno(errno, "cannot seek in %s", w->file.path.data);
    w->at = w->offset;
    return MLD_OK;
}

/* Writes and hashes at once. What the hash has not come to, it goes on with after the return, while
 * the caller prepares its next piece: torch computes a CRC of it first. */
static enum mld_error write_hashed(mld_writer *w, const unsigned char *data, size_t len)
{
    enum mld_error error = MLD_OK;
    while (len > 0 && error == MLD_OK) {
        size_t piece = len < HASHER_KEPT_BYTES ? len : HASHER_KEPT_BYTES;
        hasher_put(&w->hasher, data, piece);
        error = fs_write_all(w->file.fd, data, piece, w->file.path.data);
        data += piece;
        len -= piece;
    }
    hasher_keep(&w->hasher);
    return error;
}

enum mld_error mld_writer_write(mld_writer *w, const void *data, size_t len)
{
    enum mld_error error = check(w);
    if (error != MLD_OK || len == 0)
        return error;
    uint64_t end = len > UINT64_MAX - w->offset ? UINT64_MAX : w->offset + len;
    error = new_file_check_size(&w->file, end);
    if (error == MLD_OK)
        error = go_to_offset(w);
    if (error == MLD_OK) {
        error = w->mode == MLD_SEQUENTIAL ? write_hashed(w, data, len)
                                          : fs_write_all(w->file.fd, data, len, w->file.path.data);
    }
    if (error != MLD_OK)
        return keep_failure(w, error);
    w->offset = w->at = end;
    if (w->size < end)
        w->size = end;
    return MLD_OK;
}

static enum mld_error check_seekable(mld_writer *w)
{
    enum mld_error error = check(w);
    if (error == MLD_OK && w->mode != MLD_SEEKABLE)
        error = error_set(MLD_EINVALID, "%s is written in order; open it as MLD_SEEKABLE",
                          w->file.path.data);
    return error;
}

enum mld_error mld_writer_seek(mld_writer *w, uint64_t offset)
{
    enum mld_error error = check_seekable(w);
    if (error == MLD_OK)
        error = new_file_check_size(&w->file, offset);
    if (error == MLD_OK)
        w->offset = offset;
    return error;
}

enum mld_error mld_writer_read(mld_writer *w, void *data, size_t len, size_t *out_len)
{
    *out_len = 0;
    enum mld_error error = check_seekable(w);
    if (error == MLD_OK)
        error = fs_pread(w->file.fd, data, len, (off_t)w->offset, out_len, w->file.path.data);
    w->offset += *out_len;
    return error;
}

enum mld_error mld_writer_truncate(mld_writer *w, uint64_t len)
{
    enum mld_error error = check_seekable(w);
    if (error == MLD_OK)
        error = new_file_check_size(&w->file, len);
    if (error == MLD_OK)
        error = fs_truncate(w->file.fd, (off_t)len, w->file.path.data);
    if (error == MLD_OK)
        w->size = len;
    return error;
}

uint64_t mld_writer_tell(const mld_writer *w)
{
    return w->offset;
}

uint64_t mld_writer_size(const mld_writer *w)
{
    return w->size;
}

static enum mld_error hash_bytes(mld_writer *w, struct copy_result *result)
{
    const struct copy_options options = {.total_bytes = w->size,
                                         .max_bytes = w->file.max_bytes,
                                         .progress = w->progress,
                                         .payload = w->payload};
    result->size_bytes = w->size;
    if (w->mode == MLD_SEQUENTIAL)
        return hasher_end(&w->hasher, result->checksum);
    return copy_hash(result, w->file.fd, w->file.path.data, &options);
}

enum mld_error mld_writer_commit(struct mld_file **out, mld_writer *w)
{
    struct copy_result result;
    if (out != NULL)
        *out = NULL;
    enum mld_error error = check(w);
    if (error == MLD_OK)
        error = hash_bytes(w, &result);
    if (error == MLD_OK)
        error = new_file_commit(out, &w->file, result.size_bytes, result.checksum);
    return finish(w, error);
}

void mld_writer_abandon(mld_writer *w)
{
    if (w != NULL)
        finish(w, MLD_EINTERRUPTED);
}

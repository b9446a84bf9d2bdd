/* blob_dir_commit.c: giving files their final names.
 *
 * The order, for an upload and for blob_put alike: bytes, header and seal are in the file; the file
 * is fsynced; its directory is there and durable; the file is renamed, unless the key is taken; the
 * directory is fsynced; only then is the answer yes. Dying at any point leaves the upload as it was
 * or the blob whole. */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

/* Is there a blob with these bytes? MLD_EEXISTS: with others. MLD_ENOTFOUND: none. `out` is its
 * file's description, with an empty name when it has none. */
static enum mld_error compare_stored(struct dir *d, const char *key,
                                     const struct blob_digest *digest, struct dir_file *out)
{
    bool found;
    int fd;
    enum mld_error error;

    memset(out, 0, sizeof(*out));
    error = dir_file_find(d, key, &fd, out);
    if (error == MLD_OK && fd >= 0) {
        close(fd);
        if (strcmp(out->digest.hex, digest->hex) != 0)
            return blob_other_bytes(key);
        return dir_file_confirm(d, key);
    }
    if (error == MLD_OK)
        error = dir_small_get(d, key, &found, NULL, NULL, &out->digest);
    if (error == MLD_OK && !found)
        return blob_no_key(key);
    if (error == MLD_OK && strcmp(out->digest.hex, digest->hex) != 0)
        return blob_other_bytes(key);
    return error;
}

/* Gives the durable file at `from` the name of the key's blob. MLD_OK also when the key has these
 * bytes already; then *out_renamed is false and the file still there. */
static enum mld_error give_name(struct dir *d, const struct dir_path *from, const char *key,
                                const struct blob_digest *digest, bool *out_renamed)
{
    struct dir_job job = {.publish_key = key, .from = *from};
    struct dir_file stored;
    enum mld_error error = dir_blob_path(&job.to, key);

    *out_renamed = false;
    if (error == MLD_OK)
        error = dir_make_fan(d, &job.to);
    if (error == MLD_OK)
        error = dir_small_run(d, &job);
    *out_renamed = job.published;
    if (error == MLD_OK)
        return fs_sync_dir(d->root_fd, dir_path_parent(&job.to).text);
    if (error != MLD_EEXISTS)
        return error;
    error = compare_stored(d, key, digest, &stored);
    /* Deleted since: who sent it may try again. */
    return error == MLD_ENOTFOUND ? error_set(MLD_ECONFLICT, "blob '%.400s' was just deleted", key)
                                  : error;
}

static enum mld_error write_large(int fd, const struct dir_file *file, const void *data,
                                  const struct blob_digest *digest, const char *path)
{
    enum mld_error error = fs_allocate(fd, (off_t)dir_file_length(file), path);

    if (error == MLD_OK)
        error = fs_pwrite_all(fd, data, file->size_bytes, DIR_DATA_OFFSET, path);
    if (error == MLD_OK)
        error = dir_header_write(fd, file, path);
    if (error == MLD_OK)
        error = dir_seal_write(fd, file, digest, path);
    if (error == MLD_OK)
        error = fs_sync_data(fd, path);
    return error;
}

enum mld_error dir_put_large(struct blob *b, const char *key, const void *data, size_t len,
                             const struct blob_digest *digest)
{
    struct dir *d = (struct dir *)b;
    struct dir_file file = {.size_bytes = len, .part_size_bytes = len};
    struct dir_path path;
    bool renamed = false;
    int fd = -1;
    enum mld_error error = id_random(file.name);

    if (error != MLD_OK)
        return error;
    memcpy(file.key, key, strlen(key) + 1);
    path = dir_upload_path("put-", file.name);
    error = fs_open(&fd, d->root_fd, path.text, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (error != MLD_OK)
        return error;
    error = write_large(fd, &file, data, digest, path.text);
    close(fd);
    if (error == MLD_OK)
        error = give_name(d, &path, key, digest, &renamed);
    if (!renamed) {
        struct error_copy why;
        error_save(error, &why);
        (void)fs_unlink(d->root_fd, path.text);
        error = error == MLD_OK ? MLD_OK : error_restore(&why);
    }
    return error;
}

/* There is no such upload: perhaps because it was committed. */
static enum mld_error commit_again(struct dir *d, const struct blob_upload *upload,
                                   const struct blob_digest *digest)
{
    struct dir_file stored;
    enum mld_error error = compare_stored(d, upload->key, digest, &stored);

    if (error == MLD_EEXISTS && strcmp(stored.name, upload->name) == 0)
        return blob_wrong_whole(upload, stored.digest.hex);
    if (error == MLD_EEXISTS || error == MLD_ENOTFOUND)
        return blob_no_upload(upload->name);
    return error;
}

/* Bytes and checksum are on the disk, and are the right ones. The hash threads go on meanwhile. */
static enum mld_error make_durable(struct dir *d, struct dir_upload *u,
                                   const struct blob_upload *upload,
                                   const struct blob_digest *digest)
{
    enum mld_error error = dir_seal_write(u->fd, &u->file, digest, u->path.text);

    if (error == MLD_OK)
        error = fs_sync_data(u->fd, u->path.text);
    pthread_mutex_lock(&u->lock);
    if (error == MLD_EIO)
        error = dir_upload_fail(d, u, error);
    if (error == MLD_OK)
        error = dir_hash_finish(d, u);
    if (error == MLD_OK && strcmp(u->whole_digest.hex, digest->hex) != 0)
        error = blob_wrong_whole(upload, u->whole_digest.hex);
    pthread_mutex_unlock(&u->lock);
    return error;
}

static enum mld_error commit_entered(struct dir *d, struct dir_upload *u,
                                     const struct blob_upload *upload,
                                     const struct blob_digest *digest)
{
    struct error_copy result = {.code = MLD_OK};
    bool renamed = false;
    enum mld_error error = make_durable(d, u, upload, digest);

    if (error == MLD_OK)
        error = give_name(d, &u->path, upload->key, digest, &renamed);
    error_save(error, &result);
    bool gone = renamed || error == MLD_OK;
    if (gone && !renamed) /* the same bytes were there */
        (void)fs_unlink(d->root_fd, u->path.text);
    if (gone && error == MLD_OK) {
        error = fs_sync_dir(d->root_fd, "uploads");
        error_save(error, &result);
    }
    pthread_mutex_lock(&u->lock);
    u->committing = false;
    u->gone = u->gone || gone;
    pthread_cond_broadcast(&u->changed);
    if (u->gone)
        dir_upload_forget(d, u);
    return result.code == MLD_OK ? MLD_OK : error_restore(&result);
}

enum mld_error dir_commit(struct blob *b, const struct blob_upload *upload,
                          const struct blob_digest *digest, enum blob_verified *out_verified)
{
    struct dir *d = (struct dir *)b;
    struct dir_upload *u;
    enum mld_error error = dir_upload_enter(&u, d, upload);

    *out_verified = BLOB_VERIFIED_WHOLE;
    if (error == MLD_ENOTFOUND)
        return commit_again(d, upload, digest);
    if (error != MLD_OK)
        return error;
    if (u->n_there != u->file.n_parts) {
        error = blob_missing_parts(upload, u->n_there);
    } else {
        u->committing = true;
        dir_hash_queue(d, u);
        pthread_mutex_unlock(&u->lock);
        error = commit_entered(d, u, upload, digest);
    }
    dir_upload_leave(d, u);
    return error;
}

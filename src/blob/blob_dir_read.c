/* blob_dir_read.c: finding, reading and listing what is stored. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

struct dir_reader {
    struct blob_reader base;
    int fd;              /* of a large blob, or -1 */
    unsigned char *data; /* of a small one */
    struct dir_path path;
};

enum mld_error dir_file_find(struct dir *d, const char *key, int *out_fd, struct dir_file *out)
{
    struct dir_path path;
    enum mld_error error = dir_blob_path(&path, key);

    *out_fd = -1;
    if (error == MLD_OK)
        error = fs_open(out_fd, d->root_fd, path.text, O_RDONLY, 0);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    if (error == MLD_OK)
        error = dir_file_read(out, *out_fd, path.text);
    if (error == MLD_OK && (out->digest.hex[0] == '\0' || strcmp(out->key, key) != 0))
        error = error_set(MLD_EDAMAGED, "'%s' in the blob store is damaged: %s", path.text,
                          out->digest.hex[0] == '\0' ? "it has no seal" : "it has another key");
    if (error != MLD_OK && *out_fd >= 0) {
        close(*out_fd);
        *out_fd = -1;
    }
    return error;
}

enum mld_error dir_file_confirm(struct dir *d, const char *key)
{
    struct dir_path path;
    enum mld_error error = dir_blob_path(&path, key);

    if (error == MLD_OK)
        error = fs_sync_dir(d->root_fd, dir_path_parent(&path).text);
    return error;
}

static enum mld_error open_small(struct dir_reader *r, struct dir *d, const char *key,
                                 size_t *out_size)
{
    struct sha256 hash = {.context = NULL};
    struct blob_digest digest;
    struct blob_digest is;
    bool found;
    enum mld_error error = dir_small_get(d, key, &found, &r->data, out_size, &digest);

    if (error == MLD_OK && !found)
        return blob_no_key(key);
    if (error == MLD_OK)
        error = sha256_begin(&hash);
    if (error == MLD_OK) {
        sha256_update(&hash, r->data, *out_size);
        error = sha256_end(&hash, is.hex);
    }
    sha256_free(&hash);
    if (error == MLD_OK && strcmp(is.hex, digest.hex) != 0)
        error =
            error_set(MLD_EDAMAGED, "the blob '%.400s' does not have its SHA-256 any more", key);
    return error;
}

enum mld_error dir_open_reader(struct blob_reader **out, struct blob *b, const char *key,
                               uint64_t offset, uint64_t len)
{
    struct dir *d = (struct dir *)b;
    struct dir_reader *r = calloc(1, sizeof(*r));
    struct dir_file file = {.size_bytes = 0};
    uint64_t size = 0;
    enum mld_error error;

    if (r == NULL)
        return error_set(MLD_ENOMEM, "no memory for a reader");
    error = dir_file_find(d, key, &r->fd, &file);
    if (error == MLD_OK && r->fd >= 0) {
        size = file.size_bytes;
        error = dir_blob_path(&r->path, key);
    } else if (error == MLD_OK) {
        size_t small = 0;
        error = open_small(r, d, key, &small);
        size = small;
    }
    if (error == MLD_OK)
        error = blob_reader_begin(&r->base, b, key, size, offset, len);
    if (error == MLD_OK)
        *out = &r->base;
    else
        dir_reader_close(&r->base);
    return error;
}

enum mld_error dir_read(struct blob_reader *base, void *data, size_t len, size_t *out_len)
{
    struct dir_reader *r = (struct dir_reader *)base;
    enum mld_error error;

    if (r->fd < 0) {
        memcpy(data, r->data + base->at, len);
        *out_len = len;
        return MLD_OK;
    }
    error = fs_pread(r->fd, data, len, (off_t)(DIR_DATA_OFFSET + base->at), out_len, r->path.text);
    if (error == MLD_OK && *out_len == 0)
        error = error_set(MLD_EDAMAGED, "'%s' in the blob store was cut", r->path.text);
    return error;
}

void dir_reader_close(struct blob_reader *base)
{
    struct dir_reader *r = (struct dir_reader *)base;

    if (r->fd >= 0)
        close(r->fd);
    free(r->data);
    free(r);
}

enum mld_error dir_stat(struct blob *b, const char *key, uint64_t *out_size)
{
    struct dir *d = (struct dir *)b;
    struct dir_file file = {.size_bytes = 0};
    size_t small = 0;
    bool found;
    int fd;
    enum mld_error error = dir_file_find(d, key, &fd, &file);

    if (error == MLD_OK && fd >= 0) {
        close(fd);
        *out_size = file.size_bytes;
        return MLD_OK;
    }
    if (error == MLD_OK)
        error = dir_small_get(d, key, &found, NULL, &small, NULL);
    if (error == MLD_OK && !found)
        error = blob_no_key(key);
    *out_size = small;
    return error;
}

struct listing {
    struct dir *d;
    int blobs_fd;
    blob_visit *visit;
    void *payload;
    unsigned n_damaged;
    struct error_copy damaged; /* the first */
};

static enum mld_error list_file(const char *name, unsigned char type, void *payload)
{
    struct listing *l = payload;
    struct dir_file file = {.size_bytes = 0};
    int fd;
    enum mld_error error = fs_open(&fd, l->blobs_fd, name, O_RDONLY, 0);

    (void)type;
    if (error == MLD_ENOTFOUND)
        return MLD_OK; /* deleted meanwhile */
    if (error == MLD_OK) {
        error = dir_file_read(&file, fd, name);
        close(fd);
    }
    if (error == MLD_EDAMAGED || error == MLD_EACCESS) {
        if (l->n_damaged++ == 0)
            error_save(error, &l->damaged);
        return MLD_OK;
    }
    return error == MLD_OK ? l->visit(file.key, file.size_bytes, l->payload) : error;
}

enum mld_error dir_list(struct blob *b, blob_visit *visit, void *payload)
{
    struct listing l = {.d = (struct dir *)b, .visit = visit, .payload = payload};
    enum mld_error error = dir_small_list(l.d, visit, payload);

    if (error == MLD_OK)
        error = fs_open_dir(&l.blobs_fd, l.d->root_fd, "blobs");
    if (error != MLD_OK)
        return error;
    error = fs_walk(l.blobs_fd, ".", list_file, &l);
    close(l.blobs_fd);
    if (error == MLD_OK && l.n_damaged > 0) {
        error = error_restore(&l.damaged);
        error = error_prefix(error, "%u of the stored blobs could not be listed", l.n_damaged);
    }
    return error;
}

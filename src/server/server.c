#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/id.h"
#include "server/access.h"
#include "server/lane.h"
#include "server/sweeper.h"

#define DEFAULT_JWT_AGE_S (INT64_C(7) * 24 * 3600)
#define DEFAULT_MAX_FILE_BYTES (UINT64_C(5) << 30)
#define MAX_PATH_BYTES 4096

/* The whole file, or MLD_EDAMAGED: one that was cut would sign with what anybody can guess. */
static enum mld_error read_secret(unsigned char out[32], int dir_fd)
{
    struct buf text;
    buf_init(&text, 64);
    enum mld_error error = fs_read_file(dir_fd, "secret", &text);
    if (error == MLD_OK && text.len != 32)
        error = error_set(MLD_EDAMAGED, "the file 'secret' of the server's data is not 32 bytes: "
                                        "remove it, and all sign-ins of browsers end");
    if (error == MLD_OK)
        memcpy(out, text.data, 32);
    buf_free(&text);
    return error;
}

static enum mld_error write_secret(int dir_fd, const char *name, const unsigned char secret[32])
{
    int fd = -1;
    enum mld_error error =
        fs_open(&fd, dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (error == MLD_OK)
        error = fs_write_all(fd, secret, 32, name);
    if (error == MLD_OK)
        error = fs_sync(fd, name);
    enum mld_error closed = fs_close(&fd, name);
    return error == MLD_OK ? closed : error;
}

/* Made whole and private under another name first. When two servers begin at once, the second takes
 * what the first made. */
static enum mld_error make_secret(unsigned char out[32], int dir_fd)
{
    char name[ID_RANDOM_LEN + 16] = "secret.";
    enum mld_error error = id_random(name + strlen("secret."));
    if (error == MLD_OK && getrandom(out, 32, 0) != 32)
        error = error_set(MLD_EIO, "the system gave no random bytes");
    if (error != MLD_OK)
        return error;
    error = write_secret(dir_fd, name, out);
    if (error == MLD_OK)
        error = fs_rename(dir_fd, name, "secret", false);
    if (error == MLD_OK)
        return fs_sync_dir(dir_fd, ".");
    struct error_copy copy;
    error_save(error, &copy);
    (void)fs_unlink(dir_fd, name);
    return error == MLD_EEXISTS ? read_secret(out, dir_fd) : error_restore(&copy);
}

static enum mld_error open_data(int *out_fd, const char *path)
{
    struct stat before;
    bool is_new = stat(path, &before) != 0;
    enum mld_error error = fs_open_root(out_fd, path, true);
    if (error == MLD_OK && is_new && fchmod(*out_fd, 0700) != 0)
        error = error_set_errno(errno, "could not make %s private", path);
    return error;
}

static enum mld_error open_stores(struct server *s, const char *data_dir)
{
    struct buf path;
    buf_init(&path, MAX_PATH_BYTES);
    buf_printf(&path, "%s/meta.sqlite", data_dir);
    enum mld_error error = buf_check(&path, "the data directory's path");
    if (error == MLD_OK)
        error = meta_sqlite_open(&s->meta, path.data);
    buf_clear(&path);
    buf_printf(&path, "%s/blobs", data_dir);
    if (error == MLD_OK)
        error = buf_check(&path, "the data directory's path");
    if (error == MLD_OK)
        error = blob_dir_open(&s->blob, path.data);
    buf_free(&path);
    return error;
}

static enum mld_error open_all(struct server *s, const struct server_options *options)
{
    int dir_fd = -1;
    enum mld_error error = open_data(&dir_fd, options->data_dir);
    if (error == MLD_OK)
        error = fs_exists(dir_fd, "secret") ? read_secret(s->secret, dir_fd)
                                            : make_secret(s->secret, dir_fd);
    if (error == MLD_OK)
        error = open_stores(s, options->data_dir);
    if (error == MLD_OK)
        error =
            access_open(&s->accounts, s->meta, options->jwt_secret,
                        options->jwt_expiration_s ? options->jwt_expiration_s : DEFAULT_JWT_AGE_S);
    if (error == MLD_OK)
        error = lanes_open(&s->lanes, s->meta, s->blob, NULL);
    if (error == MLD_OK)
        error = sweeper_start(&s->sweeper, s->meta, s->blob, s->lanes);
    fs_close(&dir_fd, options->data_dir);
    return error;
}

enum mld_error server_open(struct server **out, const struct server_options *options)
{
    *out = NULL;
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    s->max_file_bytes = options->max_file_bytes ? options->max_file_bytes : DEFAULT_MAX_FILE_BYTES;
    s->own_memory = options->public_url ? strdup(options->public_url) : NULL;
    s->public_url = s->own_memory;
    enum mld_error error = options->public_url && s->own_memory == NULL
                               ? error_set(MLD_ENOMEM, "out of memory")
                               : open_all(s, options);
    if (error != MLD_OK) {
        struct error_copy copy;
        error_save(error, &copy);
        server_close(s);
        return error_restore(&copy);
    }
    *out = s;
    return MLD_OK;
}

void server_close(struct server *server)
{
    if (server == NULL)
        return;
    sweeper_stop(server->sweeper);
    lanes_close(server->lanes);
    access_close(server->accounts);
    if (server->meta)
        meta_close(server->meta);
    blob_close(server->blob);
    explicit_bzero(server->secret, sizeof server->secret);
    free(server->own_memory);
    free(server);
}

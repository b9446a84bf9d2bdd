/* engine_files.c: files whose records were read: the server is asked which it has, small ones are
 * sent many at a time. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/name.h"
#include "run/slot.h"
#include "sync/engine.h"

enum mld_error engine_open_bytes(struct engine *e, const struct sync_file *file, int *out_fd)
{
    struct buf path;
    *out_fd = -1;
    buf_init(&path, 4096);
    name_file_path(&path, file->path, file->id, file->filename);
    enum mld_error error = buf_check(&path, "path of a file");
    if (error == MLD_OK)
        error = fs_open(out_fd, e->folder->dir_fd, buf_text(&path), O_RDONLY, 0);
    buf_free(&path);
    return error;
}

bool engine_take_other_id(struct sync_file *file)
{
    if (file->other == ENGINE_OTHER_IDS)
        return false;
    id_file_other(file->other_id, file->stream, file->id, file->other);
    file->other++;
    return true;
}

#define FULL_MAX 32 /* files that had no room: then all others wait for the next round, too */

/* Files of one round of asking. */
struct group {
    struct sync_file *files[REMOTE_MAX_FILES];
    enum remote_state states[REMOTE_MAX_FILES];
    size_t n;
};
/* Small files of one request. */
struct parcel {
    struct buf header, bytes;
    struct sync_file *files[REMOTE_MAX_FILES];
    size_t n;
};

/* Bytes that are not there: given up by the folder, or lost. Takes the file. */
static void without_bytes(struct engine *e, struct sync_file *file, enum mld_error error)
{
    char reason[512];
    bool gone = false;
    snprintf(reason, sizeof reason, "%s", mld_error_message());
    if (error == MLD_ENOTFOUND && sync_folder_is_gone(e->folder, file->id, &gone) != MLD_OK) {
        sync_folder_put_back(e->folder, file);
        return;
    }
    if (!gone) /* else superseded: nobody will miss it */
        engine_file_failed(e, file, reason);
    sync_file_free(file);
}

/* Appends the file's bytes to `out`, checked against its record. */
static enum mld_error read_checked(struct engine *e, const struct sync_file *file, struct buf *out)
{
    struct sha256 h = {0};
    char sha256[SHA256_HEX_LEN + 1];
    size_t size = (size_t)file->size_bytes, len = 0;
    int fd;
    enum mld_error error = engine_open_bytes(e, file, &fd);
    if (error != MLD_OK)
        return error;
    char *place = buf_reserve(out, size + 1);
    error = place == NULL ? buf_check(out, "a request")
                          : fs_pread(fd, place, size + 1, 0, &len, file->filename);
    close(fd);
    if (error == MLD_OK)
        error = sha256_begin(&h);
    if (error == MLD_OK) {
        sha256_update(&h, place, len);
        error = sha256_end(&h, sha256);
    }
    sha256_free(&h);
    if (error != MLD_OK)
        return error;
    if (len != size || strcmp(sha256, file->checksum) != 0)
        return error_set(MLD_ECHECKSUM, "its stored bytes are not what was saved");
    buf_advance(out, size);
    return MLD_OK;
}

static void parcel_begin(struct parcel *p)
{
    buf_clear(&p->header);
    buf_clear(&p->bytes);
    buf_puts(&p->header, "{\"files\":[");
    p->n = 0;
}

/* Puts a file that was not settled back. When the folder begins anew its record comes again. */
static void return_file(struct engine *e, struct sync_file *file)
{
    if (e->diverging)
        sync_file_free(file);
    else
        sync_folder_put_back(e->folder, file);
}

static void return_files(struct engine *e, struct sync_file **files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        return_file(e, files[i]);
}

/* Its own id, or the one that it took instead, is another file's: it asks again under the next. */
static void settle_taken(struct engine *e, struct sync_file *file)
{
    if (engine_take_other_id(file)) {
        sync_folder_put_back(e->folder, file);
        return;
    }
    engine_file_failed(e, file, "every id for it is taken");
    sync_file_free(file);
}

static void settle_small(struct engine *e, struct sync_file *file, enum remote_state state)
{
    switch (state) {
    case REMOTE_LIVE:
        engine_count(e, &e->status.bytes_sent, file->size_bytes);
        engine_file_is_there(e, file, true);
        break;
    case REMOTE_GONE:
        break;
    case REMOTE_ID_TAKEN:
        settle_taken(e, file);
        return;
    default: /* what was read here was right: other bytes arrived */
        if (++file->tries < ENGINE_FILE_TRIES) {
            sync_folder_put_back(e->folder, file);
            return;
        }
        engine_file_failed(e, file, "other bytes arrived at the server, again and again");
    }
    sync_file_free(file);
}

/* What the server refuses whole: each file by itself, unless `alone` is not needed yet. One that
 * was by itself will never be there. */
static void settle_refused(struct engine *e, struct sync_file **files, size_t n, bool alone)
{
    char reason[512];
    if (n == 1) {
        snprintf(reason, sizeof reason, "%s", mld_error_message());
        engine_file_failed(e, files[0], reason);
        sync_file_free(files[0]);
        return;
    }
    for (size_t i = 0; i < n; i++)
        files[i]->alone = alone;
    return_files(e, files, n);
}

static enum mld_error send_parcel(struct engine *e, struct parcel *p)
{
    enum remote_state states[REMOTE_MAX_FILES];
    if (p->n == 0)
        return MLD_OK;
    buf_puts(&p->header, "]}\n");
    buf_put(&p->header, p->bytes.data, p->bytes.len);
    enum mld_error error = buf_check(&p->header, "a request");
    if (error == MLD_OK)
        error = remote_files_small(&e->remote, &p->header, p->files, p->n, states);
    bool refused = error == MLD_EINVALID || error == MLD_ETOOLARGE;
    if (refused)
        settle_refused(e, p->files, p->n,
                       error == MLD_EINVALID || (p->n > 1 && !engine_send_less(e)));
    else if (error != MLD_OK)
        return_files(e, p->files, p->n);
    for (size_t i = 0; error == MLD_OK && i < p->n; i++)
        settle_small(e, p->files[i], states[i]);
    parcel_begin(p);
    engine_report(e);
    return refused ? MLD_OK : error;
}

static enum mld_error add_small(struct engine *e, struct parcel *p, struct sync_file *file)
{
    size_t before = p->bytes.len;
    enum mld_error error = MLD_OK;
    if (p->n == REMOTE_MAX_FILES || file->alone || (p->n > 0 && p->files[0]->alone) ||
        p->bytes.len + p->header.len + file->size_bytes + 4096 > e->body_bytes)
        error = send_parcel(e, p);
    if (error != MLD_OK) {
        sync_folder_put_back(e->folder, file);
        return error;
    }
    error = read_checked(e, file, &p->bytes);
    if (error == MLD_ENOMEM) {
        sync_folder_put_back(e->folder, file);
        return error;
    }
    if (error != MLD_OK) {
        p->bytes.len = before < p->bytes.len ? before : p->bytes.len;
        without_bytes(e, file, error);
        return MLD_OK;
    }
    if (p->n > 0)
        buf_putc(&p->header, ',');
    remote_put_file(&p->header, file);
    p->files[p->n++] = file;
    return MLD_OK;
}

/* One large file; errors that are only its own are settled here. */
static enum mld_error send_large(struct engine *e, struct sync_file *file)
{
    char reason[512];
    int fd;
    enum mld_error error = engine_open_bytes(e, file, &fd);
    if (error == MLD_ENOMEM || error == MLD_EBUSY) {
        sync_folder_put_back(e->folder, file);
        return error;
    }
    if (error != MLD_OK) {
        without_bytes(e, file, error);
        return MLD_OK;
    }
    error = engine_upload(e, file, fd);
    close(fd);
    switch (error) {
    case MLD_OK:
        engine_file_is_there(e, file, true);
        break;
    case MLD_ESUPERSEDED:
        break;
    case MLD_EEXISTS:
        settle_taken(e, file);
        return MLD_OK;
    case MLD_ETOOLARGE:
    case MLD_ECHECKSUM:
    case MLD_EINVALID:
    case MLD_EIO:
        snprintf(reason, sizeof reason, "%s", mld_error_message());
        engine_file_failed(e, file, reason);
        break;
    default:
        return_file(e, file);
        return error;
    }
    sync_file_free(file);
    engine_report(e);
    return MLD_OK;
}

static enum mld_error settle(struct engine *e, struct parcel *p, struct sync_file *file,
                             enum remote_state state)
{
    if (state == REMOTE_ID_TAKEN) {
        settle_taken(e, file);
        return MLD_OK;
    }
    if (state == REMOTE_LIVE || state == REMOTE_GONE) {
        if (state == REMOTE_LIVE)
            engine_file_is_there(e, file, false);
        sync_file_free(file);
        return MLD_OK;
    }
    if (file->size_bytes <= REMOTE_SMALL_BYTES && state != REMOTE_OPEN)
        return add_small(e, p, file);
    return send_large(e, file);
}

static enum mld_error settle_group(struct engine *e, struct group *g)
{
    struct parcel *p = calloc(1, sizeof *p);
    enum mld_error error = p == NULL ? error_set(MLD_ENOMEM, "no memory to send files") : MLD_OK;
    size_t i = 0, full = 0;
    if (p != NULL) {
        buf_init(&p->header, 2 * REMOTE_MAX_BODY_BYTES);
        buf_init(&p->bytes, REMOTE_MAX_BODY_BYTES + REMOTE_SMALL_BYTES + 1);
        parcel_begin(p);
    }
    for (; i < g->n && (error == MLD_OK || error == MLD_ENOSPACE) && full < FULL_MAX; i++) {
        enum mld_error own = settle(e, p, g->files[i], g->states[i]);
        /* What has no room waits; others may be small enough. */
        error = own == MLD_OK ? error : own;
        full += own == MLD_ENOSPACE;
    }
    return_files(e, g->files + i, g->n - i);
    if (p != NULL && (error == MLD_OK || error == MLD_ENOSPACE)) {
        enum mld_error own = send_parcel(e, p);
        error = own == MLD_OK ? error : own;
    } else if (p != NULL) {
        return_files(e, p->files, p->n);
    }
    if (p != NULL) {
        buf_free(&p->header);
        buf_free(&p->bytes);
    }
    free(p);
    return error;
}

/* Takes files to ask for, at most `left` of them. One that is asked for alone ends the group. */
static void take_group(struct engine *e, struct group *g, size_t left)
{
    bool alone = false;
    g->n = 0;
    while (g->n < REMOTE_MAX_FILES && g->n < left && !alone &&
           (g->files[g->n] = sync_folder_take(e->folder)) != NULL)
        alone = g->files[g->n++]->alone;
}

static enum mld_error send_group(struct engine *e, struct group *g)
{
    enum mld_error error = remote_files_status(&e->remote, g->files, g->n, g->states);
    if (error == MLD_OK)
        return settle_group(e, g);
    if (error == MLD_EINVALID || error == MLD_ETOOLARGE) {
        settle_refused(e, g->files, g->n, true);
        return MLD_OK;
    }
    return_files(e, g->files, g->n);
    return error;
}

enum mld_error engine_send_files(struct engine *e)
{
    struct group *g = calloc(1, sizeof *g);
    size_t left = e->folder->n_pending;
    enum mld_error error = g == NULL ? error_set(MLD_ENOMEM, "no memory to send files") : MLD_OK;
    while (error == MLD_OK && left > 0) {
        take_group(e, g, left);
        left -= g->n;
        if (g->n == 0)
            break;
        error = send_group(e, g);
        if (error == MLD_OK && atomic_load(&e->stop))
            error = error_set(MLD_EINTERRUPTED, "syncing was stopped");
    }
    free(g);
    return error;
}

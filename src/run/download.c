/* Copying stored bytes out: to a path, checked while copying and put into place whole; or into a
 * sink. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/name.h"
#include "mldash/file.h"
#include "run/copy.h"
#include "run/fetch.h"
#include "run/file_find.h"
#include "run/stored.h"

#define PATH_MAX_BYTES 16384
#define READ_BYTES (1u << 20)
#define RETRIES 8 /* a name whose versions are replaced while it is being read */

/* A stored file, open, with what its record says. */
struct source {
    int fd; /* -1 with `remote`: its bytes are not in the folder */
    const struct run_source *remote;
    char *id;
    char *filename;
    char *path;                     /* relative to the run folder */
    char *recorded_id;              /* NULL: `id` */
    char stream[ID_RANDOM_LEN + 1]; /* of its record, when its id is contested; else "" */
    char checksum[SHA256_HEX_LEN + 1];
    uint64_t size;
};

static void source_close(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->id);
    free(s->filename);
    free(s->path);
    free(s->recorded_id);
    *s = (struct source){.fd = -1};
}

static enum mld_error note_entry(struct source *s, const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, PATH_MAX_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    s->path = buf_steal(&path);
    s->id = strdup(f->id);
    s->filename = strdup(f->filename);
    s->size = f->size_bytes;
    snprintf(s->checksum, sizeof s->checksum, "%s", f->checksum == NULL ? "" : f->checksum);
    if (f->contested && f->mirrored) /* its shard is called after its stream */
        snprintf(s->stream, sizeof s->stream, "%.*s", ID_RANDOM_LEN, f->shard);
    if (f->recorded_id != NULL && (s->recorded_id = strdup(f->recorded_id)) == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading file %s", f->id);
    if (s->path == NULL || s->id == NULL || s->filename == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading file %s", f->id);
    return MLD_OK;
}

static enum mld_error find_entry(struct run *run, struct file_entry **out,
                                 const struct mld_download_options *o)
{
    enum mld_error error = run_refresh(run);
    if (error != MLD_OK)
        return error;
    if (o->id != NULL)
        return file_find_by_id(run, out, o->id);
    if (o->filename == NULL)
        return error_set(MLD_EINVALID, "a download needs a file id, or a file name");
    return file_find_by_name(run, out, o->prefix, o->filename, o->alias);
}

/* Looks the file up and opens its bytes. When they are gone, somebody replaced it after our look:
 * by name, the next look finds the newer version; by id, it says who replaced it. */
static enum mld_error source_open(struct source *s, mld_experiment *e,
                                  const struct mld_download_options *o)
{
    enum mld_error error = MLD_OK;
    for (int attempt = 0; attempt < RETRIES; attempt++) {
        struct run *run;
        struct file_entry *f;
        source_close(s);
        error = run_enter(&run, e, RUN_READ);
        if (error != MLD_OK)
            return error;
        error = find_entry(run, &f, o);
        if (error == MLD_OK)
            error = note_entry(s, f);
        int dir_fd = run->dir_fd;
        run_leave(run);
        if (error != MLD_OK)
            return error;
        error = fs_open(&s->fd, dir_fd, s->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (error != MLD_ENOTFOUND || (e->source.fetch != NULL && attempt > 0))
            break;
    }
    if (error == MLD_ENOTFOUND && e->source.fetch != NULL) {
        s->remote = &e->source;
        return MLD_OK;
    }
    if (error == MLD_ENOTFOUND)
        return error_set(MLD_EDAMAGED, "the bytes of file %s are missing: %s is not there", s->id,
                         s->path);
    struct stat st;
    if (error == MLD_OK && fstat(s->fd, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(MLD_EDAMAGED, "%s is no regular file", s->path);
    return error;
}

static enum mld_error check_sum(const struct source *s, const char *got)
{
    if (strcmp(got, s->checksum) == 0)
        return MLD_OK;
    return error_set(MLD_ECHECKSUM,
                     "the %s bytes of %s (id %s) have changed: SHA-256 is %.16s..., recorded "
                     "%.16s...",
                     s->remote == NULL ? "stored" : "received", s->filename, s->id, got,
                     s->checksum);
}

/* The next older version whose bytes are there, of the right size; NULL: none. Needs the lock. */
static const struct file_entry *older_with_bytes(struct run *run, const struct file_entry *f)
{
    struct stored_result result;
    struct buf path;
    bool found = false;
    buf_init(&path, PATH_MAX_BYTES);
    while (!found && f != NULL && (f = f->older) != NULL) {
        if (!state_is_listed(f) || f->deleted_at != NULL || f->damaged)
            continue;
        buf_clear(&path);
        name_file_path(&path, f->path, f->id, f->filename);
        const struct stored_expected expected = {.path = buf_text(&path),
                                                 .size_bytes = f->size_bytes};
        found = stored_check(&result, run->dir_fd, &expected) == MLD_OK && result.intact;
    }
    buf_free(&path);
    return f;
}

/* True when the newest version of a name was asked for, and found to be damaged. */
static bool is_damaged_newest(enum mld_error error, const struct source *s,
                              const struct mld_download_options *o)
{
    bool damaged = error == MLD_ECHECKSUM || error == MLD_EDAMAGED;
    bool newest = o->id == NULL && (o->alias == NULL || strcmp(o->alias, "latest") == 0);
    return damaged && newest && s->id != NULL;
}

/* An older one is never given in its place, but the message says that there is one. */
static enum mld_error name_older(enum mld_error error, const struct source *s, mld_experiment *e)
{
    struct error_copy damage;
    struct run *run;
    error_save(error, &damage);
    if (run_enter(&run, e, RUN_READ) != MLD_OK)
        return error_restore(&damage);
    const struct file_entry *f = older_with_bytes(run, state_file(&run->state, s->id));
    if (f == NULL)
        error_restore(&damage);
    else
        error_set(error, "%s; an older version of %s is there: download id %s", damage.message,
                  s->filename, f->id);
    run_leave(run);
    return error;
}

/* Where a download goes: a folder, open, and a name in it. */
struct destination {
    int dir_fd;
    char *dir;
    char *name;
    char temporary[64];
};

static void destination_close(struct destination *d)
{
    if (d->dir_fd >= 0)
        close(d->dir_fd);
    free(d->dir);
    free(d->name);
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void split(struct destination *d, const char *path, const char *filename)
{
    size_t len = path == NULL ? 0 : strlen(path);
    const char *slash = len == 0 ? NULL : strrchr(path, '/');
    if (len == 0 || path[len - 1] == '/' || is_directory(path)) {
        d->dir = strdup(len == 0 ? "." : path);
        d->name = strdup(filename);
    } else if (slash == NULL) {
        d->dir = strdup(".");
        d->name = strdup(path);
    } else {
        d->dir = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
        d->name = strdup(slash + 1);
    }
}

static enum mld_error destination_open(struct destination *d, const char *path,
                                       const char *filename)
{
    char random[ID_RANDOM_LEN + 1];
    int fd = -1;
    split(d, path, filename);
    if (d->dir == NULL || d->name == NULL)
        return error_set(MLD_ENOMEM, "out of memory for downloading %s", filename);
    enum mld_error error = id_random(random);
    if (error == MLD_OK)
        error = fs_open_root(&fd, d->dir, true);
    d->dir_fd = fd;
    snprintf(d->temporary, sizeof d->temporary, ".ml-dash-%s.part", random);
    return error;
}

/* A rename puts a file in the place of anything: as root, of /dev/null, too. */
static enum mld_error destination_check(const struct destination *d)
{
    struct stat st;
    if (fstatat(d->dir_fd, d->name, &st, 0) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return MLD_OK;
    return error_set(MLD_EINVALID,
                     "%s/%s is a device or pipe, which a download would replace; read the file and "
                     "write its bytes there",
                     d->dir, d->name);
}

static enum mld_error fetch_wanted(char out_hex[SHA256_HEX_LEN + 1], const struct source *s,
                                   const struct fetch_target *target)
{
    const struct run_wanted wanted = {.id = s->recorded_id == NULL ? s->id : s->recorded_id,
                                      .checksum = s->checksum,
                                      .size = s->size,
                                      .stream = s->stream[0] == '\0' ? NULL : s->stream};
    return fetch_bytes(out_hex, s->remote, &wanted, target);
}

static enum mld_error fetch_checked(struct source *s, int fd, const struct destination *d,
                                    const struct mld_download_options *o)
{
    char got[SHA256_HEX_LEN + 1];
    const struct fetch_target target = {
        .fd = fd, .name = d->name, .progress = o->progress, .payload = o->payload};
    enum mld_error error = fetch_wanted(got, s, &target);
    return error == MLD_OK ? check_sum(s, got) : error;
}

/* Copies into the temporary file and checks; the caller puts it into place. */
static enum mld_error copy_checked(struct source *s, struct destination *d,
                                   const struct mld_download_options *o)
{
    struct copy_result result = {0};
    int fd;
    enum mld_error error =
        fs_open(&fd, d->dir_fd, d->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (error != MLD_OK)
        return error;
    struct copy_options options = {.total_bytes = s->size,
                                   .max_bytes = UINT64_MAX,
                                   .progress = o->progress,
                                   .payload = o->payload};
    if (s->remote != NULL)
        error = fetch_checked(s, fd, d, o);
    else
        error = copy_file(&result, s->fd, fd, s->path, d->name, &options);
    enum mld_error closed = fs_close(&fd, d->name);
    if (error == MLD_OK)
        error = closed;
    return error == MLD_OK && s->remote == NULL ? check_sum(s, result.checksum) : error;
}

static char *joined(const char *dir, const char *name)
{
    assert(dir != NULL);
    char *path = NULL;
    size_t len = strlen(dir);
    const char *slash = len > 0 && dir[len - 1] == '/' ? "" : "/";
    if (strcmp(dir, ".") == 0)
        return strdup(name);
    return asprintf(&path, "%s%s%s", dir, slash, name) < 0 ? NULL : path;
}

/* Nothing is left there on error. */
static enum mld_error put_into_place(struct source *s, struct destination *d,
                                     const struct mld_download_options *o)
{
    struct error_copy copy;
    enum mld_error error = copy_checked(s, d, o);
    if (error == MLD_OK)
        error = fs_rename(d->dir_fd, d->temporary, d->name, !o->refuse_existing);
    if (error == MLD_OK)
        return MLD_OK;
    error_save(error, &copy);
    fs_unlink(d->dir_fd, d->temporary);
    return error_restore(&copy);
}

enum mld_error mld_file_download(char **out_path, mld_experiment *e,
                                 const struct mld_download_options *o)
{
    struct source s = {.fd = -1};
    struct destination d = {.dir_fd = -1};
    if (out_path != NULL)
        *out_path = NULL;
    if (o->version != MLD_DOWNLOAD_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "download options of version %u; this library knows %d",
                         o->version, MLD_DOWNLOAD_OPTIONS_VERSION);
    enum mld_error error = source_open(&s, e, o);
    if (error == MLD_OK)
        error = destination_open(&d, o->destination, s.filename);
    if (error == MLD_OK)
        error = destination_check(&d);
    if (error == MLD_OK && o->refuse_existing && fs_exists(d.dir_fd, d.name))
        error =
            error_set(MLD_EEXISTS, "%s/%s exists already; name another destination", d.dir, d.name);
    if (error == MLD_OK)
        error = put_into_place(&s, &d, o);
    if (error == MLD_OK && out_path != NULL) {
        *out_path = joined(d.dir, d.name);
        if (*out_path == NULL)
            error = error_set(MLD_ENOMEM, "out of memory for a path");
    }
    if (is_damaged_newest(error, &s, o))
        error = name_older(error, &s, e);
    destination_close(&d);
    source_close(&s);
    return error;
}

static enum mld_error stream_out(const struct source *s, mld_sink *sink, void *payload)
{
    char hex[SHA256_HEX_LEN + 1];
    struct sha256 hash = {NULL};
    off_t offset = 0;
    char *data = malloc(READ_BYTES);
    if (data == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading %s", s->filename);
    enum mld_error error = sha256_begin(&hash);
    while (error == MLD_OK) {
        size_t len;
        error = fs_pread(s->fd, data, READ_BYTES, offset, &len, s->path);
        if (error != MLD_OK || len == 0)
            break;
        sha256_update(&hash, data, len);
        offset += (off_t)len;
        bool wanted = sink(data, len, payload);
        if (!wanted && (uint64_t)offset > s->size) /* no room in it for what was added */
            error =
                error_set(MLD_ECHECKSUM,
                          "the stored bytes of %s (id %s) have changed: there are more than the "
                          "%llu recorded",
                          s->filename, s->id, (unsigned long long)s->size);
        else if (!wanted)
            error = error_set(MLD_EINTERRUPTED, "reading %s was stopped", s->filename);
    }
    if (error == MLD_OK)
        error = sha256_end(&hash, hex);
    if (error == MLD_OK)
        error = check_sum(s, hex);
    sha256_free(&hash);
    free(data);
    return error;
}

static enum mld_error fetch_out(const struct source *s, mld_sink *sink, void *payload)
{
    char got[SHA256_HEX_LEN + 1];
    const struct fetch_target target = {
        .fd = -1, .name = s->filename, .sink = sink, .sink_payload = payload};
    enum mld_error error = fetch_wanted(got, s, &target);
    return error == MLD_OK ? check_sum(s, got) : error;
}

enum mld_error mld_file_read(mld_experiment *e, const char *id, mld_sink *sink, void *payload)
{
    struct source s = {.fd = -1};
    struct mld_download_options o = MLD_DOWNLOAD_OPTIONS_INIT;
    if (id == NULL)
        return error_set(MLD_EINVALID, "no file id was given");
    o.id = id;
    enum mld_error error = source_open(&s, e, &o);
    if (error == MLD_OK)
        error = s.remote != NULL ? fetch_out(&s, sink, payload) : stream_out(&s, sink, payload);
    source_close(&s);
    return error;
}

enum mld_error mld_file_stored_path(char **out_path, mld_experiment *e, const char *id)
{
    struct run *run;
    struct file_entry *f;
    struct source s = {.fd = -1};
    *out_path = NULL;
    enum mld_error error = run_enter(&run, e, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = file_find_by_id(run, &f, id);
    if (error == MLD_OK)
        error = note_entry(&s, f);
    if (error == MLD_OK)
        *out_path = joined(run->dir, s.path);
    run_leave(run);
    if (error == MLD_OK && *out_path == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for a path");
    source_close(&s);
    return error;
}

#include "run/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mime.h"
#include "base/name.h"
#include "run/file_snapshot.h"
#include "run/options.h"
#include "run/record.h"

#define PATH_MAX_BYTES 2048
/* Above this the keeper gets a descriptor of its own: an error of writing back cannot be forgotten
 * while one is open. For small files that would double what a save costs. */
#define KEEP_OPEN_BYTES (1u << 20)

enum mld_error new_file_check_process(const struct new_file *f)
{
    if (f->generation == run_fork_generation())
        return MLD_OK;
    return error_set(MLD_ESTATE,
                     "%s was begun before fork(); only the process that began it can go on",
                     buf_text(&f->path));
}

enum mld_error new_file_check_size(const struct new_file *f, uint64_t size)
{
    if (size <= f->max_bytes)
        return MLD_OK;
    return error_set(
        MLD_ETOOLARGE,
        "%s: %" PRIu64 " bytes are over the limit of %" PRIu64
        "; raise it (max_file_bytes, in Python max_file_size) when opening the experiment",
        buf_text(&f->path), size, f->max_bytes);
}

static enum mld_error encode_members(struct new_file *f, const struct mld_save_options *o,
                                     const char *prefix, const char *filename)
{
    struct buf *b = &f->members;
    buf_init(b, RECORD_MAX_BYTES);
    record_put_text(b, "path", prefix);
    record_put_text(b, "filename", filename);
    record_put_text(b, "description", o->description);
    record_put_strings(b, "tags", o->tags, o->n_tags);
    record_put_strings(b, "bindrs", o->bindrs, o->n_bindrs);
    record_put_text(b, "contentType",
                    o->content_type == NULL ? mime_type_of(filename) : o->content_type);
    record_put_json(b, "metadata", o->metadata_json);
    json_put_key(b, "keep");
    json_put_int64(b, f->keep);
    return buf_check(b, "the record of a file");
}

/* Puts NUL in place of the last "/" and back again. */
static char *cut_last(struct new_file *f)
{
    char *slash = strrchr(f->path.data, '/');
    *slash = '\0';
    return slash;
}

static enum mld_error enter_once(struct new_file *f)
{
    struct run *run;
    enum mld_error error = run_enter(&run, f->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    snprintf(f->id, sizeof f->id, "%" PRIu64, id_file((unsigned)run->slot.number));
    f->run = run;
    f->dir_fd = run->dir_fd;
    f->generation = run_fork_generation();
    run_leave(run);
    return MLD_OK;
}

static enum mld_error make_directory(struct new_file *f)
{
    char *slash = cut_last(f);
    enum mld_error error = fs_make_dirs(f->dir_fd, f->path.data, false);
    *slash = '/';
    f->made = error == MLD_OK;
    return error;
}

enum mld_error new_file_begin(struct new_file *f, mld_experiment *e,
                              const struct mld_save_options *o, const char *filename)
{
    struct buf prefix;
    *f = (struct new_file){.experiment = e, .fd = -1, .dir_fd = -1, .durable = o->durable};
    f->keep = o->keep == MLD_KEEP_DEFAULT ? e->keep : o->keep;
    f->max_bytes = e->max_file_bytes;
    buf_init(&prefix, NAME_MAX_PATH_BYTES + 2);
    buf_init(&f->path, PATH_MAX_BYTES);
    enum mld_error error = options_check_save(o);
    if (error == MLD_OK)
        error = name_check_file(filename);
    if (error == MLD_OK)
        error = name_canonical_prefix(o->prefix, &prefix);
    if (error == MLD_OK)
        error = encode_members(f, o, buf_text(&prefix), filename);
    if (error == MLD_OK)
        error = enter_once(f);
    if (error == MLD_OK) {
        name_file_path(&f->path, buf_text(&prefix), f->id, filename);
        error = buf_check(&f->path, "path of a file");
    }
    if (error == MLD_OK)
        error = make_directory(f);
    buf_free(&prefix);
    return error;
}

enum mld_error new_file_create(struct new_file *f)
{
    return fs_open(&f->fd, f->dir_fd, f->path.data, O_RDWR | O_CREAT | O_EXCL, 0666);
}

/* The bytes, their entry, and those of the directories above. f->fd may be closed (a linked file).
 */
static enum mld_error sync_bytes(struct new_file *f)
{
    enum mld_error error = MLD_OK;
    if (f->fd < 0)
        error = fs_open(&f->fd, f->dir_fd, f->path.data, O_RDONLY, 0);
    if (error == MLD_OK)
        error = fs_sync(f->fd, f->path.data);
    if (error != MLD_OK)
        return error;
    char *name = cut_last(f);
    error = fs_sync_dir(f->dir_fd, f->path.data);
    if (error == MLD_OK) {
        char *id = cut_last(f);
        error = fs_sync_dir(f->dir_fd, f->path.data);
        if (error == MLD_OK)
            error = keeper_sync_entry(f->run->keeper, f->path.data);
        *id = '/';
    }
    *name = '/';
    return error;
}

static enum mld_error write_record(struct new_file *f, uint64_t size, const char *checksum)
{
    char now[CLOCK_ISO_LEN + 1];
    struct buf *line = &f->run->line;
    clock_format_iso(now, clock_now_us());
    buf_clear(line);
    record_begin(line, "file", run_clock(f->run));
    record_put_text(line, "id", f->id);
    buf_putc(line, ',');
    buf_put(line, f->members.data, f->members.len);
    json_put_key(line, "sizeBytes");
    json_put_int64(line, (int64_t)size);
    record_put_text(line, "checksum", checksum);
    record_put_text(line, "uploadedAt", now);
    record_end(line);
    if (line->len > RECORD_MAX_BYTES)
        return error_set(MLD_ETOOLARGE, "the record of %s is too long; shorten its metadata",
                         f->path.data);
    return run_write_record(f->run, line);
}

/* With the run's lock: the record, and what the keeper is to do. `spare_fd` moves to it. */
static enum mld_error commit_locked(struct mld_file **out, struct new_file *f, int spare_fd,
                                    uint64_t size, const char *checksum)
{
    struct run *run = f->run;
    enum mld_error error = write_record(f, size, checksum);
    if (error != MLD_OK) {
        if (spare_fd >= 0)
            close(spare_fd);
        return error;
    }
    f->committed = true;
    const struct file_entry *entry = state_file(&run->state, f->id);
    if (!f->durable)
        keeper_add_file(run->keeper, spare_fd, f->path.data);
    if (entry->older != NULL && f->keep != MLD_KEEP_ALL && !run->network)
        keeper_add_retire(run->keeper, entry, f->keep, false);
    return out == NULL ? MLD_OK : file_snapshot_new(out, entry);
}

/* Makes the records durable up to now. The lock was held until here, so `records` cannot have been
 * replaced before the line was written. */
static enum mld_error sync_record(struct new_file *f, struct stream *records, int fd)
{
    enum mld_error error = fs_sync_data(fd, records->path);
    close(fd);
    if (error == MLD_OK)
        return keeper_sync_entry(f->run->keeper, records->path);
    pthread_mutex_lock(&f->run->lock);
    keeper_stream_failed(f->run->keeper, records);
    pthread_mutex_unlock(&f->run->lock);
    return error;
}

/* Enters the run that the bytes were written for. */
static enum mld_error enter_again(struct new_file *f)
{
    struct run *run;
    enum mld_error error = run_enter(&run, f->experiment, RUN_WRITE);
    if (error == MLD_OK && run != f->run) {
        run_leave(run);
        error = error_set(MLD_ESTATE, "the experiment was opened anew while %s was written",
                          f->path.data);
    }
    return error;
}

static enum mld_error close_bytes(struct new_file *f, uint64_t size, int *out_spare_fd)
{
    enum mld_error error = MLD_OK;
    if (f->durable)
        error = sync_bytes(f);
    else if (size >= KEEP_OPEN_BYTES && f->fd >= 0)
        *out_spare_fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    enum mld_error closed = fs_close(&f->fd, f->path.data);
    return error == MLD_OK ? closed : error;
}

enum mld_error new_file_commit(struct mld_file **out, struct new_file *f, uint64_t size,
                               const char *checksum)
{
    struct stream *records = NULL;
    int spare_fd = -1;
    int records_fd = -1;
    enum mld_error error = new_file_check_process(f);
    if (error == MLD_OK)
        error = close_bytes(f, size, &spare_fd);
    if (error == MLD_OK)
        error = enter_again(f);
    if (error != MLD_OK) {
        if (spare_fd >= 0)
            close(spare_fd);
        return error;
    }
    error = commit_locked(out, f, spare_fd, size, checksum);
    if (error == MLD_OK && f->durable) {
        records = f->run->records;
        error = stream_dup_fd(&records_fd, &f->run->streams, records);
    }
    run_leave(f->run);
    if (error == MLD_OK && f->durable)
        error = sync_record(f, records, records_fd);
    if (error != MLD_OK && out != NULL) {
        mld_file_free(*out);
        *out = NULL;
    }
    return error;
}

/* The record is there already: a `retire` without a successor takes it back. */
static bool take_back(struct new_file *f)
{
    struct run *run = f->run;
    pthread_mutex_lock(&run->lock);
    buf_clear(&run->line);
    record_begin(&run->line, "retire", run_clock(run));
    record_put_text(&run->line, "id", f->id);
    record_put_text(&run->line, "by", NULL);
    record_end(&run->line);
    bool done = !run->ended && run_write_record(run, &run->line) == MLD_OK;
    pthread_mutex_unlock(&run->lock);
    return done;
}

static void discard(struct new_file *f)
{
    if (f->committed && !take_back(f))
        return; /* the record stays, so its bytes must */
    if (f->made) {
        fs_unlink(f->dir_fd, f->path.data);
        cut_last(f);
        fs_remove_empty_dir(f->dir_fd, f->path.data, NULL);
    }
}

enum mld_error new_file_end(struct new_file *f, enum mld_error error)
{
    struct error_copy first;
    error_save(error, &first);
    if (f->fd >= 0)
        close(f->fd);
    if (error != MLD_OK && f->run != NULL && f->generation == run_fork_generation())
        discard(f);
    if (f->owns_dir)
        close(f->dir_fd);
    buf_free(&f->path);
    buf_free(&f->members);
    *f = (struct new_file){.fd = -1, .dir_fd = -1};
    return error == MLD_OK ? MLD_OK : error_restore(&first);
}

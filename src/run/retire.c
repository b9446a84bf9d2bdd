/* A retire record first, durable; then the aliases are read again; then the bytes go. Who sets an
 * alias writes it first and then reads the retire records: one of the two sees the other. */
#include "run/retire.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/name.h"
#include "run/record.h"

/* Versions whose retire record is written. */
struct retired {
    const struct file_entry **files;
    size_t count;
    size_t capacity;
};

static bool has_room(struct retired *r)
{
    if (r->count < r->capacity)
        return true;
    size_t larger = r->capacity == 0 ? 64 : 2 * r->capacity;
    const struct file_entry **moved = realloc(r->files, larger * sizeof *moved);
    if (moved == NULL)
        return false;
    r->files = moved;
    r->capacity = larger;
    return true;
}

static enum mld_error write_retire(struct run *run, const char *type, const char *id,
                                   const char *by)
{
    buf_clear(&run->line);
    record_begin(&run->line, type, run_clock(run));
    record_put_text(&run->line, "id", id);
    record_put_text(&run->line, "by", by);
    record_end(&run->line);
    return run_write_record(run, &run->line);
}

/* Deleted versions do not count and are not retired: gc has them. */
static bool counts(const struct file_entry *f)
{
    return state_is_listed(f) && f->deleted_at == NULL;
}

static enum mld_error retire_older(struct run *run, struct retired *r,
                                   const struct retire_item *item)
{
    const struct file_entry *newest = item->newest;
    enum mld_error error = MLD_OK;
    int kept = 0;
    for (struct file_entry *f = (struct file_entry *)newest; f != NULL && error == MLD_OK;
         f = f->older) {
        if (f->retired_by != NULL && kept >= item->keep)
            break; /* so are all older ones: no save looks at more than those since the last round
                    */
        if (!counts(f))
            continue;
        bool stays = kept < item->keep || !f->mine || state_has_alias(f);
        kept += !f->damaged; /* a version that was lost does not stand in for an older one */
        if (stays)
            continue;
        if (!has_room(r))
            return MLD_ENOMEM;
        error = write_retire(run, "retire", f->id, newest->id);
        if (error == MLD_OK)
            r->files[r->count++] = f;
    }
    return error;
}

/* Writes the retire records and makes them durable. False: no bytes may go. */
static bool announce(struct run *run, struct retired *r, const struct retire_item *items, size_t n)
{
    enum mld_error error = MLD_OK;
    int fd = -1;
    pthread_mutex_lock(&run->lock);
    struct stream *records = run->records;
    for (size_t i = 0; i < n && error == MLD_OK && !run->ended; i++)
        error = retire_older(run, r, &items[i]);
    /* A new part was begun meanwhile: its own fsync says nothing about the lines before. */
    bool ready = r->count > 0 && run->records == records &&
                 stream_dup_fd(&fd, &run->streams, records) == MLD_OK;
    pthread_mutex_unlock(&run->lock);
    if (!ready)
        return false;
    error = fs_sync_data(fd, records->path);
    close(fd);
    if (error == MLD_OK)
        return true;
    pthread_mutex_lock(&run->lock);
    keeper_stream_failed(run->keeper, records);
    pthread_mutex_unlock(&run->lock);
    return false;
}

/* Takes back what somebody named meanwhile. False: no bytes may go. */
static bool spare_named(struct run *run, struct retired *r)
{
    pthread_mutex_lock(&run->lock);
    enum mld_error error = run_refresh(run);
    for (size_t i = 0; i < r->count && error == MLD_OK; i++) {
        const struct file_entry *f = r->files[i];
        if (!state_has_alias(f))
            continue;
        r->files[i] = NULL;
        error = write_retire(run, "unretire", f->id, f->retired_by);
    }
    pthread_mutex_unlock(&run->lock);
    return error == MLD_OK;
}

static void remove_bytes(int dir_fd, const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, NAME_MAX_PATH_BYTES + 2 * NAME_MAX_COMPONENT_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    if (path.failed == MLD_OK && fs_unlink(dir_fd, path.data) == MLD_OK) {
        *strrchr(path.data, '/') = '\0';
        (void)fs_remove_empty_dir(dir_fd, path.data, NULL);
    }
    buf_free(&path);
}

void retire_versions(struct run *run, const struct retire_item *items, size_t n)
{
    struct retired r = {NULL, 0, 0};
    if (announce(run, &r, items, n) && spare_named(run, &r)) {
        for (size_t i = 0; i < r.count; i++)
            if (r.files[i] != NULL)
                remove_bytes(run->dir_fd, r.files[i]);
    }
    free(r.files);
}

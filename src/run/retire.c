/* A retire record first, durable; then the aliases are read again; then the bytes go. Who sets an
 * alias writes it first and then reads the retire records: one of the two sees the other.
 *
 * This needs that one process at a time retires a version. If two did, one could read the aliases
 * before an alias is set and go on to unlink, while the other reads them after and takes its own
 * retirement back; that record is the latest, so whoever set the alias is told that all is well.
 * For versions that this writer saved there is no other: everybody else waits until it is gone.
 * What a gone writer left, any process may retire that holds the guard, and has read all records
 * since it got it: what the guard's last holder retired is not retired again, and what it took back
 * has an alias. A writer that is gone cannot come back: its slot's lock was free, or its last
 * record is `end`, or another writer took its slot, which needs the same. Unknown writers may be
 * alive on another machine, where flock may not be seen: their versions, and all on such a file
 * system, wait for gc. */
#include "run/retire.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/name.h"
#include "run/record.h"

#define GUARD_FILE ".mldash/format.json"

/* Versions whose retire record is written. */
struct retired {
    const struct file_entry **files;
    size_t count;
    size_t capacity;
    int guard_fd;               /* -1: only versions of our own */
    bool relies;                /* on versions that a gone writer left, to stay */
    signed char left[SLOT_MAX]; /* the slot's last writer is gone: 1, is not: -1, not asked: 0 */
};

enum mld_error retire_guard_try(int *out_fd, const struct run *run)
{
    bool locked;
    enum mld_error error = fs_open(out_fd, run->dir_fd, GUARD_FILE, O_RDONLY, 0);
    if (error != MLD_OK)
        return error;
    error = fs_try_lock(*out_fd, &locked, GUARD_FILE);
    if (error != MLD_OK || !locked) {
        close(*out_fd);
        *out_fd = -1;
    }
    return error;
}

void retire_guard_release(int fd)
{
    if (fd < 0)
        return;
    fs_unlock(fd);
    close(fd);
}

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

/* Who saved it is certainly gone; not asked of versions of our own. */
static bool is_left(struct run *run, struct retired *r, const struct file_entry *f)
{
    if (f->slot == (unsigned)run->slot.number)
        return true;
    for (const struct status_entry *e = run->state.statuses; e != NULL; e = e->next)
        if (e->slot == f->slot && e->started > f->stamp)
            return true;
    if (r->left[f->slot] == 0)
        r->left[f->slot] = run_slot_is_gone(run, f->slot) ? 1 : -1;
    return r->left[f->slot] > 0;
}

static bool may_retire(struct run *run, struct retired *r, const struct file_entry *f)
{
    return f->mine || (r->guard_fd >= 0 && !f->foreign && f->shard != NULL && is_left(run, r, f));
}

/* Deleted versions do not count and are not retired: gc has them. */
static bool counts(const struct file_entry *f)
{
    return state_is_listed(f) && f->deleted_at == NULL;
}

/* The round that retired it looked at all older ones: no save looks at more than those since. */
static bool was_looked_at(const struct file_entry *f, const struct retire_item *item, int kept)
{
    return f->retired_by != NULL && f->mine && kept >= item->keep && !item->thorough;
}

static enum mld_error retire_older(struct run *run, struct retired *r,
                                   const struct retire_item *item)
{
    const struct file_entry *newest = item->newest;
    enum mld_error error = MLD_OK;
    int kept = 0;
    for (struct file_entry *f = (struct file_entry *)newest; f != NULL && error == MLD_OK;
         f = f->older) {
        if (was_looked_at(f, item, kept))
            break;
        if (!counts(f))
            continue;
        bool stays = kept < item->keep || state_has_alias(f) || !may_retire(run, r, f);
        if (stays && !f->mine && kept < item->keep)
            r->relies = true;
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
    if (r->guard_fd >= 0)
        error = run_refresh(run); /* what the guard's last holder did */
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
    if (error == MLD_OK && r->relies) /* a killed writer's last versions may not be durable yet */
        return fs_sync_filesystem(run->dir_fd, run->dir) == MLD_OK;
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
    struct retired r = {.guard_fd = -1};
    if (!run->network)
        (void)retire_guard_try(&r.guard_fd, run);
    if (announce(run, &r, items, n) && spare_named(run, &r)) {
        for (size_t i = 0; i < r.count; i++)
            if (r.files[i] != NULL)
                remove_bytes(run->dir_fd, r.files[i]);
    }
    retire_guard_release(r.guard_fd);
    free(r.files);
}

/* There may be something to retire that a writer left. */
static bool has_others(const struct file_entry *f)
{
    while ((f = f->older) != NULL)
        if (!f->mine && counts(f) && !state_has_alias(f))
            return true;
    return false;
}

void retire_ask_again(struct run *run)
{
    const struct state *s = &run->state;
    for (size_t i = 0; i < s->n_files && !run->network; i++) {
        const struct file_entry *f = s->all_files[i];
        if (f->mine && f->keep >= 1 && f->older != NULL && state_newest(f->name) == f &&
            has_others(f))
            keeper_add_retire(run->keeper, f, f->keep, true);
    }
}

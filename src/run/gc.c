/* mld_gc. Nothing is unlinked before the record that lets it go is durable and all shards were read
 * again, so a kill at any moment leaves bytes without use at worst, which the next gc finds. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fs.h"
#include "run/compact.h"
#include "run/gc_plan.h"
#include "run/record.h"
#include "run/report.h"
#include "run/retire.h"
#include "run/views.h"

#define ORPHAN_AGE_S 3600
#define GUARD_WAIT_MS 10000 /* for another process that retires or collects */
#define GUARD_PAUSE_MS 20

struct gc {
    mld_experiment *experiment;
    struct run *run;
    struct gc_rules rules;
    struct tree tree;
    struct gc_plan plan;
    struct report *report;
    bool dry_run;
};

static enum mld_error write_record(struct run *run, const char *type, const struct file_entry *f,
                                   const char *by)
{
    struct buf *line = &run->line;
    buf_clear(line);
    record_begin(line, type, run_clock(run));
    record_put_text(line, "id", f->id);
    if (by != NULL)
        record_put_text(line, "by", by);
    record_end(line);
    return run_write_record(run, line);
}

/* Says what will be removed. The first of these lines is what a full disk must have room for; it is
 * reserved ahead. */
static enum mld_error announce(struct gc *gc)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < gc->plan.count; i++) {
        const struct gc_item *item = &gc->plan.items[i];
        if (item->dropped)
            continue;
        if (item->reason == GC_DELETED)
            error = write_record(gc->run, "removed", item->file, NULL);
        else if (item->reason == GC_EXCESS)
            error = write_record(gc->run, "retire", item->file, state_newest(item->file->name)->id);
    }
    return error;
}

/* With everything read again: what was restored or got an alias meanwhile stays, and so does an
 * orphan that has become a file. */
static enum mld_error look_again(struct gc *gc)
{
    enum mld_error error = run_refresh(gc->run);
    tree_classify(&gc->tree, gc->run);
    for (size_t i = 0; error == MLD_OK && i < gc->plan.count; i++) {
        struct gc_item *item = &gc->plan.items[i];
        if (item->dropped)
            continue;
        if (item->reason == GC_DELETED && item->file->deleted_at == NULL) {
            error = write_record(gc->run, "unremoved", item->file, NULL);
            item->dropped = true;
        } else if (item->reason == GC_EXCESS && state_has_alias(item->file)) {
            error = write_record(gc->run, "unretire", item->file, NULL);
            item->dropped = true;
        } else if ((item->reason == GC_RETIRED && state_is_listed(item->file)) ||
                   (item->reason == GC_ORPHAN && item->orphan->kind != TREE_ORPHAN)) {
            item->dropped = true;
        }
    }
    return error;
}

/* Removes the directories above a removed file, from the inside, as far as they are empty. */
static void remove_dirs_above(struct run *run, const char *path)
{
    char *dir = strdup(path);
    bool removed = dir != NULL;
    char *slash;
    while (removed && (slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        if (strchr(dir, '/') == NULL)
            break; /* files/ itself stays */
        removed = false;
        fs_remove_empty_dir(run->dir_fd, dir, &removed);
    }
    free(dir);
}

static enum mld_error remove_items(struct gc *gc)
{
    enum mld_error first = MLD_OK;
    for (size_t i = 0; i < gc->plan.count; i++) {
        const struct gc_item *item = &gc->plan.items[i];
        if (item->dropped)
            continue;
        enum mld_error error = gc->dry_run ? MLD_OK : fs_unlink(gc->run->dir_fd, item->path);
        if (error == MLD_ENOTFOUND)
            continue;
        if (error != MLD_OK) {
            first = first == MLD_OK ? error : first;
            continue;
        }
        gc->report->public.files_removed++;
        gc->report->public.bytes_freed += item->bytes;
        if (!gc->dry_run && strncmp(item->path, "files/", 6) == 0)
            remove_dirs_above(gc->run, item->path);
    }
    return first;
}

/* Directories that a killed save or unlink left empty. */
static void remove_empty_dirs(struct gc *gc)
{
    for (size_t i = 0; i < gc->tree.count; i++) {
        const struct tree_item *item = &gc->tree.items[i];
        if (item->kind != TREE_EMPTY ||
            (item->own_id && !gc_plan_is_left(&gc->plan, gc->run, item, &gc->rules)))
            continue;
        bool removed = false;
        fs_remove_empty_dir(gc->run->dir_fd, item->path, &removed);
        if (removed)
            remove_dirs_above(gc->run, item->path);
    }
}

/* Orphans that stay are told, since nothing else shows them. */
static enum mld_error report_orphans(struct gc *gc)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < gc->tree.count; i++) {
        const struct tree_item *item = &gc->tree.items[i];
        if (item->kind != TREE_ORPHAN || gc_plan_is_left(&gc->plan, gc->run, item, &gc->rules))
            continue;
        struct mld_finding finding = {
            .problem = MLD_PROBLEM_ORPHAN,
            .name = item->path,
            .detail = "bytes without a record; left alone, its writer may be alive or it is young",
        };
        error = report_add(gc->report, &finding);
    }
    return error;
}

static enum mld_error plan(struct gc *gc)
{
    enum mld_error error = run_refresh(gc->run);
    if (error != MLD_OK)
        return error;
    tree_classify(&gc->tree, gc->run);
    error = gc_plan_make(&gc->plan, gc->run, &gc->tree, &gc->rules);
    return error == MLD_OK ? report_orphans(gc) : error;
}

/* Makes what was announced, and the versions that are to replace what goes, durable: also those
 * that writers left who are gone. */
static enum mld_error make_durable(struct gc *gc)
{
    enum mld_error error = keeper_flush(gc->run->keeper);
    return error == MLD_OK ? fs_sync_filesystem(gc->run->dir_fd, gc->run->dir) : error;
}

/* What another process retired or collected, or what was restored, since the plan was made. */
static enum mld_error drop_stale(struct gc *gc)
{
    enum mld_error error = run_refresh(gc->run);
    for (size_t i = 0; error == MLD_OK && i < gc->plan.count; i++) {
        struct gc_item *item = &gc->plan.items[i];
        if ((item->reason == GC_DELETED || item->reason == GC_EXCESS) &&
            (!state_is_listed(item->file) ||
             (item->reason == GC_DELETED) != (item->file->deleted_at != NULL)))
            item->dropped = true;
    }
    return error;
}

/* Up to announcing and removing nothing else may retire. Where machines share the file system there
 * is no lock to rely on. */
static enum mld_error take_guard(struct gc *gc, int *out_fd)
{
    const struct timespec pause = {.tv_nsec = GUARD_PAUSE_MS * 1000000L};
    enum mld_error error = MLD_OK;
    *out_fd = -1;
    for (int waited_ms = 0; !gc->run->network && *out_fd < 0 && error == MLD_OK;
         waited_ms += GUARD_PAUSE_MS) {
        error = retire_guard_try(out_fd, gc->run);
        if (error == MLD_OK && *out_fd < 0 && waited_ms >= GUARD_WAIT_MS)
            error = error_set(MLD_ESTATE,
                              "another process is removing old versions in %s; run gc again later",
                              gc->run->dir);
        if (error == MLD_OK && *out_fd < 0)
            nanosleep(&pause, NULL);
    }
    return error;
}

/* Under the guard. */
static enum mld_error announce_and_remove(struct gc *gc)
{
    struct run *run;
    enum mld_error error = run_enter(&run, gc->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = drop_stale(gc);
    if (error == MLD_OK)
        error = announce(gc);
    run_leave(run);
    if (error == MLD_OK && gc->plan.count > 0)
        error = make_durable(gc);
    if (error == MLD_OK)
        error = run_enter(&run, gc->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = look_again(gc);
    run_leave(run);
    return error == MLD_OK ? remove_items(gc) : error;
}

static enum mld_error collect(struct gc *gc)
{
    struct run *run;
    int guard_fd;
    enum mld_error error = take_guard(gc, &guard_fd);
    if (error == MLD_OK)
        error = announce_and_remove(gc);
    retire_guard_release(guard_fd);
    if (error != MLD_OK)
        return error;
    error = run_enter(&run, gc->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    remove_empty_dirs(gc);
    /* The views forget what went before the records do: else another tool's copy of the old view
     * would bring it back. */
    error = views_write_one(run, VIEW_FILES, MLD_RUNNING);
    if (error == MLD_OK)
        error = compact_records(run, &gc->report->public.bytes_freed);
    run_leave(run);
    return error;
}

static enum mld_error run_gc(struct gc *gc)
{
    struct run *run;
    enum run_need need = gc->dry_run ? RUN_READ : RUN_WRITE;
    enum mld_error error = run_enter(&run, gc->experiment, need);
    if (error != MLD_OK)
        return error;
    run_leave(run);
    gc->run = run;
    error = tree_read(&gc->tree, run->dir_fd);
    if (error == MLD_OK)
        error = run_enter(&run, gc->experiment, need);
    if (error != MLD_OK)
        return error;
    error = plan(gc);
    run_leave(run);
    if (error != MLD_OK)
        return error;
    return gc->dry_run ? remove_items(gc) : collect(gc);
}

/* A reader's handle takes a writer for the while. It records no status: a run that has ended
 * stays as it ended. */
static enum mld_error run_gc_for_reader(struct gc *gc)
{
    struct error_copy first = {.code = MLD_OK};
    mld_experiment *reader = gc->experiment;
    mld_experiment writer = *reader;
    enum mld_error error = run_acquire(&writer.run, writer.dir, RUN_FOR_GC);
    if (error != MLD_OK)
        return error;
    writer.generation = run_fork_generation();
    writer.read_only = false;
    gc->experiment = &writer;
    error = run_gc(gc);
    if (error != MLD_OK)
        error_save(error, &first);
    pthread_mutex_lock(&writer.run->lock);
    bool last = writer.run->running == 0 && writer.run->handles == 1;
    pthread_mutex_unlock(&writer.run->lock);
    if (last) {
        error = run_end_writer(writer.run, false);
        if (error != MLD_OK && first.code == MLD_OK)
            error_save(error, &first);
    }
    run_release(writer.run);
    gc->experiment = reader;
    gc->run = NULL;
    return first.code == MLD_OK ? MLD_OK : error_restore(&first);
}

enum mld_error mld_gc(struct mld_report **out, mld_experiment *experiment,
                      const struct mld_gc_options *options)
{
    struct gc gc = {.experiment = experiment};
    *out = NULL;
    if (options != NULL && options->version != MLD_GC_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "options of version %u; this library knows %d",
                         options->version, MLD_GC_OPTIONS_VERSION);
    gc.rules.orphan_age_s = ORPHAN_AGE_S;
    if (options != NULL) {
        gc.dry_run = options->dry_run;
        gc.rules.offline = options->offline;
        if (options->orphan_age_s != 0)
            gc.rules.orphan_age_s = options->orphan_age_s;
    }
    enum mld_error error = report_new(&gc.report);
    if (error == MLD_OK)
        error = experiment->read_only && !gc.dry_run ? run_gc_for_reader(&gc) : run_gc(&gc);
    tree_free(&gc.tree);
    gc_plan_free(&gc.plan);
    if (error != MLD_OK) {
        struct error_copy copy;
        error_save(error, &copy);
        mld_report_free(gc.report == NULL ? NULL : &gc.report->public);
        return error_restore(&copy);
    }
    *out = &gc.report->public;
    return MLD_OK;
}

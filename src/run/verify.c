/* mld_verify: every record, line, mark and stored byte. What is to be looked at is noted with the
 * run's lock; the looking is done without it. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/name.h"
#include "run/gc_plan.h"
#include "run/report.h"
#include "run/series_find.h"
#include "run/stored.h"
#include "run/verify_streams.h"

#define PATH_MAX_BYTES 4096
#define ORPHAN_AGE_S 3600

/* A file as it was when the check began. */
struct expected_file {
    const struct file_entry *entry;
    const char *path;
    uint64_t size_bytes;
    const char *checksum;
    bool deleted;
    bool failed;
    struct stored_result result;
};

struct verification {
    mld_experiment *experiment;
    struct run *run;
    struct report *report;
    struct arena arena;
    struct expected_file *files;
    size_t n_files;
    bool quick;
    mld_progress *progress;
    void *payload;
    uint64_t done_bytes, total_bytes;
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for checking a run folder");
}

static const char *stored_path(struct arena *arena, const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, PATH_MAX_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    const char *kept =
        buf_check(&path, "path of a file") == MLD_OK ? arena_strdup(arena, path.data) : NULL;
    buf_free(&path);
    return kept;
}

/* Notes the files that have bytes. Needs the lock. */
static enum mld_error note_files(struct verification *v)
{
    struct state *s = &v->run->state;
    state_sort_files(s);
    v->files = calloc(s->n_files + 1, sizeof *v->files);
    if (v->files == NULL)
        return no_memory();
    for (size_t i = 0; i < s->n_files; i++) {
        const struct file_entry *f = s->all_files[i];
        struct expected_file *e = &v->files[v->n_files];
        if (!state_is_listed(f))
            continue;
        e->entry = f;
        e->path = stored_path(&v->arena, f);
        e->size_bytes = f->size_bytes;
        e->checksum = f->checksum;
        e->deleted = f->deleted_at != NULL;
        if (e->path == NULL)
            return no_memory();
        v->total_bytes += f->size_bytes;
        v->n_files++;
    }
    return MLD_OK;
}

/* What is known already: recorded as damaged or unsafe, cut at open, views that do not read.
 * Garbled lines are found again. Needs the lock. */
static enum mld_error report_known(struct verification *v)
{
    enum mld_error error = MLD_OK;
    for (const struct problem_entry *p = v->run->state.problems; p != NULL && error == MLD_OK;
         p = p->next) {
        struct mld_finding finding = {
            .problem = p->problem,
            .name = p->name,
            .detail = p->detail,
            .offset = p->offset,
            .loss = p->problem == MLD_PROBLEM_DAMAGED || p->problem == MLD_PROBLEM_TORN,
        };
        if (p->problem != MLD_PROBLEM_GARBLED && !p->found_again)
            error = report_add(v->report, &finding);
    }
    return error;
}

static enum mld_error note_all(struct verification *v, struct stream_list *streams)
{
    enum mld_error error = run_enter(&v->run, v->experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = run_refresh(v->run);
    if (error == MLD_OK)
        error = series_discover(v->run, MLD_METRIC);
    if (error == MLD_OK)
        error = series_discover(v->run, MLD_TRACK);
    if (error == MLD_OK)
        error = note_files(v);
    if (error == MLD_OK)
        error = report_known(v);
    if (error == MLD_OK)
        error = verify_note_streams(streams, v->run);
    run_leave(v->run);
    return error;
}

static bool pass_progress(uint64_t done, uint64_t total, void *payload)
{
    struct verification *v = payload;
    (void)total;
    return v->progress == NULL || v->progress(v->done_bytes + done, v->total_bytes, v->payload);
}

static enum mld_error check_files(struct verification *v)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < v->n_files && error == MLD_OK; i++) {
        struct expected_file *e = &v->files[i];
        const struct stored_expected expected = {
            .path = e->path,
            .size_bytes = e->size_bytes,
            .checksum = v->quick ? NULL : e->checksum,
            .progress = pass_progress,
            .payload = v,
        };
        error = stored_check(&e->result, v->run->dir_fd, &expected);
        e->failed = error == MLD_OK && !e->result.intact;
        v->done_bytes += e->size_bytes;
        v->report->public.files_checked++;
        v->report->public.bytes_checked += e->result.bytes_read;
        if (error == MLD_OK && !pass_progress(0, 0, v))
            error = error_set(MLD_EINTERRUPTED, "the check was stopped");
    }
    return error;
}

/* What is missing may have been replaced or collected while we looked. Needs the lock, and
 * everything read again. */
static enum mld_error report_files(struct verification *v)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < v->n_files && error == MLD_OK; i++) {
        const struct expected_file *e = &v->files[i];
        if (!e->failed || !state_is_listed(e->entry))
            continue;
        struct mld_finding finding = {
            .problem = e->result.problem,
            .name = e->path,
            .detail = e->result.detail,
            .bytes = e->size_bytes,
            .loss = !e->deleted,
        };
        error = report_add(v->report, &finding);
    }
    return error;
}

static enum mld_error report_tree_item(struct verification *v, const struct tree_item *item)
{
    struct stat st;
    struct mld_finding finding = {.name = item->path};
    if (fs_stat(v->run->dir_fd, item->path, &st) != MLD_OK)
        return MLD_OK; /* it went meanwhile */
    if (S_ISREG(st.st_mode))
        finding.bytes = (uint64_t)st.st_size;
    if (item->kind == TREE_ORPHAN) {
        finding.problem = MLD_PROBLEM_ORPHAN;
        finding.detail = "bytes without a record: a save that was never finished";
    } else if (item->kind == TREE_FOREIGN) {
        finding.problem = MLD_PROBLEM_FOREIGN;
        finding.detail = S_ISLNK(st.st_mode)   ? "a symlink; none is followed in a run folder"
                         : S_ISREG(st.st_mode) ? "a file that no record names"
                         : S_ISDIR(st.st_mode) ? "a directory that cannot be listed"
                                               : "no regular file";
    } else {
        return MLD_OK;
    }
    return report_add(v->report, &finding);
}

/* Needs the lock. */
static enum mld_error report_tree(struct verification *v, struct tree *tree)
{
    struct gc_plan plan = {0};
    const struct gc_rules rules = {.orphan_age_s = ORPHAN_AGE_S};
    enum mld_error error = MLD_OK;
    tree_classify(tree, v->run);
    for (size_t i = 0; i < tree->count && error == MLD_OK; i++) {
        const struct tree_item *item = &tree->items[i];
        bool young = item->kind == TREE_ORPHAN && !gc_plan_is_left(&plan, v->run, item, &rules) &&
                     slot_life_of(v->run->dir_fd, item->slot, false) == SLOT_ALIVE;
        if (!young) /* else it is being saved just now */
            error = report_tree_item(v, item);
    }
    if (error == MLD_OK)
        error = gc_plan_make(&plan, v->run, tree, &rules);
    for (size_t i = 0; i < plan.count; i++)
        v->report->public.bytes_reclaimable += plan.items[i].bytes;
    gc_plan_free(&plan);
    return error;
}

static enum mld_error check_all(struct verification *v)
{
    struct stream_list streams = {0};
    struct tree tree = {0};
    struct run *run;
    enum mld_error error = note_all(v, &streams);
    if (error == MLD_OK)
        error = verify_streams(v->report, &streams, v->run->dir_fd);
    if (error == MLD_OK)
        error = check_files(v);
    if (error == MLD_OK)
        error = tree_read(&tree, v->run->dir_fd);
    if (error == MLD_OK)
        error = run_enter(&run, v->experiment, RUN_READ);
    if (error == MLD_OK) {
        error = run_refresh(run);
        if (error == MLD_OK)
            error = report_files(v);
        if (error == MLD_OK)
            error = report_tree(v, &tree);
        run_leave(run);
    }
    tree_free(&tree);
    verify_streams_free(&streams);
    return error;
}

/* The folder without its mirror, which is the server's to check. */
static enum mld_error verify_own(struct mld_report **out, const mld_experiment *experiment,
                                 bool quick, mld_progress *progress, void *payload)
{
    struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
    mld_experiment *own;
    options.directory = experiment->dir;
    options.read_only = true;
    enum mld_error error = mld_experiment_open(&own, &options);
    if (error == MLD_OK)
        error = mld_verify(out, own, quick, progress, payload);
    mld_experiment_close(own);
    return error;
}

enum mld_error mld_verify(struct mld_report **out, mld_experiment *experiment, bool quick,
                          mld_progress *progress, void *payload)
{
    if (experiment->mirrored) {
        *out = NULL;
        return verify_own(out, experiment, quick, progress, payload);
    }
    struct verification v = {
        .experiment = experiment, .quick = quick, .progress = progress, .payload = payload};
    *out = NULL;
    enum mld_error error = report_new(&v.report);
    if (error == MLD_OK)
        error = check_all(&v);
    arena_free(&v.arena);
    free(v.files);
    if (error != MLD_OK) {
        struct error_copy copy;
        error_save(error, &copy);
        mld_report_free(v.report == NULL ? NULL : &v.report->public);
        return error_restore(&copy);
    }
    *out = &v.report->public;
    return MLD_OK;
}

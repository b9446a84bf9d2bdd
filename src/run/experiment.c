/* Opening, changing and ending an experiment. */
#include "mldash/experiment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/name.h"
#include "run/options.h"
#include "run/reason.h"
#include "run/record.h"
#include "run/registry.h"
#include "run/retire.h"
#include "run/run.h"
#include "run/views.h"

#define DEFAULT_ROOT ".ml-dash"
#define DEFAULT_PREFIX_ROOT ".dash"
#define PATH_MAX_BYTES 8192

/* Where an experiment lies, in the words of its options. */
struct place {
    struct buf path;   /* root and all below it */
    struct buf folder; /* canonical; empty: none */
    struct buf prefix;
    const char *name;
    char *project;
};

static void place_free(struct place *p)
{
    buf_free(&p->path);
    buf_free(&p->folder);
    buf_free(&p->prefix);
    free(p->project);
}

/* {root}/{owner}/{project}/.../{name}: name is the last part, project the second, or the first of
 * two. */
static enum mld_error place_by_prefix(struct place *p, const struct mld_experiment_options *o)
{
    enum mld_error error = name_canonical_folder("prefix", o->prefix, &p->prefix);
    if (error != MLD_OK)
        return error;
    if (p->prefix.len == 0)
        return error_set(MLD_ENAME, "the prefix is empty; it is like \"owner/project/name\"");
    const char *prefix = buf_text(&p->prefix);
    const char *last = strrchr(prefix, '/');
    p->name = last == NULL ? prefix : last + 1;
    const char *second = strchr(prefix, '/');
    second = second == NULL ? prefix : second + 1;
    p->project = strndup(second, strcspn(second, "/"));
    buf_printf(&p->path, "%s/%s", o->root == NULL ? DEFAULT_PREFIX_ROOT : o->root, prefix);
    return buf_check(&p->path, "path of the experiment");
}

static enum mld_error place_by_name(struct place *p, const struct mld_experiment_options *o)
{
    if (o->name == NULL || o->project == NULL)
        return error_set(MLD_EINVALID, "an experiment needs a name and a project, or a prefix");
    enum mld_error error = name_check_component("experiment name", o->name);
    if (error == MLD_OK)
        error = name_check_component("project", o->project);
    if (error == MLD_OK)
        error = name_canonical_folder("folder", o->folder, &p->folder);
    if (error != MLD_OK)
        return error;
    p->name = o->name;
    p->project = strdup(o->project);
    buf_printf(&p->path, "%s/", o->root == NULL ? DEFAULT_ROOT : o->root);
    if (p->folder.len > 0)
        buf_printf(&p->path, "%s/", buf_text(&p->folder));
    buf_printf(&p->path, "%s/%s", o->project, o->name);
    return buf_check(&p->path, "path of the experiment");
}

static enum mld_error place_of(struct place *p, const struct mld_experiment_options *o)
{
    *p = (struct place){0};
    buf_init(&p->path, PATH_MAX_BYTES);
    buf_init(&p->folder, NAME_MAX_PATH_BYTES + 1);
    buf_init(&p->prefix, NAME_MAX_PATH_BYTES + 1);
    if (o->directory != NULL) {
        buf_puts(&p->path, o->directory);
        return buf_check(&p->path, "path of the experiment");
    }
    return o->prefix != NULL ? place_by_prefix(p, o) : place_by_name(p, o);
}

static enum mld_error check_options(const struct mld_experiment_options *o)
{
    if (o->version != MLD_EXPERIMENT_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "options of version %u; this library knows %d", o->version,
                         MLD_EXPERIMENT_OPTIONS_VERSION);
    if (o->keep < MLD_KEEP_ALL)
        return error_set(MLD_EINVALID, "keep is %d; it is a number of versions or MLD_KEEP_ALL",
                         o->keep);
    if (o->mirrored && !o->read_only)
        return error_set(MLD_EINVALID, "a mirrored experiment is for reading only");
    enum mld_error error = options_check_tags("tag", o->tags, o->n_tags);
    if (error == MLD_OK)
        error = options_check_tags("bindr", o->bindrs, o->n_bindrs);
    if (error == MLD_OK)
        error = options_check_text("description", o->description);
    if (error == MLD_OK)
        error = json_check("metadata", o->metadata_json, true, true);
    return error;
}

/* Records what the options say that the experiment does not have yet. Needs the lock. */
static enum mld_error record_options(struct run *run, const struct mld_experiment_options *o,
                                     const struct place *p)
{
    const struct experiment_entry *x = &run->state.experiment;
    struct buf *line = &run->line;
    buf_clear(line);
    record_begin(line, "experiment", run_clock(run));
    size_t empty = line->len;
    if (p != NULL && p->name != NULL && x->place_stamp == 0) {
        record_put_text(line, "name", p->name);
        record_put_text(line, "project", p->project);
        record_put_text(line, "folder", p->folder.len > 0 ? buf_text(&p->folder) : NULL);
        record_put_text(line, "prefix", p->prefix.len > 0 ? buf_text(&p->prefix) : NULL);
    }
    if (o->description != NULL)
        record_put_text(line, "description", o->description);
    if (o->tags != NULL)
        record_put_strings(line, "tags", o->tags, o->n_tags);
    if (o->bindrs != NULL)
        record_put_strings(line, "bindrs", o->bindrs, o->n_bindrs);
    if (o->metadata_json != NULL)
        record_put_json(line, "metadata", o->metadata_json);
    if (line->len == empty)
        return MLD_OK;
    record_end(line);
    return run_write_record(run, line);
}

static enum mld_error record_status(struct run *run, enum mld_status status)
{
    char now[CLOCK_ISO_LEN + 1];
    struct buf *line = &run->line;
    clock_format_iso(now, clock_now_us());
    buf_clear(line);
    record_begin(line, "status", run_clock(run));
    record_put_text(line, "status", mld_status_name(status));
    record_put_text(line, "at", now);
    if (status == MLD_FAILED && run->failure != NULL)
        record_put_text(line, "error", run->failure);
    record_end(line);
    return run_write_record(run, line);
}

static enum mld_error record_end_of_writer(struct run *run)
{
    buf_clear(&run->line);
    record_begin(&run->line, "end", run_clock(run));
    record_end(&run->line);
    return run_write_record(run, &run->line);
}

static enum mld_error start(struct run *run, const struct mld_experiment_options *o,
                            const struct place *p)
{
    pthread_mutex_lock(&run->lock);
    enum mld_error error = record_options(run, o, p);
    if (error == MLD_OK && run->running == 0) {
        error = record_status(run, MLD_RUNNING);
        if (error == MLD_OK)
            error = views_write_experiment(run, MLD_RUNNING);
    }
    if (error == MLD_OK)
        run->running++;
    pthread_mutex_unlock(&run->lock);
    return error;
}

/* A reader must not find an empty folder where a typing error led it. */
static enum mld_error check_exists(const char *dir)
{
    int fd;
    enum mld_error error = fs_open_root(&fd, dir, false);
    if (error != MLD_OK)
        return error;
    bool found = fs_exists(fd, "experiment.json") || fs_exists(fd, ".mldash/format.json");
    close(fd);
    if (!found)
        return error_set(MLD_ENOTFOUND, "%s is no run folder: it has no experiment.json", dir);
    return MLD_OK;
}

static enum mld_error handle_new(mld_experiment **out, struct run *run,
                                 const struct mld_experiment_options *o)
{
    mld_experiment *e = calloc(1, sizeof *e);
    if (e == NULL || (e->dir = strdup(run->dir)) == NULL) {
        free(e);
        return error_set(MLD_ENOMEM, "out of memory for opening %s", run->dir);
    }
    e->run = run;
    e->generation = run_fork_generation();
    e->opened_by = getpid();
    e->read_only = o->read_only;
    e->mirrored = o->mirrored;
    e->keep = o->keep == MLD_KEEP_DEFAULT ? 1 : o->keep;
    e->max_file_bytes = o->max_file_bytes == 0 ? MLD_MAX_FILE_BYTES : o->max_file_bytes;
    *out = e;
    return MLD_OK;
}

/* A mirror's reader may know the place from its options alone, until records tell it. */
static enum mld_error note_place(struct run *run, const struct place *p)
{
    struct experiment_entry *x = &run->state.experiment;
    struct arena *a = &run->state.arena;
    if (!run->mirrored || x->name != NULL || p->name == NULL)
        return MLD_OK;
    x->name = arena_strdup(a, p->name);
    x->project = arena_strdup(a, p->project);
    x->folder = p->folder.len == 0 ? NULL : arena_strdup(a, buf_text(&p->folder));
    x->prefix = p->prefix.len == 0 ? NULL : arena_strdup(a, buf_text(&p->prefix));
    return x->name == NULL || x->project == NULL
               ? error_set(MLD_ENOMEM, "out of memory for opening %s", run->dir)
               : MLD_OK;
}

enum mld_error mld_experiment_open(mld_experiment **out, const struct mld_experiment_options *o)
{
    struct place place;
    struct run *run = NULL;
    *out = NULL;
    enum mld_error error = check_options(o);
    if (error != MLD_OK)
        return error;
    error = place_of(&place, o);
    if (error == MLD_OK && !o->mirrored && (o->read_only || o->directory != NULL))
        error = check_exists(buf_text(&place.path));
    if (error == MLD_OK)
        error = run_acquire(&run, buf_text(&place.path),
                            o->mirrored    ? RUN_FOR_MIRRORED
                            : o->read_only ? RUN_FOR_READING
                                           : RUN_FOR_WRITING);
    if (error == MLD_OK)
        error = o->read_only ? note_place(run, &place) : start(run, o, &place);
    if (error == MLD_OK)
        error = handle_new(out, run, o);
    place_free(&place);
    if (error != MLD_OK && run != NULL) {
        struct error_copy copy;
        error_save(error, &copy);
        run_release(run);
        error = error_restore(&copy);
    }
    return error;
}

enum mld_error mld_experiment_update(mld_experiment *e, const struct mld_experiment_options *o)
{
    struct run *run;
    enum mld_error error = check_options(o);
    if (error == MLD_OK)
        error = run_enter(&run, e, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = record_options(run, o, NULL);
    if (error == MLD_OK)
        error = views_write_experiment(run, run_status(run, false).status);
    run_leave(run);
    return error;
}

/* Keeps the first error, with its message. */
static void keep_first(struct error_copy *first, enum mld_error error)
{
    if (error != MLD_OK && first->code == MLD_OK)
        error_save(error, first);
}

enum mld_error run_end_writer(struct run *run, bool owns_status)
{
    struct error_copy first = {.code = MLD_OK};
    pthread_mutex_lock(&run->lock);
    keep_first(&first, run_refresh(run));
    retire_ask_again(run);
    pthread_mutex_unlock(&run->lock);
    keep_first(&first, keeper_flush(run->keeper));
    pthread_mutex_lock(&run->lock);
    keep_first(&first, run_refresh(run));
    if (owns_status) {
        keep_first(&first, record_status(run, run->worst));
        keep_first(&first, views_write(run, run_status(run, true).status));
    }
    keep_first(&first, record_end_of_writer(run));
    run->ended = true;
    pthread_mutex_unlock(&run->lock);
    keep_first(&first, keeper_flush(run->keeper));
    registry_forget(run);
    pthread_mutex_lock(&run->lock);
    stream_release_reserve(run->records);
    slot_release(&run->slot, run->dir_fd);
    pthread_mutex_unlock(&run->lock);
    return first.code == MLD_OK ? MLD_OK : error_restore(&first);
}

/* FAILED wins over CANCELLED, which wins over COMPLETED. */
static enum mld_status worse_of(enum mld_status a, enum mld_status b)
{
    if (a == MLD_FAILED || b == MLD_FAILED)
        return MLD_FAILED;
    return a == MLD_CANCELLED || b == MLD_CANCELLED ? MLD_CANCELLED : MLD_COMPLETED;
}

/* `reason`: NULL unless FAILED, for a reason that is known. */
static enum mld_error end_handle(mld_experiment *e, enum mld_status status, const char *reason)
{
    if (e->ended || e->read_only)
        return MLD_OK;
    bool inherited = e->generation != run_fork_generation();
    if (inherited && getpid() != e->opened_by) {
        e->ended = true; /* a child that never wrote has nothing to end */
        return MLD_OK;
    }
    struct run *run = e->run;
    bool owner = getpid() == e->opened_by;
    pthread_mutex_lock(&run->lock);
    e->ended = true;
    run->worst = worse_of(run->worst, status);
    if (reason != NULL && run->failure == NULL)
        run->failure = reason_clean(reason);
    bool last = owner ? --run->running == 0 : run->running == 0 && run->handles == 1;
    pthread_mutex_unlock(&run->lock);
    return last ? run_end_writer(run, owner) : keeper_flush(run->keeper);
}

enum mld_error mld_experiment_end(mld_experiment *e, enum mld_status status)
{
    if (status != MLD_COMPLETED && status != MLD_FAILED && status != MLD_CANCELLED)
        return error_set(MLD_EINVALID, "a run ends as COMPLETED, FAILED or CANCELLED");
    return end_handle(e, status, NULL);
}

enum mld_error mld_experiment_fail(mld_experiment *e, const char *reason)
{
    return end_handle(e, MLD_FAILED, reason);
}

void mld_experiment_close(mld_experiment *e)
{
    if (e == NULL)
        return;
    if (e->generation == run_fork_generation()) {
        if (!e->ended && !e->read_only && getpid() == e->opened_by) {
            pthread_mutex_lock(&e->run->lock);
            e->run->running--;
            pthread_mutex_unlock(&e->run->lock);
        }
        run_release(e->run);
    }
    if (e->source.free != NULL)
        e->source.free(e->source.payload);
    free(e->dir);
    free(e);
}

enum mld_error mld_flush(mld_experiment *e)
{
    struct run *run;
    if (e->read_only || e->ended)
        return MLD_OK;
    enum mld_error error = run_enter(&run, e, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    run_leave(run);
    return keeper_flush(run->keeper);
}

enum mld_error mld_experiment_write_views(mld_experiment *e)
{
    struct run *run;
    enum mld_error error = run_enter(&run, e, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = views_write(run, run_status(run, false).status);
    run_leave(run);
    return error;
}

const char *mld_status_name(enum mld_status status)
{
    static const char *const NAMES[] = {"UNKNOWN", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"};
    return (unsigned)status < sizeof NAMES / sizeof *NAMES ? NAMES[status] : NAMES[0];
}

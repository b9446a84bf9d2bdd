/* mld_experiment_info: a snapshot of what a folder says of itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fs.h"
#include "run/run.h"

#define LOST_AFTER_S 300

struct info {
    struct mld_experiment_info public; /* first, so that its address is ours */
    struct arena arena;
};

static struct string_list copy_strings(struct arena *a, struct string_list list)
{
    const char **items = arena_alloc(a, (list.count + 1) * sizeof *items);
    for (size_t i = 0; items != NULL && i < list.count; i++)
        items[i] = arena_strdup(a, list.items[i]);
    return (struct string_list){items, items == NULL ? 0 : list.count};
}

/* No sign of life: no writer is alive, and none of another machine has written for a while. */
static bool is_lost(struct run *run, const struct run_status *status)
{
    if (status->status != MLD_RUNNING || run->slot.number >= 0)
        return false;
    if (!status->alive)
        return true;
    time_t newest = 0;
    for (const struct shard_cursor *c = run->cursors; c != NULL; c = c->next) {
        struct stat st;
        char path[SHARD_NAME_MAX + RUN_MIRROR_MAX + 16];
        if (c->origin.mirror != NULL) { /* when it was last heard of */
            snprintf(path, sizeof path, "%s/%s", c->origin.mirror, c->name);
            if (fs_stat(run->dir_fd, path, &st) == MLD_OK && st.st_mtime > newest)
                newest = st.st_mtime;
            continue;
        }
        if (slot_life_of(run->dir_fd, c->origin.slot, false) == SLOT_ALIVE)
            return false;
        snprintf(path, sizeof path, ".mldash/%s", c->name);
        if (fs_stat(run->dir_fd, path, &st) == MLD_OK && st.st_mtime > newest)
            newest = st.st_mtime;
        snprintf(path, sizeof path, ".mldash/mark.%u.json", c->origin.slot);
        if (fs_stat(run->dir_fd, path, &st) == MLD_OK && st.st_mtime > newest)
            newest = st.st_mtime;
    }
    return time(NULL) - newest > LOST_AFTER_S;
}

static void count_things(struct info *info, const struct state *s)
{
    for (size_t i = 0; i < s->n_files; i++) {
        const struct file_entry *f = s->all_files[i];
        if (state_newest(f->name) == f) {
            info->public.n_files++;
            info->public.file_bytes += f->size_bytes;
        }
    }
    for (const struct series_entry *e = s->series; e != NULL; e = e->next) {
        if (e->kind == MLD_METRIC)
            info->public.n_metrics++;
        else
            info->public.n_tracks++;
    }
}

static const char *warning(struct arena *a, const struct run *run)
{
    char text[512];
    const struct problem_entry *p = run->state.problems;
    if (p == NULL)
        return NULL;
    snprintf(text, sizeof text, "%zu problem%s in %s, e.g. %s: %s (`ml-dash verify` lists all)",
             run->state.n_problems, run->state.n_problems == 1 ? "" : "s", run->dir, p->name,
             p->detail);
    return arena_strdup(a, text);
}

static void fill(struct info *info, struct run *run)
{
    struct arena *a = &info->arena;
    struct mld_experiment_info *out = &info->public;
    const struct experiment_entry *x = &run->state.experiment;
    struct run_status status = run_status(run, false);
    struct string_list tags = copy_strings(a, x->tags);
    struct string_list bindrs = copy_strings(a, x->bindrs);
    out->id = arena_strdup(a, run->experiment_id);
    out->name = arena_strdup(a, x->name);
    out->project = arena_strdup(a, x->project);
    out->folder = arena_strdup(a, x->folder);
    out->prefix = arena_strdup(a, x->prefix);
    out->directory = arena_strdup(a, run->dir);
    out->description = arena_strdup(a, x->description);
    out->metadata_json = arena_strdup(a, x->metadata);
    out->tags = tags.items;
    out->n_tags = tags.count;
    out->bindrs = bindrs.items;
    out->n_bindrs = bindrs.count;
    out->status = status.status;
    out->started_at = arena_strdup(a, status.started_at);
    out->ended_at = arena_strdup(a, status.ended_at);
    out->error = arena_strdup(a, status.error);
    out->created_at = arena_strdup(a, x->created_at);
    out->lost = is_lost(run, &status);
    out->n_problems = run->state.n_problems;
    out->warning = warning(a, run);
    count_things(info, &run->state);
}

enum mld_error mld_experiment_info(struct mld_experiment_info **out, mld_experiment *e)
{
    struct run *run;
    *out = NULL;
    struct info *info = calloc(1, sizeof *info);
    if (info == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    enum mld_error error = run_enter(&run, e, RUN_READ);
    if (error == MLD_OK) {
        error = run_refresh(run);
        if (error == MLD_OK)
            fill(info, run);
        run_leave(run);
    }
    if (error != MLD_OK) {
        free(info);
        return error;
    }
    *out = &info->public;
    return MLD_OK;
}

void mld_experiment_info_free(struct mld_experiment_info *public)
{
    struct info *info = (struct info *)public;
    if (info == NULL)
        return;
    arena_free(&info->arena);
    free(info);
}

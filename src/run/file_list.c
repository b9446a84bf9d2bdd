/* Looking files up: list, get, find. */
#include <stdlib.h>

#include "run/file_filter.h"
#include "run/file_find.h"
#include "run/file_snapshot.h"

/* A list and all its strings in one arena, which lives behind it. */
struct list {
    struct mld_file_list public; /* first, so that its address is ours */
    struct arena arena;
};

static enum mld_error collect(struct list *list, struct run *run, struct file_filter *filter)
{
    const struct mld_list_options *o = filter->options;
    struct state *s = &run->state;
    size_t skipped = 0;
    size_t room = o->limit > 0 && o->limit < s->n_files ? o->limit : s->n_files;
    struct mld_file *files = arena_alloc(&list->arena, (room + 1) * sizeof *files);
    if (files == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a list of %zu files", room);
    state_sort_files(s);
    for (size_t i = 0; i < s->n_files && list->public.count < room; i++) {
        if (!file_filter_matches(filter, s->all_files[i]))
            continue;
        if (skipped++ < o->offset)
            continue;
        enum mld_error error =
            file_snapshot_fill(&files[list->public.count], s->all_files[i], &list->arena);
        if (error != MLD_OK)
            return error;
        list->public.count++;
    }
    list->public.files = files;
    return MLD_OK;
}

enum mld_error mld_file_list(struct mld_file_list **out, mld_experiment *e,
                             const struct mld_list_options *options)
{
    static const struct mld_list_options ALL = MLD_LIST_OPTIONS_INIT;
    struct file_filter filter;
    struct run *run;
    *out = NULL;
    struct list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a list of files");
    enum mld_error error = file_filter_init(&filter, options == NULL ? &ALL : options);
    if (error == MLD_OK)
        error = run_enter(&run, e, RUN_READ);
    if (error == MLD_OK) {
        error = run_refresh(run);
        if (error == MLD_OK)
            error = collect(list, run, &filter);
        run_leave(run);
    }
    file_filter_free(&filter);
    if (error == MLD_OK)
        *out = &list->public;
    else
        mld_file_list_free(&list->public);
    return error;
}

void mld_file_list_free(struct mld_file_list *public)
{
    struct list *list = (struct list *)public;
    if (list == NULL)
        return;
    arena_free(&list->arena);
    free(list);
}

enum mld_error mld_file_get(struct mld_file **out, mld_experiment *e, const char *id)
{
    struct run *run;
    struct file_entry *f;
    *out = NULL;
    enum mld_error error = run_enter(&run, e, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = file_find_by_id(run, &f, id);
    if (error == MLD_OK)
        error = file_snapshot_new(out, f);
    run_leave(run);
    return error;
}

enum mld_error mld_file_find(struct mld_file **out, mld_experiment *e, const char *prefix,
                             const char *filename, const char *alias)
{
    struct run *run;
    struct file_entry *f;
    *out = NULL;
    enum mld_error error = run_enter(&run, e, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = file_find_by_name(run, &f, prefix, filename, alias);
    if (error == MLD_OK)
        error = file_snapshot_new(out, f);
    run_leave(run);
    return error;
}

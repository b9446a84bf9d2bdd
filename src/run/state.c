#include "run/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/state_internal.h"

void state_init(struct state *s)
{
    *s = (struct state){.files_sorted = true};
}

void state_free(struct state *s)
{
    map_free(&s->files);
    map_free(&s->names);
    map_free(&s->params);
    map_free(&s->series_by_key);
    map_free(&s->series_by_dir);
    map_free(&s->shards);
    map_free(&s->interned);
    map_free(&s->lost_lines);
    map_free(&s->renamed);
    free(s->all_files);
    free(s->all_params);
    arena_free(&s->arena);
    *s = (struct state){0};
}

enum mld_error state_no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the records of a run folder");
}

const char *state_intern(struct state *s, const char *text, size_t len)
{
    const char *known = map_get(&s->interned, text, len);
    if (known != NULL)
        return known;
    char *copy = arena_strndup(&s->arena, text, len);
    if (copy == NULL || map_put(&s->interned, copy, len, copy) != MLD_OK)
        return NULL;
    return copy;
}

/* Makes room for one more pointer in a growing array. */
static enum mld_error grow(void **array, size_t count, size_t *capacity)
{
    if (count < *capacity)
        return MLD_OK;
    size_t larger = *capacity == 0 ? 64 : 2 * *capacity;
    void *moved = realloc(*array, larger * sizeof(void *));
    if (moved == NULL)
        return state_no_memory();
    *array = moved;
    *capacity = larger;
    return MLD_OK;
}

struct file_entry *state_file(const struct state *s, const char *id)
{
    struct file_entry *f = map_get(&s->files, id, strlen(id));
    return f != NULL && f->stamp != 0 ? f : NULL;
}

struct file_entry *state_file_slot(struct state *s, const char *id, size_t len)
{
    struct file_entry *f = map_get(&s->files, id, len);
    if (f != NULL)
        return f;
    f = arena_alloc(&s->arena, sizeof *f);
    char *copy = arena_strndup(&s->arena, id, len);
    if (f == NULL || copy == NULL)
        return NULL;
    f->id = copy;
    return map_put(&s->files, copy, len, f) == MLD_OK ? f : NULL;
}

/* The key of a name: path, NUL, file name. Paths are at most NAME_MAX_PATH_BYTES, names 255; longer
 * ones come from damaged or foreign data. */
static char *name_key(char *small, size_t small_size, const char *path, const char *filename,
                      size_t *out_len)
{
    size_t path_len = strlen(path) + 1;
    size_t filename_len = strlen(filename);
    char *key = small;
    *out_len = path_len + filename_len;
    if (*out_len > small_size)
        key = malloc(*out_len);
    if (key != NULL) {
        memcpy(key, path, path_len);
        memcpy(key + path_len, filename, filename_len);
    }
    return key;
}

struct name_entry *state_name(const struct state *s, const char *path, const char *filename)
{
    char small[1536];
    size_t len;
    char *key = name_key(small, sizeof small, path, filename, &len);
    if (key == NULL)
        return NULL;
    struct name_entry *name = map_get(&s->names, key, len);
    if (key != small)
        free(key);
    return name;
}

struct name_entry *state_name_slot(struct state *s, const char *path, const char *filename)
{
    struct name_entry *name = state_name(s, path, filename);
    if (name != NULL)
        return name;
    size_t path_len = strlen(path);
    size_t filename_len = strlen(filename);
    name = arena_alloc(&s->arena, sizeof *name);
    char *key = arena_alloc(&s->arena, path_len + filename_len + 2);
    if (name == NULL || key == NULL)
        return NULL;
    memcpy(key, path, path_len);
    memcpy(key + path_len + 1, filename, filename_len);
    name->path = key;
    name->filename = key + path_len + 1;
    return map_put(&s->names, key, path_len + 1 + filename_len, name) == MLD_OK ? name : NULL;
}

enum mld_error state_link_file(struct state *s, struct file_entry *f)
{
    enum mld_error error = grow((void **)&s->all_files, s->n_files, &s->files_capacity);
    if (error != MLD_OK)
        return error;
    f->name = state_name_slot(s, f->path, f->filename);
    if (f->name == NULL)
        return state_no_memory();
    if (s->n_files > 0 && s->all_files[s->n_files - 1]->stamp > f->stamp)
        s->files_sorted = false;
    s->all_files[s->n_files++] = f;
    struct file_entry **at = &f->name->versions;
    while (*at != NULL && (*at)->stamp > f->stamp)
        at = &(*at)->older;
    f->older = *at;
    *at = f;
    return MLD_OK;
}

static int by_stamp(const void *a, const void *b)
{
    const struct file_entry *x = *(struct file_entry *const *)a;
    const struct file_entry *y = *(struct file_entry *const *)b;
    if (x->stamp != y->stamp)
        return x->stamp < y->stamp ? -1 : 1;
    return strcmp(x->id, y->id);
}

void state_sort_files(struct state *s)
{
    if (!s->files_sorted)
        qsort(s->all_files, s->n_files, sizeof *s->all_files, by_stamp);
    s->files_sorted = true;
}

bool state_is_listed(const struct file_entry *f)
{
    return f->stamp != 0 && f->retired_by == NULL && !f->gone && !f->removed;
}

struct file_entry *state_newest(const struct name_entry *name)
{
    for (struct file_entry *f = name->versions; f != NULL; f = f->older)
        if (state_is_listed(f) && f->deleted_at == NULL)
            return f;
    return NULL;
}

bool state_has_alias(const struct file_entry *f)
{
    for (const struct alias_entry *a = f->name->aliases; a != NULL; a = a->next)
        if (a->id != NULL && strcmp(a->id, f->id) == 0)
            return true;
    return false;
}

/* Series are keyed by 'm' or 't', then '=' and the name, or nothing when unnamed. */
#define SERIES_KEY_MAX 2048
static size_t series_key(char out[SERIES_KEY_MAX], enum mld_series_kind kind, const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);
    if (len > SERIES_KEY_MAX - 2)
        len = SERIES_KEY_MAX - 2;
    out[0] = kind == MLD_METRIC ? 'm' : 't';
    if (name == NULL)
        return 1;
    out[1] = '=';
    memcpy(out + 2, name, len);
    return len + 2;
}

struct series_entry *state_series(const struct state *s, enum mld_series_kind kind,
                                  const char *name)
{
    char key[SERIES_KEY_MAX];
    return map_get(&s->series_by_key, key, series_key(key, kind, name));
}

struct series_entry *state_add_series(struct state *s, enum mld_series_kind kind, const char *name,
                                      const char *dir)
{
    struct series_entry *series = state_series(s, kind, name);
    if (series != NULL)
        return series;
    char key[SERIES_KEY_MAX];
    size_t len = series_key(key, kind, name);
    const char *kept = state_intern(s, key, len);
    series = arena_alloc(&s->arena, sizeof *series);
    if (series == NULL || kept == NULL || map_put(&s->series_by_key, kept, len, series) != MLD_OK)
        return NULL;
    series->kind = kind;
    series->name = arena_strdup(&s->arena, name);
    series->dir = arena_strdup(&s->arena, dir);
    if (series->dir == NULL ||
        (map_get(&s->series_by_dir, dir, strlen(dir)) == NULL &&
         map_put(&s->series_by_dir, series->dir, strlen(dir), series) != MLD_OK))
        return NULL;
    if (s->last_series == NULL)
        s->series = series;
    else
        s->last_series->next = series;
    s->last_series = series;
    return series;
}

struct shard_entry *state_shard_slot(struct state *s, struct shard_entry **list, const char *file,
                                     state_stamp first)
{
    for (struct shard_entry *known = *list; known != NULL; known = known->next)
        if (strcmp(known->file, file) == 0)
            return known;
    struct shard_entry *shard = arena_alloc(&s->arena, sizeof *shard);
    if (shard == NULL || (shard->file = arena_strdup(&s->arena, file)) == NULL ||
        map_put(&s->shards, shard->file, strlen(file), shard) != MLD_OK)
        return NULL;
    shard->first = first;
    while (*list != NULL && (*list)->first <= first)
        list = &(*list)->next;
    shard->next = *list;
    *list = shard;
    return shard;
}

enum mld_error state_add_shard(struct state *s, struct shard_entry **list, const char *file,
                               unsigned slot)
{
    /* By the map: of one that is read in the mirror, the list has another file. */
    struct shard_entry *shard = map_get(&s->shards, file, strlen(file));
    if (shard == NULL)
        shard = state_shard_slot(s, list, file, 0);
    if (shard == NULL)
        return state_no_memory();
    if (shard->stream == NULL)
        shard->slot = slot;
    return MLD_OK;
}

struct param_entry *state_param_slot(struct state *s, const char *name, size_t len)
{
    struct param_entry *param = map_get(&s->params, name, len);
    if (param != NULL)
        return param;
    if (grow((void **)&s->all_params, s->n_params, &s->params_capacity) != MLD_OK)
        return NULL;
    param = arena_alloc(&s->arena, sizeof *param);
    char *copy = arena_strndup(&s->arena, name, len);
    if (param == NULL || copy == NULL)
        return NULL;
    param->name = copy;
    param->name_len = len;
    if (map_put(&s->params, copy, len, param) != MLD_OK)
        return NULL;
    s->all_params[s->n_params++] = param;
    return param;
}

/* The entry of a line that was told of before, else NULL. *out_key is NULL for what is no line. */
static struct problem_entry *known_line(struct state *s, enum mld_problem problem, const char *name,
                                        uint64_t offset, const char **out_key)
{
    char key[4096];
    *out_key = NULL;
    if (problem != MLD_PROBLEM_GARBLED && problem != MLD_PROBLEM_TORN)
        return NULL;
    int len = snprintf(key, sizeof key, "%" PRIu64 " %s", offset, name);
    if (len < 0 || (size_t)len >= sizeof key)
        return NULL;
    *out_key = state_intern(s, key, (size_t)len);
    return *out_key == NULL ? NULL : map_get(&s->lost_lines, *out_key, (size_t)len);
}

enum mld_error state_problem(struct state *s, enum mld_problem problem, const char *name,
                             uint64_t offset, const char *detail)
{
    const char *key;
    struct problem_entry *p = known_line(s, problem, name, offset, &key);
    if (p != NULL) {
        p->detail = arena_strdup(&s->arena, detail);
        p->found_again = false;
        return p->detail == NULL ? state_no_memory() : MLD_OK;
    }
    p = arena_alloc(&s->arena, sizeof *p);
    if (p == NULL || (p->name = arena_strdup(&s->arena, name)) == NULL ||
        (p->detail = arena_strdup(&s->arena, detail)) == NULL ||
        (key != NULL && map_put(&s->lost_lines, key, strlen(key), p) != MLD_OK))
        return state_no_memory();
    p->problem = problem;
    p->offset = offset;
    p->next = s->problems;
    s->problems = p;
    s->n_problems++;
    return MLD_OK;
}

/* FAILED wins over CANCELLED, which wins over COMPLETED. A child's writer ends without saying any
 * of them. */
static enum mld_status worse(enum mld_status a, enum mld_status b)
{
    if (a == MLD_FAILED || b == MLD_FAILED)
        return MLD_FAILED;
    if (a == MLD_CANCELLED || b == MLD_CANCELLED)
        return MLD_CANCELLED;
    return a == MLD_COMPLETED || b == MLD_COMPLETED ? MLD_COMPLETED : MLD_RUNNING;
}

/* The writer that opened the run last; those that never said RUNNING (children, gc) do not count.
 */
static const struct status_entry *last_to_open(const struct state *s)
{
    const struct status_entry *last = NULL;
    for (const struct status_entry *e = s->statuses; e != NULL; e = e->next)
        if (e->status != MLD_UNKNOWN && (last == NULL || e->started > last->started))
            last = e;
    return last;
}

static bool any_alive(const struct state *s, state_is_alive *is_alive, void *payload)
{
    for (const struct status_entry *e = s->statuses; e != NULL; e = e->next)
        if (!e->ended && !(e->tidies && e->status == MLD_UNKNOWN) &&
            (e->mirrored != NULL || is_alive(e->slot, payload)))
            return true;
    return false;
}

struct run_status state_status(const struct state *s, state_is_alive *is_alive, void *payload)
{
    struct run_status out = {.status = MLD_UNKNOWN};
    state_stamp failed = 0;
    const struct status_entry *last = last_to_open(s);
    out.alive = any_alive(s, is_alive, payload);
    if (last == NULL)
        return out;
    out.started_at = last->started_at;
    out.status = MLD_RUNNING;
    if (out.alive)
        return out;
    for (const struct status_entry *e = s->statuses; e != NULL; e = e->next) {
        if (e != last && e->stamp < last->started)
            continue;
        out.status = worse(out.status, e->status);
        if (e->ended_at != NULL && (out.ended_at == NULL || strcmp(e->ended_at, out.ended_at) > 0))
            out.ended_at = e->ended_at;
        if (e->error != NULL && (out.error == NULL || e->stamp < failed)) {
            out.error = e->error;
            failed = e->stamp;
        }
    }
    if (out.status == MLD_RUNNING)
        out.ended_at = NULL;
    return out;
}

#include "run/gc_plan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fs.h"
#include "base/name.h"

#define PATH_MAX_BYTES 4096

struct planning {
    struct gc_plan *plan;
    struct run *run;
    const struct gc_rules *rules;
    const char *dir; /* that is searched for temporary files */
};

static enum mld_error add(struct planning *p, enum gc_reason reason, const char *path,
                          struct file_entry *file)
{
    struct gc_plan *plan = p->plan;
    struct stat st;
    if (fs_stat(p->run->dir_fd, path, &st) != MLD_OK)
        return MLD_OK;
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity == 0 ? 64 : 2 * plan->capacity;
        struct gc_item *items = realloc(plan->items, capacity * sizeof *items);
        if (items == NULL)
            return error_set(MLD_ENOMEM, "out of memory for what is to be removed");
        plan->items = items;
        plan->capacity = capacity;
    }
    path = arena_strdup(&plan->arena, path);
    if (path == NULL)
        return error_set(MLD_ENOMEM, "out of memory for what is to be removed");
    uint64_t bytes = S_ISREG(st.st_mode) && st.st_nlink == 1 ? (uint64_t)st.st_size : 0;
    plan->items[plan->count++] =
        (struct gc_item){.reason = reason, .path = path, .file = file, .bytes = bytes};
    return MLD_OK;
}

/* What is known of the slot's writer; one that has ended or is certainly dead is SLOT_GONE. */
static enum slot_life life_of(struct gc_plan *plan, struct run *run, unsigned slot)
{
    if (plan->life[slot] == 0) {
        enum slot_life life =
            run_slot_is_gone(run, slot) ? SLOT_GONE : slot_life_of(run->dir_fd, slot, false);
        plan->life[slot] = (signed char)((int)life + 1);
    }
    return (enum slot_life)(plan->life[slot] - 1);
}

static bool is_gone(struct planning *p, unsigned slot)
{
    return life_of(p->plan, p->run, slot) == SLOT_GONE;
}

static bool is_own(const struct run *run, unsigned slot)
{
    return run->slot.number >= 0 && (unsigned)run->slot.number == slot;
}

static bool is_old(const struct run *run, const char *path, int64_t age_s)
{
    struct stat st;
    if (fs_stat(run->dir_fd, path, &st) != MLD_OK)
        return false;
    time_t newest = st.st_mtime > st.st_ctime ? st.st_mtime : st.st_ctime;
    return time(NULL) - newest >= age_s;
}

/* When this writer took its slot, in ms since the epoch: what has the slot in its id and is older
 * was left by an earlier writer. */
static int64_t own_start_ms(const struct run *run)
{
    for (const struct status_entry *e = run->state.statuses; e != NULL; e = e->next)
        if (strcmp(e->writer, run->slot.writer) == 0)
            return (int64_t)(e->started >> 10) / 1000;
    return 0;
}

bool gc_plan_is_left(struct gc_plan *plan, struct run *run, const struct tree_item *item,
                     const struct gc_rules *rules)
{
    if (!item->own_id)
        return false;
    enum slot_life life = life_of(plan, run, item->slot);
    if (is_own(run, item->slot)) {
        if (item->made_ms >= own_start_ms(run))
            return false;
    } else if (life == SLOT_ALIVE || (life == SLOT_UNKNOWN && !rules->offline)) {
        return false;
    }
    return rules->offline || is_old(run, item->path, rules->orphan_age_s);
}

/* The bytes of a file that has a record. */
static enum mld_error plan_file(struct planning *p, const struct tree_item *item)
{
    struct file_entry *f = item->file;
    unsigned by = (unsigned)(f->retired_stamp & (SLOT_MAX - 1));
    if (f->removed)
        return add(p, GC_RETIRED, item->path, f);
    if (f->retired_by != NULL) /* who retires may still take it back */
        return is_gone(p, by) || (is_own(p->run, by) && !f->mine)
                   ? add(p, GC_RETIRED, item->path, f)
                   : MLD_OK;
    if (state_is_listed(f) && f->deleted_at != NULL)
        return add(p, GC_DELETED, item->path, f);
    return MLD_OK;
}

static enum mld_error plan_orphan(struct planning *p, const struct tree_item *item)
{
    size_t before = p->plan->count;
    enum mld_error error = add(p, GC_ORPHAN, item->path, NULL);
    if (p->plan->count > before)
        p->plan->items[before].orphan = item;
    return error;
}

/* True when the version counts for `keep`, and this writer may rely on it. */
static bool is_settled(struct planning *p, const struct file_entry *f)
{
    return is_own(p->run, f->slot) || is_gone(p, f->slot);
}

/* Older versions than the newest says are to stay, all of writers that are gone. */
static enum mld_error plan_name(struct planning *p, struct file_entry *newest)
{
    int kept = 0;
    enum mld_error error = MLD_OK;
    struct buf path;
    if (newest->keep < 1)
        return MLD_OK; /* all stay, or another tool saved it, which has no versions */
    buf_init(&path, PATH_MAX_BYTES);
    for (struct file_entry *f = newest; f != NULL && error == MLD_OK; f = f->older) {
        if (!state_is_listed(f) || f->deleted_at != NULL)
            continue;
        if (!is_settled(p, f))
            break;
        bool stays = kept < newest->keep || state_has_alias(f);
        kept += !f->damaged; /* a version that was lost does not stand in for an older one */
        if (stays)
            continue;
        buf_clear(&path);
        name_file_path(&path, f->path, f->id, f->filename);
        error = buf_check(&path, "path of a file");
        if (error == MLD_OK)
            error = add(p, GC_EXCESS, buf_text(&path), f);
    }
    buf_free(&path);
    return error;
}

static enum mld_error plan_temporary(const char *name, unsigned char type, void *payload)
{
    struct planning *p = payload;
    char path[PATH_MAX_BYTES];
    bool writers = strcmp(p->dir, ".mldash/writers") == 0;
    size_t len = strlen(name);
    if (type != DT_REG || !(tree_is_temporary(name) || (writers && name[0] == '.' && len > 4 &&
                                                        strcmp(name + len - 4, ".tmp") == 0)))
        return MLD_OK;
    if (strcmp(p->dir, ".") == 0)
        snprintf(path, sizeof path, "%s", name);
    else
        snprintf(path, sizeof path, "%s/%s", p->dir, name);
    return is_old(p->run, path, p->rules->orphan_age_s) ? add(p, GC_TEMP, path, NULL) : MLD_OK;
}

static enum mld_error plan_temporaries(struct planning *p)
{
    static const char *const DIRS[] = {".", ".mldash", ".mldash/writers", "logs"};
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < sizeof DIRS / sizeof *DIRS; i++) {
        p->dir = DIRS[i];
        error = fs_list_dir(p->run->dir_fd, p->dir, plan_temporary, p);
    }
    for (const struct series_entry *e = p->run->state.series; error == MLD_OK && e != NULL;
         e = e->next) {
        p->dir = e->dir;
        error = fs_list_dir(p->run->dir_fd, p->dir, plan_temporary, p);
    }
    return error;
}

enum mld_error gc_plan_make(struct gc_plan *plan, struct run *run, const struct tree *tree,
                            const struct gc_rules *rules)
{
    struct planning p = {.plan = plan, .run = run, .rules = rules};
    enum mld_error error = MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < tree->count; i++) {
        const struct tree_item *item = &tree->items[i];
        if (item->kind == TREE_FILE && item->type == DT_REG)
            error = plan_file(&p, item);
        else if (item->kind == TREE_ORPHAN && gc_plan_is_left(plan, run, item, rules))
            error = plan_orphan(&p, item);
        else if (item->kind == TREE_TEMP && is_old(run, item->path, rules->orphan_age_s))
            error = add(&p, GC_TEMP, item->path, NULL);
    }
    for (size_t i = 0; error == MLD_OK && i < run->state.n_files; i++) {
        struct file_entry *f = run->state.all_files[i];
        if (f->older != NULL && state_newest(f->name) == f)
            error = plan_name(&p, f);
    }
    return error == MLD_OK ? plan_temporaries(&p) : error;
}

void gc_plan_free(struct gc_plan *plan)
{
    arena_free(&plan->arena);
    free(plan->items);
    *plan = (struct gc_plan){0};
}

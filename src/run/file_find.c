#include "run/file_find.h"

#include <string.h>

#include "base/name.h"

static enum mld_error superseded(const struct file_entry *f)
{
    const struct file_entry *newest = state_newest(f->name);
    if (newest == NULL)
        return error_set(MLD_ENOTFOUND, "file %s (%s) is gone", f->id, f->filename);
    return error_set(MLD_ESUPERSEDED, "file %s was replaced: the newest version of %s is %s", f->id,
                     f->filename, newest->id);
}

enum mld_error file_find_by_id(struct run *run, struct file_entry **out, const char *id)
{
    *out = NULL;
    if (id == NULL)
        return error_set(MLD_EINVALID, "no file id was given");
    struct file_entry *f = state_file(&run->state, id);
    if (f == NULL)
        return error_set(MLD_ENOTFOUND, "no file with id %.40s in %s", id, run->dir);
    if (f->retired_by != NULL || f->gone)
        return superseded(f);
    if (f->removed)
        return error_set(MLD_ENOTFOUND, "file %s (%s) was deleted and its bytes collected by gc",
                         f->id, f->filename);
    *out = f;
    return MLD_OK;
}

static struct file_entry *by_alias(struct run *run, const struct name_entry *name,
                                   const char *alias)
{
    for (const struct alias_entry *a = name->aliases; a != NULL; a = a->next)
        if (a->id != NULL && strcmp(a->alias, alias) == 0)
            return state_file(&run->state, a->id);
    return NULL;
}

enum mld_error file_find_by_name(struct run *run, struct file_entry **out, const char *prefix,
                                 const char *filename, const char *alias)
{
    struct buf path;
    *out = NULL;
    buf_init(&path, NAME_MAX_PATH_BYTES + 1);
    enum mld_error error = name_canonical_prefix(prefix, &path);
    if (error == MLD_OK)
        error = name_check_file(filename);
    if (error == MLD_OK) {
        const struct name_entry *name = state_name(&run->state, buf_text(&path), filename);
        bool newest = alias == NULL || strcmp(alias, "latest") == 0;
        if (name != NULL)
            *out = newest ? state_newest(name) : by_alias(run, name, alias);
        if (*out == NULL)
            error = error_set(MLD_ENOTFOUND, "no file %s%s%s in %s of %s", filename,
                              newest ? "" : " with alias ", newest ? "" : alias, buf_text(&path),
                              run->dir);
    }
    buf_free(&path);
    return error;
}

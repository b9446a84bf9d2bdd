/* Changing records of files: update, delete, restore, aliases, duplicate. Bytes are not touched,
 * except that duplicate copies them. */
#include <string.h>

#include "base/clock.h"
#include "base/name.h"
#include "mldash/file.h"
#include "run/file_find.h"
#include "run/file_snapshot.h"
#include "run/options.h"
#include "run/record.h"

/* Begins a record about a file at the present time. */
static void begin(struct run *run, const char *type, const char *id)
{
    char now[CLOCK_ISO_LEN + 1];
    clock_format_iso(now, clock_now_us());
    buf_clear(&run->line);
    record_begin(&run->line, type, run_clock(run));
    record_put_text(&run->line, "id", id);
    record_put_text(&run->line, "at", now);
}

static enum mld_error finish(struct run *run)
{
    record_end(&run->line);
    return run_write_record(run, &run->line);
}

/* Enters for writing with everything others wrote read, and finds the file. On MLD_OK the run is
 * locked. */
static enum mld_error enter_with_file(struct run **out_run, struct file_entry **out_file,
                                      mld_experiment *e, const char *id)
{
    enum mld_error error = run_enter(out_run, e, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = run_refresh(*out_run);
    if (error == MLD_OK)
        error = file_find_by_id(*out_run, out_file, id);
    if (error != MLD_OK)
        run_leave(*out_run);
    return error;
}

/* The record after a change, when the caller wants it; then the lock goes. */
static enum mld_error leave_with_file(struct mld_file **out, struct run *run,
                                      const struct file_entry *f, enum mld_error error)
{
    if (error == MLD_OK && out != NULL)
        error = file_snapshot_new(out, f);
    run_leave(run);
    return error;
}

static enum mld_error check_changes(const struct mld_file_changes *c)
{
    if (c->version != MLD_FILE_CHANGES_VERSION)
        return error_set(MLD_EINVALID, "changes of version %u; this library knows %d", c->version,
                         MLD_FILE_CHANGES_VERSION);
    enum mld_error error = options_check_text("description", c->description);
    if (error == MLD_OK)
        error = options_check_tags("tag", c->tags, c->n_tags);
    if (error == MLD_OK)
        error = options_check_tags("bindr", c->bindrs, c->n_bindrs);
    if (error == MLD_OK)
        error = json_check("metadata", c->metadata_json, true, true);
    return error;
}

enum mld_error mld_file_update(struct mld_file **out, mld_experiment *e, const char *id,
                               const struct mld_file_changes *c)
{
    struct run *run;
    struct file_entry *f;
    if (out != NULL)
        *out = NULL;
    enum mld_error error = check_changes(c);
    if (error == MLD_OK)
        error = enter_with_file(&run, &f, e, id);
    if (error != MLD_OK)
        return error;
    begin(run, "update", f->id);
    if (c->description != NULL)
        record_put_text(&run->line, "description",
                        c->description[0] == '\0' ? NULL : c->description);
    if (c->tags != NULL)
        record_put_strings(&run->line, "tags", c->tags, c->n_tags);
    if (c->bindrs != NULL)
        record_put_strings(&run->line, "bindrs", c->bindrs, c->n_bindrs);
    if (c->metadata_json != NULL)
        record_put_json(&run->line, "metadata", c->metadata_json);
    return leave_with_file(out, run, f, finish(run));
}

/* Versions that `keep` was about to let go must not come back because the newest is deleted: they
 * go with it. Those with an alias stay. */
static enum mld_error delete_older(struct run *run, const struct file_entry *newest, int keep)
{
    int kept = 1;
    enum mld_error error = MLD_OK;
    if (keep == MLD_KEEP_ALL)
        return MLD_OK;
    for (struct file_entry *f = newest->older; f != NULL && error == MLD_OK; f = f->older) {
        if (!state_is_listed(f) || f->deleted_at != NULL || kept++ < keep || state_has_alias(f))
            continue;
        begin(run, "delete", f->id);
        error = finish(run);
    }
    return error;
}

enum mld_error mld_file_delete(struct mld_file **out, mld_experiment *e, const char *id)
{
    struct run *run;
    struct file_entry *f;
    if (out != NULL)
        *out = NULL;
    enum mld_error error = enter_with_file(&run, &f, e, id);
    if (error != MLD_OK)
        return error;
    if (f->deleted_at == NULL) {
        bool newest = state_newest(f->name) == f;
        if (newest)
            error = delete_older(run, f, f->keep == MLD_KEEP_DEFAULT ? e->keep : f->keep);
        if (error == MLD_OK) {
            begin(run, "delete", f->id);
            error = finish(run);
        }
    }
    return leave_with_file(out, run, f, error);
}

enum mld_error mld_file_restore(struct mld_file **out, mld_experiment *e, const char *id)
{
    struct run *run;
    struct file_entry *f;
    if (out != NULL)
        *out = NULL;
    enum mld_error error = enter_with_file(&run, &f, e, id);
    if (error != MLD_OK)
        return error;
    if (f->deleted_at != NULL) {
        begin(run, "restore", f->id);
        error = finish(run);
        /* gc writes `removed` first and looks for a restore then; we do the same the other way
         * round. One of us sees the other. */
        if (error == MLD_OK)
            error = run_refresh(run);
        if (error == MLD_OK)
            error = file_find_by_id(run, &f, id);
    }
    return leave_with_file(out, run, f, error);
}

/* Needs the lock. `id` NULL takes the alias away. */
static enum mld_error write_alias(struct run *run, const char *path, const char *filename,
                                  const char *alias, const char *id)
{
    buf_clear(&run->line);
    record_begin(&run->line, "alias", run_clock(run));
    record_put_text(&run->line, "path", path);
    record_put_text(&run->line, "filename", filename);
    record_put_text(&run->line, "alias", alias);
    record_put_text(&run->line, "id", id);
    return finish(run);
}

enum mld_error mld_file_set_alias(mld_experiment *e, const char *id, const char *alias)
{
    struct run *run;
    struct file_entry *f;
    enum mld_error error = name_check_alias(alias);
    if (error == MLD_OK)
        error = enter_with_file(&run, &f, e, id);
    if (error != MLD_OK)
        return error;
    error = write_alias(run, f->path, f->filename, alias, f->id);
    /* Who retires this version writes first and reads the aliases then; we write first and read
     * then. One of us sees the other. */
    if (error == MLD_OK)
        error = run_refresh(run);
    if (error == MLD_OK)
        error = file_find_by_id(run, &f, id);
    run_leave(run);
    return error;
}

enum mld_error mld_file_remove_alias(mld_experiment *e, const char *prefix, const char *filename,
                                     const char *alias)
{
    struct run *run;
    struct file_entry *f;
    enum mld_error error = name_check_alias(alias);
    if (error == MLD_OK)
        error = run_enter(&run, e, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = file_find_by_name(run, &f, prefix, filename, alias);
    if (error == MLD_OK)
        error = write_alias(run, f->path, f->filename, alias, NULL);
    run_leave(run);
    return error;
}

/* A copy through save: a clone where the file system can. A hard link inside the folder would be
 * quicker elsewhere, but then damage to one would be damage to both. */
enum mld_error mld_file_duplicate(struct mld_file **out, mld_experiment *e, const char *id,
                                  const char *prefix, const char *filename)
{
    struct mld_file *file = NULL;
    char *path = NULL;
    struct mld_save_options o = MLD_SAVE_OPTIONS_INIT;
    if (out != NULL)
        *out = NULL;
    enum mld_error error = mld_file_get(&file, e, id);
    if (error == MLD_OK)
        error = mld_file_stored_path(&path, e, id);
    if (error == MLD_OK) {
        o.prefix = prefix == NULL ? file->path : prefix;
        o.filename = filename == NULL ? file->filename : filename;
        o.description = file->description;
        o.tags = file->tags;
        o.n_tags = file->n_tags;
        o.bindrs = file->bindrs;
        o.n_bindrs = file->n_bindrs;
        o.metadata_json = file->metadata_json;
        error = mld_file_save(out, e, path, &o);
    }
    mld_file_free(file);
    mld_free(path);
    return error;
}

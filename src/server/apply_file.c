/* Records about files and aliases. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/apply_internal.h"
#include "server/files.h"
#include "server/work.h"

/* The later of two times as ISO 8601 texts. */
static void raise_time(const char **at, const char *other)
{
    if (other != NULL && (*at == NULL || strcmp(other, *at) > 0))
        *at = other;
}

static enum mld_error run_file(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct file_doc *f = &t->doc.file;
    struct file_doc new = {
        .path = doc_needed(&r, "path"),
        .filename = doc_needed(&r, "filename"),
        .description = doc_text(&r, "description"),
        .metadata = doc_raw(&r, "metadata"),
        .tags = doc_texts(&r, "tags"),
        .bindrs = doc_texts(&r, "bindrs"),
        .content_type = doc_text(&r, "contentType"),
        .checksum = doc_text(&r, "checksum"),
        .size = doc_int(&r, "sizeBytes", 0),
        .uploaded_at = doc_text(&r, "uploadedAt"),
        .updated_at = doc_text(&r, "updatedAt"),
        .keep = doc_int(&r, "keep", 0),
        .foreign = doc_true(&r, "foreign"),
    };
    if (r.error != MLD_OK || doc_stamp_is_set(&f->stamp))
        return r.error; /* a second record of one file: gc's copies say the same */
    f->stream = c->record->stream;
    f->stamp = c->record->stamp;
    f->path = new.path;
    f->filename = new.filename;
    f->content_type = new.content_type;
    f->checksum = new.checksum;
    f->size = new.size;
    f->uploaded_at = new.uploaded_at;
    f->keep = new.keep;
    f->foreign = new.foreign;
    if (!doc_stamp_is_set(&f->description_stamp))
        f->description = new.description;
    if (!doc_stamp_is_set(&f->metadata_stamp))
        f->metadata = new.metadata;
    if (!doc_stamp_is_set(&f->tags_stamp))
        f->tags = new.tags;
    if (!doc_stamp_is_set(&f->bindrs_stamp))
        f->bindrs = new.bindrs;
    raise_time(&f->updated_at, new.updated_at != NULL ? new.updated_at : new.uploaded_at);
    return MLD_OK;
}

static enum mld_error run_update(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct file_doc *f = &t->doc.file;
    const char *description = doc_text(&r, "description");
    const char *metadata = doc_raw(&r, "metadata");
    const char *at = doc_text(&r, "at");
    struct text_list tags = doc_texts(&r, "tags");
    struct text_list bindrs = doc_texts(&r, "bindrs");
    if (r.error != MLD_OK)
        return r.error;
    if (doc_has(&r, "description") && apply_later(&f->description_stamp, c->record))
        f->description = description;
    if (doc_has(&r, "metadata") && apply_later(&f->metadata_stamp, c->record))
        f->metadata = metadata;
    if (doc_has(&r, "tags") && apply_later(&f->tags_stamp, c->record))
        f->tags = tags;
    if (doc_has(&r, "bindrs") && apply_later(&f->bindrs_stamp, c->record))
        f->bindrs = bindrs;
    raise_time(&f->updated_at, at);
    return MLD_OK;
}

static bool is_type(const struct apply_record *record, const char *type)
{
    return json_equals(&record->json, json_get(&record->json, json_root(&record->json), "type"),
                       type);
}

static enum mld_error run_delete(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct file_doc *f = &t->doc.file;
    const char *at = doc_needed(&r, "at");
    if (r.error != MLD_OK || !apply_later(&f->deleted_stamp, c->record))
        return r.error;
    f->deleted_at = is_type(c->record, "delete") ? at : NULL;
    raise_time(&f->updated_at, at);
    return MLD_OK;
}

static enum mld_error run_retire(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct file_doc *f = &t->doc.file;
    const char *by = doc_text(&r, "by");
    if (r.error != MLD_OK || !apply_later(&f->retired_stamp, c->record))
        return r.error;
    f->retired_by = !is_type(c->record, "retire") ? NULL : by == NULL ? "" : by;
    return MLD_OK;
}

static enum mld_error run_removed(struct apply *a, struct target *t, const struct change *c)
{
    (void)a;
    if (apply_later(&t->doc.file.removed_stamp, c->record))
        t->doc.file.removed = is_type(c->record, "removed");
    return MLD_OK;
}

static enum mld_error run_gone(struct apply *a, struct target *t, const struct change *c)
{
    (void)a;
    (void)c;
    t->doc.file.gone = true;
    return MLD_OK;
}

/* The alias's place: its own, a new one, or that of the taken away one that is oldest. */
static struct alias *alias_place(struct name_doc *n, const char *name)
{
    struct alias *oldest = NULL;
    for (size_t i = 0; i < n->n; i++) {
        struct alias *alias = &n->aliases[i];
        if (strcmp(alias->name, name) == 0)
            return alias;
        if (alias->id == NULL &&
            (oldest == NULL || doc_stamp_compare(&alias->stamp, &oldest->stamp) < 0))
            oldest = alias;
    }
    struct alias *alias = n->n < FILE_MAX_ALIASES ? &n->aliases[n->n++] : oldest;
    if (alias == NULL)
        return NULL;
    *alias = (struct alias){.name = name};
    return alias;
}

static enum mld_error run_alias(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct name_doc *n = &t->doc.name;
    const char *path = doc_needed(&r, "path");
    const char *filename = doc_needed(&r, "filename");
    const char *name = doc_needed(&r, "alias");
    const char *id = doc_text(&r, "id");
    if (r.error != MLD_OK)
        return r.error;
    if (!doc_is_plain(name, 255))
        return MLD_EDAMAGED;
    n->path = path;
    n->filename = filename;
    struct alias *alias = alias_place(n, name);
    if (alias == NULL || !apply_later(&alias->stamp, c->record))
        return MLD_OK;
    alias->id = id;
    alias->stream = c->record->stream;
    return MLD_OK;
}

static enum mld_error plan_alias(struct apply *a, const struct apply_record *record)
{
    char hash[65];
    char id[160];
    struct doc_reader r = apply_reader(a, record);
    const char *path = doc_needed(&r, "path");
    const char *filename = doc_needed(&r, "filename");
    if (r.error != MLD_OK)
        return r.error;
    enum mld_error error = file_name_hash(hash, path, filename);
    if (error != MLD_OK)
        return error;
    snprintf(id, sizeof id, "%s/name/%s", a->place->experiment, hash);
    return apply_change(a, apply_target(a, TARGET_NAME, a->files_partition, id), record, run_alias);
}

static const struct {
    const char *type;
    enum mld_error (*run)(struct apply *a, struct target *t, const struct change *c);
} FILE_TYPES[] = {
    {"file", run_file},       {"update", run_update},     {"delete", run_delete},
    {"restore", run_delete},  {"retire", run_retire},     {"unretire", run_retire},
    {"removed", run_removed}, {"unremoved", run_removed}, {"gone", run_gone},
};

enum mld_error apply_plan_file(struct apply *a, const struct apply_record *record, const char *type)
{
    if (strcmp(type, "alias") == 0)
        return plan_alias(a, record);
    struct doc_reader r = apply_reader(a, record);
    const char *id = doc_needed(&r, "id");
    if (r.error != MLD_OK)
        return r.error;
    if (!file_id_is_fine(id))
        return error_set(MLD_EDAMAGED, "a file's id is none");
    const char *doc_id = file_doc_id(&a->arena, a->place->experiment, id, NULL);
    struct target *t =
        doc_id == NULL ? NULL : apply_target(a, TARGET_FILE, a->files_partition, doc_id);
    if (t != NULL && t->key == NULL)
        t->key = id;
    for (size_t i = 0; i < sizeof FILE_TYPES / sizeof *FILE_TYPES; i++)
        if (strcmp(FILE_TYPES[i].type, type) == 0)
            return apply_change(a, t, record, FILE_TYPES[i].run);
    return MLD_OK;
}

/* Whether a file record may be the one of this document: two machines may have made one id. */
static enum mld_error record_fits(struct apply *a, const struct file_doc *f,
                                  const struct apply_record *record, bool *out_fits)
{
    struct doc_reader r = apply_reader(a, record);
    const char *checksum = doc_text(&r, "checksum");
    const char *path = doc_text(&r, "path");
    const char *filename = doc_text(&r, "filename");
    int64_t size = doc_int(&r, "sizeBytes", 0);
    *out_fits = true;
    if (r.error != MLD_OK || path == NULL || filename == NULL)
        return r.error;
    if (doc_stamp_is_set(&f->stamp)) {
        bool same =
            size == f->size && strcmp(path, f->path) == 0 && strcmp(filename, f->filename) == 0 &&
            strcmp(checksum == NULL ? "" : checksum, f->checksum == NULL ? "" : f->checksum) == 0;
        *out_fits = same || strcmp(record->stream, f->stream) == 0;
        return MLD_OK;
    }
    bool bytes = f->bytes.state == BYTES_OPEN || f->bytes.state == BYTES_LIVE;
    if (bytes && checksum != NULL)
        *out_fits = (uint64_t)size == f->bytes.size && strcmp(checksum, f->bytes.checksum) == 0;
    return MLD_OK;
}

static bool has_twin(const struct file_doc *f, const char *stream)
{
    for (size_t i = 0; i < f->twins.n; i++)
        if (strcmp(f->twins.items[i], stream) == 0)
            return true;
    return false;
}

static enum mld_error add_twin(struct apply *a, struct file_doc *f, const char *stream)
{
    if (has_twin(f, stream) || f->twins.n == FILE_MAX_TWINS)
        return MLD_OK;
    const char **items = arena_alloc(&a->arena, (f->twins.n + 1) * sizeof *items);
    if (items == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a file");
    if (f->twins.n > 0)
        memcpy(items, f->twins.items, f->twins.n * sizeof *items);
    items[f->twins.n] = stream;
    f->twins = (struct text_list){items, f->twins.n + 1};
    return MLD_OK;
}

static enum mld_error move_to_twin(struct apply *a, struct target *t, const char *stream)
{
    enum mld_error error = add_twin(a, &t->doc.file, stream);
    bool known = error != MLD_OK || t->n_moved == FILE_MAX_TWINS;
    for (size_t i = 0; i < t->n_moved; i++)
        known = known || strcmp(t->moved[i], stream) == 0;
    if (!known)
        t->moved[t->n_moved++] = stream;
    return error;
}

/* Moves the changes that belong to twins. The first record of a target decides whose it is when
 * there is none yet, so changes are looked at in order, on a copy. */
static enum mld_error split(struct apply *a, struct target *t, bool *out_more)
{
    struct file_doc *f = &t->doc.file;
    for (size_t i = 0; i < t->n_moved; i++) {
        enum mld_error error = add_twin(a, f, t->moved[i]); /* read again, it may not know */
        if (error != MLD_OK)
            return error;
    }
    struct file_doc seen = *f;
    struct change **at = &t->changes;
    while (*at != NULL) {
        struct change *c = *at;
        bool fits = true;
        enum mld_error error = MLD_OK;
        if (c->run == run_file && !has_twin(f, c->record->stream))
            error = record_fits(a, &seen, c->record, &fits);
        else
            fits = !has_twin(f, c->record->stream);
        if (error == MLD_OK && !fits)
            error = move_to_twin(a, t, c->record->stream);
        if (error == MLD_EDAMAGED)
            error = MLD_OK; /* the change itself will say so */
        if (error != MLD_OK)
            return error;
        if (fits && c->run == run_file) {
            struct target scratch = {.doc.file = seen};
            run_file(a, &scratch, c);
            seen = scratch.doc.file;
        }
        if (fits) {
            at = &c->next;
            continue;
        }
        const char *id = file_doc_id(&a->arena, a->place->experiment, t->key, c->record->stream);
        struct target *twin =
            id == NULL ? NULL : apply_target(a, TARGET_FILE, a->files_partition, id);
        if (twin == NULL)
            return error_set(MLD_ENOMEM, "out of memory for a file");
        twin->key = t->key;
        *at = c->next;
        c->next = NULL;
        *twin->last_change = c;
        twin->last_change = &c->next;
        *out_more = true;
    }
    t->last_change = at;
    return MLD_OK;
}

enum mld_error apply_split_twins(struct apply *a, bool *out_more)
{
    enum mld_error error = MLD_OK;
    for (struct target *t = a->targets; t != NULL && error == MLD_OK; t = t->next)
        if (t->kind == TARGET_FILE && !t->done && strchr(t->id, '@') == NULL && t->changes != NULL)
            error = split(a, t, out_more);
    return error;
}

/* Files that go: the sweeper comes when an `unretire` can no longer be expected. */
static enum mld_error note_doomed(struct apply *a, const struct file_doc *f)
{
    char id[META_MAX_NAME_BYTES];
    if (!file_is_doomed(f) || (f->bytes.state != BYTES_LIVE && f->bytes.state != BYTES_OPEN))
        return MLD_OK;
    snprintf(id, sizeof id, "retired:%s/%s", a->place->project, f->doc_id);
    return work_add(a->meta, id, WORK_RETIRED_US, "{}");
}

enum mld_error apply_settle_files(struct apply *a)
{
    struct file_name *names = arena_alloc(&a->arena, (a->n_targets + 1) * sizeof *names);
    size_t n = 0;
    enum mld_error error = MLD_OK;
    if (names == NULL)
        return error_set(MLD_ENOMEM, "out of memory for files");
    for (struct target *t = a->targets; t != NULL && error == MLD_OK; t = t->next) {
        const struct file_doc *f = &t->doc.file;
        if (t->kind != TARGET_FILE)
            continue;
        error = note_doomed(a, f);
        if (doc_stamp_is_set(&f->stamp) && f->bytes.state == BYTES_LIVE)
            names[n++] = (struct file_name){f->path, f->filename};
    }
    if (error == MLD_OK && n > 0)
        error = files_settle(a->meta, a->place, names, n);
    return error;
}

/* One function per record type. All members are read and checked first, then applied, so that a
 * damaged record changes nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/name.h"
#include "run/state_internal.h"

#define SLOT_MASK 1023u /* as many bits as a stamp has for it */

/* One record on its way into the state. `error` sticks, so that members need no check one by one.
 */
struct applying {
    struct state *s;
    const struct json_doc *doc;
    struct json_index members;
    struct record_origin *origin;
    state_stamp stamp;
    enum mld_error error;
};

static void fail(struct applying *a, enum mld_error code, const char *key, const char *reason)
{
    if (a->error == MLD_OK)
        a->error = error_set(code, "member %s %s", key, reason);
}

static const struct json_node *member(const struct applying *a, const char *key)
{
    const struct json_node *node = json_index_get(&a->members, key);
    return node != NULL && node->type == JSON_NULL ? NULL : node;
}

static bool has(const struct applying *a, const char *key)
{
    return json_index_get(&a->members, key) != NULL;
}

static const char *decode(struct applying *a, const struct json_node *node, bool intern)
{
    const char *copy;
    if (!node->escaped) {
        copy = intern ? state_intern(a->s, a->doc->text + node->start, node->len)
                      : arena_strndup(&a->s->arena, a->doc->text + node->start, node->len);
    } else {
        struct buf text;
        buf_init(&text, JSON_MAX_TEXT_BYTES);
        json_decoded(a->doc, node, &text);
        copy = text.failed != MLD_OK ? NULL : arena_strndup(&a->s->arena, text.data, text.len);
        if (copy != NULL && intern)
            copy = state_intern(a->s, copy, strlen(copy));
        buf_free(&text);
    }
    if (copy == NULL)
        a->error = state_no_memory();
    return copy;
}

static const char *text_of(struct applying *a, const char *key, bool intern)
{
    const struct json_node *node = member(a, key);
    if (node == NULL || a->error != MLD_OK)
        return NULL;
    if (node->type != JSON_STRING) {
        fail(a, MLD_EDAMAGED, key, "is no string");
        return NULL;
    }
    return decode(a, node, intern);
}

static const char *text(struct applying *a, const char *key)
{
    return text_of(a, key, false);
}

static const char *needed(struct applying *a, const char *key)
{
    const char *value = text_of(a, key, false);
    if (value == NULL)
        fail(a, MLD_EDAMAGED, key, "is missing");
    return value;
}

static int64_t integer(struct applying *a, const char *key, int64_t otherwise)
{
    const struct json_node *node = member(a, key);
    int64_t value = otherwise;
    if (node != NULL && !json_int64(a->doc, node, &value))
        fail(a, MLD_EDAMAGED, key, "is no integer");
    return value;
}

static const char *raw(struct applying *a, const char *key)
{
    const struct json_node *node = member(a, key);
    size_t len;
    if (node == NULL)
        return NULL;
    const char *value = json_raw(a->doc, node, &len);
    char *copy = arena_strndup(&a->s->arena, value, len);
    if (copy == NULL)
        a->error = state_no_memory();
    return copy;
}

static struct string_list strings(struct applying *a, const char *key)
{
    const struct json_node *array = member(a, key);
    struct string_list none = {NULL, 0};
    if (array == NULL)
        return none;
    if (array->type != JSON_ARRAY) {
        fail(a, MLD_EDAMAGED, key, "is no array");
        return none;
    }
    if (array->count == 0)
        return none;
    const char **items = arena_alloc(&a->s->arena, array->count * sizeof *items);
    size_t n = 0;
    if (items == NULL) {
        a->error = state_no_memory();
        return none;
    }
    const struct json_node *node = NULL;
    while ((node = json_next(a->doc, array, node)) != NULL && a->error == MLD_OK) {
        if (node->type == JSON_STRING)
            items[n++] = decode(a, node, true);
        else
            fail(a, MLD_EDAMAGED, key, "holds something that is no string");
    }
    return (struct string_list){items, n};
}

static bool is_true(const struct json_node *node)
{
    return node != NULL && node->type == JSON_TRUE;
}

static struct file_entry *file_slot(struct applying *a, const char *key)
{
    const char *id = needed(a, key);
    if (a->error != MLD_OK)
        return NULL;
    if (a->origin->mirror != NULL)
        id = state_renamed(a->s, a->origin->shard, id);
    struct file_entry *f = state_file_slot(a->s, id, strlen(id));
    if (f == NULL)
        a->error = state_no_memory();
    return f;
}

/* True, and the member's stamp raised, when this record is the later word on it. */
static bool later(const struct applying *a, state_stamp *stamp)
{
    if (a->stamp < *stamp)
        return false;
    *stamp = a->stamp;
    return true;
}

static void apply_stream(struct applying *a)
{
    int64_t version = integer(a, "version", 1);
    const char *writer = needed(a, "writer");
    const char *boot = text_of(a, "boot", true);
    const char *host = text_of(a, "host", true);
    const char *created = text(a, "created");
    if (version > 1)
        fail(a, MLD_EFORMAT, "version", "is newer than this library knows");
    if (a->error != MLD_OK)
        return;
    a->origin->writer = writer;
    const char *mirrored = a->origin->mirror == NULL ? NULL : a->origin->shard;
    if (mirrored != NULL)
        a->origin->slot = (unsigned)integer(a, "slot", 0) & SLOT_MASK;
    for (struct status_entry *e = a->s->statuses; e != NULL; e = e->next) {
        if (strcmp(e->writer, writer) == 0)
            return; /* a further part of the same writer */
        if (e->mirrored == mirrored && e->slot == a->origin->slot)
            e->ended = true; /* its slot was taken, so it is gone */
    }
    struct status_entry *entry = arena_alloc(&a->s->arena, sizeof *entry);
    if (entry == NULL) {
        a->error = state_no_memory();
        return;
    }
    entry->writer = writer;
    entry->slot = a->origin->slot;
    entry->mirrored = mirrored;
    entry->boot = boot;
    entry->tidies = is_true(member(a, "tidies"));
    entry->host = host;
    entry->started = entry->stamp = a->stamp;
    entry->started_at = created;
    entry->next = a->s->statuses;
    a->s->statuses = entry;
}

static struct status_entry *own_status(const struct applying *a)
{
    struct status_entry *e = a->s->statuses;
    while (e != NULL && (a->origin->writer == NULL || strcmp(e->writer, a->origin->writer) != 0))
        e = e->next;
    return e;
}

static enum mld_status status_from(const char *name)
{
    for (int status = MLD_RUNNING; status <= MLD_CANCELLED; status++)
        if (strcmp(mld_status_name((enum mld_status)status), name) == 0)
            return (enum mld_status)status;
    return MLD_UNKNOWN;
}

static void apply_status(struct applying *a)
{
    const char *name = needed(a, "status");
    const char *at = text(a, "at");
    const char *error = text(a, "error");
    struct status_entry *e = own_status(a);
    if (a->error != MLD_OK || e == NULL || !later(a, &e->stamp))
        return;
    e->status = status_from(name);
    e->error = e->status == MLD_FAILED ? error : NULL;
    if (e->status != MLD_RUNNING)
        e->ended_at = at;
}

static void apply_end(struct applying *a)
{
    struct status_entry *e = own_status(a);
    if (e != NULL && later(a, &e->stamp))
        e->ended = true;
}

static void apply_experiment(struct applying *a)
{
    struct experiment_entry *x = &a->s->experiment;
    const char *created_at = text(a, "createdAt");
    struct experiment_entry new = {
        .name = text(a, "name"),
        .project = text(a, "project"),
        .folder = text(a, "folder"),
        .prefix = text(a, "prefix"),
        .description = text(a, "description"),
        .metadata = raw(a, "metadata"),
        .tags = strings(a, "tags"),
        .bindrs = strings(a, "bindrs"),
    };
    if (a->error != MLD_OK)
        return;
    if (has(a, "name") && later(a, &x->place_stamp)) {
        x->name = new.name;
        x->project = new.project;
        x->folder = new.folder;
        x->prefix = new.prefix;
    }
    if (created_at != NULL)
        x->created_at = created_at;
    if (has(a, "description") && later(a, &x->description_stamp))
        x->description = new.description;
    if (has(a, "metadata") && later(a, &x->metadata_stamp))
        x->metadata = new.metadata;
    if (has(a, "tags") && later(a, &x->tags_stamp)) {
        x->tags = new.tags;
        x->has_tags = true;
    }
    if (has(a, "bindrs") && later(a, &x->bindrs_stamp)) {
        x->bindrs = new.bindrs;
        x->has_bindrs = true;
    }
}

static void apply_params(struct applying *a)
{
    const struct json_node *data = member(a, "data");
    if (data == NULL || data->type != JSON_OBJECT) {
        fail(a, MLD_EDAMAGED, "data", "is no object");
        return;
    }
    struct buf name;
    buf_init(&name, JSON_MAX_TEXT_BYTES);
    const struct json_node *key = NULL;
    while ((key = json_next(a->doc, data, key)) != NULL && a->error == MLD_OK) {
        size_t len;
        const char *value = json_raw(a->doc, json_value_of(a->doc, key), &len);
        buf_clear(&name);
        json_decoded(a->doc, key, &name);
        struct param_entry *param = state_param_slot(a->s, buf_text(&name), name.len);
        if (param != NULL && !later(a, &param->stamp))
            continue;
        char *copy = arena_strndup(&a->s->arena, value, len);
        if (param == NULL || copy == NULL)
            a->error = state_no_memory();
        else
            param->json = copy;
    }
    buf_free(&name);
}

/* Names that come over the network are checked as those of a save are. */
static bool is_nameable(const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, NAME_MAX_PATH_BYTES + 1);
    bool good = name_canonical_prefix(f->path, &path) == MLD_OK &&
                strcmp(buf_text(&path), f->path) == 0 && name_check_file(f->filename) == MLD_OK;
    buf_free(&path);
    return good;
}

/* Of another machine, and not the same file: ids are unique within one folder only. */
static bool is_another(const struct applying *a, const struct file_entry *known,
                       const struct file_entry *f)
{
    if (a->origin->mirror == NULL && !known->mirrored)
        return false;
    return strcmp(known->path, f->path) != 0 || strcmp(known->filename, f->filename) != 0 ||
           strcmp(known->checksum == NULL ? "" : known->checksum,
                  f->checksum == NULL ? "" : f->checksum) != 0;
}

/* The entry that a record is of; NULL with a->error when it cannot be applied. */
static struct file_entry *entry_for(struct applying *a, const struct file_entry *new)
{
    struct file_entry *f = file_slot(a, "id");
    if (new->path == NULL)
        fail(a, MLD_EDAMAGED, "path", "is missing");
    if (a->error == MLD_OK && a->origin->mirror != NULL && !is_nameable(new))
        fail(a, MLD_EDAMAGED, "filename", "or path is none that a file can have");
    if (a->error != MLD_OK || f->stamp == 0 || !is_another(a, f, new))
        return a->error == MLD_OK ? f : NULL;
    f = state_contest(a->s, f, a->origin->shard, a->origin->mirror != NULL);
    if (f == NULL)
        a->error = state_no_memory();
    return f;
}

static void apply_file(struct applying *a)
{
    struct file_entry new = {
        .path = text_of(a, "path", true),
        .filename = needed(a, "filename"),
        .description = text(a, "description"),
        .tags = strings(a, "tags"),
        .bindrs = strings(a, "bindrs"),
        .content_type = text_of(a, "contentType", true),
        .size_bytes = (uint64_t)integer(a, "sizeBytes", 0),
        .checksum = text(a, "checksum"),
        .metadata = raw(a, "metadata"),
        .uploaded_at = text(a, "uploadedAt"),
        .updated_at = text(a, "updatedAt"),
        .keep = (int)integer(a, "keep", 0),
        .foreign = is_true(member(a, "foreign")),
    };
    struct file_entry *f = entry_for(a, &new);
    if (f == NULL || f->stamp != 0)
        return; /* a second record of one id: the first stands (gc's copies say the same) */
    if (f->description_stamp == 0)
        f->description = new.description;
    if (f->tags_stamp == 0)
        f->tags = new.tags;
    if (f->bindrs_stamp == 0)
        f->bindrs = new.bindrs;
    if (f->metadata_stamp == 0)
        f->metadata = new.metadata;
    if (f->updated_at == NULL)
        f->updated_at = new.updated_at != NULL ? new.updated_at : new.uploaded_at;
    f->content_type = new.content_type;
    f->size_bytes = new.size_bytes;
    f->checksum = new.checksum;
    f->uploaded_at = new.uploaded_at;
    f->keep = new.keep;
    f->slot = a->origin->slot;
    f->shard = a->origin->shard;
    f->mine = a->origin->mine && !new.foreign;
    f->foreign = new.foreign;
    f->mirrored = a->origin->mirror != NULL;
    f->stamp = a->stamp;
    f->path = new.path;
    f->filename = new.filename;
    a->error = state_link_file(a->s, f);
}

static void apply_update(struct applying *a)
{
    const char *description = text(a, "description");
    const char *metadata = raw(a, "metadata");
    const char *at = text(a, "at");
    struct string_list tags = strings(a, "tags");
    struct string_list bindrs = strings(a, "bindrs");
    struct file_entry *f = file_slot(a, "id");
    if (a->error != MLD_OK)
        return;
    if (has(a, "description") && later(a, &f->description_stamp))
        f->description = description;
    if (has(a, "metadata") && later(a, &f->metadata_stamp))
        f->metadata = metadata;
    if (has(a, "tags") && later(a, &f->tags_stamp))
        f->tags = tags;
    if (has(a, "bindrs") && later(a, &f->bindrs_stamp))
        f->bindrs = bindrs;
    if (f->updated_at == NULL || strcmp(at == NULL ? "" : at, f->updated_at) > 0)
        f->updated_at = at;
}

static void apply_delete(struct applying *a)
{
    bool deleted = json_equals(a->doc, member(a, "type"), "delete");
    const char *at = needed(a, "at");
    struct file_entry *f = file_slot(a, "id");
    if (a->error != MLD_OK || !later(a, &f->deleted_stamp))
        return;
    f->deleted_at = deleted ? at : NULL;
    f->updated_at = at;
}

static void apply_retire(struct applying *a)
{
    bool retired = json_equals(a->doc, member(a, "type"), "retire");
    const char *by = text(a, "by");
    struct file_entry *f = file_slot(a, "id");
    if (a->error == MLD_OK && later(a, &f->retired_stamp))
        f->retired_by = !retired ? NULL : by == NULL ? "" : by;
}

static void apply_removed(struct applying *a)
{
    bool removed = json_equals(a->doc, member(a, "type"), "removed");
    struct file_entry *f = file_slot(a, "id");
    if (a->error == MLD_OK && later(a, &f->removed_stamp))
        f->removed = removed;
}

static void apply_gone(struct applying *a)
{
    struct file_entry *f = file_slot(a, "id");
    if (a->error == MLD_OK)
        f->gone = true;
}

static void apply_alias(struct applying *a)
{
    const char *path = needed(a, "path");
    const char *filename = needed(a, "filename");
    const char *alias = needed(a, "alias");
    const char *id = text(a, "id");
    if (a->error != MLD_OK)
        return;
    struct name_entry *name = state_name_slot(a->s, path, filename);
    if (name == NULL) {
        a->error = state_no_memory();
        return;
    }
    struct alias_entry *entry = name->aliases;
    while (entry != NULL && strcmp(entry->alias, alias) != 0)
        entry = entry->next;
    if (entry == NULL) {
        entry = arena_alloc(&a->s->arena, sizeof *entry);
        if (entry == NULL) {
            a->error = state_no_memory();
            return;
        }
        entry->alias = alias;
        entry->next = name->aliases;
        name->aliases = entry;
    }
    if (id != NULL && a->origin->mirror != NULL)
        id = state_renamed(a->s, a->origin->shard, id);
    if (later(a, &entry->stamp))
        entry->id = id;
}

/* Where the lines of another folder's shard are in the mirror, once they were fetched. */
static void mirrored_file(struct applying *a, const char *stream, char *out, size_t size)
{
    if (strlen(stream) != ID_RANDOM_LEN ||
        strspn(stream, "0123456789abcdef") != (size_t)ID_RANDOM_LEN)
        fail(a, MLD_EDAMAGED, "stream", "is no id");
    snprintf(out, size, "%s/%.*s.jsonl", a->origin->mirror, ID_RANDOM_LEN, stream);
}

static void fill_shard(struct applying *a, struct shard_entry **list, const char *file)
{
    char mirrored[256];
    const char *stream = needed(a, "stream");
    int64_t base = integer(a, "base", 0);
    if (a->error == MLD_OK && a->origin->mirror != NULL) {
        mirrored_file(a, stream, mirrored, sizeof mirrored);
        file = mirrored;
    }
    if (a->error != MLD_OK)
        return;
    struct shard_entry *shard = state_shard_slot(a->s, list, file, a->stamp);
    if (shard == NULL) {
        a->error = state_no_memory();
        return;
    }
    if (shard->stream == NULL) {
        shard->stream = stream;
        shard->base = (uint64_t)base;
        shard->slot = a->origin->slot;
    }
}

static void apply_series(struct applying *a)
{
    bool metric = json_equals(a->doc, member(a, "kind"), "metric");
    const char *name = text(a, "name");
    const char *dir = needed(a, "dir");
    const char *file = text(a, "file");
    const char *description = text(a, "description");
    const char *metadata = raw(a, "metadata");
    struct string_list tags = strings(a, "tags");
    if (a->error != MLD_OK)
        return;
    struct series_entry *series =
        state_add_series(a->s, metric ? MLD_METRIC : MLD_TRACK, name, dir);
    if (series == NULL) {
        a->error = state_no_memory();
        return;
    }
    bool tells = description != NULL || metadata != NULL || tags.count > 0;
    if (tells && (series->info_stamp == 0 || a->stamp < series->info_stamp)) {
        series->description = description;
        series->metadata = metadata;
        series->tags = tags;
        series->info_stamp = a->stamp;
    }
    if (file != NULL)
        fill_shard(a, &series->shards, file);
}

static void apply_logs(struct applying *a)
{
    const char *file = needed(a, "file");
    if (a->error == MLD_OK)
        fill_shard(a, &a->s->log_shards, file);
}

/* A record may be read twice: gc puts it into a new shard. */
static bool is_known_problem(const struct state *s, enum mld_problem problem, const char *name,
                             const char *detail)
{
    const struct problem_entry *p = s->problems;
    while (p != NULL &&
           (p->problem != problem || strcmp(p->name, name) != 0 || strcmp(p->detail, detail) != 0))
        p = p->next;
    return p != NULL;
}

static void apply_damaged(struct applying *a)
{
    const char *reason = text(a, "reason");
    const char *file = text(a, "file");
    bool unsafe = json_equals(a->doc, member(a, "type"), "unsafe");
    if (has(a, "id")) {
        struct file_entry *f = file_slot(a, "id");
        if (f == NULL)
            return;
        f->damaged = true;
        file = f->id;
    }
    enum mld_problem problem = unsafe ? MLD_PROBLEM_UNSAFE : MLD_PROBLEM_DAMAGED;
    file = file == NULL ? "" : file;
    reason = reason == NULL ? "" : reason;
    if (a->error == MLD_OK && !is_known_problem(a->s, problem, file, reason))
        a->error = state_problem(a->s, problem, file, 0, reason);
}

static void apply_checked(struct applying *a)
{
    const char *stream = needed(a, "stream");
    int64_t length = integer(a, "length", 0);
    struct checked_entry *entry = arena_alloc(&a->s->arena, sizeof *entry);
    if (entry == NULL)
        a->error = state_no_memory();
    if (entry == NULL || a->error != MLD_OK)
        return;
    *entry = (struct checked_entry){stream, (uint64_t)length, a->s->checked};
    a->s->checked = entry;
}

static void apply_view(struct applying *a)
{
    const char *file = needed(a, "file");
    const char *checksum = needed(a, "checksum");
    int64_t size = integer(a, "size", 0);
    if (a->error != MLD_OK)
        return;
    struct view_entry *view = a->s->views;
    while (view != NULL && strcmp(view->file, file) != 0)
        view = view->next;
    if (view == NULL) {
        view = arena_alloc(&a->s->arena, sizeof *view);
        if (view == NULL) {
            a->error = state_no_memory();
            return;
        }
        view->file = file;
        view->next = a->s->views;
        a->s->views = view;
    }
    if (later(a, &view->stamp)) {
        view->size = (uint64_t)size;
        view->checksum = checksum;
    }
}

/* What a folder says of itself alone. */
static bool is_local(const struct json_doc *doc, const struct json_node *type)
{
    static const char *const TYPES[] = {"view", "checked", "damaged", "unsafe"};
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (json_equals(doc, type, TYPES[i]))
            return true;
    return false;
}

static const struct {
    const char *type;
    void (*apply)(struct applying *a);
} APPLIERS[] = {
    {"file", apply_file},         {"stream", apply_stream},
    {"series", apply_series},     {"params", apply_params},
    {"update", apply_update},     {"delete", apply_delete},
    {"restore", apply_delete},    {"retire", apply_retire},
    {"unretire", apply_retire},   {"removed", apply_removed},
    {"alias", apply_alias},       {"status", apply_status},
    {"unremoved", apply_removed}, {"end", apply_end},
    {"logs", apply_logs},         {"experiment", apply_experiment},
    {"damaged", apply_damaged},   {"unsafe", apply_damaged},
    {"checked", apply_checked},   {"view", apply_view},
    {"gone", apply_gone},
};

enum mld_error state_apply(struct state *s, const struct json_doc *doc,
                           struct record_origin *origin)
{
    struct applying a = {.s = s, .doc = doc, .origin = origin};
    int64_t clock;
    json_index_init(&a.members, doc, json_root(doc));
    const struct json_node *type = json_index_get(&a.members, "type");
    if (type == NULL || type->type != JSON_STRING ||
        !json_int64(doc, json_index_get(&a.members, "clock"), &clock) || clock < 0 ||
        clock > INT64_MAX >> 10)
        return error_set(MLD_EDAMAGED, "record without type or clock");
    a.stamp = state_stamp_of(clock, origin->slot);
    if (origin->mirror != NULL && is_local(doc, type))
        return MLD_OK;
    for (size_t i = 0; i < sizeof APPLIERS / sizeof *APPLIERS; i++) {
        if (json_equals(doc, type, APPLIERS[i].type)) {
            APPLIERS[i].apply(&a);
            break;
        }
    }
    if (a.error == MLD_OK && clock > s->max_clock)
        s->max_clock = clock;
    return a.error;
}

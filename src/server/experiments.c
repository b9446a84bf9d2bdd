#include "server/experiments.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/name.h"

#define MAX_TRIES 64
#define MAX_COPIES 10000

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for an experiment");
}

/* Ids sort by time. Their uniqueness is looked after by the documents; a random slot makes two
 * servers seldom try the same. */
static enum mld_error new_id(char out[ID_FILE_MAX + 1])
{
    char random[ID_RANDOM_LEN + 1];
    unsigned slot = 0;
    enum mld_error error = id_random(random);
    for (int i = 0; i < 3 && error == MLD_OK; i++)
        slot = slot << 4 | (unsigned)(random[i] <= '9' ? random[i] - '0' : random[i] - 'a' + 10);
    snprintf(out, ID_FILE_MAX + 1, "%llu", (unsigned long long)id_file(slot & 1023));
    return error;
}

/* A document that reserves a name for an id: what it says, or what we make it say. Who comes second
 * gets what the first one wrote, so all that follows from it is the same for both. */
struct reservation {
    const char *id;
    int64_t created;
    bool ours;
};

static enum mld_error read_reservation(struct reservation *out, struct arena *arena,
                                       struct meta *meta, const char *partition, const char *id,
                                       const char *member)
{
    struct meta_docs docs = {0};
    struct json_doc json;
    json_doc_init(&json);
    *out = (struct reservation){0};
    enum mld_error error = meta_get(meta, &docs, partition, id);
    if (error == MLD_OK)
        error = doc_parse(&json, &docs.docs[0]);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->id = doc_needed(&r, member);
        out->created = doc_int(&r, "created", 0);
        error = r.error;
    }
    json_doc_free(&json);
    meta_docs_free(&docs);
    return error;
}

/* `wanted` NULL: a new id. */
static enum mld_error reserve(struct reservation *out, struct arena *arena, struct meta *meta,
                              const char *partition, const char *id, const char *member,
                              const char *wanted)
{
    char text[160];
    char fresh[ID_FILE_MAX + 1];
    enum mld_error error = read_reservation(out, arena, meta, partition, id, member);
    if (error != MLD_ENOTFOUND)
        return error;
    error = new_id(fresh);
    int64_t now = clock_now_us();
    snprintf(text, sizeof text, "{\"%s\":\"%s\",\"created\":%lld}", member,
             wanted == NULL ? fresh : wanted, (long long)now);
    struct meta_doc doc = {
        .partition = partition, .id = id, .order = now, .text = text, .text_len = strlen(text)};
    if (error == MLD_OK)
        error = meta_insert(meta, &doc);
    if (error == MLD_EEXISTS)
        return read_reservation(out, arena, meta, partition, id, member);
    if (error != MLD_OK)
        return error;
    *out = (struct reservation){arena_strdup(arena, wanted == NULL ? fresh : wanted), now, true};
    return out->id == NULL ? no_memory() : MLD_OK;
}

/* MLD_ENOTFOUND: there is none; *out_live is false while it is being deleted. */
static enum mld_error project_state(bool *out_live, struct meta *meta, const char *id)
{
    struct arena arena = {0};
    struct meta_docs docs = {0};
    struct json_doc json;
    json_doc_init(&json);
    *out_live = false;
    enum mld_error error = meta_get(meta, &docs, "projects", id);
    if (error == MLD_OK)
        error = doc_parse(&json, &docs.docs[0]);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), &arena, MLD_OK};
        const char *state = doc_text(&r, "state");
        *out_live = state == NULL || strcmp(state, "live") == 0;
        error = r.error;
    }
    json_doc_free(&json);
    meta_docs_free(&docs);
    arena_free(&arena);
    return error;
}

static enum mld_error make_project(const char **out, struct arena *arena, struct meta *meta,
                                   const char *namespace_id, const char *name)
{
    char partition[META_MAX_NAME_BYTES];
    char id[META_MAX_NAME_BYTES];
    char token[META_MAX_NAME_BYTES];
    struct reservation r;
    bool live = false;
    snprintf(partition, sizeof partition, "ns:%s", namespace_id);
    snprintf(id, sizeof id, "project:%s", name);
    enum mld_error error = reserve(&r, arena, meta, partition, id, "project", NULL);
    if (error != MLD_OK)
        return error;
    *out = r.id;
    error = project_state(&live, meta, r.id);
    if (error == MLD_OK && !live)
        error = error_blame(error_set(MLD_ESTATE, "project %s is being deleted", name), "project");
    if (error != MLD_ENOTFOUND)
        return error;
    snprintf(token, sizeof token, "ns:%s", namespace_id);
    const char *tokens[] = {token};
    struct meta_doc doc = {
        .partition = "projects", .id = r.id, .order = r.created, .tokens = tokens, .n_tokens = 1};
    struct buf text;
    buf_init(&text, META_MAX_BODY_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "name", name);
    doc_put_text(&text, "namespace", namespace_id);
    doc_put_int(&text, "created", r.created);
    doc_put_text(&text, "state", "live");
    buf_putc(&text, '}');
    error = doc_take_text(&doc, arena, &text);
    if (error == MLD_OK)
        error = meta_insert(meta, &doc);
    return error == MLD_EEXISTS ? MLD_OK : error;
}

enum mld_error project_find(const char **out, struct arena *arena, struct meta *meta,
                            const char *namespace_id, const char *name)
{
    char partition[META_MAX_NAME_BYTES];
    char id[META_MAX_NAME_BYTES];
    struct reservation r;
    bool live = false;
    *out = NULL;
    if (!doc_is_plain(name, NAME_MAX_COMPONENT_BYTES))
        return error_set(MLD_ENOTFOUND, "no such project");
    snprintf(partition, sizeof partition, "ns:%s", namespace_id);
    snprintf(id, sizeof id, "project:%s", name);
    enum mld_error error = read_reservation(&r, arena, meta, partition, id, "project");
    if (error == MLD_OK)
        error = project_state(&live, meta, r.id);
    if (error == MLD_OK && !live)
        error = error_set(MLD_ENOTFOUND, "no such project");
    if (error == MLD_OK)
        *out = r.id;
    return error;
}

static enum mld_error place_id(char out[65], const char *project, const char *folder,
                               const char *name)
{
    const char *parts[] = {project, folder, name};
    return doc_hash(out, '\n', parts, 3);
}

/* "NAME (copy 2)", cut so that it stays a name. */
static void copy_name(char out[NAME_MAX_COMPONENT_BYTES + 1], const char *name, int n)
{
    char suffix[32];
    int len = snprintf(suffix, sizeof suffix, " (copy %d)", n);
    size_t keep = strlen(name);
    if (keep > NAME_MAX_COMPONENT_BYTES - (size_t)len)
        keep = NAME_MAX_COMPONENT_BYTES - (size_t)len;
    while (keep > 0 && ((unsigned char)name[keep] & 0xC0) == 0x80)
        keep--;
    snprintf(out, NAME_MAX_COMPONENT_BYTES + 1, "%.*s%s", (int)keep, name, suffix);
}

/* The place that a diverged run's own experiment has beside the others. */
static enum mld_error find_copy(struct reservation *out, const char **out_name, struct arena *arena,
                                struct meta *meta, const char *project, const char *folder,
                                const struct registration *w)
{
    char id[META_MAX_NAME_BYTES];
    char place[65];
    struct reservation at;
    const char *from = w->from;
    enum mld_error error = place_id(place, project, folder, w->name);
    if (error == MLD_OK && from == NULL) {
        error = read_reservation(&at, arena, meta, "places", place, "experiment");
        from = at.id;
    }
    if (error != MLD_OK)
        return error;
    snprintf(id, sizeof id, "diverged:%s:%s:%s", project, from, w->run);
    error = reserve(out, arena, meta, "places", id, "experiment", NULL);
    for (int n = 2; n < MAX_COPIES && error == MLD_OK; n++) {
        char name[NAME_MAX_COMPONENT_BYTES + 1];
        copy_name(name, w->name, n);
        error = place_id(place, project, folder, name);
        if (error == MLD_OK)
            error = reserve(&at, arena, meta, "places", place, "experiment", out->id);
        if (error == MLD_OK && strcmp(at.id, out->id) == 0) {
            *out_name = arena_strdup(arena, name);
            return *out_name == NULL ? no_memory() : MLD_OK;
        }
    }
    return error == MLD_OK ? error_set(MLD_ESTATE, "too many copies of %s", w->name) : error;
}

static enum mld_error check(const struct registration *w, struct buf *folder)
{
    enum mld_error error = name_check_component("project", w->project);
    if (error != MLD_OK)
        return error_blame(error, "project");
    error = name_check_component("experiment", w->name);
    if (error != MLD_OK)
        return error_blame(error, "name");
    error = name_canonical_folder("folder", w->folder, folder);
    if (error == MLD_OK)
        error = buf_check(folder, "folder");
    if (error != MLD_OK)
        return error_blame(error, "folder");
    if (!doc_is_plain(w->run, 100) || strchr(w->run, ':') != NULL)
        return error_blame(error_set(MLD_EINVALID, "run is no id of a run folder"), "run");
    if (w->from != NULL && !doc_is_id(w->from))
        return error_blame(error_set(MLD_EINVALID, "from is no id of an experiment"), "from");
    return MLD_OK;
}

/* The document follows from the reservation: whoever comes first writes it. */
static enum mld_error ensure(struct experiment_doc *e, bool *out_created, struct arena *arena,
                             struct meta *meta)
{
    struct meta_doc doc;
    struct experiment_doc found;
    *out_created = false;
    enum mld_error error = experiment_doc_get(&found, arena, meta, e->id);
    if (error == MLD_ENOTFOUND) {
        error = experiment_doc_write(e, arena, &doc);
        if (error == MLD_OK)
            error = meta_insert(meta, &doc);
        *out_created = error == MLD_OK;
        if (error == MLD_OK || error == MLD_EEXISTS)
            error = experiment_doc_get(&found, arena, meta, e->id);
    }
    if (error == MLD_OK)
        *e = found;
    return error;
}

enum mld_error experiment_register(struct experiment_doc *out, bool *out_created,
                                   struct arena *arena, struct meta *meta,
                                   const struct registration *w)
{
    struct buf folder;
    struct reservation r = {0};
    char place[65];
    const char *project = NULL;
    const char *name = w->name;
    *out = (struct experiment_doc){0};
    *out_created = false;
    buf_init(&folder, NAME_MAX_PATH_BYTES + 1);
    enum mld_error error = check(w, &folder);
    if (error == MLD_OK)
        error = make_project(&project, arena, meta, w->namespace_id, w->project);
    if (error == MLD_OK && w->diverged)
        error = find_copy(&r, &name, arena, meta, project, buf_text(&folder), w);
    else if (error == MLD_OK)
        error = place_id(place, project, buf_text(&folder), name);
    if (error == MLD_OK && !w->diverged)
        error = reserve(&r, arena, meta, "places", place, "experiment", NULL);
    if (error == MLD_OK) {
        *out = (struct experiment_doc){.id = r.id,
                                       .namespace_id = w->namespace_id,
                                       .project = project,
                                       .project_name = w->project,
                                       .folder = arena_strdup(arena, buf_text(&folder)),
                                       .name = name,
                                       .created = r.created};
        error = out->folder == NULL ? no_memory() : ensure(out, out_created, arena, meta);
    }
    buf_free(&folder);
    return error;
}

static enum mld_error at_place(struct experiment_page *out, struct meta *meta,
                               const struct experiment_filter *f)
{
    char place[65];
    struct reservation r;
    enum mld_error error = place_id(place, f->project, f->folder == NULL ? "" : f->folder, f->name);
    if (error == MLD_OK)
        error = read_reservation(&r, &out->arena, meta, "places", place, "experiment");
    if (error == MLD_OK)
        error = experiment_doc_get(&out->items[0], &out->arena, meta, r.id);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    if (error == MLD_OK && (f->status == NULL || strcmp(f->status, out->items[0].status) == 0))
        out->n = 1;
    return error;
}

static bool matches(const struct experiment_doc *e, const struct experiment_filter *f)
{
    return (f->folder == NULL || strcmp(f->folder, e->folder) == 0) &&
           (f->name == NULL || strcmp(f->name, e->name) == 0) &&
           (f->status == NULL || strcmp(f->status, e->status) == 0);
}

static void list_token(char out[META_MAX_NAME_BYTES], const struct experiment_filter *f)
{
    if (f->project != NULL && f->status != NULL)
        snprintf(out, META_MAX_NAME_BYTES, "status:%s:%s", f->project, f->status);
    else if (f->project != NULL)
        snprintf(out, META_MAX_NAME_BYTES, "project:%s", f->project);
    else if (f->status != NULL)
        snprintf(out, META_MAX_NAME_BYTES, "ns-status:%s:%s", f->namespace_id, f->status);
    else
        snprintf(out, META_MAX_NAME_BYTES, "ns:%s", f->namespace_id);
}

/* Those whose project is being deleted are not listed. Neighbours are mostly of one project. */
struct seen_project {
    const char *id;
    bool live;
};

static enum mld_error look_at_project(struct seen_project *seen, struct meta *meta, const char *id)
{
    if (seen->id != NULL && strcmp(seen->id, id) == 0)
        return MLD_OK;
    seen->id = id;
    enum mld_error error = project_state(&seen->live, meta, id);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

static enum mld_error scan(struct experiment_page *out, struct meta *meta,
                           const struct experiment_filter *f, struct meta_cursor after,
                           size_t limit)
{
    char token[META_MAX_NAME_BYTES];
    struct meta_docs docs = {0};
    list_token(token, f);
    bool filtered = f->folder != NULL || f->name != NULL;
    struct seen_project seen = {f->project, true}; /* of a named one the caller knows */
    struct meta_range range = {.partition = "experiments",
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = true,
                               .after = after,
                               .limit = filtered ? META_MAX_FIND : limit};
    enum mld_error error = meta_find(meta, &docs, &range);
    out->more = docs.more;
    for (size_t i = 0; i < docs.n && error == MLD_OK; i++) {
        struct experiment_doc e;
        if (out->n == limit) {
            out->more = true;
            break;
        }
        error = experiment_doc_read(&e, &out->arena, &docs.docs[i]);
        out->last_order = docs.docs[i].order;
        out->last_id = e.id;
        if (error == MLD_OK)
            error = look_at_project(&seen, meta, e.project);
        if (error == MLD_OK && seen.live && matches(&e, f))
            out->items[out->n++] = e;
    }
    meta_docs_free(&docs);
    return error;
}

enum mld_error experiment_list(struct experiment_page *out, struct meta *meta,
                               const struct experiment_filter *f, struct meta_cursor after,
                               size_t limit)
{
    *out = (struct experiment_page){0};
    out->items = arena_alloc(&out->arena, (limit + 1) * sizeof *out->items);
    if (out->items == NULL)
        return no_memory();
    if (f->project != NULL && f->name != NULL)
        return at_place(out, meta, f);
    return scan(out, meta, f, after, limit);
}

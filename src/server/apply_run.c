/* Records about the run: writers and status, parameters, the experiment, series. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "mldash/experiment.h"
#include "server/apply_internal.h"

#define STATUS_WRITERS 1000 /* the last to open that decide the status */

static void lower(int64_t *first, const struct apply_record *record)
{
    int64_t order = doc_stamp_order(&record->stamp);
    if (*first == 0 || order < *first)
        *first = order;
}

static enum mld_error run_stream(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct writer_doc *w = &t->doc.writer;
    int64_t version = doc_int(&r, "version", 1);
    const char *created = doc_text(&r, "created");
    if (r.error != MLD_OK || version > 1)
        return MLD_EDAMAGED;
    w->slot = c->record->slot;
    if (!doc_stamp_is_set(&w->started) || doc_stamp_compare(&c->record->stamp, &w->started) < 0) {
        w->started = c->record->stamp; /* a later one is a further part of the same writer */
        w->started_at = created;
    }
    if (!doc_stamp_is_set(&w->stamp))
        w->stamp = c->record->stamp;
    return MLD_OK;
}

/* A reason as long as a run folder keeps one, cut between characters; of any length it would make
 * the writer's document one that cannot be written. */
static const char *short_reason(struct apply *a, const char *reason)
{
    size_t len = reason == NULL ? 0 : strlen(reason);
    if (len <= MLD_MAX_REASON_BYTES)
        return reason;
    len = MLD_MAX_REASON_BYTES;
    while (len > 0 && ((unsigned char)reason[len] & 0xC0) == 0x80)
        len--;
    return arena_strndup(&a->scratch, reason, len);
}

static enum mld_error run_status(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct writer_doc *w = &t->doc.writer;
    const char *status = doc_needed(&r, "status");
    const char *at = doc_text(&r, "at");
    const char *reason = doc_text(&r, "error");
    if (r.error != MLD_OK || !apply_later(&w->stamp, c->record))
        return r.error;
    w->status = status;
    w->slot = c->record->slot;
    w->failure = strcmp(status, "FAILED") == 0 ? short_reason(a, reason) : NULL;
    if (strcmp(status, "RUNNING") != 0)
        w->ended_at = at;
    return MLD_OK;
}

static enum mld_error run_end(struct apply *a, struct target *t, const struct change *c)
{
    (void)a;
    if (apply_later(&t->doc.writer.stamp, c->record))
        t->doc.writer.ended = true;
    return MLD_OK;
}

static enum mld_error plan_writer(struct apply *a, const struct apply_record *record,
                                  const char *type)
{
    char id[64];
    if (record->writer == NULL)
        return MLD_OK;
    snprintf(id, sizeof id, "writer:%s", record->writer);
    struct target *t = apply_target(a, TARGET_WRITER, a->exp_partition, id);
    return apply_change(a, t, record,
                        type[1] == 'n'                ? run_end
                        : strcmp(type, "status") == 0 ? run_status
                                                      : run_stream);
}

static enum mld_error run_param(struct apply *a, struct target *t, const struct change *c)
{
    struct param_doc *p = &t->doc.param;
    p->name = c->name;
    lower(&p->first, c->record);
    if (!apply_later(&p->stamp, c->record))
        return MLD_OK;
    size_t len;
    const char *raw = json_raw(&c->record->json, c->node, &len);
    p->value = arena_strndup(&a->arena, raw, len);
    return p->value == NULL ? error_set(MLD_ENOMEM, "out of memory for a parameter") : MLD_OK;
}

static enum mld_error plan_params(struct apply *a, const struct apply_record *record)
{
    struct doc_reader r = apply_reader(a, record);
    const struct json_node *data = doc_member(&r, "data");
    const struct json_node *key = NULL;
    if (data == NULL || data->type != JSON_OBJECT)
        return error_set(MLD_EDAMAGED, "parameters without data");
    while ((key = json_next(&record->json, data, key)) != NULL) {
        char id[80] = "param:";
        const char *name = doc_node_text(&r, key);
        if (name == NULL)
            return r.error;
        enum mld_error error = doc_hash(id + 6, ' ', &name, 1);
        struct target *t =
            error == MLD_OK ? apply_target(a, TARGET_PARAM, a->exp_partition, id) : NULL;
        if (t == NULL)
            return error == MLD_OK ? MLD_ENOMEM : error;
        error = apply_change(a, t, record, run_param);
        if (error != MLD_OK)
            return error;
        t->newest_change->name = name;
        t->newest_change->node = json_value_of(&record->json, key);
    }
    return MLD_OK;
}

static enum mld_error run_experiment(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct experiment_doc *e = &t->doc.experiment;
    const char *created_at = doc_text(&r, "createdAt");
    const char *description = doc_text(&r, "description");
    const char *metadata = doc_raw(&r, "metadata");
    struct text_list tags = doc_texts(&r, "tags");
    struct text_list bindrs = doc_texts(&r, "bindrs");
    if (r.error != MLD_OK || t->stored == NULL)
        return r.error;
    if (created_at != NULL)
        e->created_at = created_at;
    if (doc_has(&r, "description") && apply_later(&e->description_stamp, c->record))
        e->description = description;
    if (doc_has(&r, "metadata") && apply_later(&e->metadata_stamp, c->record))
        e->metadata = metadata;
    if (doc_has(&r, "tags") && apply_later(&e->tags_stamp, c->record))
        e->tags = tags;
    if (doc_has(&r, "bindrs") && apply_later(&e->bindrs_stamp, c->record))
        e->bindrs = bindrs;
    return MLD_OK;
}

static enum mld_error run_series(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct series_doc *s = &t->doc.series;
    const char *description = doc_text(&r, "description");
    const char *metadata = doc_raw(&r, "metadata");
    struct text_list tags = doc_texts(&r, "tags");
    const char *name = doc_text(&r, "name");
    const char *kind = doc_text(&r, "kind");
    if (r.error != MLD_OK)
        return r.error;
    s->kind = kind != NULL && strcmp(kind, "metric") == 0 ? "metric" : "track";
    s->name = name;
    lower(&s->first, c->record);
    bool tells = description != NULL || metadata != NULL || tags.n > 0;
    if (tells && (!doc_stamp_is_set(&s->info_stamp) ||
                  doc_stamp_compare(&c->record->stamp, &s->info_stamp) < 0)) {
        s->description = description;
        s->metadata = metadata;
        s->tags = tags;
        s->info_stamp = c->record->stamp;
    }
    return MLD_OK;
}

static bool is_logs(const struct apply_record *record)
{
    return json_equals(&record->json, json_get(&record->json, json_root(&record->json), "type"),
                       "logs");
}

static enum mld_error run_shard(struct apply *a, struct target *t, const struct change *c)
{
    struct doc_reader r = apply_reader(a, c->record);
    struct shard_doc *s = &t->doc.shard;
    const char *file = doc_needed(&r, "file");
    int64_t base = doc_int(&r, "base", 0);
    const char *kind = doc_text(&r, "kind");
    if (r.error != MLD_OK)
        return r.error;
    int64_t order = doc_stamp_order(&c->record->stamp);
    if (s->first == 0 || order < s->first) {
        s->first = order;
        s->base = base;
        s->file = file;
    }
    s->kind = is_logs(c->record)                            ? "log"
              : kind != NULL && strcmp(kind, "metric") == 0 ? "metric"
                                                            : "track";
    s->series = t->key;
    return MLD_OK;
}

/* The series and the shard that a `series` record names; of a `logs` record, the shard alone. */
static enum mld_error plan_series(struct apply *a, const struct apply_record *record, bool logs)
{
    struct doc_reader r = apply_reader(a, record);
    const char *kind = logs ? "log" : doc_needed(&r, "kind");
    const char *name = doc_text(&r, "name");
    const char *stream = doc_text(&r, "stream");
    const char *file = doc_text(&r, "file");
    char id[128];
    char hash[65];
    if (r.error != MLD_OK)
        return r.error;
    const char *parts[] = {strcmp(kind, "metric") == 0 ? "metric" : "track",
                           name == NULL ? "" : "=", name == NULL ? "" : name};
    enum mld_error error = doc_hash(hash, ' ', parts, 3);
    if (error == MLD_OK && !logs) {
        snprintf(id, sizeof id, "series:%s", hash);
        error = apply_change(a, apply_target(a, TARGET_SERIES, a->exp_partition, id), record,
                             run_series);
    }
    if (error != MLD_OK || file == NULL || !doc_is_hex(stream, 32))
        return error;
    snprintf(id, sizeof id, "shard:%s", stream);
    struct target *t = apply_target(a, TARGET_SHARD, a->exp_partition, id);
    if (t != NULL && t->key == NULL && !logs)
        t->key = arena_strdup(&a->arena, hash);
    return apply_change(a, t, record, run_shard);
}

enum mld_error apply_plan_run(struct apply *a, const struct apply_record *record, const char *type)
{
    if (strcmp(type, "params") == 0)
        return plan_params(a, record);
    if (strcmp(type, "series") == 0 || strcmp(type, "logs") == 0)
        return plan_series(a, record, type[0] == 'l');
    if (strcmp(type, "experiment") == 0)
        return apply_change(a,
                            apply_target(a, TARGET_EXPERIMENT, "experiments", a->place->experiment),
                            record, run_experiment);
    return plan_writer(a, record, type);
}

/* The status of all writers together, as in a run folder: RUNNING while one that opened the run has
 * not ended, else decided by the last to open and those that ended after it opened: any FAILED
 * wins, then CANCELLED. A writer whose slot another took is gone. Here nobody can see whether a
 * process lives: one that neither ended nor was replaced runs; children, which never say RUNNING,
 * do not count. */
struct status {
    const char *status, *started, *ended;
    const char *failure; /* the first that one gave */
};

static enum mld_error slot_is_taken(struct apply *a, const struct writer_doc *w, bool *out)
{
    char token[32];
    struct meta_docs docs = {0};
    struct meta_range range = {.partition = a->exp_partition,
                               .token = token,
                               .min_order = doc_stamp_order(&w->started) + 1,
                               .max_order = INT64_MAX,
                               .limit = 1};
    snprintf(token, sizeof token, "slot:%lld", (long long)w->slot);
    enum mld_error error = meta_find(a->meta, &docs, &range);
    *out = error == MLD_OK && docs.n > 0;
    meta_docs_free(&docs);
    return error;
}

static const char *worse(const char *a, const char *b)
{
    static const char *const ORDER[] = {"FAILED", "CANCELLED", "COMPLETED"};
    for (size_t i = 0; i < sizeof ORDER / sizeof *ORDER; i++)
        if (strcmp(a, ORDER[i]) == 0 || strcmp(b, ORDER[i]) == 0)
            return ORDER[i];
    return "RUNNING";
}

static enum mld_error any_alive(struct apply *a, const struct writer_doc *writers, size_t n,
                                bool *out)
{
    *out = false;
    for (size_t i = 0; i < n && !*out; i++) {
        bool taken = false;
        if (writers[i].ended)
            continue;
        enum mld_error error = slot_is_taken(a, &writers[i], &taken);
        if (error != MLD_OK)
            return error;
        *out = !taken;
    }
    return MLD_OK;
}

/* `writers`: those that opened the run, the last to open first. */
static enum mld_error judge(struct apply *a, const struct writer_doc *writers, size_t n,
                            struct status *out)
{
    bool alive = false;
    const struct doc_stamp *failed = NULL;
    *out = (struct status){.status = "UNKNOWN"};
    if (n == 0)
        return MLD_OK;
    out->started = writers[0].started_at;
    out->status = "RUNNING";
    enum mld_error error = any_alive(a, writers, n, &alive);
    if (error != MLD_OK || alive)
        return error;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && doc_stamp_compare(&writers[i].stamp, &writers[0].started) < 0)
            continue;
        out->status = worse(out->status, writers[i].status);
        if (writers[i].ended_at != NULL &&
            (out->ended == NULL || strcmp(writers[i].ended_at, out->ended) > 0))
            out->ended = writers[i].ended_at;
        if (writers[i].failure != NULL &&
            (failed == NULL || doc_stamp_compare(&writers[i].stamp, failed) < 0)) {
            failed = &writers[i].stamp;
            out->failure = writers[i].failure;
        }
    }
    if (strcmp(out->status, "RUNNING") == 0)
        out->ended = NULL;
    return MLD_OK;
}

static enum mld_error status_of(struct apply *a, struct arena *arena, struct status *out)
{
    struct meta_docs docs = {0};
    struct meta_range range = {.partition = a->exp_partition,
                               .token = "opened",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = true,
                               .limit = STATUS_WRITERS};
    enum mld_error error = meta_find(a->meta, &docs, &range);
    struct writer_doc *writers = arena_alloc(arena, (docs.n + 1) * sizeof *writers);
    if (error == MLD_OK && writers == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for a status");
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++)
        error = writer_doc_read(&writers[i], arena, &docs.docs[i]);
    if (error == MLD_OK)
        error = judge(a, writers, docs.n, out);
    meta_docs_free(&docs);
    return error;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The experiment is read before the writers: who writes it then has seen all that its revision
 * counts. */
static enum mld_error status_once(struct apply *a, bool *ended)
{
    struct arena arena = {0};
    struct experiment_doc e;
    struct status now;
    struct meta_doc doc;
    enum mld_error error = experiment_doc_get(&e, &arena, a->meta, a->place->experiment);
    if (error == MLD_OK)
        error = status_of(a, &arena, &now);
    if (error == MLD_OK)
        *ended = strcmp(now.status, "RUNNING") != 0 && strcmp(now.status, "UNKNOWN") != 0;
    if (error == MLD_OK && !(same_text(now.status, e.status) && same_text(now.started, e.started) &&
                             same_text(now.ended, e.ended) && same_text(now.failure, e.failure))) {
        e.status = now.status;
        e.started = now.started;
        e.ended = now.ended;
        e.failure = now.failure;
        error = experiment_doc_write(&e, &arena, &doc);
        if (error == MLD_OK)
            error = meta_replace(a->meta, &doc);
    }
    arena_free(&arena);
    return error;
}

enum mld_error apply_status(struct apply *a, bool *ended)
{
    bool writers = false;
    for (const struct target *t = a->targets; t != NULL; t = t->next)
        writers = writers || t->kind == TARGET_WRITER;
    if (!writers)
        return MLD_OK;
    enum mld_error error = MLD_ECONFLICT;
    for (int i = 0; i < APPLY_MAX_TRIES && error == MLD_ECONFLICT; i++)
        error = status_once(a, ended);
    return error;
}

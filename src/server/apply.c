#include "server/apply.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/apply_internal.h"

#define CRC_KEY ",\"crc\":\""
#define CRC_TAIL_LEN (sizeof CRC_KEY - 1 + 8 + 2) /* the key, 8 digits, a quote and a brace */
#define STREAM_LINE "{\"type\":\"stream\","
#define SEEN_EVERY_US (INT64_C(30) * 1000000)
#define MAX_CLOCK (INT64_MAX >> 10)
#define WRITE_MAX_BYTES ((size_t)32 << 20)

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the records of an experiment");
}

bool apply_line_is_intact(const char *line, size_t len)
{
    if (len < CRC_TAIL_LEN + 1)
        return false;
    const char *tail = line + len - CRC_TAIL_LEN;
    if (memcmp(tail, CRC_KEY, sizeof CRC_KEY - 1) != 0 || memcmp(line + len - 2, "\"}", 2) != 0)
        return false;
    uint32_t written = 0;
    for (const char *c = tail + sizeof CRC_KEY - 1; c < line + len - 2; c++) {
        bool digit = *c >= '0' && *c <= '9';
        if (!digit && !(*c >= 'a' && *c <= 'f'))
            return false;
        written = written << 4 | (uint32_t)(digit ? *c - '0' : *c - 'a' + 10);
    }
    return crc32c(0, line, len - CRC_TAIL_LEN) == written;
}

bool apply_line_writer(const char *line, size_t len, char out[33])
{
    struct json_doc json;
    bool found = false;
    if (len < sizeof STREAM_LINE - 1 || memcmp(line, STREAM_LINE, sizeof STREAM_LINE - 1) != 0)
        return false;
    json_doc_init(&json);
    if (json_parse(&json, line, len) == MLD_OK) {
        const struct json_node *writer = json_get(&json, json_root(&json), "writer");
        char text[33] = "";
        if (writer != NULL && writer->type == JSON_STRING && writer->len == 32)
            memcpy(text, json.text + writer->start, 32);
        found = doc_is_hex(text, 32);
        if (found)
            memcpy(out, text, sizeof text);
    }
    json_doc_free(&json);
    return found;
}

bool apply_later(struct doc_stamp *stamp, const struct apply_record *record)
{
    if (doc_stamp_compare(&record->stamp, stamp) < 0)
        return false;
    *stamp = record->stamp;
    return true;
}

struct target *apply_target(struct apply *a, enum target_kind kind, const char *partition,
                            const char *id)
{
    size_t partition_len = strlen(partition) + 1;
    size_t len = partition_len + strlen(id);
    char *key = arena_alloc(&a->arena, len + 1);
    if (key == NULL)
        return NULL;
    memcpy(key, partition, partition_len);
    memcpy(key + partition_len, id, len - partition_len);
    struct target *t = map_get(&a->by_key, key, len);
    if (t != NULL)
        return t;
    t = arena_alloc(&a->arena, sizeof *t);
    if (t == NULL || map_put(&a->by_key, key, len, t) != MLD_OK)
        return NULL;
    t->kind = kind;
    t->partition = key;
    t->id = key + partition_len;
    t->last_change = &t->changes;
    *a->last_target = t;
    a->last_target = &t->next;
    a->n_targets++;
    return t;
}

enum mld_error apply_change(struct apply *a, struct target *t, const struct apply_record *record,
                            enum mld_error (*run)(struct apply *, struct target *,
                                                  const struct change *))
{
    struct change *c = arena_alloc(&a->arena, sizeof *c);
    if (t == NULL || c == NULL)
        return no_memory();
    c->record = record;
    c->run = run;
    *t->last_change = c;
    t->last_change = &c->next;
    t->newest_change = c;
    return MLD_OK;
}

static const struct {
    const char *type;
    enum mld_error (*plan)(struct apply *a, const struct apply_record *record, const char *type);
} TYPES[] = {
    {"file", apply_plan_file},    {"update", apply_plan_file},    {"delete", apply_plan_file},
    {"restore", apply_plan_file}, {"retire", apply_plan_file},    {"unretire", apply_plan_file},
    {"removed", apply_plan_file}, {"unremoved", apply_plan_file}, {"gone", apply_plan_file},
    {"alias", apply_plan_file},   {"stream", apply_plan_run},     {"status", apply_plan_run},
    {"end", apply_plan_run},      {"params", apply_plan_run},     {"experiment", apply_plan_run},
    {"series", apply_plan_run},   {"logs", apply_plan_run},
};

static enum mld_error plan(struct apply *a, struct apply_record *record)
{
    const struct json_node *root = json_root(&record->json);
    const struct json_node *type = json_get(&record->json, root, "type");
    int64_t clock;
    if (type == NULL || type->type != JSON_STRING ||
        !json_int64(&record->json, json_get(&record->json, root, "clock"), &clock) || clock < 0 ||
        clock > MAX_CLOCK)
        return error_set(MLD_EDAMAGED, "record without type or clock");
    record->stamp = doc_stamp_of(clock, record->slot, record->stream);
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (json_equals(&record->json, type, TYPES[i].type))
            return TYPES[i].plan(a, record, TYPES[i].type);
    return MLD_OK;
}

/* Parses one line; its nodes move to the arena. */
static enum mld_error plan_line(struct apply *a, struct json_doc *parser, const char *line,
                                size_t len, const struct apply_lines *from, const char *writer)
{
    enum mld_error error = json_parse(parser, line, len);
    if (error != MLD_OK)
        return error == MLD_ENOMEM ? error : MLD_EDAMAGED;
    struct apply_record *record = arena_alloc(&a->arena, sizeof *record);
    size_t size = parser->count * sizeof *parser->nodes;
    struct json_node *nodes = arena_alloc(&a->arena, size);
    if (record == NULL || nodes == NULL)
        return no_memory();
    memcpy(nodes, parser->nodes, size);
    record->json = *parser;
    record->json.nodes = nodes;
    record->stream = from->stream;
    record->slot = from->slot;
    record->writer = writer;
    return plan(a, record);
}

static enum mld_error plan_lines(struct apply *a, struct json_doc *parser,
                                 const struct apply_lines *from)
{
    const char *at = from->data;
    const char *end = at + from->len;
    const char *writer = from->writer;
    char next[33];
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline == NULL ? end : newline) - at);
        if (apply_line_is_intact(at, len)) {
            if (apply_line_writer(at, len, next)) {
                writer = arena_strdup(&a->arena, next);
                if (writer == NULL)
                    return no_memory();
            }
            enum mld_error error = plan_line(a, parser, at, len, from, writer);
            if (error != MLD_OK && error != MLD_EDAMAGED)
                return error;
        }
        at += len + 1;
    }
    return MLD_OK;
}

/* Reads up to META_MAX_FIND of the targets that are not done, all of one partition. */
struct reading {
    const char *ids[META_MAX_FIND];
    struct target *targets[META_MAX_FIND];
    size_t n;
};

static enum mld_error read_some(struct apply *a, struct reading *reading, const char *partition)
{
    struct meta_docs docs = {0};
    enum mld_error error = MLD_OK;
    size_t found = 0;
    if (reading->n == 0)
        return MLD_OK;
    error = meta_get_many(a->meta, &docs, partition, reading->ids, reading->n);
    for (size_t i = 0; error == MLD_OK && i < reading->n; i++) {
        struct target *t = reading->targets[i];
        t->stored = NULL;
        if (found < docs.n && strcmp(docs.docs[found].id, t->id) == 0) {
            struct meta_doc *copy = arena_alloc(&a->scratch, sizeof *copy);
            char *text =
                arena_strndup(&a->scratch, docs.docs[found].text, docs.docs[found].text_len);
            if (copy == NULL || text == NULL)
                error = no_memory();
            else
                *copy = docs.docs[found];
            if (error == MLD_OK) {
                copy->id = t->id;
                copy->partition = t->partition;
                copy->text = text;
                copy->tokens = NULL;
                copy->data = NULL;
                t->stored = copy;
            }
            found++;
        }
        if (error == MLD_OK)
            error = apply_read_target(a, t);
    }
    meta_docs_free(&docs);
    reading->n = 0;
    return error;
}

/* Reads the documents of all targets behind `from` that are not done. */
static enum mld_error read_targets(struct apply *a, struct target *from)
{
    const char *partitions[] = {a->files_partition, a->exp_partition, "experiments"};
    struct reading *reading = calloc(1, sizeof *reading);
    enum mld_error error = reading == NULL ? no_memory() : MLD_OK;
    for (size_t p = 0; p < sizeof partitions / sizeof *partitions && error == MLD_OK; p++) {
        for (struct target *t = from; t != NULL && error == MLD_OK; t = t->next) {
            if (t->done || strcmp(t->partition, partitions[p]) != 0)
                continue;
            reading->ids[reading->n] = t->id;
            reading->targets[reading->n++] = t;
            if (reading->n == META_MAX_FIND)
                error = read_some(a, reading, partitions[p]);
        }
        if (error == MLD_OK)
            error = read_some(a, reading, partitions[p]);
    }
    free(reading);
    return error;
}

static enum mld_error run_changes(struct apply *a, struct target *t)
{
    for (const struct change *c = t->changes; c != NULL; c = c->next) {
        enum mld_error error = c->run(a, t, c);
        if (error != MLD_OK && error != MLD_EDAMAGED)
            return error;
    }
    return MLD_OK;
}

/* Writes of one try. */
struct writing {
    struct meta_write *writes;
    struct target **targets;
    size_t n, bytes;
};

static enum mld_error write_some(struct apply *a, struct writing *w)
{
    enum mld_error error = w->n == 0 ? MLD_OK : meta_write(a->meta, w->writes, w->n);
    for (size_t i = 0; error == MLD_OK && i < w->n; i++) {
        enum mld_error result = w->writes[i].result;
        if (result == MLD_OK)
            w->targets[i]->done = true;
        else if (result != MLD_ECONFLICT && result != MLD_EEXISTS && result != MLD_ENOTFOUND)
            error = error_set(result, "document %s cannot be written", w->targets[i]->id);
    }
    w->n = w->bytes = 0;
    return error;
}

static enum mld_error add_write(struct apply *a, struct writing *w, struct target *t)
{
    struct meta_doc doc = {0};
    enum mld_error error = run_changes(a, t);
    if (error == MLD_OK)
        error = apply_write_target(a, t, &doc);
    if (error != MLD_OK)
        return error;
    const struct meta_doc *stored = t->stored;
    bool same = doc.text == NULL ||
                (stored != NULL && stored->order == doc.order && stored->text_len == doc.text_len &&
                 memcmp(stored->text, doc.text, doc.text_len) == 0);
    if (same) {
        t->done = true;
        return MLD_OK;
    }
    doc.partition = t->partition;
    doc.id = t->id;
    doc.revision = stored == NULL ? 0 : stored->revision;
    w->writes[w->n] =
        (struct meta_write){.op = stored == NULL ? META_INSERT : META_REPLACE, .doc = doc};
    w->targets[w->n++] = t;
    w->bytes += doc.text_len;
    return w->n == META_MAX_WRITES || w->bytes > WRITE_MAX_BYTES ? write_some(a, w) : MLD_OK;
}

static enum mld_error write_targets(struct apply *a)
{
    size_t room = a->n_targets < META_MAX_WRITES ? a->n_targets : META_MAX_WRITES;
    struct writing w = {.writes = calloc(room, sizeof *w.writes),
                        .targets = calloc(room, sizeof(void *))};
    enum mld_error error = w.writes == NULL || w.targets == NULL ? no_memory() : MLD_OK;
    for (struct target *t = a->targets; t != NULL && error == MLD_OK; t = t->next)
        if (!t->done)
            error = add_write(a, &w, t);
    if (error == MLD_OK)
        error = write_some(a, &w);
    free(w.writes);
    free(w.targets);
    return error;
}

static bool all_done(const struct apply *a)
{
    for (const struct target *t = a->targets; t != NULL; t = t->next)
        if (!t->done)
            return false;
    return true;
}

static enum mld_error try_once(struct apply *a)
{
    bool more = true;
    struct target *from = a->targets;
    enum mld_error error = MLD_OK;
    arena_free(&a->scratch);
    while (more && error == MLD_OK) {
        struct target **end = a->last_target;
        error = read_targets(a, from);
        more = false;
        if (error == MLD_OK)
            error = apply_split_twins(a, &more);
        from = *end; /* those that splitting added */
    }
    return error == MLD_OK ? write_targets(a) : error;
}

static enum mld_error apply_all(struct apply *a, bool *ended)
{
    enum mld_error error = MLD_OK;
    for (int i = 0; i < APPLY_MAX_TRIES && error == MLD_OK && !all_done(a); i++)
        error = try_once(a);
    if (error == MLD_OK && !all_done(a))
        error = error_set(MLD_EUNAVAILABLE, "documents of experiment %s change all the time",
                          a->place->experiment);
    if (error == MLD_OK)
        error = apply_settle_files(a);
    if (error == MLD_OK)
        error = apply_status(a, ended);
    return error;
}

enum mld_error apply_records(struct meta *meta, const struct apply_place *place,
                             const struct apply_lines *lines, size_t n, bool *ended)
{
    struct apply a = {.meta = meta, .place = place};
    struct json_doc parser;
    enum mld_error error = MLD_OK;
    a.last_target = &a.targets;
    snprintf(a.exp_partition, sizeof a.exp_partition, "exp:%s", place->experiment);
    file_partition(a.files_partition, place->project);
    json_doc_init(&parser);
    for (size_t i = 0; i < n && error == MLD_OK; i++)
        error = plan_lines(&a, &parser, &lines[i]);
    if (error == MLD_OK && a.targets != NULL)
        error = apply_all(&a, ended);
    json_doc_free(&parser);
    map_free(&a.by_key);
    arena_free(&a.scratch);
    arena_free(&a.arena);
    return error;
}

enum mld_error apply_seen(struct meta *meta, const char *experiment)
{
    enum mld_error error = MLD_ECONFLICT;
    for (int i = 0; i < APPLY_MAX_TRIES && error == MLD_ECONFLICT; i++) {
        struct arena arena = {0};
        struct experiment_doc e;
        struct meta_doc doc;
        int64_t now = clock_now_us();
        error = experiment_doc_get(&e, &arena, meta, experiment);
        if (error == MLD_OK && now - e.last_seen > SEEN_EVERY_US) {
            e.last_seen = now;
            error = experiment_doc_write(&e, &arena, &doc);
            if (error == MLD_OK)
                error = meta_replace(meta, &doc);
        }
        arena_free(&arena);
    }
    return error;
}

/* The documents that records change, read and written. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "server/apply_internal.h"

#define MAX_TEXT_BYTES META_MAX_BODY_BYTES

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for a document");
}

static enum mld_error read_alias(struct name_doc *n, struct doc_reader *r,
                                 const struct json_node *object)
{
    struct doc_reader in = {r->json, object, r->arena, MLD_OK};
    if (n->n == FILE_MAX_ALIASES)
        return MLD_OK;
    struct alias *alias = &n->aliases[n->n++];
    alias->name = doc_needed(&in, "alias");
    alias->id = doc_text(&in, "id");
    alias->stream = doc_text(&in, "stream");
    doc_stamp_read(&in, "stamp", &alias->stamp);
    return in.error;
}

enum mld_error name_doc_read(struct name_doc *out, struct arena *arena, const struct meta_doc *doc)
{
    struct json_doc json;
    json_doc_init(&json);
    *out = (struct name_doc){0};
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->experiment = doc_needed(&r, "experiment");
        out->path = doc_needed(&r, "path");
        out->filename = doc_needed(&r, "filename");
        error = r.error;
        const struct json_node *list = doc_member(&r, "aliases");
        const struct json_node *node = NULL;
        while (error == MLD_OK && list != NULL && (node = json_next(&json, list, node)) != NULL)
            error = read_alias(out, &r, node);
    }
    json_doc_free(&json);
    return error;
}

static void put_aliases(struct buf *text, const struct name_doc *n)
{
    json_put_key(text, "aliases");
    buf_putc(text, '[');
    for (size_t i = 0; i < n->n; i++) {
        buf_puts(text, i > 0 ? ",{" : "{");
        doc_put_text(text, "alias", n->aliases[i].name);
        doc_set_text(text, "id", n->aliases[i].id);
        doc_set_text(text, "stream", n->aliases[i].stream);
        doc_set_stamp(text, "stamp", &n->aliases[i].stamp);
        buf_putc(text, '}');
    }
    buf_putc(text, ']');
}

enum mld_error name_doc_write(const struct name_doc *n, struct arena *arena, const char *partition,
                              const char *id, int64_t revision, struct meta_doc *out)
{
    struct buf text;
    const char **tokens = arena_alloc(arena, (2 * FILE_MAX_ALIASES + 1) * sizeof *tokens);
    *out =
        (struct meta_doc){.partition = partition, .id = id, .revision = revision, .tokens = tokens};
    for (size_t i = 0; i < n->n && tokens != NULL; i++) {
        char token[META_MAX_NAME_BYTES];
        if (n->aliases[i].id == NULL)
            continue;
        int64_t order = doc_stamp_order(&n->aliases[i].stamp);
        out->order = order > out->order ? order : out->order;
        snprintf(token, sizeof token, "alias:%s", n->aliases[i].name);
        tokens[out->n_tokens] = arena_strdup(arena, token);
        snprintf(token, sizeof token, "exp:%s/alias:%s", n->experiment, n->aliases[i].name);
        tokens[out->n_tokens + 1] = arena_strdup(arena, token);
        if (tokens[out->n_tokens] == NULL || tokens[out->n_tokens + 1] == NULL)
            tokens = NULL;
        out->n_tokens += 2;
    }
    if (tokens == NULL)
        return no_memory();
    buf_init(&text, MAX_TEXT_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "experiment", n->experiment);
    doc_put_text(&text, "path", n->path);
    doc_put_text(&text, "filename", n->filename);
    put_aliases(&text, n);
    buf_putc(&text, '}');
    return doc_take_text(out, arena, &text);
}

enum mld_error writer_doc_read(struct writer_doc *out, struct arena *arena,
                               const struct meta_doc *doc)
{
    struct json_doc json;
    json_doc_init(&json);
    *out = (struct writer_doc){0};
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->slot = doc_int(&r, "slot", 0);
        out->status = doc_text(&r, "status");
        out->started_at = doc_text(&r, "started");
        out->ended_at = doc_text(&r, "ended");
        out->failure = doc_text(&r, "error");
        doc_stamp_read(&r, "started_stamp", &out->started);
        doc_stamp_read(&r, "stamp", &out->stamp);
        out->ended = doc_true(&r, "clean");
        error = r.error;
    }
    json_doc_free(&json);
    return error;
}

static void read_members(struct target *t, struct doc_reader *r)
{
    if (t->kind == TARGET_PARAM) {
        struct param_doc *p = &t->doc.param;
        p->name = doc_needed(r, "name");
        p->value = doc_raw(r, "value");
        if (p->value == NULL && doc_has(r, "value"))
            p->value = "null";
        doc_stamp_read(r, "stamp", &p->stamp);
        p->first = t->stored->order;
    } else if (t->kind == TARGET_SERIES) {
        struct series_doc *s = &t->doc.series;
        s->kind = doc_needed(r, "kind");
        s->name = doc_text(r, "name");
        s->description = doc_text(r, "description");
        s->metadata = doc_raw(r, "metadata");
        s->tags = doc_texts(r, "tags");
        doc_stamp_read(r, "info_stamp", &s->info_stamp);
        s->first = t->stored->order;
    } else {
        struct shard_doc *s = &t->doc.shard;
        s->kind = doc_needed(r, "kind");
        s->series = doc_text(r, "series");
        s->file = doc_text(r, "file");
        s->base = doc_int(r, "base", 0);
        s->first = t->stored->order;
    }
}

static enum mld_error read_small(struct apply *a, struct target *t)
{
    struct json_doc json;
    json_doc_init(&json);
    enum mld_error error = doc_parse(&json, t->stored);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), &a->scratch, MLD_OK};
        read_members(t, &r);
        error = r.error;
    }
    json_doc_free(&json);
    return error;
}

enum mld_error apply_read_target(struct apply *a, struct target *t)
{
    memset(&t->doc, 0, sizeof t->doc);
    if (t->stored == NULL) {
        const char *at = strchr(t->id, '@');
        if (t->kind == TARGET_FILE)
            t->doc.file = (struct file_doc){.doc_id = t->id,
                                            .experiment = a->place->experiment,
                                            .id = t->key,
                                            .record_id = t->key,
                                            .stream = at == NULL ? NULL : at + 1};
        if (t->kind == TARGET_NAME)
            t->doc.name.experiment = a->place->experiment;
        return MLD_OK;
    }
    switch (t->kind) {
    case TARGET_FILE:
        return file_doc_read(&t->doc.file, &a->scratch, t->stored);
    case TARGET_NAME:
        return name_doc_read(&t->doc.name, &a->scratch, t->stored);
    case TARGET_WRITER:
        return writer_doc_read(&t->doc.writer, &a->scratch, t->stored);
    case TARGET_EXPERIMENT:
        return experiment_doc_read(&t->doc.experiment, &a->scratch, t->stored);
    default:
        return read_small(a, t);
    }
}

/* A text with up to two tokens. */
static enum mld_error finish(struct apply *a, struct meta_doc *out, struct buf *text, int64_t order,
                             const char *first, const char *second)
{
    const char **tokens = arena_alloc(&a->scratch, 2 * sizeof *tokens);
    buf_putc(text, '}');
    enum mld_error error = doc_take_text(out, &a->scratch, text);
    if (error != MLD_OK || tokens == NULL)
        return error != MLD_OK ? error : no_memory();
    const char *given[] = {first, second};
    out->tokens = tokens;
    out->order = order;
    for (size_t i = 0; i < 2; i++) {
        if (given[i] == NULL)
            continue;
        tokens[out->n_tokens] = arena_strdup(&a->scratch, given[i]);
        if (tokens[out->n_tokens++] == NULL)
            return no_memory();
    }
    return MLD_OK;
}

static enum mld_error write_param(struct apply *a, const struct param_doc *p, struct meta_doc *out)
{
    struct buf text;
    buf_init(&text, MAX_TEXT_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "name", p->name);
    doc_put_raw(&text, "value", p->value);
    doc_set_stamp(&text, "stamp", &p->stamp);
    return finish(a, out, &text, p->first, "param", NULL);
}

static enum mld_error write_series(struct apply *a, const struct series_doc *s,
                                   struct meta_doc *out)
{
    struct buf text;
    char token[32];
    if (s->kind == NULL)
        return MLD_OK; /* every record was skipped */
    buf_init(&text, MAX_TEXT_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "kind", s->kind);
    doc_put_text(&text, "name", s->name);
    doc_set_text(&text, "description", s->description);
    doc_set_raw(&text, "metadata", s->metadata);
    doc_set_texts(&text, "tags", s->tags);
    doc_set_stamp(&text, "info_stamp", &s->info_stamp);
    snprintf(token, sizeof token, "series:%s", s->kind);
    return finish(a, out, &text, s->first, token, NULL);
}

static enum mld_error write_shard(struct apply *a, const struct shard_doc *s, struct meta_doc *out)
{
    struct buf text;
    char token[32];
    char of[80];
    if (s->kind == NULL)
        return MLD_OK;
    buf_init(&text, MAX_TEXT_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "kind", s->kind);
    doc_set_text(&text, "series", s->series);
    doc_put_text(&text, "file", s->file);
    doc_put_int(&text, "base", s->base);
    snprintf(token, sizeof token, "shard:%s", s->kind);
    snprintf(of, sizeof of, "of:%s", s->series == NULL ? "" : s->series);
    return finish(a, out, &text, s->first, token, s->series == NULL ? NULL : of);
}

static enum mld_error write_writer(struct apply *a, const struct writer_doc *w,
                                   struct meta_doc *out)
{
    struct buf text;
    char slot[32];
    buf_init(&text, MAX_TEXT_BYTES);
    buf_putc(&text, '{');
    doc_put_int(&text, "slot", w->slot);
    doc_set_text(&text, "status", w->status);
    doc_set_text(&text, "started", w->started_at);
    doc_set_text(&text, "ended", w->ended_at);
    doc_set_text(&text, "error", w->failure);
    doc_set_stamp(&text, "started_stamp", &w->started);
    doc_set_stamp(&text, "stamp", &w->stamp);
    doc_set_bool(&text, "clean", w->ended);
    snprintf(slot, sizeof slot, "slot:%lld", (long long)w->slot);
    return finish(a, out, &text, doc_stamp_order(&w->started), slot,
                  w->status == NULL ? NULL : "opened");
}

static enum mld_error write_file(struct apply *a, struct file_doc *f, struct meta_doc *out)
{
    /* A guess that is nearly always right; settling looks. */
    if (!f->was_listed || !file_is_listed(f))
        f->newest = file_is_listed(f);
    return file_doc_write(f, &a->scratch, a->files_partition, out);
}

enum mld_error apply_write_target(struct apply *a, struct target *t, struct meta_doc *out)
{
    switch (t->kind) {
    case TARGET_FILE:
        return write_file(a, &t->doc.file, out);
    case TARGET_NAME:
        if (t->doc.name.path == NULL)
            return MLD_OK;
        return name_doc_write(&t->doc.name, &a->scratch, t->partition, t->id, 0, out);
    case TARGET_PARAM:
        return write_param(a, &t->doc.param, out);
    case TARGET_SERIES:
        return write_series(a, &t->doc.series, out);
    case TARGET_SHARD:
        return write_shard(a, &t->doc.shard, out);
    case TARGET_WRITER:
        return write_writer(a, &t->doc.writer, out);
    default:
        if (t->stored == NULL)
            return MLD_OK;
        return experiment_doc_write(&t->doc.experiment, &a->scratch, out);
    }
}

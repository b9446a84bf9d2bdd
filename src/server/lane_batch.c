#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/doc.h"
#include "server/lane_internal.h"
#include "server/zpack.h"

static const char *const KIND_NAMES[STREAM_KINDS] = {"records", "metric", "track", "log"};

const char *stream_kind_name(enum stream_kind kind)
{
    return KIND_NAMES[kind];
}

bool stream_kind_parse(const char *name, enum stream_kind *out)
{
    for (int kind = 0; kind < STREAM_KINDS; kind++) {
        if (name != NULL && strcmp(name, KIND_NAMES[kind]) == 0) {
            *out = (enum stream_kind)kind;
            return true;
        }
    }
    return false;
}

void lane_state_free(struct lane_state *s)
{
    map_free(&s->by_id);
    free(s->streams);
    arena_free(&s->arena);
    *s = (struct lane_state){0};
}

struct lane_stream *lane_state_find(const struct lane_state *s, const char *id)
{
    return map_get(&s->by_id, id, strlen(id));
}

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for the streams of an experiment");
}

enum mld_error lane_state_add(struct lane_state *s, struct lane_stream **out, const char *id,
                              enum stream_kind kind, unsigned slot, const char *file)
{
    *out = lane_state_find(s, id);
    if (*out != NULL)
        return MLD_OK;
    if (s->n == s->capacity) {
        size_t larger = s->capacity == 0 ? 16 : 2 * s->capacity;
        void *moved = realloc(s->streams, larger * sizeof *s->streams);
        if (moved == NULL)
            return no_memory();
        s->streams = moved;
        s->capacity = larger;
    }
    struct lane_stream *stream = arena_alloc(&s->arena, sizeof *stream);
    if (stream == NULL || (stream->file = arena_strdup(&s->arena, file)) == NULL)
        return no_memory();
    snprintf(stream->id, sizeof stream->id, "%s", id);
    stream->kind = kind;
    stream->slot = slot;
    sha256_state_init(&stream->at);
    stream->before = stream->at;
    if (map_put(&s->by_id, stream->id, strlen(stream->id), stream) != MLD_OK)
        return no_memory();
    s->streams[s->n++] = stream;
    *out = stream;
    return MLD_OK;
}

enum mld_error lane_state_advance(struct lane_state *s, const struct batch *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        const struct batch_entry *e = &batch->entries[i];
        struct lane_stream *stream;
        enum mld_error error = lane_state_add(s, &stream, e->id, e->kind, e->slot, e->file);
        if (error != MLD_OK)
            return error;
        if (stream->at.len != e->offset)
            return error_set(MLD_EDAMAGED, "batch %llu does not continue stream %s",
                             (unsigned long long)batch->number, e->id);
        stream->before = stream->at;
        stream->at = e->after;
        stream->lines += e->lines;
        stream->garbled += e->garbled;
        if (e->writer != NULL)
            snprintf(stream->writer, sizeof stream->writer, "%s", e->writer);
    }
    return MLD_OK;
}

void lane_batch_free(struct batch *batch)
{
    buf_free(&batch->bytes);
}

static void put_entry(struct buf *text, const struct batch_entry *e)
{
    char state[SHA256_STATE_TEXT_MAX + 1];
    sha256_state_export(&e->after, state);
    buf_puts(text, "[\"");
    buf_puts(text, e->id);
    buf_printf(text, "\",%llu,%llu,%llu,%llu,\"", (unsigned long long)e->offset,
               (unsigned long long)e->length, (unsigned long long)e->lines,
               (unsigned long long)e->garbled);
    buf_puts(text, state);
    buf_puts(text, "\",");
    json_put_cstring(text, e->writer);
    buf_printf(text, ",\"%s\",%u,", stream_kind_name(e->kind), e->slot);
    json_put_cstring(text, e->file);
    buf_putc(text, ']');
}

void lane_batch_write(struct buf *text, const struct batch *batch)
{
    buf_putc(text, '{');
    doc_put_text(text, "nonce", batch->nonce);
    json_put_key(text, "streams");
    buf_putc(text, '[');
    for (size_t i = 0; i < batch->n; i++) {
        if (i > 0)
            buf_putc(text, ',');
        put_entry(text, &batch->entries[i]);
    }
    buf_puts(text, "]}");
}

/* The members of an entry's array, by position. */
struct columns {
    struct doc_reader *r;
    const struct json_node *array, *at;
};

static const struct json_node *next(struct columns *c)
{
    c->at = json_next(c->r->json, c->array, c->at);
    return c->at;
}

static uint64_t next_int(struct columns *c)
{
    int64_t value = -1;
    if (!json_int64(c->r->json, next(c), &value) || value < 0)
        c->r->error = error_set(MLD_EDAMAGED, "a number of a stream is none");
    return (uint64_t)value;
}

static const char *next_text(struct columns *c, bool needed)
{
    const struct json_node *node = next(c);
    if (node != NULL && node->type == JSON_STRING)
        return doc_node_text(c->r, node);
    if (needed && c->r->error == MLD_OK)
        c->r->error = error_set(MLD_EDAMAGED, "a text of a stream is missing");
    return NULL;
}

static void read_entry(struct batch_entry *e, struct doc_reader *r, const struct json_node *array)
{
    struct columns c = {r, array, NULL};
    e->id = next_text(&c, true);
    e->offset = next_int(&c);
    e->length = next_int(&c);
    e->lines = next_int(&c);
    e->garbled = next_int(&c);
    const char *state = next_text(&c, true);
    e->writer = next_text(&c, false);
    const char *kind = next_text(&c, true);
    e->slot = (unsigned)next_int(&c);
    e->file = next_text(&c, true);
    if (r->error != MLD_OK)
        return;
    if (!doc_is_hex(e->id, ID_RANDOM_LEN) || !stream_kind_parse(kind, &e->kind) ||
        !sha256_state_import(&e->after, state, strlen(state), e->offset + e->length))
        r->error = error_set(MLD_EDAMAGED, "stream %s does not read", e->id);
}

static void read_entries(struct batch *out, struct doc_reader *r)
{
    const struct json_node *array = doc_member(r, "streams");
    if (array == NULL || array->type != JSON_ARRAY) {
        r->error = error_set(MLD_EDAMAGED, "it has no streams");
        return;
    }
    out->entries = arena_alloc(r->arena, (array->count + 1) * sizeof *out->entries);
    if (out->entries == NULL) {
        r->error = no_memory();
        return;
    }
    const struct json_node *node = NULL;
    while ((node = json_next(r->json, array, node)) != NULL && r->error == MLD_OK)
        read_entry(&out->entries[out->n++], r, node);
}

static enum mld_error unpack(struct batch *out, const struct meta_doc *doc)
{
    uint64_t total = 0;
    for (size_t i = 0; i < out->n; i++)
        total += out->entries[i].length;
    if (total > LANE_MAX_REQUEST_BYTES)
        return error_set(MLD_EDAMAGED, "it says that it has %llu bytes", (unsigned long long)total);
    buf_init(&out->bytes, LANE_MAX_REQUEST_BYTES + 1);
    enum mld_error error = zpack_decompress(&out->bytes, doc->data, doc->data_len);
    if (error == MLD_OK && out->bytes.len != total)
        error = error_set(MLD_EDAMAGED, "it has %zu bytes instead of %llu", out->bytes.len,
                          (unsigned long long)total);
    if (error != MLD_OK)
        return error == MLD_ENOMEM ? error : MLD_EDAMAGED;
    const char *at = out->bytes.data;
    for (size_t i = 0; i < out->n; i++) {
        out->entries[i].data = at;
        at += out->entries[i].length;
    }
    return MLD_OK;
}

enum mld_error lane_batch_read(struct batch *out, struct arena *arena, const struct meta_doc *doc,
                               bool bytes)
{
    struct json_doc json;
    *out = (struct batch){.number = (uint64_t)doc->order};
    json_doc_init(&json);
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->nonce = doc_text(&r, "nonce");
        read_entries(out, &r);
        error = r.error;
        if (error == MLD_OK && bytes)
            error = unpack(out, doc);
        if (error != MLD_OK)
            error_prefix(error, "document %s of %s", doc->id, doc->partition);
    }
    json_doc_free(&json);
    return error;
}

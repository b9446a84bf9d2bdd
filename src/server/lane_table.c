/* Sealed ranges: their documents and the tables in front of their blobs. A table is JSON, packed:
 * {"streams":[[id, kind, slot, file, offset, lines, garbled, state, writer, start, length,
 * position, packed, state at start], ...]}; the last five are left out where the range has no bytes
 * of the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/doc.h"
#include "server/lane_internal.h"
#include "server/zpack.h"

#define TABLE_MAX_BYTES ((size_t)256 << 20)

static void put_number(struct buf *text, uint64_t value)
{
    buf_putc(text, ',');
    json_put_int64(text, (int64_t)value);
}

static void put_state(struct buf *text, const struct sha256_state *state)
{
    char exported[SHA256_STATE_TEXT_MAX + 1];
    sha256_state_export(state, exported);
    buf_puts(text, ",\"");
    buf_puts(text, exported);
    buf_putc(text, '"');
}

static void put_stream(struct buf *text, const struct seal_stream *s)
{
    buf_printf(text, "[\"%s\",\"%s\",%u,", s->stream.id, stream_kind_name(s->stream.kind),
               s->stream.slot);
    json_put_cstring(text, s->stream.file);
    put_number(text, s->stream.at.len);
    put_number(text, s->stream.lines);
    put_number(text, s->stream.garbled);
    put_state(text, &s->stream.at);
    buf_printf(text, ",\"%s\"", s->stream.writer);
    if (s->length > 0) {
        put_number(text, s->start);
        put_number(text, s->length);
        put_number(text, s->position);
        put_number(text, s->packed);
        put_state(text, &s->start_state);
    }
    buf_putc(text, ']');
}

enum mld_error seal_table_write(struct buf *out, const struct seal_table *table)
{
    struct buf text;
    buf_init(&text, TABLE_MAX_BYTES);
    buf_puts(&text, "{\"streams\":[");
    for (size_t i = 0; i < table->n; i++) {
        if (i > 0)
            buf_putc(&text, ',');
        put_stream(&text, &table->streams[i]);
    }
    buf_puts(&text, "]}");
    enum mld_error error = buf_check(&text, "table of streams");
    if (error == MLD_OK)
        error = zpack_compress(out, text.data, text.len);
    buf_free(&text);
    return error;
}

void seal_table_free(struct seal_table *table)
{
    arena_free(&table->arena);
    *table = (struct seal_table){0};
}

struct columns {
    const struct json_doc *json;
    struct arena *arena;
    const struct json_node *array, *at;
    bool bad;
};

static uint64_t number(struct columns *c)
{
    int64_t value = 0;
    c->at = json_next(c->json, c->array, c->at);
    if (!json_int64(c->json, c->at, &value) || value < 0)
        c->bad = true;
    return (uint64_t)value;
}

static const char *text_of(struct columns *c)
{
    struct doc_reader r = {c->json, NULL, c->arena, MLD_OK};
    c->at = json_next(c->json, c->array, c->at);
    const char *text =
        c->at != NULL && c->at->type == JSON_STRING ? doc_node_text(&r, c->at) : NULL;
    if (text == NULL)
        c->bad = true;
    return text == NULL ? "" : text;
}

static void state_of(struct columns *c, struct sha256_state *out, uint64_t len)
{
    const char *text = text_of(c);
    if (!sha256_state_import(out, text, strlen(text), len))
        c->bad = true;
}

static bool read_stream(struct seal_stream *s, struct columns *c)
{
    const char *id = text_of(c);
    if (!stream_kind_parse(text_of(c), &s->stream.kind) || !doc_is_hex(id, ID_RANDOM_LEN))
        return false;
    snprintf(s->stream.id, sizeof s->stream.id, "%s", id);
    s->stream.slot = (unsigned)number(c);
    s->stream.file = text_of(c);
    uint64_t offset = number(c);
    s->stream.lines = number(c);
    s->stream.garbled = number(c);
    state_of(c, &s->stream.at, offset);
    s->stream.before = s->stream.at;
    snprintf(s->stream.writer, sizeof s->stream.writer, "%s", text_of(c));
    if (c->array->count > 9) {
        s->start = number(c);
        s->length = number(c);
        s->position = number(c);
        s->packed = number(c);
        state_of(c, &s->start_state, s->start);
    }
    return !c->bad;
}

static enum mld_error parse_table(struct seal_table *out, const struct buf *text)
{
    struct json_doc json;
    json_doc_init(&json);
    enum mld_error error = json_parse(&json, text->data, text->len);
    const struct json_node *array =
        error == MLD_OK ? json_get(&json, json_root(&json), "streams") : NULL;
    if (error == MLD_OK && (array == NULL || array->type != JSON_ARRAY))
        error = error_set(MLD_EDAMAGED, "it has no streams");
    if (error == MLD_OK) {
        out->streams = arena_alloc(&out->arena, (array->count + 1) * sizeof *out->streams);
        if (out->streams == NULL)
            error = error_set(MLD_ENOMEM, "out of memory for a table of streams");
    }
    const struct json_node *node = NULL;
    while (error == MLD_OK && (node = json_next(&json, array, node)) != NULL) {
        struct columns c = {&json, &out->arena, node, NULL, false};
        if (!read_stream(&out->streams[out->n++], &c))
            error = error_set(MLD_EDAMAGED, "a stream does not read");
    }
    json_doc_free(&json);
    return error;
}

static enum mld_error read_all(struct blob *blob, const char *key, uint64_t offset, uint64_t len,
                               struct buf *out)
{
    struct blob_reader *reader = NULL;
    enum mld_error error = blob_open(&reader, blob, key, offset, len);
    while (error == MLD_OK) {
        size_t n = 0;
        char *to = buf_reserve(out, 64 << 10);
        error = to == NULL ? buf_check(out, key) : blob_read(reader, to, 64 << 10, &n);
        if (error != MLD_OK || n == 0)
            break;
        buf_advance(out, n);
    }
    blob_reader_close(reader);
    if (error == MLD_OK && out->len != len)
        error = error_set(MLD_EDAMAGED, "it is shorter than its document says");
    return error;
}

enum mld_error seal_table_load(struct seal_table *out, struct blob *blob, const struct seal *seal)
{
    struct buf packed;
    struct buf text;
    *out = (struct seal_table){0};
    buf_init(&packed, TABLE_MAX_BYTES);
    buf_init(&text, TABLE_MAX_BYTES);
    enum mld_error error = read_all(blob, seal->key, 0, seal->table_bytes, &packed);
    if (error == MLD_OK)
        error = zpack_decompress(&text, packed.data, packed.len);
    if (error == MLD_OK)
        error = parse_table(out, &text);
    if (error == MLD_ENOTFOUND || error == MLD_EINVALID)
        error = MLD_EDAMAGED;
    if (error != MLD_OK) {
        error_prefix(error, "table of %s", seal->key);
        seal_table_free(out);
    }
    buf_free(&packed);
    buf_free(&text);
    return error;
}

enum mld_error lane_piece_read(struct lanes *lanes, const struct lane_piece *piece, struct buf *out)
{
    buf_clear(out);
    if (piece->key == NULL) {
        buf_put(out, piece->data, piece->length);
        return buf_check(out, "bytes of a stream");
    }
    struct buf packed;
    buf_init(&packed, TABLE_MAX_BYTES);
    enum mld_error error =
        read_all(lanes->blob, piece->key, piece->position, piece->packed, &packed);
    if (error == MLD_OK)
        error = zpack_decompress(out, packed.data, packed.len);
    if (error == MLD_OK && out->len != piece->length)
        error = error_set(MLD_EDAMAGED, "it has other bytes than its table says");
    if (error == MLD_ENOTFOUND || error == MLD_EINVALID)
        error = MLD_EDAMAGED;
    buf_free(&packed);
    return error == MLD_OK ? error : error_prefix(error, "stream in %s", piece->key);
}

static enum mld_error read_seal(struct seal *out, struct arena *arena, const struct meta_doc *doc)
{
    struct json_doc json;
    json_doc_init(&json);
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->exists = true;
        out->first = (uint64_t)doc_int(&r, "first", 0);
        out->last = (uint64_t)doc_int(&r, "last", 0);
        out->key = doc_needed(&r, "blob");
        out->table_bytes = (uint64_t)doc_int(&r, "table", 0);
        error = r.error;
    }
    json_doc_free(&json);
    return error;
}

enum mld_error seal_last(struct seal *out, struct arena *arena, struct meta *meta,
                         const char *experiment, uint64_t below)
{
    char partition[LANE_PARTITION_BYTES];
    struct meta_docs docs = {0};
    lane_partition(partition, experiment);
    struct meta_range range = {.partition = partition,
                               .token = "sealed",
                               .min_order = INT64_MIN,
                               .max_order = below > INT64_MAX ? INT64_MAX : (int64_t)below - 1,
                               .descending = true,
                               .limit = 1};
    *out = (struct seal){0};
    enum mld_error error = meta_find(meta, &docs, &range);
    if (error == MLD_OK && docs.n > 0)
        error = read_seal(out, arena, &docs.docs[0]);
    meta_docs_free(&docs);
    return error;
}

void seal_id(char out[32], uint64_t first)
{
    snprintf(out, 32, "s:%016llx", (unsigned long long)first);
}

enum mld_error seal_at(struct seal *out, struct arena *arena, struct meta *meta,
                       const char *experiment, uint64_t first)
{
    char partition[LANE_PARTITION_BYTES];
    char id[32];
    struct meta_docs docs = {0};
    lane_partition(partition, experiment);
    seal_id(id, first);
    *out = (struct seal){0};
    enum mld_error error = meta_get(meta, &docs, partition, id);
    if (error == MLD_OK)
        error = read_seal(out, arena, &docs.docs[0]);
    else if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    meta_docs_free(&docs);
    return error;
}

#include "server/file_doc.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const char *const STATES[] = {"none", "open", "live", "reaping", "gone"};

bool file_is_doomed(const struct file_doc *f)
{
    return f->retired_by != NULL || f->removed || f->gone;
}

bool file_is_whole(const struct file_doc *f)
{
    return doc_stamp_is_set(&f->stamp) && f->bytes.state == BYTES_LIVE &&
           f->bytes.size == (uint64_t)f->size &&
           (f->checksum == NULL || strcmp(f->checksum, f->bytes.checksum) == 0);
}

bool file_is_listed(const struct file_doc *f)
{
    return file_is_whole(f) && !file_is_doomed(f) && f->deleted_at == NULL;
}

void file_partition(char out[64], const char *project)
{
    snprintf(out, 64, "files:%s", project);
}

const char *file_doc_id(struct arena *arena, const char *experiment, const char *id,
                        const char *stream)
{
    char text[META_MAX_NAME_BYTES];
    snprintf(text, sizeof text, "%s/%s%s%s", experiment, id, stream == NULL ? "" : "@",
             stream == NULL ? "" : stream);
    return arena_strdup(arena, text);
}

enum mld_error file_name_hash(char out[65], const char *path, const char *filename)
{
    const char *parts[] = {path, filename};
    return doc_hash(out, '\0', parts, 2);
}

void file_name_token(char out[160], const char *experiment, const char *hash, bool newest)
{
    snprintf(out, 160, "%s:%s/%s", newest ? "name-new" : "name", experiment, hash);
}

static void read_bytes(struct file_bytes *b, struct doc_reader *r)
{
    const struct json_node *node = doc_member(r, "bytes");
    if (node == NULL)
        return;
    struct doc_reader in = {r->json, node, r->arena, r->error};
    const char *state = doc_needed(&in, "state");
    for (int i = BYTES_NONE; state != NULL && i <= BYTES_GONE; i++)
        if (strcmp(state, STATES[i]) == 0)
            b->state = (enum bytes_state)i;
    b->key = doc_text(&in, "key");
    b->upload = doc_text(&in, "upload");
    b->size = (uint64_t)doc_int(&in, "size", 0);
    b->part_size = (uint64_t)doc_int(&in, "part_size", 0);
    b->checksum = doc_text(&in, "sha256");
    b->content_type = doc_text(&in, "content_type");
    b->since = doc_int(&in, "since", 0);
    b->life = doc_int(&in, "life", 0);
    b->whole = doc_true(&in, "whole");
    r->error = in.error;
}

static void read_record(struct file_doc *f, struct doc_reader *r)
{
    f->stream = doc_text(r, "stream");
    doc_stamp_read(r, "stamp", &f->stamp);
    f->path = doc_text(r, "path");
    f->filename = doc_text(r, "filename");
    f->content_type = doc_text(r, "content_type");
    f->checksum = doc_text(r, "checksum");
    f->size = doc_int(r, "size", 0);
    f->uploaded_at = doc_text(r, "uploaded_at");
    f->keep = doc_int(r, "keep", 0);
    f->foreign = doc_true(r, "foreign");
}

static void read_changes(struct file_doc *f, struct doc_reader *r)
{
    f->description = doc_text(r, "description");
    doc_stamp_read(r, "description_stamp", &f->description_stamp);
    f->metadata = doc_raw(r, "metadata");
    doc_stamp_read(r, "metadata_stamp", &f->metadata_stamp);
    f->tags = doc_texts(r, "tags");
    doc_stamp_read(r, "tags_stamp", &f->tags_stamp);
    f->bindrs = doc_texts(r, "bindrs");
    doc_stamp_read(r, "bindrs_stamp", &f->bindrs_stamp);
    f->updated_at = doc_text(r, "updated_at");
    f->deleted_at = doc_text(r, "deleted_at");
    doc_stamp_read(r, "deleted_stamp", &f->deleted_stamp);
    f->retired_by = doc_text(r, "retired_by");
    doc_stamp_read(r, "retired_stamp", &f->retired_stamp);
    f->removed = doc_true(r, "removed");
    doc_stamp_read(r, "removed_stamp", &f->removed_stamp);
    f->gone = doc_true(r, "gone");
}

enum mld_error file_doc_read(struct file_doc *out, struct arena *arena, const struct meta_doc *doc)
{
    struct json_doc json;
    json_doc_init(&json);
    *out = (struct file_doc){0};
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->doc_id = arena_strdup(arena, doc->id);
        out->revision = doc->revision;
        out->experiment = doc_needed(&r, "experiment");
        out->id = doc_needed(&r, "id");
        out->record_id = doc_text(&r, "record_id");
        if (out->record_id == NULL)
            out->record_id = out->id;
        read_record(out, &r);
        read_changes(out, &r);
        out->twins = doc_texts(&r, "twins");
        out->newest = doc_true(&r, "newest");
        out->see = doc_text(&r, "see");
        read_bytes(&out->bytes, &r);
        out->was_listed = r.error == MLD_OK && file_is_listed(out);
        error = r.error;
        if (error == MLD_OK && out->doc_id == NULL)
            error = error_set(MLD_ENOMEM, "out of memory for a file");
        if (error != MLD_OK)
            error_prefix(error, "document %s", doc->id);
    }
    json_doc_free(&json);
    return error;
}

static void put_bytes(struct buf *text, const struct file_bytes *b)
{
    if (b->state == BYTES_NONE && b->life == 0)
        return;
    json_put_key(text, "bytes");
    buf_putc(text, '{');
    doc_put_text(text, "state", STATES[b->state]);
    doc_set_text(text, "key", b->key);
    doc_set_text(text, "upload", b->upload);
    doc_set_int(text, "size", (int64_t)b->size);
    doc_set_int(text, "part_size", (int64_t)b->part_size);
    doc_set_text(text, "sha256", b->checksum);
    doc_set_text(text, "content_type", b->content_type);
    doc_set_int(text, "since", b->since);
    doc_set_int(text, "life", b->life);
    doc_set_bool(text, "whole", b->whole);
    buf_putc(text, '}');
}

static void put_members(struct buf *text, const struct file_doc *f)
{
    buf_putc(text, '{');
    doc_put_text(text, "experiment", f->experiment);
    doc_put_text(text, "id", f->id);
    if (f->record_id != NULL && strcmp(f->record_id, f->id) != 0)
        doc_put_text(text, "record_id", f->record_id);
    doc_set_text(text, "stream", f->stream);
    doc_set_stamp(text, "stamp", &f->stamp);
    doc_set_text(text, "path", f->path);
    doc_set_text(text, "filename", f->filename);
    doc_set_text(text, "content_type", f->content_type);
    doc_set_text(text, "checksum", f->checksum);
    doc_set_int(text, "size", f->size);
    doc_set_text(text, "uploaded_at", f->uploaded_at);
    doc_set_int(text, "keep", f->keep);
    doc_set_bool(text, "foreign", f->foreign);
    doc_set_text(text, "description", f->description);
    doc_set_stamp(text, "description_stamp", &f->description_stamp);
    doc_set_raw(text, "metadata", f->metadata);
    doc_set_stamp(text, "metadata_stamp", &f->metadata_stamp);
    doc_set_texts(text, "tags", f->tags);
    doc_set_stamp(text, "tags_stamp", &f->tags_stamp);
    doc_set_texts(text, "bindrs", f->bindrs);
    doc_set_stamp(text, "bindrs_stamp", &f->bindrs_stamp);
    doc_set_text(text, "updated_at", f->updated_at);
    doc_set_text(text, "deleted_at", f->deleted_at);
    doc_set_stamp(text, "deleted_stamp", &f->deleted_stamp);
    doc_set_text(text, "retired_by", f->retired_by);
    doc_set_stamp(text, "retired_stamp", &f->retired_stamp);
    doc_set_bool(text, "removed", f->removed);
    doc_set_stamp(text, "removed_stamp", &f->removed_stamp);
    doc_set_bool(text, "gone", f->gone);
    doc_set_texts(text, "twins", f->twins);
    doc_set_bool(text, "newest", f->newest);
    doc_set_text(text, "see", f->see);
    put_bytes(text, &f->bytes);
    buf_putc(text, '}');
}

/* Tokens on their way into a document. */
struct tokens {
    struct arena *arena;
    const char **items;
    size_t n;
    bool failed;
};

static bool has_token(const struct tokens *t, const char *token)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->items[i], token) == 0)
            return true;
    return false;
}

static void add_token(struct tokens *t, const char *prefix, const char *name, const char *value,
                      size_t value_len)
{
    char token[META_MAX_NAME_BYTES + 1];
    int len = snprintf(token, sizeof token, "%s%s%.*s", prefix, name, (int)value_len, value);
    if (len < 0 || len > META_MAX_NAME_BYTES || t->n == META_MAX_TOKENS || has_token(t, token))
        return;
    t->items[t->n] = arena_strdup(t->arena, token);
    t->failed = t->failed || t->items[t->n] == NULL;
    t->n++;
}

bool file_meta_value(struct buf *out, const char *text, size_t len)
{
    double number;
    char form[NUM_MAX_CHARS];
    if (len > FILE_MAX_META_VALUE)
        return false;
    int64_t integer;
    if (num_parse_int64(text, len, &integer)) {
        buf_put(out, form, num_format_int64(form, integer));
    } else if (len > 0 && num_parse_double(text, len, &number)) {
        size_t n = num_format_double(form, number);
        if (n > 2 && memcmp(form + n - 2, ".0", 2) == 0)
            n -= 2; /* 1.0 is 1 */
        buf_put(out, form, n);
    } else {
        buf_put(out, text, len);
    }
    return true;
}

static void add_meta_tokens(struct tokens *t, const char *prefix, const char *metadata)
{
    struct json_doc json;
    size_t n = 0;
    json_doc_init(&json);
    if (metadata == NULL || json_parse(&json, metadata, strlen(metadata)) != MLD_OK ||
        json_root(&json)->type != JSON_OBJECT) {
        json_doc_free(&json);
        return;
    }
    struct buf token;
    const struct json_node *key = NULL;
    buf_init(&token, (size_t)4 << 20);
    while (n < FILE_MAX_META_TOKENS && (key = json_next(&json, json_root(&json), key)) != NULL) {
        const struct json_node *value = json_value_of(&json, key);
        struct buf text;
        if (value->type == JSON_ARRAY || value->type == JSON_OBJECT || value->type == JSON_NULL)
            continue;
        size_t raw_len;
        const char *raw = json_raw(&json, value, &raw_len);
        buf_init(&text, (size_t)4 << 20);
        if (value->type == JSON_STRING)
            json_decoded(&json, value, &text);
        else
            buf_put(&text, raw, raw_len);
        buf_clear(&token);
        buf_puts(&token, "meta:");
        json_decoded(&json, key, &token);
        buf_putc(&token, '=');
        if (file_meta_value(&token, buf_text(&text), text.len) &&
            strlen(buf_text(&token)) == token.len) {
            add_token(t, prefix, "", token.data, token.len);
            n++;
        }
        t->failed = t->failed || text.failed == MLD_ENOMEM || token.failed == MLD_ENOMEM;
        buf_free(&text);
    }
    buf_free(&token);
    json_doc_free(&json);
}

static void add_tokens(struct tokens *t, const struct file_doc *f)
{
    char token[160];
    char hash[65];
    if (file_is_whole(f) && !file_is_doomed(f) && f->deleted_at != NULL) {
        add_token(t, "deleted/exp:", f->experiment, "", 0);
        add_token(t, "deleted/project", "", "", 0);
    }
    if (!file_is_listed(f))
        return;
    const char *prefix = f->newest ? "new/" : "old/";
    add_token(t, prefix, "exp:", f->experiment, strlen(f->experiment));
    add_token(t, prefix, "project", "", 0);
    t->failed = t->failed || file_name_hash(hash, f->path, f->filename) != MLD_OK;
    file_name_token(token, f->experiment, hash, false);
    add_token(t, token, "", "", 0);
    if (f->newest) {
        file_name_token(token, f->experiment, hash, true);
        add_token(t, token, "", "", 0);
    }
    add_meta_tokens(t, prefix, f->metadata);
    for (size_t i = 0; i < f->tags.n && i < FILE_MAX_TAG_TOKENS; i++)
        add_token(t, prefix, "tag:", f->tags.items[i], strlen(f->tags.items[i]));
}

enum mld_error file_doc_write(const struct file_doc *f, struct arena *arena, const char *partition,
                              struct meta_doc *out)
{
    struct buf text;
    struct tokens t = {.arena = arena,
                       .items = arena_alloc(arena, META_MAX_TOKENS * sizeof(void *))};
    if (t.items == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a file");
    add_tokens(&t, f);
    if (t.failed)
        return error_set(MLD_ENOMEM, "out of memory for a file");
    *out = (struct meta_doc){.partition = partition,
                             .id = f->doc_id,
                             .revision = f->revision,
                             .order = doc_stamp_order(&f->stamp),
                             .tokens = t.items,
                             .n_tokens = t.n};
    buf_init(&text, META_MAX_BODY_BYTES);
    put_members(&text, f);
    return doc_take_text(out, arena, &text);
}

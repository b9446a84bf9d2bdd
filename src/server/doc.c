#include "server/doc.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/json.h"
#include "base/utf8.h"

#define TEXT_MAX_BYTES (16u << 20)

struct doc_stamp doc_stamp_of(int64_t clock, unsigned slot, const char *stream)
{
    struct doc_stamp stamp;
    snprintf(stamp.text, sizeof stamp.text, "%016llx%.8s", (unsigned long long)clock << 10 | slot,
             stream);
    return stamp;
}

int64_t doc_stamp_order(const struct doc_stamp *stamp)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 16 && stamp->text[i] != '\0'; i++) {
        char c = stamp->text[i];
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return (int64_t)value;
}

int doc_stamp_compare(const struct doc_stamp *a, const struct doc_stamp *b)
{
    return strcmp(a->text, b->text);
}

static void fail(struct doc_reader *r, enum mld_error code, const char *key, const char *reason)
{
    if (r->error == MLD_OK)
        r->error = error_set(code, "member %s %s", key, reason);
}

const struct json_node *doc_member(const struct doc_reader *r, const char *key)
{
    const struct json_node *node = json_get(r->json, r->object, key);
    return node != NULL && node->type == JSON_NULL ? NULL : node;
}

bool doc_has(const struct doc_reader *r, const char *key)
{
    return json_get(r->json, r->object, key) != NULL;
}

const char *doc_node_text(struct doc_reader *r, const struct json_node *string)
{
    const char *copy = NULL;
    if (!string->escaped) {
        copy = arena_strndup(r->arena, r->json->text + string->start, string->len);
    } else {
        struct buf text;
        buf_init(&text, TEXT_MAX_BYTES);
        json_decoded(r->json, string, &text);
        if (text.failed == MLD_OK)
            copy = arena_strndup(r->arena, buf_text(&text), text.len);
        buf_free(&text);
    }
    if (copy == NULL)
        fail(r, MLD_ENOMEM, "", "does not fit into memory");
    return copy;
}

const char *doc_text(struct doc_reader *r, const char *key)
{
    const struct json_node *node = doc_member(r, key);
    if (node == NULL)
        return NULL;
    if (node->type != JSON_STRING) {
        fail(r, MLD_EDAMAGED, key, "is no string");
        return NULL;
    }
    return doc_node_text(r, node);
}

const char *doc_needed(struct doc_reader *r, const char *key)
{
    const char *text = doc_text(r, key);
    if (text == NULL)
        fail(r, MLD_EDAMAGED, key, "is missing");
    return text;
}

const char *doc_raw(struct doc_reader *r, const char *key)
{
    const struct json_node *node = doc_member(r, key);
    if (node == NULL)
        return NULL;
    size_t len;
    const char *raw = json_raw(r->json, node, &len);
    const char *copy = arena_strndup(r->arena, raw, len);
    if (copy == NULL)
        fail(r, MLD_ENOMEM, key, "does not fit into memory");
    return copy;
}

int64_t doc_int(struct doc_reader *r, const char *key, int64_t otherwise)
{
    const struct json_node *node = doc_member(r, key);
    int64_t value = otherwise;
    if (node != NULL && !json_int64(r->json, node, &value))
        fail(r, MLD_EDAMAGED, key, "is no integer");
    return value;
}

bool doc_true(const struct doc_reader *r, const char *key)
{
    const struct json_node *node = doc_member(r, key);
    return node != NULL && node->type == JSON_TRUE;
}

struct text_list doc_texts(struct doc_reader *r, const char *key)
{
    struct text_list none = {NULL, 0};
    const struct json_node *array = doc_member(r, key);
    if (array == NULL)
        return none;
    if (array->type != JSON_ARRAY) {
        fail(r, MLD_EDAMAGED, key, "is no array");
        return none;
    }
    const char **items = arena_alloc(r->arena, (array->count + 1) * sizeof *items);
    if (items == NULL) {
        fail(r, MLD_ENOMEM, key, "does not fit into memory");
        return none;
    }
    size_t n = 0;
    const struct json_node *node = NULL;
    while ((node = json_next(r->json, array, node)) != NULL && r->error == MLD_OK) {
        if (node->type == JSON_STRING)
            items[n++] = doc_node_text(r, node);
        else
            fail(r, MLD_EDAMAGED, key, "holds something that is no string");
    }
    return r->error != MLD_OK ? none : (struct text_list){items, n};
}

void doc_stamp_read(struct doc_reader *r, const char *key, struct doc_stamp *out)
{
    const struct json_node *node = doc_member(r, key);
    *out = (struct doc_stamp){{0}};
    if (node == NULL)
        return;
    if (node->type == JSON_STRING && node->len == DOC_STAMP_LEN)
        memcpy(out->text, r->json->text + node->start, DOC_STAMP_LEN);
    else
        fail(r, MLD_EDAMAGED, key, "is no stamp");
}

void doc_put_key(struct buf *b, const char *key)
{
    json_put_key(b, key);
}

void doc_put_string(struct buf *b, const char *text)
{
    json_put_cstring(b, text);
}

void doc_put_time(struct buf *b, const char *key, int64_t us)
{
    char text[CLOCK_ISO_LEN + 1];
    clock_format_iso(text, us);
    doc_put_text(b, key, us == 0 ? NULL : text);
}

void doc_put_text(struct buf *b, const char *key, const char *text)
{
    json_put_key(b, key);
    json_put_cstring(b, text);
}

void doc_put_raw(struct buf *b, const char *key, const char *json)
{
    json_put_key(b, key);
    if (json == NULL)
        buf_puts(b, "null");
    else
        json_put_compact(b, json, strlen(json));
}

void doc_put_int(struct buf *b, const char *key, int64_t value)
{
    json_put_key(b, key);
    json_put_int64(b, value);
}

void doc_put_bool(struct buf *b, const char *key, bool value)
{
    json_put_key(b, key);
    json_put_bool(b, value);
}

void doc_put_texts(struct buf *b, const char *key, struct text_list list)
{
    json_put_key(b, key);
    buf_putc(b, '[');
    for (size_t i = 0; i < list.n; i++) {
        if (i > 0)
            buf_putc(b, ',');
        json_put_cstring(b, list.items[i]);
    }
    buf_putc(b, ']');
}

void doc_set_text(struct buf *b, const char *key, const char *text)
{
    if (text != NULL)
        doc_put_text(b, key, text);
}

void doc_set_raw(struct buf *b, const char *key, const char *json)
{
    if (json != NULL)
        doc_put_raw(b, key, json);
}

void doc_set_int(struct buf *b, const char *key, int64_t value)
{
    if (value != 0)
        doc_put_int(b, key, value);
}

void doc_set_bool(struct buf *b, const char *key, bool value)
{
    if (value)
        doc_put_bool(b, key, value);
}

void doc_set_texts(struct buf *b, const char *key, struct text_list list)
{
    if (list.n > 0)
        doc_put_texts(b, key, list);
}

void doc_set_stamp(struct buf *b, const char *key, const struct doc_stamp *stamp)
{
    if (doc_stamp_is_set(stamp))
        doc_put_text(b, key, stamp->text);
}

/* A token that is no JSON at text[i]; its length, or 0. Outside strings these letters begin nothing
 * else. */
static size_t nonfinite_at(const char *text)
{
    static const char *const WORDS[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (strncmp(text, WORDS[i], strlen(WORDS[i])) == 0)
            return strlen(WORDS[i]);
    return 0;
}

void doc_put_standard(struct buf *b, const char *key, const char *json)
{
    if (json == NULL || (strstr(json, "NaN") == NULL && strstr(json, "Infinity") == NULL)) {
        doc_put_raw(b, key, json);
        return;
    }
    json_put_key(b, key);
    bool quoted = false;
    for (size_t i = 0; json[i] != '\0';) {
        size_t word = quoted ? 0 : nonfinite_at(json + i);
        if (word > 0) {
            buf_putc(b, '"');
            buf_put(b, json + i, word);
            buf_putc(b, '"');
            i += word;
            continue;
        }
        if (quoted && json[i] == '\\')
            buf_putc(b, json[i++]);
        else if (json[i] == '"')
            quoted = !quoted;
        buf_putc(b, json[i++]);
    }
}

enum mld_error doc_parse(struct json_doc *json, const struct meta_doc *doc)
{
    enum mld_error error = json_parse(json, doc->text == NULL ? "" : doc->text, doc->text_len);
    if (error == MLD_OK && json_root(json)->type != JSON_OBJECT)
        error = error_set(MLD_EDAMAGED, "it is no object");
    if (error == MLD_OK || error == MLD_ENOMEM)
        return error;
    return error_prefix(MLD_EDAMAGED, "document %s of %s", doc->id, doc->partition);
}

enum mld_error doc_take_text(struct meta_doc *out, struct arena *arena, struct buf *text)
{
    enum mld_error error = buf_check(text, "document");
    if (error == MLD_OK) {
        out->text = arena_strndup(arena, buf_text(text), text->len);
        out->text_len = text->len;
        if (out->text == NULL)
            error = error_set(MLD_ENOMEM, "out of memory for a document");
    }
    buf_free(text);
    return error;
}

enum mld_error doc_hash(char out[65], char joint, const char *const *parts, size_t n)
{
    struct sha256 h = {0};
    enum mld_error error = sha256_begin(&h);
    out[0] = '\0';
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (i > 0)
            sha256_update(&h, &joint, 1);
        sha256_update(&h, parts[i], strlen(parts[i]));
    }
    if (error == MLD_OK)
        error = sha256_end(&h, out);
    sha256_free(&h);
    return error;
}

bool doc_is_hex(const char *text, size_t len)
{
    return text != NULL && strspn(text, "0123456789abcdef") == len && text[len] == '\0';
}

bool doc_is_id(const char *text)
{
    size_t len = text == NULL ? 0 : strspn(text, "0123456789");
    return len > 0 && len <= ID_FILE_MAX && text[len] == '\0' && text[0] != '0';
}

bool doc_is_plain(const char *text, size_t max)
{
    size_t len = text == NULL ? 0 : strnlen(text, max + 1);
    if (len == 0 || len > max || !utf8_is_valid(text, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

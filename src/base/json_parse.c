/* The parser: one pass over the text, a function per kind of value, one node per value. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_internal.h"
#include "base/utf8.h"

#define FIRST_CAPACITY 64

struct parser {
    const char *text;
    const char *p;
    const char *end;
    struct json_doc *doc;
};

static enum mld_error parse_value(struct parser *ps, unsigned depth);

void json_doc_init(struct json_doc *doc)
{
    *doc = (struct json_doc){0};
}

void json_doc_free(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    free(doc->nodes);
    json_doc_init(doc);
}

static enum mld_error fail(const struct parser *ps, const char *problem)
{
    return error_set(MLD_EINVALID, "invalid JSON: %s at byte %zu", problem,
                     (size_t)(ps->p - ps->text));
}

static enum mld_error nodes_grow(struct json_doc *doc)
{
    if (doc->capacity >= JSON_MAX_NODES)
        return error_set(MLD_ETOOLARGE, "JSON text has more than %u values", JSON_MAX_NODES);

    uint32_t capacity = doc->capacity == 0 ? FIRST_CAPACITY : doc->capacity * 2;
    struct json_node *nodes = realloc(doc->nodes, capacity * sizeof(*nodes));
    if (nodes == NULL)
        return error_set(MLD_ENOMEM, "no memory for a JSON text of %u values", capacity);
    doc->nodes = nodes;
    doc->capacity = capacity;
    return MLD_OK;
}

/* Appends a node that begins at the parser's place; *out is its index, which stays valid when the
 * array moves. */
static inline enum mld_error node_add(struct parser *ps, enum json_type type, uint32_t *out)
{
    struct json_doc *doc = ps->doc;

    *out = doc->count;
    if (doc->count == doc->capacity) {
        enum mld_error error = nodes_grow(doc);
        if (error != MLD_OK)
            return error;
    }
    doc->nodes[doc->count++] =
        (struct json_node){.start = (uint32_t)(ps->p - ps->text), .type = (uint8_t)type};
    return MLD_OK;
}

/* Completes a node whose text ends at the parser's place and whose subtree ends at the last node.
 */
static inline void node_end(struct parser *ps, uint32_t index, uint32_t count)
{
    struct json_node *node = &ps->doc->nodes[index];

    node->len = (uint32_t)(ps->p - ps->text) - node->start;
    node->next = ps->doc->count;
    node->count = count;
}

static inline void skip_space(struct parser *ps)
{
    while (ps->p < ps->end && json_is_space(*ps->p))
        ps->p++;
}

static inline bool at(const struct parser *ps, char c)
{
    return ps->p < ps->end && *ps->p == c;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* At a backslash; moves behind the escape. */
static enum mld_error parse_escape(struct parser *ps)
{
    ptrdiff_t left = ps->end - ps->p;

    if (left >= 2 && ps->p[1] != '\0' && strchr("\"\\/bfnrt", ps->p[1]) != NULL) {
        ps->p += 2;
        return MLD_OK;
    }
    if (left < 6 || ps->p[1] != 'u')
        return fail(ps, "unknown or incomplete escape");
    for (int i = 2; i < 6; i++) {
        if (!is_hex(ps->p[i]))
            return fail(ps, "\\u without four hex digits");
    }
    ps->p += 6;
    return MLD_OK;
}

/* At a byte that is not plain, inside a string; moves behind the character. */
static enum mld_error parse_special(struct parser *ps)
{
    if (*ps->p == '\\')
        return parse_escape(ps);
    if ((unsigned char)*ps->p < 0x20)
        return fail(ps, "control character in a string");

    size_t width = utf8_sequence((const unsigned char *)ps->p, (size_t)(ps->end - ps->p));
    if (width == 0)
        return fail(ps, "invalid UTF-8");
    ps->p += width;
    return MLD_OK;
}

static enum mld_error parse_string(struct parser *ps)
{
    uint32_t index;
    bool escaped = false;

    ps->p++;
    enum mld_error error = node_add(ps, JSON_STRING, &index);
    while (error == MLD_OK) {
        ps->p = json_skip_plain(ps->p, ps->end);
        if (ps->p == ps->end)
            return fail(ps, "string without an end");
        if (*ps->p == '"')
            break;
        escaped = escaped || *ps->p == '\\';
        error = parse_special(ps);
    }
    if (error != MLD_OK)
        return error;
    node_end(ps, index, 0);
    ps->doc->nodes[index].escaped = escaped;
    ps->p++;
    return MLD_OK;
}

static enum mld_error parse_word(struct parser *ps, enum json_type type, const char *word)
{
    size_t len = strlen(word);
    uint32_t index;

    if ((size_t)(ps->end - ps->p) < len || memcmp(ps->p, word, len) != 0)
        return fail(ps, "expected a value");
    enum mld_error error = node_add(ps, type, &index);
    if (error != MLD_OK)
        return error;
    ps->p += len;
    node_end(ps, index, 0);
    return MLD_OK;
}

/* Moves behind digits; false when there was none. */
static inline bool skip_digits(struct parser *ps)
{
    const char *first = ps->p;

    while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9')
        ps->p++;
    return ps->p > first;
}

static enum mld_error parse_number(struct parser *ps)
{
    uint32_t index;
    enum mld_error error = node_add(ps, JSON_NUMBER, &index);

    if (error != MLD_OK)
        return error;
    if (at(ps, '-'))
        ps->p++;
    if (at(ps, '0'))
        ps->p++; /* a digit behind it is then found where a comma or an end must be */
    else if (!skip_digits(ps))
        return fail(ps, "expected a digit");
    if (at(ps, '.')) {
        ps->p++;
        if (!skip_digits(ps))
            return fail(ps, "expected a digit behind the point");
    }
    if (at(ps, 'e') || at(ps, 'E')) {
        ps->p++;
        if (at(ps, '+') || at(ps, '-'))
            ps->p++;
        if (!skip_digits(ps))
            return fail(ps, "expected a digit in the exponent");
    }
    node_end(ps, index, 0);
    return MLD_OK;
}

static enum mld_error parse_array(struct parser *ps, unsigned depth)
{
    uint32_t index;
    uint32_t count = 0;
    enum mld_error error = node_add(ps, JSON_ARRAY, &index);

    if (error != MLD_OK)
        return error;
    ps->p++;
    skip_space(ps);
    while (!at(ps, ']')) {
        if (count > 0 && !at(ps, ','))
            return fail(ps, "expected , or ]");
        ps->p += count > 0;
        error = parse_value(ps, depth + 1);
        if (error != MLD_OK)
            return error;
        count++;
    }
    ps->p++;
    node_end(ps, index, count);
    return MLD_OK;
}

/* A key with its colon, and the value. */
static enum mld_error parse_member(struct parser *ps, unsigned depth)
{
    skip_space(ps);
    if (!at(ps, '"'))
        return fail(ps, "expected a key in quotes");
    enum mld_error error = parse_string(ps);
    if (error != MLD_OK)
        return error;
    skip_space(ps);
    if (!at(ps, ':'))
        return fail(ps, "expected : behind the key");
    ps->p++;
    return parse_value(ps, depth + 1);
}

static enum mld_error parse_object(struct parser *ps, unsigned depth)
{
    uint32_t index;
    uint32_t count = 0;
    enum mld_error error = node_add(ps, JSON_OBJECT, &index);

    if (error != MLD_OK)
        return error;
    ps->p++;
    skip_space(ps);
    while (!at(ps, '}')) {
        if (count > 0 && !at(ps, ','))
            return fail(ps, "expected , or }");
        ps->p += count > 0;
        error = parse_member(ps, depth);
        if (error != MLD_OK)
            return error;
        count++;
    }
    ps->p++;
    node_end(ps, index, count);
    return MLD_OK;
}

static enum mld_error parse_bare(struct parser *ps)
{
    switch (*ps->p) {
    case 't':
        return parse_word(ps, JSON_TRUE, "true");
    case 'f':
        return parse_word(ps, JSON_FALSE, "false");
    case 'n':
        return parse_word(ps, JSON_NULL, "null");
    case 'N':
        return parse_word(ps, JSON_NUMBER, "NaN");
    case 'I':
        return parse_word(ps, JSON_NUMBER, "Infinity");
    case '-':
        if (ps->end - ps->p > 1 && ps->p[1] == 'I')
            return parse_word(ps, JSON_NUMBER, "-Infinity");
        return parse_number(ps);
    default:
        if (*ps->p < '0' || *ps->p > '9')
            return fail(ps, "expected a value");
        return parse_number(ps);
    }
}

static enum mld_error parse_container(struct parser *ps, unsigned depth)
{
    if (depth >= JSON_MAX_DEPTH)
        return error_set(MLD_ETOOLARGE, "JSON text nested deeper than %d at byte %zu",
                         JSON_MAX_DEPTH, (size_t)(ps->p - ps->text));
    return *ps->p == '{' ? parse_object(ps, depth) : parse_array(ps, depth);
}

/* White space, a value inside `depth` arrays and objects, white space. */
static enum mld_error parse_value(struct parser *ps, unsigned depth)
{
    enum mld_error error;

    skip_space(ps);
    if (ps->p == ps->end)
        return fail(ps, "expected a value");
    if (*ps->p == '"')
        error = parse_string(ps);
    else if (*ps->p == '{' || *ps->p == '[')
        error = parse_container(ps, depth);
    else
        error = parse_bare(ps);
    skip_space(ps);
    return error;
}

enum mld_error json_parse(struct json_doc *doc, const char *text, size_t len)
{
    struct parser ps = {.text = text, .p = text, .end = text + len, .doc = doc};

    assert(doc != NULL && text != NULL);
    doc->text = text;
    doc->len = len;
    doc->count = 0;
    if (len > JSON_MAX_TEXT_BYTES)
        return error_set(MLD_ETOOLARGE, "JSON text longer than %u bytes", JSON_MAX_TEXT_BYTES);

    enum mld_error error = parse_value(&ps, 0);
    if (error == MLD_OK && ps.p != ps.end)
        error = fail(&ps, "more text behind the value");
    if (error != MLD_OK)
        doc->count = 0;
    return error;
}

/* Access to parsed values, and the check of texts given by users. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"

const struct json_node *json_root(const struct json_doc *doc)
{
    return doc->count > 0 ? doc->nodes : NULL;
}

static uint32_t index_of(const struct json_doc *doc, const struct json_node *node)
{
    return (uint32_t)(node - doc->nodes);
}

static bool is_type(const struct json_node *node, enum json_type type)
{
    return node != NULL && node->type == type;
}

const struct json_node *json_value_of(const struct json_doc *doc, const struct json_node *key)
{
    (void)doc;
    return key != NULL ? key + 1 : NULL;
}

const struct json_node *json_next(const struct json_doc *doc, const struct json_node *parent,
                                  const struct json_node *previous)
{
    if (!is_type(parent, JSON_ARRAY) && !is_type(parent, JSON_OBJECT))
        return NULL;

    uint32_t index = index_of(doc, parent) + 1;
    if (previous != NULL && parent->type == JSON_OBJECT)
        index = json_value_of(doc, previous)->next;
    else if (previous != NULL)
        index = previous->next;
    return index < parent->next ? &doc->nodes[index] : NULL;
}

static unsigned hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return (unsigned)((c | 0x20) - 'a') + 10;
}

/* The value of the four digits of a \u escape that was checked by the parser. */
static unsigned escape_code(const char *digits)
{
    return hex_value(digits[0]) << 12 | hex_value(digits[1]) << 8 | hex_value(digits[2]) << 4 |
           hex_value(digits[3]);
}

static size_t encode_utf8(unsigned code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t width = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = width - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(lead[width] | code);
    return width;
}

/* Decodes the escape at *p into `out` (room for 4), moves *p behind it and returns the number of
 * bytes. Two escapes that make a surrogate pair are one character; a lone surrogate is kept in its
 * three-byte form. Looking ahead is safe: escapes are whole, and a quote is behind the last. */
static size_t decode_escape(const char **p, char *out)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    char letter = (*p)[1];

    if (letter != 'u') {
        const char *found = strchr(letters, letter);
        out[0] = found != NULL ? meanings[found - letters] : letter;
        *p += 2;
        return 1;
    }

    unsigned code = escape_code(*p + 2);
    *p += 6;
    if (code >> 10 == 0xD800 >> 10 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        unsigned low = escape_code(*p + 2);
        if (low >> 10 == 0xDC00 >> 10) {
            code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
            *p += 6;
        }
    }
    return encode_utf8(code, out);
}

void json_decoded(const struct json_doc *doc, const struct json_node *string, struct buf *out)
{
    if (!is_type(string, JSON_STRING))
        return;

    const char *p = doc->text + string->start;
    const char *end = p + string->len;
    while (p < end) {
        const char *stop = string->escaped ? memchr(p, '\\', (size_t)(end - p)) : NULL;
        if (stop == NULL)
            stop = end;
        buf_put(out, p, (size_t)(stop - p));
        p = stop;
        if (p < end) {
            char decoded[4];
            size_t width = decode_escape(&p, decoded);
            buf_put(out, decoded, width);
        }
    }
}

char *json_strdup(const struct json_doc *doc, const struct json_node *string)
{
    struct buf out;

    if (!is_type(string, JSON_STRING))
        return NULL;
    buf_init(&out, (size_t)string->len + 1); /* decoding never makes it longer */
    json_decoded(doc, string, &out);
    char *text = buf_steal(&out);
    buf_free(&out);
    return text;
}

/* Hands out the bytes of a string one by one, decoded, so that comparing needs no memory. */
struct reader {
    const char *p;
    const char *end;
    bool escaped;
    char decoded[4];
    size_t pending; /* bytes of `decoded` not handed out yet, its last ones */
    size_t width;
};

static struct reader reader_of(const struct json_doc *doc, const struct json_node *string)
{
    const char *p = doc->text + string->start;
    return (struct reader){.p = p, .end = p + string->len, .escaped = string->escaped};
}

static int reader_next(struct reader *r)
{
    if (r->pending == 0) {
        if (r->p == r->end)
            return -1;
        if (!r->escaped || *r->p != '\\')
            return (unsigned char)*r->p++;
        r->width = decode_escape(&r->p, r->decoded);
        r->pending = r->width;
    }
    return (unsigned char)r->decoded[r->width - r->pending--];
}

static bool decoded_equal(struct reader x, struct reader y)
{
    int c;

    do {
        c = reader_next(&x);
        if (c != reader_next(&y))
            return false;
    } while (c != -1);
    return true;
}

static inline bool readers_equal(const struct reader *x, const struct reader *y)
{
    size_t len = (size_t)(x->end - x->p);

    if (x->escaped || y->escaped)
        return decoded_equal(*x, *y);
    return len == (size_t)(y->end - y->p) && memcmp(x->p, y->p, len) == 0;
}

static bool strings_equal(const struct json_doc *a, const struct json_node *x,
                          const struct json_doc *b, const struct json_node *y)
{
    struct reader p = reader_of(a, x);
    struct reader q = reader_of(b, y);

    return readers_equal(&p, &q);
}

/* The value of the last member whose key reads as `key`. Most keys differ in length, which is seen
 * first. */
static const struct json_node *find_member(const struct json_doc *doc,
                                           const struct json_node *object, const struct reader *key)
{
    const struct json_node *found = NULL;
    uint32_t index = index_of(doc, object) + 1;
    size_t len = (size_t)(key->end - key->p);

    while (index < object->next) {
        const struct json_node *member = &doc->nodes[index];
        if (!member->escaped && !key->escaped) {
            if (member->len == len && memcmp(doc->text + member->start, key->p, len) == 0)
                found = member + 1;
        } else {
            struct reader name = reader_of(doc, member);
            if (readers_equal(&name, key))
                found = member + 1;
        }
        index = member[1].next;
    }
    return found;
}

const struct json_node *json_get(const struct json_doc *doc, const struct json_node *object,
                                 const char *key)
{
    if (!is_type(object, JSON_OBJECT))
        return NULL;
    struct reader name = {.p = key, .end = key + strlen(key)};
    return find_member(doc, object, &name);
}

static unsigned key_hash(const char *key, size_t len)
{
    if (len == 0)
        return 0;
    return ((unsigned)len * 5 + (unsigned char)key[0] + (unsigned char)key[len - 1] * 3) % 64;
}

void json_index_init(struct json_index *index, const struct json_doc *doc,
                     const struct json_node *object)
{
    const struct json_node *key = NULL;

    index->doc = doc;
    index->object = object;
    index->usable = false;
    memset(index->heads, 0, sizeof index->heads);
    if (!is_type(object, JSON_OBJECT))
        return;
    for (uint8_t i = 0; (key = json_next(doc, object, key)) != NULL; i++) {
        if (key->escaped || i == JSON_INDEX_MEMBERS)
            return;
        uint8_t *head = &index->heads[key_hash(doc->text + key->start, key->len)];
        index->keys[i] = index_of(doc, key);
        index->earlier[i] = *head;
        *head = i + 1;
    }
    index->usable = true;
}

const struct json_node *json_index_get(const struct json_index *index, const char *key)
{
    size_t len = strlen(key);

    if (!index->usable)
        return json_get(index->doc, index->object, key);
    for (unsigned i = index->heads[key_hash(key, len)]; i != 0; i = index->earlier[i - 1]) {
        const struct json_node *member = &index->doc->nodes[index->keys[i - 1]];
        if (member->len == len && memcmp(index->doc->text + member->start, key, len) == 0)
            return member + 1;
    }
    return NULL;
}

bool json_equals(const struct json_doc *doc, const struct json_node *string, const char *text)
{
    if (!is_type(string, JSON_STRING))
        return false;
    struct reader x = reader_of(doc, string);
    struct reader y = {.p = text, .end = text + strlen(text)};
    return readers_equal(&x, &y);
}

const char *json_raw(const struct json_doc *doc, const struct json_node *node, size_t *len)
{
    *len = 0;
    if (node == NULL)
        return NULL;
    size_t quote = node->type == JSON_STRING;
    *len = node->len + 2 * quote;
    return doc->text + node->start - quote;
}

bool json_int64(const struct json_doc *doc, const struct json_node *node, int64_t *out)
{
    int64_t value;

    if (!is_type(node, JSON_NUMBER) || !num_parse_int64(doc->text + node->start, node->len, &value))
        return false;
    *out = value;
    return true;
}

bool json_double(const struct json_doc *doc, const struct json_node *node, double *out)
{
    double value;

    if (!is_type(node, JSON_NUMBER) ||
        !num_parse_double(doc->text + node->start, node->len, &value))
        return false;
    *out = value;
    return true;
}

static bool is_integer(const struct json_doc *doc, const struct json_node *number)
{
    const char *text = doc->text + number->start;

    for (uint32_t i = *text == '-'; i < number->len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return true;
}

static bool numbers_same(const struct json_doc *a, const struct json_node *x,
                         const struct json_doc *b, const struct json_node *y)
{
    double p = 0;
    double q = 0;

    if (x->len == y->len && memcmp(a->text + x->start, b->text + y->start, x->len) == 0)
        return true;
    json_double(a, x, &p);
    json_double(b, y, &q);
    if (is_integer(a, x) && is_integer(b, y))
        return p == 0 && q == 0; /* of all integers only 0 has two texts */
    return p == q;
}

static bool arrays_same(const struct json_doc *a, const struct json_node *x,
                        const struct json_doc *b, const struct json_node *y)
{
    const struct json_node *p = NULL;
    const struct json_node *q = NULL;

    if (x->count != y->count)
        return false;
    while ((p = json_next(a, x, p)) != NULL) {
        q = json_next(b, y, q);
        if (!json_same(a, p, b, q))
            return false;
    }
    return true;
}

/* True when each key of `x` is one of `y` too; with `values`, with the same value. */
static bool members_within(const struct json_doc *a, const struct json_node *x,
                           const struct json_doc *b, const struct json_node *y, bool values)
{
    const struct json_node *key = NULL;

    while ((key = json_next(a, x, key)) != NULL) {
        const struct json_node *value = json_value_of(a, key);
        struct reader name = reader_of(a, key);
        const struct json_node *other = find_member(b, y, &name);

        if (other == NULL)
            return false;
        if (!values || find_member(a, x, &name) != value)
            continue;
        if (!json_same(a, value, b, other))
            return false;
    }
    return true;
}

bool json_same(const struct json_doc *a, const struct json_node *x, const struct json_doc *b,
               const struct json_node *y)
{
    if (x == NULL || y == NULL || x->type != y->type)
        return false;
    switch (x->type) {
    case JSON_NUMBER:
        return numbers_same(a, x, b, y);
    case JSON_STRING:
        return strings_equal(a, x, b, y);
    case JSON_ARRAY:
        return arrays_same(a, x, b, y);
    case JSON_OBJECT:
        return members_within(b, y, a, x, false) && members_within(a, x, b, y, true);
    default:
        return true;
    }
}

bool json_has_nonfinite(const struct json_doc *doc, const struct json_node *node)
{
    if (node == NULL)
        return false;
    for (uint32_t i = index_of(doc, node); i < node->next; i++) {
        const struct json_node *each = &doc->nodes[i];
        if (each->type != JSON_NUMBER)
            continue;
        char last = doc->text[each->start + each->len - 1];
        if (last == 'N' || last == 'y')
            return true;
    }
    return false;
}

enum mld_error json_check(const char *what, const char *text, bool object, bool finite)
{
    struct json_doc doc;
    enum mld_error error = MLD_OK;

    if (text == NULL)
        return MLD_OK;
    json_doc_init(&doc);
    error = json_parse(&doc, text, strlen(text));
    if (error != MLD_OK)
        error = error_prefix(error, "%s", what);
    else if (object && !is_type(json_root(&doc), JSON_OBJECT))
        error = error_set(MLD_EINVALID, "%s: must be a JSON object, such as {\"epoch\": 3}", what);
    else if (finite && json_has_nonfinite(&doc, json_root(&doc)))
        error =
            error_set(MLD_EINVALID, "%s: holds NaN or Infinity; give finite numbers or null", what);
    json_doc_free(&doc);
    return error;
}

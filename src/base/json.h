/* json.h: the JSON of the run folder. Reads and writes what Python writes: NaN, Infinity and
 * -Infinity as bare tokens, integers of any length and unknown members kept as text, lone
 * surrogates kept (as three-byte WTF-8 in memory, as \udXXX in text). No locale. Doubles are
 * written shortest, always with a point or an exponent (1.0, 1e+16), as Python's repr() would.
 *
 * The parser fills a reusable flat array of nodes over the caller's text and allocates nothing per
 * value, so that 100,000 records parse in a fraction of a second. Strings are unescaped only when
 * asked for. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define JSON_MAX_DEPTH 128 /* arrays and objects inside one another */
#define JSON_MAX_TEXT_BYTES (1u << 30)
#define JSON_MAX_NODES (1u << 26) /* values and keys of one text */

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* One value. An object's members are pairs: a JSON_STRING node (the key), then the value's
 * subtree. */
struct json_node {
    uint32_t start; /* offset of the raw text; for strings of the first byte inside the quotes */
    uint32_t len;   /* raw length in bytes; for strings without the quotes */
    uint32_t next;  /* index of the first node behind this subtree */
    uint32_t count; /* array: elements; object: members */
    uint8_t type;   /* enum json_type */
    bool escaped;   /* a string with a backslash in it */
};

struct json_doc {
    const char *text; /* borrowed */
    size_t len;
    struct json_node *nodes; /* nodes[0] is the root */
    uint32_t count;
    uint32_t capacity;
};

void json_doc_init(struct json_doc *doc);
void json_doc_free(struct json_doc *doc);

/* Parses one whole JSON text (white space around it is allowed). The doc may be used again; its
 * earlier nodes go. MLD_EINVALID names what and the byte offset; MLD_ETOOLARGE beyond the limits.
 * Invalid UTF-8 in strings is MLD_EINVALID. */
enum mld_error json_parse(struct json_doc *doc, const char *text, size_t len);

const struct json_node *json_root(const struct json_doc *doc);
/* The value of an object's member, NULL when there is none or `object` is NULL or no object. Last
 * duplicate wins. */
const struct json_node *json_get(const struct json_doc *doc, const struct json_node *object,
                                 const char *key);
/* The same for one object of which many members are asked for: their keys are gone through once.
 * Borrows doc and object; needs no freeing. */
#define JSON_INDEX_MEMBERS \
    48 /* an object with more, or with an escaped key, is searched as above */
struct json_index {
    const struct json_doc *doc;
    const struct json_node *object;
    bool usable;
    uint8_t heads[64]; /* by a hash of the key: 1 + a place in `keys`, the last of its members */
    uint8_t earlier[JSON_INDEX_MEMBERS];
    uint32_t keys[JSON_INDEX_MEMBERS]; /* node indices */
};
void json_index_init(struct json_index *index, const struct json_doc *doc,
                     const struct json_node *object);
const struct json_node *json_index_get(const struct json_index *index, const char *key);
/* Walks an array's elements or an object's keys (value = json_value_of(key)): start with NULL; NULL
 * at the end. Goes through duplicate keys too. */
const struct json_node *json_next(const struct json_doc *doc, const struct json_node *parent,
                                  const struct json_node *previous);
const struct json_node *json_value_of(const struct json_doc *doc, const struct json_node *key);

/* True, and *out set, when the node is what is asked for (NULL nodes: false). int64: an integer
 * literal that fits. double: any number or NaN/Infinity token. */
bool json_int64(const struct json_doc *doc, const struct json_node *node, int64_t *out);
bool json_double(const struct json_doc *doc, const struct json_node *node, double *out);
bool json_equals(const struct json_doc *doc, const struct json_node *string, const char *text);
/* Appends a string node's decoded bytes (may hold NUL) to `out`; nothing when it is no string. */
void json_decoded(const struct json_doc *doc, const struct json_node *string, struct buf *out);
/* A string node decoded into own memory (malloc), NULL when not a string or out of memory. */
char *json_strdup(const struct json_doc *doc, const struct json_node *string);
/* The raw text of any node (strings: with their quotes), borrowed from the text. */
const char *json_raw(const struct json_doc *doc, const struct json_node *node, size_t *len);
/* Deep equality of values: objects without order (of duplicate keys the last), numbers by value:
 * integers exactly, others as doubles, and NaN is the same as NaN. Both docs may be the same. Takes
 * time quadratic in the members of an object. */
bool json_same(const struct json_doc *a, const struct json_node *x, const struct json_doc *b,
               const struct json_node *y);
/* True when a NaN or Infinity token occurs anywhere below the node. */
bool json_has_nonfinite(const struct json_doc *doc, const struct json_node *node);

/* Writers: append to `b`. Strings are WTF-8; control characters and quotes are escaped, other UTF-8
 * goes as it is. Each invalid byte becomes U+FFFD. */
void json_put_string(struct buf *b, const char *text, size_t len);
void json_put_cstring(struct buf *b, const char *text); /* NULL writes null */
void json_put_double(struct buf *b, double value);
void json_put_int64(struct buf *b, int64_t value);
void json_put_bool(struct buf *b, bool value);
/* Writes `,` unless the last byte is `{`, `[` or nothing, then the key and a colon. For plain ASCII
 * keys. */
void json_put_key(struct buf *b, const char *key);
/* Copies JSON text that is known to be valid, without line breaks: white space outside strings is
 * dropped. */
void json_put_compact(struct buf *b, const char *json, size_t len);

/* Checks a JSON text given by a user: MLD_EINVALID names `what`. With `object`, it must be an
 * object; with `finite`, NaN and infinities are refused. NULL text is fine. */
enum mld_error json_check(const char *what, const char *text, bool object, bool finite);

#endif

/* doc.h: the texts of the server's documents: read with base/json.h, since they hold what records
 * say as it was said (NaN, integers of any size), and written with its writers. Not thread-safe.
 * (base/json.h itself is not included here: its names and jansson's clash.) */
#ifndef SERVER_DOC_H
#define SERVER_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "meta/meta.h"

struct json_doc;
struct json_node;

#define DOC_STAMP_LEN 24

/* When and by whom something was said: 16 hex digits of (clock << 10 | slot), then 8 of the
 * stream's id, so that no two streams say something at once. Compares as text; "" is before all. */
struct doc_stamp {
    char text[DOC_STAMP_LEN + 1];
};
struct doc_stamp doc_stamp_of(int64_t clock, unsigned slot, const char *stream);
int64_t doc_stamp_order(const struct doc_stamp *stamp); /* its number, for a document's order */
static inline bool doc_stamp_is_set(const struct doc_stamp *stamp)
{
    return stamp->text[0] != '\0';
}
int doc_stamp_compare(const struct doc_stamp *a, const struct doc_stamp *b);

struct text_list {
    const char *const *items;
    size_t n;
};

/* One JSON object that is read member by member. Failures stick: ask `error` at the end. A member
 * that is missing or null gives NULL, 0, false or an empty list; one of another type is
 * MLD_EDAMAGED. */
struct doc_reader {
    const struct json_doc *json;
    const struct json_node *object;
    struct arena *arena; /* where texts go */
    enum mld_error error;
};
const struct json_node *doc_member(const struct doc_reader *r, const char *key); /* null is NULL */
bool doc_has(const struct doc_reader *r, const char *key);                       /* null too */
const char *doc_text(struct doc_reader *r, const char *key);
const char *doc_needed(struct doc_reader *r, const char *key); /* missing: MLD_EDAMAGED */
const char *doc_raw(struct doc_reader *r, const char *key);    /* JSON text of the value */
int64_t doc_int(struct doc_reader *r, const char *key, int64_t otherwise);
bool doc_true(const struct doc_reader *r, const char *key);
struct text_list doc_texts(struct doc_reader *r, const char *key);
void doc_stamp_read(struct doc_reader *r, const char *key, struct doc_stamp *out);
/* A string node's text; the reader's failure and NULL when out of memory. */
const char *doc_node_text(struct doc_reader *r, const struct json_node *string);

/* Members. Those named _set write nothing for NULL, 0, an unset stamp, false. */
void doc_put_key(struct buf *b, const char *key);     /* its value follows */
void doc_put_string(struct buf *b, const char *text); /* a value in an array; NULL writes null */
void doc_put_text(struct buf *b, const char *key, const char *text); /* NULL writes null */
void doc_put_time(struct buf *b, const char *key, int64_t us);       /* ISO 8601; 0 writes null */
void doc_put_raw(struct buf *b, const char *key, const char *json);  /* NULL writes null */
void doc_put_int(struct buf *b, const char *key, int64_t value);
void doc_put_bool(struct buf *b, const char *key, bool value);
void doc_put_texts(struct buf *b, const char *key, struct text_list list);
void doc_set_text(struct buf *b, const char *key, const char *text);
void doc_set_raw(struct buf *b, const char *key, const char *json);
void doc_set_int(struct buf *b, const char *key, int64_t value);
void doc_set_bool(struct buf *b, const char *key, bool value);
void doc_set_texts(struct buf *b, const char *key, struct text_list list);
void doc_set_stamp(struct buf *b, const char *key, const struct doc_stamp *stamp);
/* A JSON value as an answer may hold it: NaN and the infinities, which JSON does not have, become
 * the strings "NaN", "Infinity" and "-Infinity". NULL writes null. */
void doc_put_standard(struct buf *b, const char *key, const char *json);

/* Parses a document's text as an object. MLD_EDAMAGED names the document. */
enum mld_error doc_parse(struct json_doc *json, const struct meta_doc *doc);

/* Moves a text that was written into the arena as the document's; frees `text` in any case. */
enum mld_error doc_take_text(struct meta_doc *out, struct arena *arena, struct buf *text);

/* The SHA-256 of a text, in hex; parts are joined by `joint`. */
enum mld_error doc_hash(char out[65], char joint, const char *const *parts, size_t n);

/* Lower-case hex of exactly `len` characters. */
bool doc_is_hex(const char *text, size_t len);
/* 1 to ID_FILE_MAX decimal digits, no leading zero. */
bool doc_is_id(const char *text);
/* UTF-8 of 1 to `max` bytes without control characters. */
bool doc_is_plain(const char *text, size_t max);

#endif

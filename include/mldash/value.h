/* mldash/value.h: named values, as parameters, metric points, track entries and log details take
 * them.
 *
 *     struct mld_field point[] = { mld_number("loss", 0.25), mld_integer("epoch", 3) };
 */
#ifndef MLDASH_VALUE_H
#define MLDASH_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum mld_kind {
    MLD_NULL,
    MLD_BOOL,
    MLD_INTEGER,
    MLD_NUMBER, /* a double; NaN and infinities are kept */
    MLD_TEXT,   /* UTF-8, `len` bytes */
    MLD_JSON    /* any JSON text, `len` bytes: nested values, integers beyond 64 bits */
};

/* One named value. All pointers are borrowed for the call that takes it. */
struct mld_field {
    const char *name; /* UTF-8, not NULL, at most 1,024 bytes */
    enum mld_kind kind;
    bool boolean;
    int64_t integer;
    double number;
    const char *text;
    size_t len; /* of text, in bytes */
};

static inline struct mld_field mld_null(const char *name)
{
    struct mld_field f = {name, MLD_NULL, false, 0, 0.0, NULL, 0};
    return f;
}
static inline struct mld_field mld_boolean(const char *name, bool value)
{
    struct mld_field f = {name, MLD_BOOL, value, 0, 0.0, NULL, 0};
    return f;
}
static inline struct mld_field mld_integer(const char *name, int64_t value)
{
    struct mld_field f = {name, MLD_INTEGER, false, value, 0.0, NULL, 0};
    return f;
}
static inline struct mld_field mld_number(const char *name, double value)
{
    struct mld_field f = {name, MLD_NUMBER, false, 0, value, NULL, 0};
    return f;
}
static inline struct mld_field mld_text(const char *name, const char *value)
{
    struct mld_field f = {name, MLD_TEXT, false, 0, 0.0, value, strlen(value)};
    return f;
}
static inline struct mld_field mld_json(const char *name, const char *json)
{
    struct mld_field f = {name, MLD_JSON, false, 0, 0.0, json, strlen(json)};
    return f;
}

#ifdef __cplusplus
}
#endif
#endif

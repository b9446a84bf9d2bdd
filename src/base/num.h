/* num.h: numbers to and from text without locale. Implemented in num.cpp on std::to_chars and
 * std::from_chars. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NUM_MAX_CHARS 32

/* Shortest text that reads back as the same double, in Python's form: "0.1", "1.0", "1e+16", "NaN",
 * "-Infinity". `out` has room for NUM_MAX_CHARS; returns the length, no NUL. */
size_t num_format_double(char *out, double value);
size_t num_format_int64(char *out, int64_t value);
/* The whole of text[0..len) as a number; false when it is none. Out-of-range doubles become
 * infinities. */
bool num_parse_double(const char *text, size_t len, double *out);
bool num_parse_int64(const char *text, size_t len, int64_t *out);

#ifdef __cplusplus
}
#endif
#endif

/* text.h: text for people: names made harmless, sizes, times, numbers, sparklines, aligned tables.
 * Nothing depends on the locale; times are local. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Appends text that may come from anywhere: control characters, bytes that are not UTF-8, and
 * characters that reorder or hide others are written as escapes (\n, \x1b, \u{202e}). */
void text_put(struct buf *out, const char *text);
void text_put_bytes(struct buf *out, const char *text, size_t len);
/* Columns that the text takes on a terminal. */
size_t text_width(const char *text);

void text_put_size(struct buf *out, uint64_t bytes);     /* "512 B", "1.2 MB", "34 GB" */
void text_put_count(struct buf *out, uint64_t count);    /* "12,345" */
void text_put_number(struct buf *out, double value);     /* at most six digits */
void text_put_duration(struct buf *out, double seconds); /* "0.8 s", "3 m 12 s", "2 h 05 m" */
/* An ISO 8601 time in UTC as "2024-01-31 12:34" (with_seconds: ":56") of the local zone; nothing
 * for NULL, the text itself when it is no time. */
void text_put_time(struct buf *out, const char *iso, bool with_seconds);

/* One block character per value; NaN is a dot. */
void text_put_sparkline(struct buf *out, const double *values, size_t count);

enum text_style { TEXT_PLAIN, TEXT_BOLD, TEXT_DIM, TEXT_GREEN, TEXT_YELLOW, TEXT_RED, TEXT_CYAN };
/* Appends `text` (as it is) in this style; plain when `colour` is false. */
void text_put_style(struct buf *out, bool colour, enum text_style style, const char *text);

/* A table: cells row by row; columns are as wide as their widest cell; those
 * without any text are left out. */
struct text_cell {
    char *text;
    enum text_style style;
};
struct text_table {
    size_t n_columns;
    const char *const *headers; /* NULL: none. One that begins with '>' aligns to the right */
    struct text_cell *cells;
    size_t count, capacity;
    bool failed; /* out of memory */
};
void text_table_init(struct text_table *table, const char *const *headers, size_t n_columns);
/* The next cell: takes what `cell` holds and empties it. */
void text_table_add(struct text_table *table, struct buf *cell, enum text_style style);
/* Appends the table, each line after `indent`. */
void text_table_put(struct buf *out, const struct text_table *table, const char *indent,
                    bool colour);
void text_table_free(struct text_table *table);

#endif

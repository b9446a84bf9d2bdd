/* apply.h: what records say, put into documents (docs/server-data.md, "Applying"). Applying twice,
 * by two servers at once, or one stream before another, comes to the same: for each member the
 * later stamp stands. Thread-safe; blocks on the metadata store. */
#ifndef SERVER_APPLY_H
#define SERVER_APPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "meta/meta.h"

struct apply_place {
    const char *experiment;
    const char *project;
};
/* Whole lines of one records stream. */
struct apply_lines {
    const char *stream;
    unsigned slot;
    const char *writer; /* that of the last `stream` record before; NULL: none yet */
    const char *data;
    size_t len;
};

/* Applies all records of `lines`, in a handful of commits. Lines that do not read, whose crc is
 * wrong or whose members have wrong types are skipped. *out_ended: one of them ended a writer. */
enum mld_error apply_records(struct meta *meta, const struct apply_place *place,
                             const struct apply_lines *lines, size_t n, bool *out_ended);

/* Notes in the experiment's document that it was heard of now. */
enum mld_error apply_seen(struct meta *meta, const char *experiment);

/* True when the line (without its newline) ends with the right crc member. */
bool apply_line_is_intact(const char *line, size_t len);
/* The writer that a `stream` line names, 32 hex digits; false for any other line. */
bool apply_line_writer(const char *line, size_t len, char out[33]);

#endif

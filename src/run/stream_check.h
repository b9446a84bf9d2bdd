/* stream_check.h: is a line what belongs into its stream, and are a stream's first bytes those that
 * a mark tells of: for verify, and for the look at open. */
#ifndef RUN_STREAM_CHECK_H
#define RUN_STREAM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

enum stream_kind { STREAM_RECORDS, STREAM_METRIC, STREAM_TRACK, STREAM_LOGS };

/* True when the line (without its newline) belongs into such a stream; else the thread's message
 * says why not. `doc` is scratch. */
bool stream_line_is_good(struct json_doc *doc, enum stream_kind kind, const char *line, size_t len);
/* CRC-32C of the first `length` bytes of an open file; false when there are fewer, or they do not
 * read. */
bool stream_prefix_crc(int fd, const char *file, uint64_t length, uint32_t *out);

#endif

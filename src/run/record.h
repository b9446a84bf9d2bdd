/* record.h: the lines of records shards (docs/run-folder.md, "Records"). */
#ifndef RUN_RECORD_H
#define RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define RECORD_MAX_BYTES (16u << 20)

/* Starts a line: {"type":...,"clock":... . Members follow with json_put_key and a writer of json.h.
 */
void record_begin(struct buf *line, const char *type, int64_t clock);
/* Ends it: ,"crc":"..."} and the newline. */
void record_end(struct buf *line);
/* True when the line (without its newline) ends with the right crc member. */
bool record_is_intact(const char *line, size_t len);
/* Reads the 8 hex digits of a CRC-32C; false when `text` begins with anything else. */
bool record_parse_crc(const char *text, uint32_t *out);

/* Members that are written alike by several records; NULL texts write null. */
void record_put_text(struct buf *line, const char *key, const char *text);
void record_put_strings(struct buf *line, const char *key, const char *const *strings, size_t n);
void record_put_json(struct buf *line, const char *key, const char *json); /* NULL writes null */

#endif

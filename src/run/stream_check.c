#include "run/stream_check.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/hash.h"
#include "run/record.h"
#include "run/series_line.h"

#define READ_BYTES (1u << 20)

bool stream_line_is_good(struct json_doc *doc, enum stream_kind kind, const char *line, size_t len)
{
    struct series_line parsed;
    if (kind == STREAM_RECORDS && !record_is_intact(line, len)) {
        error_set(MLD_EDAMAGED, "a line that is damaged (its crc does not match)");
        return false;
    }
    if (json_parse(doc, line, len) != MLD_OK)
        return false;
    bool good = json_root(doc)->type == JSON_OBJECT;
    if (good && (kind == STREAM_METRIC || kind == STREAM_TRACK))
        good = series_line_read(doc, kind == STREAM_METRIC ? MLD_METRIC : MLD_TRACK, &parsed);
    if (!good)
        error_set(MLD_EDAMAGED, "a line that does not belong here");
    return good;
}

bool stream_prefix_crc(int fd, const char *file, uint64_t length, uint32_t *out)
{
    uint64_t done = 0;
    size_t capacity = length < READ_BYTES ? (size_t)length + 1 : READ_BYTES;
    *out = 0;
    char *data = malloc(capacity);
    while (data != NULL && done < length) {
        size_t want = length - done < capacity ? (size_t)(length - done) : capacity;
        size_t len;
        if (fs_pread(fd, data, want, (off_t)done, &len, file) != MLD_OK || len == 0)
            break;
        *out = crc32c(*out, data, len);
        done += len;
    }
    free(data);
    return done == length;
}

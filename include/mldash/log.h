/* mldash/log.h: an experiment's log lines. */
#ifndef MLDASH_LOG_H
#define MLDASH_LOG_H

#include "mldash/experiment.h"
#include "mldash/value.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes one line. `level`: "debug", "info", "warn", "error" or "fatal"; others are MLD_EINVALID.
 * `fields` (may be NULL) are kept as the line's metadata. `time_s`: NaN means now. */
MLD_API enum mld_error mld_log(mld_experiment *experiment, const char *level, const char *message,
                               size_t message_len, const struct mld_field *fields, size_t n_fields,
                               double time_s);

struct mld_log_line {
    int64_t sequence; /* its position */
    const char *timestamp;
    const char *level;
    const char *message; /* message_len bytes and NUL; may hold NUL inside */
    size_t message_len;
    const char *metadata_json; /* NULL: none */
};
struct mld_log_lines {
    size_t count;
    const struct mld_log_line *lines; /* writer by writer, each in order */
    bool has_more;
};
/* Lines [start, start + limit) (limit 0: all) whose level is `level` (NULL: any). */
MLD_API enum mld_error mld_log_read(struct mld_log_lines **out, mld_experiment *experiment,
                                    const char *level, int64_t start, size_t limit);
MLD_API void mld_log_lines_free(struct mld_log_lines *lines);

#ifdef __cplusplus
}
#endif
#endif

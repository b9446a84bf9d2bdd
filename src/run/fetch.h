/* fetch.h: a file's bytes from the source of a handle, where the folder does not have them. */
#ifndef RUN_FETCH_H
#define RUN_FETCH_H

#include "base/hash.h"
#include "run/run.h"

/* Where they go: to a descriptor, from its position on, or into a sink. */
struct fetch_target {
    int fd;           /* -1: `sink` gets them */
    const char *name; /* of what is written, for messages */
    mld_sink *sink;
    void *sink_payload;
    mld_progress *progress; /* NULL: none */
    void *payload;
};

/* Fetches all bytes and hashes them on the way; the caller compares. Blocks. Errors: those
 * of the source and of writing; MLD_EINTERRUPTED: `progress` or `sink` said so. */
enum mld_error fetch_bytes(char out_hex[SHA256_HEX_LEN + 1], const struct run_source *source,
                           const struct run_wanted *wanted, const struct fetch_target *target);

#endif

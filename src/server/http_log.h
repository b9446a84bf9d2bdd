/* http_log.h: the server's log: one JSON object per line, written by a thread of its own, so that a
 * slow terminal or disk holds up no request. What does not fit into the bounded queue is dropped
 * and counted, and the next line that fits says how many. Thread-safe. */
#ifndef SERVER_HTTP_LOG_H
#define SERVER_HTTP_LOG_H

#include <stdint.h>

#include "base/error.h"

#define LOG_QUEUE_BYTES ((size_t)1 << 20)

struct log;

/* `path` NULL: stderr; else appended to, made (0600) when missing. */
enum mld_error log_open(struct log **out, const char *path);
/* Writes what is queued. NULL is fine. */
void log_close(struct log *log);

/* One request that is over. Texts may be NULL; paths are those of the table, never as sent. */
struct log_request {
    int64_t time_us;
    const char *id;
    const char *method;
    const char *route;
    unsigned status;
    uint64_t bytes_in, bytes_out;
    int64_t ms;
    const char *client;
    const char *user;
    const char *note; /* "client went away" */
};
void log_request(struct log *log, const struct log_request *request);
/* Something for the operator: level "error", "warning" or "info"; `id` of the request or NULL. */
void log_event(struct log *log, const char *level, const char *id, const char *message);
/* How many lines were dropped so far. */
uint64_t log_dropped(struct log *log);

#endif

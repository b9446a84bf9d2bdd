/* http_count.h: what the server counts for /metrics. Thread-safe, without locks. */
#ifndef SERVER_HTTP_COUNT_H
#define SERVER_HTTP_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/http.h"

struct counts;

enum mld_error counts_new(struct counts **out, const struct route *routes);
void counts_free(struct counts *c); /* NULL is fine */
/* One request that is over. `route` NULL: none matched. Status 0: never answered. */
void counts_request(struct counts *c, const struct route *route, unsigned status, int64_t ms,
                    uint64_t bytes_in, uint64_t bytes_out);
void counts_connection(struct counts *c); /* accepted */
void counts_cut(struct counts *c);        /* closed for being late */
void counts_library_message(struct counts *c);
/* Appends them as Prometheus text. */
void counts_put(const struct counts *c, struct buf *out);

#endif

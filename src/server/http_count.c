/* http_count.c: counters. */
#include "server/http_count.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Statuses that are counted by themselves; others are under "other", never answered ones under 0.
 */
static const unsigned statuses[] = {0,   200, 201, 204, 206, 302, 303, 304, 400,
                                    401, 403, 404, 405, 409, 412, 413, 414, 416,
                                    417, 421, 422, 429, 431, 500, 503, 504, 507};
#define N_STATUSES (sizeof statuses / sizeof statuses[0])
static const int64_t bounds_ms[] = {1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000};
#define N_BOUNDS (sizeof bounds_ms / sizeof bounds_ms[0])

struct route_counts {
    _Atomic uint64_t by_status[N_STATUSES + 1];
};
struct histogram {
    _Atomic uint64_t buckets[N_BOUNDS + 1];
    _Atomic uint64_t sum_ms;
};

struct counts {
    const struct route *routes;
    size_t n_routes;
    _Atomic uint64_t bytes_in, bytes_out, connections, cut, library_messages;
    struct histogram latency[2];    /* quick, streaming */
    struct route_counts by_route[]; /* one more: no route */
};

enum mld_error counts_new(struct counts **out, const struct route *routes)
{
    size_t n = 0;
    while (routes[n].method != NULL)
        n++;
    *out = calloc(1, sizeof **out + (n + 1) * sizeof(struct route_counts));
    if (*out == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    (*out)->routes = routes;
    (*out)->n_routes = n;
    return MLD_OK;
}

void counts_free(struct counts *c)
{
    free(c);
}

static size_t status_index(unsigned status)
{
    size_t i = 0;
    while (i < N_STATUSES && statuses[i] != status)
        i++;
    return i;
}

void counts_request(struct counts *c, const struct route *route, unsigned status, int64_t ms,
                    uint64_t bytes_in, uint64_t bytes_out)
{
    size_t index = route ? (size_t)(route - c->routes) : c->n_routes;
    struct histogram *latency = &c->latency[route && route->max_body == 0];
    size_t bucket = 0;
    while (bucket < N_BOUNDS && ms > bounds_ms[bucket])
        bucket++;
    atomic_fetch_add(&c->by_route[index].by_status[status_index(status)], 1);
    atomic_fetch_add(&latency->buckets[bucket], 1);
    atomic_fetch_add(&latency->sum_ms, (uint64_t)ms);
    atomic_fetch_add(&c->bytes_in, bytes_in);
    atomic_fetch_add(&c->bytes_out, bytes_out);
}

void counts_connection(struct counts *c)
{
    atomic_fetch_add(&c->connections, 1);
}

void counts_cut(struct counts *c)
{
    atomic_fetch_add(&c->cut, 1);
}

void counts_library_message(struct counts *c)
{
    atomic_fetch_add(&c->library_messages, 1);
}

static void put_requests(const struct counts *c, struct buf *out)
{
    buf_puts(out, "# HELP mldash_http_requests_total Requests by route and status.\n"
                  "# TYPE mldash_http_requests_total counter\n");
    for (size_t i = 0; i <= c->n_routes; i++) {
        for (size_t s = 0; s <= N_STATUSES; s++) {
            uint64_t n = atomic_load(&c->by_route[i].by_status[s]);
            if (n == 0)
                continue;
            buf_printf(out, "mldash_http_requests_total{method=\"%s\",route=\"%s\",status=\"",
                       i < c->n_routes ? c->routes[i].method : "",
                       i < c->n_routes ? c->routes[i].path : "");
            if (s < N_STATUSES)
                buf_printf(out, "%u", statuses[s]);
            else
                buf_puts(out, "other");
            buf_printf(out, "\"} %" PRIu64 "\n", n);
        }
    }
}

static void put_histogram(const struct histogram *h, const char *kind, struct buf *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= N_BOUNDS; i++) {
        n += atomic_load(&h->buckets[i]);
        buf_printf(out, "mldash_http_request_seconds_bucket{kind=\"%s\",le=\"", kind);
        if (i < N_BOUNDS)
            buf_printf(out, "%" PRId64 ".%03" PRId64, bounds_ms[i] / 1000, bounds_ms[i] % 1000);
        else
            buf_puts(out, "+Inf");
        buf_printf(out, "\"} %" PRIu64 "\n", n);
    }
    uint64_t sum = atomic_load(&h->sum_ms);
    buf_printf(out,
               "mldash_http_request_seconds_sum{kind=\"%s\"} %" PRIu64 ".%03" PRIu64 "\n"
               "mldash_http_request_seconds_count{kind=\"%s\"} %" PRIu64 "\n",
               kind, sum / 1000, sum % 1000, kind, n);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %" PRIu64 "\n", name, help, name, name,
               value);
}

void counts_put(const struct counts *c, struct buf *out)
{
    put_requests(c, out);
    buf_puts(out, "# HELP mldash_http_request_seconds Time from the request line to the last byte "
                  "of the answer.\n"
                  "# TYPE mldash_http_request_seconds histogram\n");
    put_histogram(&c->latency[0], "quick", out);
    put_histogram(&c->latency[1], "streaming", out);
    put_counter(out, "mldash_http_received_bytes_total", "Bytes of request bodies.",
                atomic_load(&c->bytes_in));
    put_counter(out, "mldash_http_sent_bytes_total", "Bytes of answers' bodies.",
                atomic_load(&c->bytes_out));
    put_counter(out, "mldash_http_connections_total", "Connections accepted.",
                atomic_load(&c->connections));
    put_counter(out, "mldash_http_late_connections_total",
                "Connections closed for being late or too slow.", atomic_load(&c->cut));
    put_counter(out, "mldash_http_library_messages_total",
                "Complaints of the HTTP library: malformed requests, mostly.",
                atomic_load(&c->library_messages));
}

/* http_answer.c: the head of an answer, and the library's form of the answer. */
#include <string.h>
#include <strings.h>

#include "server/http_internal.h"

#define STREAM_BLOCK_BYTES (128u << 10)

/* On every answer, unless the handler says otherwise. */
static const struct header defaults[] = {
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
};
#define N_DEFAULTS (sizeof defaults / sizeof defaults[0])

static bool is_set(const struct request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (strcasecmp(r->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

static void put_cross_origin(const struct request *r, answer_put *put, void *payload)
{
    if (r->http->names.n_origins > 0)
        put(payload, "Vary", "Origin");
    if (r->origin == NULL) {
        put(payload, "Cross-Origin-Resource-Policy", "same-origin");
        return;
    }
    put(payload, "Access-Control-Allow-Origin", r->origin);
    put(payload, "Access-Control-Expose-Headers",
        "ETag, Retry-After, X-Checksum-SHA256, X-Request-Id, X-Stream-Offset");
}

void answer_headers(const struct request *r, answer_put *put, void *payload)
{
    for (size_t i = 0; i < r->n_headers; i++)
        put(payload, r->headers[i].name, r->headers[i].value);
    for (size_t i = 0; i < N_DEFAULTS; i++) {
        if (!is_set(r, defaults[i].name))
            put(payload, defaults[i].name, defaults[i].value);
    }
    put_cross_origin(r, put, payload);
    put(payload, "X-Request-Id", r->id);
    if (r->must_close || atomic_load(&r->http->closing))
        put(payload, "Connection", "close");
}

static void add(void *payload, const char *name, const char *value)
{
    MHD_add_response_header(payload, name, value);
}

/* The bytes belong to the request, which outlives the library's use of them. */
bool answer_make_locked(struct request *r)
{
    if (r->response)
        return true;
    if (r->streamed)
        r->response = MHD_create_response_from_callback(r->length, STREAM_BLOCK_BYTES,
                                                        stream_reader, r, NULL);
    else
        r->response =
            MHD_create_response_from_buffer(r->answer.len, r->answer.data, MHD_RESPMEM_PERSISTENT);
    if (r->response == NULL)
        return false;
    answer_headers(r, add, r->response);
    return true;
}

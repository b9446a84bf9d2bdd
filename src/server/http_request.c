/* http_request.c: a request's life in memory, and what handlers ask of it. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "server/http_internal.h"

struct request *request_new(struct http *http, struct conn *conn, struct MHD_Connection *mhd)
{
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->http = http;
    r->conn = conn;
    r->mhd = mhd;
    r->begun_us = clock_now_us();
    r->begun_ms = clock_monotonic_ms();
    r->refs = 1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    struct buf id = {.max_bytes = sizeof r->id};
    buf_printf(&id, "%s-%" PRIu64, http->id_prefix, atomic_fetch_add(&http->next_id, 1));
    memcpy(r->id, buf_text(&id), id.len < sizeof r->id ? id.len : sizeof r->id - 1);
    buf_free(&id);
    return r;
}

void request_unref(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    assert(r->refs > 0);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    if (r->response)
        MHD_destroy_response(r->response);
    share_give(&r->http->memory, NULL, r->reserved);
    share_give(&r->http->memory, request_holder(r), r->own);
    json_decref(r->json);
    ring_close(&r->ring);
    buf_free(&r->body);
    buf_free(&r->answer);
    arena_free(&r->arena);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

bool request_reserve(struct request *r, size_t bytes)
{
    bool own = r->admitted && bytes > HTTP_EARLY_BODY_BYTES;
    if (!share_take(&r->http->memory, own ? request_holder(r) : NULL, bytes))
        return false;
    if (own)
        r->own += bytes;
    else
        r->reserved += bytes;
    return true;
}

const char *request_holder(const struct request *r)
{
    return r->caller.user_id != NULL ? r->caller.user_id : r->client;
}

void request_turn_locked(struct request *r, enum turn turn)
{
    if (r->gone)
        return;
    atomic_store(&r->conn->since_ms, clock_monotonic_ms());
    atomic_store(&r->conn->turn, turn);
}

void request_suspend_locked(struct request *r)
{
    if (r->suspended)
        return;
    r->suspended = true;
    MHD_suspend_connection(r->mhd);
}

void request_resume_locked(struct request *r, enum turn turn)
{
    if (!r->suspended || r->gone)
        return;
    r->suspended = false;
    request_turn_locked(r, turn);
    MHD_resume_connection(r->mhd);
}

struct server *request_server(const struct request *r)
{
    return r->http->server;
}

struct http *request_http(const struct request *r)
{
    return r->http;
}

static const char *pair_value(const struct pair *pairs, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++) {
        if (pairs[i].name_len == len && memcmp(pairs[i].name, name, len) == 0)
            return pairs[i].value;
    }
    return NULL;
}

const char *request_param(const struct request *r, const char *name)
{
    const char *value = pair_value(r->match.params, r->match.n_params, name);
    assert(value != NULL);
    return value;
}

const char *request_query(const struct request *r, const char *name)
{
    return pair_value(r->query, r->n_query, name);
}

size_t request_query_count(const struct request *r)
{
    return r->n_query;
}

const char *request_query_at(const struct request *r, size_t index, const char **out_name)
{
    assert(index < r->n_query);
    *out_name = r->query[index].name;
    return r->query[index].value;
}

enum mld_error request_query_int(const struct request *r, const char *name, int64_t otherwise,
                                 int64_t min, int64_t max, int64_t *out)
{
    const char *text = request_query(r, name);
    *out = otherwise;
    if (text == NULL)
        return MLD_OK;
    if (!num_parse_int64(text, strlen(text), out) || *out < min || *out > max) {
        *out = otherwise;
        return error_blame(error_set(MLD_EINVALID,
                                     "%s must be a whole number from %" PRId64 " to %" PRId64, name,
                                     min, max),
                           name);
    }
    return MLD_OK;
}

const char *request_header(const struct request *r, const char *name)
{
    return guard_header(&r->head, name);
}

const char *request_method(const struct request *r)
{
    return r->head.method;
}

const char *request_client(const struct request *r)
{
    return r->client;
}

const char *request_id(const struct request *r)
{
    return r->id;
}

struct arena *request_arena(struct request *r)
{
    return &r->arena;
}

uint64_t request_body_bytes(const struct request *r)
{
    return r->content_length;
}

const char *request_body(const struct request *r, size_t *out_len)
{
    *out_len = r->body.len;
    return buf_text(&r->body);
}

const struct caller *request_caller(const struct request *r)
{
    return &r->caller;
}

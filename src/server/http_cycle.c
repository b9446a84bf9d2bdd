/* http_cycle.c: the library's callbacks: what a call means in which phase. See http_internal.h. */
#include <string.h>

#include "base/clock.h"
#include "server/http_internal.h"

void *cycle_target(void *http, const char *target, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *conn = info ? info->socket_context : NULL;
    struct http *h = http;
    struct request *r = conn && target ? request_new(h, conn, mhd) : NULL;
    if (r == NULL)
        return NULL;
    r->target_at = target;
    r->head.target = arena_strdup(&r->arena, target);
    memcpy(r->client, conn->client, sizeof r->client);
    atomic_fetch_add(&h->active, 1);
    pthread_mutex_lock(&conn->request_lock);
    conn->request = r;
    pthread_mutex_unlock(&conn->request_lock);
    request_turn_locked(r, TURN_HEAD);
    return r;
}

/* The answer goes to the library: cycle_call does it, without the request's lock. */
static enum MHD_Result queue(struct request *r)
{
    if (!answer_make_locked(r))
        return MHD_NO;
    r->phase = PHASE_SENT;
    request_turn_locked(r, TURN_ANSWER);
    return MHD_YES;
}

static void submit(struct request *r, enum phase phase)
{
    r->phase = phase;
    request_turn_locked(r, TURN_SERVER);
    work_submit_locked(r);
    if (r->phase == phase)
        request_suspend_locked(r);
}

/* Bodies of quick routes that say they are small are taken without asking a worker first, unless
 * the client waits for a word before it sends. */
static bool is_early(const struct request *r)
{
    return r->match.route->max_body > 0 && r->content_length <= HTTP_EARLY_BODY_BYTES &&
           guard_header(&r->head, "Expect") == NULL;
}

static bool begin_body(struct request *r)
{
    size_t max = r->match.route->max_body;
    size_t most = r->content_length < max ? (size_t)r->content_length : max;
    if (!request_reserve(r, most)) {
        respond_status_locked(r, 503, "unavailable", "the server's memory is full of other bodies",
                              NULL);
        return false;
    }
    if (max > 0)
        buf_init(&r->body, max);
    r->phase = PHASE_BODY;
    request_turn_locked(r, TURN_BODY);
    return true;
}

/* The head is there. Whatever is answered here ends the connection when there is a body. */
static enum MHD_Result begin(struct request *r, const char *method, const char *version)
{
    bool good = r->head.target && head_read(r, method, version);
    if (r->head.target == NULL)
        return MHD_NO;
    if (!r->has_body && !r->must_close) {
        r->phase = PHASE_END;
        return MHD_YES;
    }
    if (good && is_early(r))
        (void)begin_body(r);
    else if (good)
        submit(r, PHASE_ADMIT);
    return r->answered ? queue(r) : MHD_YES;
}

/* The library tells of the end of a request without a body in its own call. */
static enum MHD_Result end_of_head(struct request *r)
{
    if (!r->answered)
        submit(r, PHASE_WORK);
    return r->answered ? queue(r) : MHD_YES;
}

static enum MHD_Result end_of_body(struct request *r)
{
    r->body_ended = true;
    r->phase = PHASE_WORK;
    request_turn_locked(r, TURN_SERVER);
    if (r->match.route->max_body > 0) {
        submit(r, PHASE_WORK);
        return r->answered ? queue(r) : MHD_YES;
    }
    pthread_cond_broadcast(&r->changed);
    request_suspend_locked(r);
    return MHD_YES;
}

static void take_quick(struct request *r, const char *data, size_t *size)
{
    buf_put(&r->body, data, *size);
    *size = 0;
    enum mld_error error = buf_check(&r->body, "the body");
    if (error != MLD_OK)
        respond_status_locked(r, error == MLD_ETOOLARGE ? 413 : 503,
                              error == MLD_ETOOLARGE ? "too_large" : "unavailable",
                              "the body is larger than this address takes", "body");
}

/* What does not fit waits in the library's buffer until the worker has taken half of the ring. */
static void take_streaming(struct request *r, const char *data, size_t *size)
{
    bool was_empty = r->ring.used == 0;
    *size -= ring_put(&r->ring, data, *size);
    if (was_empty)
        pthread_cond_broadcast(&r->changed);
    if (*size > 0) {
        request_turn_locked(r, TURN_SERVER);
        request_suspend_locked(r);
    }
}

static enum MHD_Result take_body(struct request *r, const char *data, size_t *size)
{
    size_t before = *size;
    if (r->phase == PHASE_BODY && r->match.route->max_body > 0)
        take_quick(r, data, size);
    else if (r->phase == PHASE_BODY && !r->suspended)
        take_streaming(r, data, size);
    else if (r->phase == PHASE_DISCARD || r->phase == PHASE_LINGER)
        *size = 0;
    /* else: a second piece in one go of the library after it was suspended; it stays there. */
    r->received += before - *size;
    return MHD_YES;
}

static enum MHD_Result call_locked(struct request *r, const char *method, const char *version,
                                   const char *data, size_t *size)
{
    if (*size > 0)
        return take_body(r, data, size);
    switch (r->phase) {
    case PHASE_HEAD:
        return begin(r, method, version);
    case PHASE_END:
        return end_of_head(r);
    case PHASE_READY:
        if (begin_body(r))
            return MHD_YES;
        return queue(r);
    case PHASE_BODY:
        return end_of_body(r);
    case PHASE_ANSWER:
    case PHASE_DISCARD:
        return queue(r);
    case PHASE_LINGER:
        return MHD_NO;
    case PHASE_ADMIT:
    case PHASE_WORK:
    case PHASE_SENT:
        break;
    }
    return MHD_YES;
}

enum MHD_Result cycle_call(void *http, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **request)
{
    struct request *r = *request;
    (void)http;
    (void)url;
    if (r == NULL)
        return MHD_NO;
    pthread_mutex_lock(&r->lock);
    bool was_sent = r->phase == PHASE_SENT;
    enum MHD_Result result = call_locked(r, method, version, data, size);
    bool is_sent = r->phase == PHASE_SENT;
    pthread_mutex_unlock(&r->lock);
    if (result == MHD_YES && is_sent && !was_sent)
        result = MHD_queue_response(mhd, r->status, r->response);
    return result;
}

/* Why a request did not end as it should; NULL when it did. */
static const char *note_of(const struct request *r, enum MHD_RequestTerminationCode code)
{
    if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK || r->phase == PHASE_LINGER)
        return NULL;
    if (r->phase == PHASE_HEAD)
        return "the head did not come whole, or was malformed";
    if (atomic_load(&r->http->aborting))
        return "the server stopped";
    if (r->streamed && r->handler_over && r->written < r->length)
        return "the handler stopped early";
    return "the client went away, or was too slow";
}

static uint64_t bytes_out(const struct request *r)
{
    if (r->streamed)
        return r->sent;
    return r->answered && !r->is_head ? r->length : 0;
}

static void tell(struct request *r, enum MHD_RequestTerminationCode code)
{
    const struct log_request line = {
        .time_us = r->begun_us,
        .id = r->id,
        .method = r->head.method ? r->head.method : "",
        .route = r->match.route ? r->match.route->path : NULL,
        .status = r->answered ? r->status : 0,
        .bytes_in = r->received,
        .bytes_out = bytes_out(r),
        .ms = clock_monotonic_ms() - r->begun_ms,
        .client = r->client,
        .user = r->admitted ? r->caller.username : NULL,
        .note = note_of(r, code),
    };
    counts_request(r->http->counts, r->match.route, line.status, line.ms, line.bytes_in,
                   line.bytes_out);
    log_request(r->http->log, &line);
}

/* The request is over, or its connection is. A worker may still be at it. */
void cycle_completed(void *http, struct MHD_Connection *mhd, void **request,
                     enum MHD_RequestTerminationCode code)
{
    struct request *r = *request;
    struct http *h = http;
    (void)mhd;
    *request = NULL;
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->conn->request_lock);
    r->conn->request = NULL;
    pthread_mutex_unlock(&r->conn->request_lock);
    pthread_mutex_lock(&r->lock);
    tell(r, code);
    request_turn_locked(r, TURN_IDLE);
    r->gone = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_sub(&h->active, 1);
    request_unref(r);
}

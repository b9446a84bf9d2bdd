/* http_work.c: what workers do: admit, run the handler, and the bytes of a body in between. */
#include <assert.h>
#include <string.h>

#include "server/access.h"
#include "server/http_internal.h"
#include "server/http_json.h"

static bool is_streaming(const struct request *r)
{
    return r->match.route->max_body == 0;
}

static void answer_busy_locked(struct request *r)
{
    response_header(r, "Retry-After", "1");
    respond_status_locked(r, 503, "unavailable", "the server is busy: try again", NULL);
}

void work_submit_locked(struct request *r)
{
    r->refs++;
    if (pool_submit(r->http->quick, r))
        return;
    r->refs--;
    answer_busy_locked(r);
}

static const char *param_or_null(const struct request *r, const char *name)
{
    for (size_t i = 0; i < r->match.n_params; i++) {
        const struct pair *param = &r->match.params[i];
        if (param->name_len == strlen(name) && memcmp(param->name, name, param->name_len) == 0)
            return param->value;
    }
    return NULL;
}

static bool admit(struct request *r)
{
    const struct access_question question = {
        .permission = r->match.route->permission,
        .authorization = request_header(r, "Authorization"),
        .namespace_name = param_or_null(r, "namespace"),
        .experiment_id = param_or_null(r, "experiment"),
        .client = r->client,
    };
    enum mld_error error = access_decide(&r->caller, &r->arena, r->http->server, &question);
    if (error != MLD_OK) {
        respond_error(r, error, NULL);
        return false;
    }
    pthread_mutex_lock(&r->lock);
    r->admitted = true;
    pthread_mutex_unlock(&r->lock);
    return true;
}

/* The handler is over (or was never called): whatever it left undone is done. */
static void finish(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    r->handler_over = true;
    if (!r->answered && !r->gone && atomic_load(&r->http->aborting)) {
        answer_busy_locked(r);
    } else if (!r->answered && !r->gone && !r->broken) {
        log_event(r->http->log, "error", r->id, "the handler gave no answer");
        respond_status_locked(r, 500, "internal", "the server failed", NULL);
    } else if (!r->answered && !r->gone) {
        respond_status_locked(r, 408, "unavailable", "the body did not come whole", "body");
    }
    if (r->streamed && r->phase == PHASE_SENT)
        request_resume_locked(r, TURN_ANSWER);
    pthread_mutex_unlock(&r->lock);
    if (r->transfers)
        share_give(&r->http->transfers, request_holder(r), 1);
    request_unref(r);
}

/* The body may come now. */
static void read_on(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    r->phase = PHASE_READY;
    request_resume_locked(r, TURN_BODY);
    pthread_mutex_unlock(&r->lock);
    request_unref(r);
}

static void to_stream_pool(struct request *r)
{
    r->transfers = share_take(&r->http->transfers, request_holder(r), 1);
    if (r->transfers && pool_submit(r->http->stream, r))
        return;
    pthread_mutex_lock(&r->lock);
    answer_busy_locked(r);
    pthread_mutex_unlock(&r->lock);
    finish(r);
}

void work_run(void *request)
{
    struct request *r = request;
    if (atomic_load(&r->http->aborting)) {
        finish(r);
        return;
    }
    pthread_mutex_lock(&r->lock);
    bool admitted = r->admitted;
    bool body_to_come = r->phase == PHASE_ADMIT;
    bool gone = r->gone;
    pthread_mutex_unlock(&r->lock);
    if (gone || (!admitted && !admit(r))) {
        finish(r);
    } else if (!admitted && is_streaming(r)) {
        to_stream_pool(r);
    } else if (body_to_come && !is_streaming(r)) {
        read_on(r);
    } else {
        error_clear();
        r->match.route->handler(r);
        finish(r);
    }
}

enum mld_error request_json(struct request *r, json_t **out)
{
    *out = r->json;
    if (r->json)
        return MLD_OK;
    enum mld_error error = http_json_read(&r->json, buf_text(&r->body), r->body.len);
    *out = r->json;
    return error;
}

/* Lets the body come that a streaming handler now wants. */
static enum mld_error open_body_locked(struct request *r)
{
    if (r->wants_body)
        return MLD_OK;
    if (!ring_open(&r->ring, HTTP_RING_BYTES))
        return error_set(MLD_ENOMEM, "out of memory for the body");
    r->wants_body = true;
    if (r->phase == PHASE_ADMIT) {
        r->phase = PHASE_READY;
        request_resume_locked(r, TURN_BODY);
    }
    return MLD_OK;
}

static enum mld_error read_locked(struct request *r, void *data, size_t capacity, size_t *out_len)
{
    enum mld_error error = open_body_locked(r);
    if (error != MLD_OK)
        return error;
    while (r->ring.used == 0 && !r->body_ended && !r->gone && !atomic_load(&r->http->aborting))
        pthread_cond_wait(&r->changed, &r->lock);
    *out_len = ring_get(&r->ring, data, capacity);
    if (*out_len == 0 && !r->body_ended) {
        r->broken = true;
        return error_set(MLD_EUNAVAILABLE, "the client went away");
    }
    if (r->phase == PHASE_BODY && r->ring.used <= r->ring.capacity / 2)
        request_resume_locked(r, TURN_BODY);
    return MLD_OK;
}

enum mld_error request_read(struct request *r, void *data, size_t capacity, size_t *out_len)
{
    *out_len = 0;
    assert(is_streaming(r));
    if (!r->has_body || capacity == 0)
        return MLD_OK;
    pthread_mutex_lock(&r->lock);
    assert(!r->answered);
    enum mld_error error = read_locked(r, data, capacity, out_len);
    pthread_mutex_unlock(&r->lock);
    return error;
}

enum mld_error request_read_all(struct request *r, void *data, size_t len)
{
    for (size_t done = 0, n = 0; done < len; done += n) {
        enum mld_error error = request_read(r, (char *)data + done, len - done, &n);
        if (error != MLD_OK)
            return error;
        if (n == 0)
            return error_blame(error_set(MLD_EINVALID, "the body ends early"), "body");
    }
    return MLD_OK;
}

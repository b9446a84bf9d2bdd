/* http_respond.c: what handlers answer with. */
#include <assert.h>
#include <string.h>
#include <strings.h>

#include "server/http_internal.h"
#include "server/http_problem.h"

#define MAX_ANSWER_BYTES ((size_t)64 << 20)

/* What codes are called in the protocol; the rest is "internal". */
static const char *const error_names[] = {
    [MLD_EINVALID] = "invalid",
    [MLD_ENAME] = "name",
    [MLD_ETOOLARGE] = "too_large",
    [MLD_ENOTFOUND] = "not_found",
    [MLD_ESUPERSEDED] = "superseded",
    [MLD_EEXISTS] = "exists",
    [MLD_ESTATE] = "state",
    [MLD_ECHECKSUM] = "checksum",
    [MLD_EACCESS] = "access",
    [MLD_EAUTH] = "auth",
    [MLD_ECONFLICT] = "conflict",
    [MLD_ECHANGED] = "conflict",
    [MLD_EBUSY] = "busy",
    [MLD_ENOSPACE] = "no_space",
    [MLD_EUNAVAILABLE] = "unavailable",
    [MLD_ETIMEOUT] = "unavailable",
    [MLD_ENOMEM] = "unavailable",
    [MLD_EINTERRUPTED] = "unavailable",
};

static const char *error_name(enum mld_error code)
{
    size_t i = (size_t)code;
    bool named = i < sizeof error_names / sizeof error_names[0] && error_names[i];
    return named ? error_names[i] : "internal";
}

static const unsigned error_statuses[] = {
#define RESPOND_STATUS(code, words, status, exception) [code] = (status),
    MLD_ERRORS(RESPOND_STATUS)
#undef RESPOND_STATUS
};

static unsigned error_status(enum mld_error code)
{
    size_t i = (size_t)code;
    bool known = i < sizeof error_statuses / sizeof error_statuses[0] && error_statuses[i];
    return known ? error_statuses[i] : 500;
}

/* The answer goes out by the library where it can; in the middle of a large body it cannot. */
void respond_ready_locked(struct request *r)
{
    if (r->answered) {
        log_event(r->http->log, "error", r->id, "the handler answered twice");
        return;
    }
    r->answered = true;
    if (!r->streamed)
        r->length = r->answer.len;
    if (r->gone)
        return;
    if (r->phase == PHASE_ADMIT || r->phase == PHASE_READY || r->phase == PHASE_WORK) {
        r->phase = PHASE_ANSWER;
        request_resume_locked(r, TURN_ANSWER);
    } else if (r->phase == PHASE_BODY && r->content_length != UINT64_MAX &&
               r->content_length - r->received <= HTTP_DISCARD_BYTES) {
        r->phase = PHASE_DISCARD;
        request_resume_locked(r, TURN_BODY);
    } else if (r->phase == PHASE_BODY) {
        r->phase = PHASE_LINGER;
        raw_send_locked(r);
        request_turn_locked(r, TURN_LINGER);
        request_resume_locked(r, TURN_LINGER);
    }
}

static bool is_clean(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return false;
    }
    return true;
}

/* A value with control characters is left out: it must never become a header of its own. */
void response_header(struct request *r, const char *name, const char *value)
{
    assert(r->n_headers < HTTP_MAX_RESPONSE_HEADERS);
    if (!is_clean(value) || r->n_headers == HTTP_MAX_RESPONSE_HEADERS)
        return;
    struct pair *header = &r->headers[r->n_headers];
    header->name = arena_strdup(&r->arena, name);
    header->value = arena_strdup(&r->arena, value);
    header->name_len = strlen(name);
    if (header->name && header->value)
        r->n_headers++;
}

static bool has_header(const struct request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (strcasecmp(r->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

static void respond_error_text_locked(struct request *r, unsigned status, struct buf *text)
{
    buf_free(&r->answer);
    r->answer = *text;
    *text = (struct buf){0};
    r->status = status;
    if (!has_header(r, "Content-Type"))
        response_header(r, "Content-Type", "application/json");
    if (status == 401)
        response_header(r, "WWW-Authenticate", "Bearer");
    if ((status == 429 || status == 503) && !has_header(r, "Retry-After"))
        response_header(r, "Retry-After", "1");
    respond_ready_locked(r);
}

void respond_status_locked(struct request *r, unsigned status, const char *error,
                           const char *message, const char *field)
{
    struct buf text;
    problem_put(&text, error, message, field);
    respond_error_text_locked(r, status, &text);
}

/* The words for the client: those of a failure inside stay inside. */
static const char *outer_message(struct request *r, enum mld_error code, unsigned status)
{
    const char *message = mld_error_message();
    if (code == MLD_EAUTH)
        return "a valid token is needed";
    if (status < 500)
        return message[0] ? message : mld_error_words(code);
    log_event(r->http->log, "error", r->id, message[0] ? message : mld_error_words(code));
    return mld_error_words(code);
}

void respond_error(struct request *r, enum mld_error code, const char *field)
{
    unsigned status = error_status(code);
    struct buf text;
    assert(code != MLD_OK);
    if (error_field()[0] != '\0')
        field = error_field();
    problem_put(&text, error_name(code), outer_message(r, code, status),
                code == MLD_EAUTH || status >= 500 ? NULL : field);
    pthread_mutex_lock(&r->lock);
    respond_error_text_locked(r, status, &text);
    pthread_mutex_unlock(&r->lock);
}

static void respond_internal(struct request *r, const char *message)
{
    log_event(r->http->log, "error", r->id, message);
    pthread_mutex_lock(&r->lock);
    respond_status_locked(r, 500, "internal", "the server failed", NULL);
    pthread_mutex_unlock(&r->lock);
}

void respond_bytes(struct request *r, unsigned status, const char *content_type, struct buf *body)
{
    enum mld_error error = buf_check(body, "the answer");
    if (error == MLD_OK && !request_reserve(r, body->len))
        error = error_set(MLD_ENOMEM, "the server's memory is full of other answers");
    if (error != MLD_OK) {
        buf_free(body);
        respond_error(r, error == MLD_ETOOLARGE ? MLD_EIO : error, NULL);
        return;
    }
    if (content_type)
        response_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock);
    if (!r->answered) {
        r->answer = *body;
        r->status = status;
        *body = (struct buf){0};
    }
    respond_ready_locked(r);
    pthread_mutex_unlock(&r->lock);
    buf_free(body);
}

static int dump(const char *text, size_t len, void *payload)
{
    struct buf *out = payload;
    buf_put(out, text, len);
    return out->failed == MLD_OK ? 0 : -1;
}

void respond_json(struct request *r, unsigned status, json_t *body)
{
    struct buf text;
    buf_init(&text, MAX_ANSWER_BYTES);
    int failed = body ? json_dump_callback(body, dump, &text, JSON_COMPACT | JSON_ENCODE_ANY) : -1;
    json_decref(body);
    if (failed) {
        buf_free(&text);
        respond_internal(r, "the answer could not be made: no memory, or no UTF-8 in it");
        return;
    }
    respond_bytes(r, status, "application/json", &text);
}

void respond_problem(struct request *r, unsigned status, const char *error, const char *message,
                     json_t *more)
{
    json_t *body = json_pack("{s:s, s:s}", "error", error, "message", message);
    if (body && more)
        json_object_update(body, more);
    json_decref(more);
    if (status == 429 || status == 503)
        response_header(r, "Retry-After", "1");
    respond_json(r, status, body);
}

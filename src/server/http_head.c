/* http_head.c: from the library's head to ours: checked, copied, matched with a route. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/http_internal.h"

/* What collect() fills: pointers into the library's memory. */
struct collected {
    struct header headers[HTTP_MAX_HEADERS + 1];
    size_t n;
};

static enum MHD_Result collect(void *payload, enum MHD_ValueKind kind, const char *key,
                               const char *value)
{
    struct collected *c = payload;
    (void)kind;
    c->headers[c->n++] = (struct header){key, value ? value : ""};
    return c->n <= HTTP_MAX_HEADERS ? MHD_YES : MHD_NO;
}

/* Up to libmicrohttpd 0.9 the head stays where it was received, and what the library made of it can
 * be compared with all of it. Later versions refuse by themselves what is to be found so. */
static bool is_accounted(struct request *r, const struct guard_head *raw)
{
    if (MHD_get_version()[0] != '0')
        return true;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && guard_accounts(raw, r->target_at, info->header_size);
}

static bool copy_headers(struct request *r, const struct collected *c)
{
    struct header *headers = arena_alloc(&r->arena, (c->n + 1) * sizeof *headers);
    if (headers == NULL)
        return false;
    for (size_t i = 0; i < c->n; i++) {
        const char *value = c->headers[i].value;
        size_t len = strlen(value);
        while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            len--;
        headers[i].name = arena_strdup(&r->arena, c->headers[i].name);
        headers[i].value = arena_strndup(&r->arena, value, len);
        if (headers[i].name == NULL || headers[i].value == NULL)
            return false;
    }
    r->head.headers = headers;
    r->head.n_headers = c->n;
    return true;
}

static void refuse(struct request *r, struct guard_verdict verdict)
{
    const char *error = verdict.status == 413 || verdict.status == 414 || verdict.status == 431
                            ? "too_large"
                        : verdict.status == 403 ? "access"
                                                : "invalid";
    r->must_close = true;
    respond_status_locked(r, verdict.status, error, verdict.message, verdict.field);
}

static bool take_head(struct request *r, const char *method, const char *version)
{
    struct collected collected = {0};
    MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, collect, &collected);
    struct guard_head raw = {method, r->head.target, version, collected.headers, collected.n};
    struct guard_verdict bad = {400, "the head of the request is malformed", "head"};
    bool accounted = collected.n > HTTP_MAX_HEADERS || is_accounted(r, &raw);
    r->head.method = arena_strdup(&r->arena, method);
    r->head.version = arena_strdup(&r->arena, version);
    bool copied = copy_headers(r, &collected);
    proxy_client(r->client, r->conn->client, &r->head, r->http->proxies,
                 r->http->options.n_trusted_proxies);
    if (!copied || r->head.method == NULL || r->head.version == NULL) {
        respond_status_locked(r, 503, "unavailable", "out of memory", NULL);
        return false;
    }
    struct guard_verdict verdict = accounted ? guard_form(&r->head) : bad;
    if (verdict.status == 0)
        verdict = guard_names_check(&r->head, &r->http->names);
    if (verdict.status != 0)
        refuse(r, verdict);
    return verdict.status == 0;
}

/* Content-Length above 2^64 was refused by the library. */
static void take_framing(struct request *r)
{
    const char *length = guard_header(&r->head, "Content-Length");
    bool chunked = guard_header(&r->head, "Transfer-Encoding") != NULL;
    r->content_length = chunked ? UINT64_MAX : length ? strtoull(length, NULL, 10) : 0;
    r->has_body = r->content_length > 0;
    r->is_head = strcmp(r->head.method, "HEAD") == 0;
}

/* Answers to a browser that asks before it sends. */
static void answer_options(struct request *r)
{
    if (r->origin) {
        response_header(r, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
        response_header(r, "Access-Control-Allow-Headers",
                        "Authorization, Content-Type, Content-Encoding, Range, If-None-Match, "
                        "X-Part-SHA256, Idempotency-Key");
        response_header(r, "Access-Control-Max-Age", "600");
    }
    if (r->match.allow[0] != '\0')
        response_header(r, "Allow", r->match.allow);
    r->status = 204;
    respond_ready_locked(r);
}

static void refuse_target(struct request *r, enum mld_error error)
{
    const char *field = error_field()[0] != '\0' ? error_field() : NULL;
    if (error == MLD_ENOTFOUND)
        respond_status_locked(r, 404, "not_found", mld_error_message(), field);
    else if (error == MLD_ENOMEM)
        respond_status_locked(r, 503, "unavailable", mld_error_message(), NULL);
    else
        respond_status_locked(r, 400, "invalid", mld_error_message(), field);
}

static bool match(struct request *r)
{
    char *path = arena_strdup(&r->arena, r->head.target);
    char *query = path ? strchr(path, '?') : NULL;
    if (query)
        *query++ = '\0';
    enum mld_error error =
        path ? route_match(&r->match, &r->arena, r->http->routes, r->head.method, path)
             : error_set(MLD_ENOMEM, "out of memory");
    if (strcmp(r->head.method, "OPTIONS") == 0 && (error == MLD_OK || error == MLD_ESTATE)) {
        answer_options(r);
        return false;
    }
    if (error == MLD_ESTATE) {
        response_header(r, "Allow", r->match.allow);
        respond_status_locked(r, 405, "method", mld_error_message(), "method");
        return false;
    }
    if (error == MLD_OK && query)
        error = route_query(&r->query, &r->n_query, &r->arena, query);
    if (error == MLD_OK)
        return true;
    refuse_target(r, error);
    return false;
}

bool head_read(struct request *r, const char *method, const char *version)
{
    if (!take_head(r, method, version))
        return false;
    take_framing(r);
    r->origin = guard_origin(&r->head, &r->http->names);
    if (!match(r))
        return false;
    size_t max = r->match.route->max_body;
    if (max > 0 && r->has_body && r->content_length != UINT64_MAX && r->content_length > max) {
        respond_status_locked(r, 413, "too_large", "the body is larger than this address takes",
                              "Content-Length");
        return false;
    }
    return true;
}

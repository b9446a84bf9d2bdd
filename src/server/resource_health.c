#include "server/resource_health.h"

#include "server/access.h"
#include "server/http_guard.h"
#include "server/limits.h"
#include "server/server.h"

#define MAX_METRICS_BYTES ((size_t)4 << 20)

/* Everybody may ask; what exactly is wrong is for the log. */
static json_t *store_state(struct request *r, const char *store, const char *kind,
                           enum mld_error error)
{
    if (error != MLD_OK) {
        error_prefix(error, "the %s store (%s)", store, kind);
        http_note(request_http(r), "error", mld_error_message());
    }
    return json_pack("{s:s, s:b, s:s}", "kind", kind, "ok", error == MLD_OK, "message",
                     error == MLD_OK ? "" : mld_error_words(error));
}

void get_health(struct request *r)
{
    struct server *server = request_server(r);
    enum mld_error meta = meta_health(server->meta);
    json_t *meta_state = store_state(r, "metadata", meta_kind(server->meta), meta);
    enum mld_error blob = blob_health(server->blob);
    json_t *blob_state = store_state(r, "blob", blob_kind(server->blob), blob);
    bool ok = meta == MLD_OK && blob == MLD_OK;
    json_t *body = json_pack("{s:s, s:o, s:o}", "status", ok ? "ok" : "failing", "meta", meta_state,
                             "blob", blob_state);
    if (!ok)
        response_header(r, "Retry-After", "5");
    respond_json(r, ok ? 200 : 503, body);
}

/* A proxy on this machine is not this machine's operator: what it passes on says so. */
static bool is_local(const struct request *r)
{
    const char *host = request_header(r, "Host");
    bool forwarded = request_header(r, "Forwarded") || request_header(r, "X-Forwarded-For") ||
                     request_header(r, "X-Real-IP") || request_header(r, "Via");
    return !forwarded && host && guard_is_loopback(host) && guard_is_loopback(request_client(r));
}

void get_metrics(struct request *r)
{
    struct server *server = request_server(r);
    const struct access_question question = {
        .permission = PERMISSION_ADMIN,
        .authorization = request_header(r, "Authorization"),
        .client = request_client(r),
    };
    struct caller caller;
    struct buf body;
    enum mld_error error =
        is_local(r) ? MLD_OK : access_decide(&caller, request_arena(r), server, &question);
    if (error != MLD_OK) {
        respond_error(r, error, NULL);
        return;
    }
    buf_init(&body, MAX_METRICS_BYTES);
    http_metrics(request_http(r), &body);
    buf_printf(&body,
               "# HELP mldash_store_info The kinds of the stores.\n"
               "# TYPE mldash_store_info gauge\n"
               "mldash_store_info{meta=\"%s\",blob=\"%s\",version=\"%s\"} 1\n",
               meta_kind(server->meta), blob_kind(server->blob), MLDASH_VERSION);
    respond_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

void get_limits(struct request *r)
{
    respond_json(r, 200,
                 json_pack("{s:i, s:i, s:i, s:i, s:i, s:I}", "batch_bytes", (int)LIMIT_BATCH_BYTES,
                           "json_bytes", (int)LIMIT_JSON_BYTES, "small_file_bytes",
                           (int)BLOB_SMALL_BYTES, "streams", LIMIT_STREAMS, "small_files",
                           LIMIT_SMALL_FILES, "file_bytes",
                           (json_int_t)request_server(r)->max_file_bytes));
}

/* http_client.h: requests to the server, by libcurl. One client per thread; its connection stays
 * open between requests. Proxies come from the environment, certificates from the system or
 * SSL_CERT_FILE and REQUESTS_CA_BUNDLE; redirects are not followed. */
#ifndef SYNC_HTTP_CLIENT_H
#define SYNC_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define HTTP_MAX_REPLY_BYTES (64u << 20)

struct http_server {         /* where to, and who asks; texts are borrowed */
    const char *url;         /* "http://host:port[/prefix]", no slash at the end */
    const char *token;       /* NULL: none */
    const atomic_bool *stop; /* NULL: never; true ends requests under way with MLD_EINTERRUPTED */
    /* Asked at least once a second while a request is under way; false ends it with
     * MLD_EINTERRUPTED. NULL: it goes on. */
    bool (*keep_going)(void *payload);
    void *payload;
    long connect_timeout_ms; /* 0: 10 s */
    long stall_timeout_s;    /* 0: 30 s without a byte in either direction */
};

struct http_client;
/* Once per process, before the first client, on the main thread if that can be. */
void http_client_global_init(void);
enum mld_error http_client_new(struct http_client **out, const struct http_server *server);
void http_client_free(struct http_client *c); /* NULL is fine */

/* Gets a download's bytes; anything but MLD_OK ends it. */
typedef enum mld_error http_sink(const void *data, size_t len, void *payload);

struct http_request {
    const char *method;
    const char *path; /* "/api/v1/...", names already encoded */
    const void *body; /* borrowed; NULL: none */
    size_t body_len;
    const char *content_type; /* NULL: application/json */
    const char *header;       /* one more, "Name: value"; NULL: none */
    http_sink *sink;          /* for the body of a 2xx answer; NULL: into reply->body */
    void *payload;
};
struct http_reply {
    long status;
    struct buf body;
    int64_t retry_after_s; /* -1: not said */
};
void http_reply_init(struct http_reply *reply);
void http_reply_free(struct http_reply *reply);

/* One request, not repeated here. MLD_OK: there is an answer, of whatever status. MLD_EUNAVAILABLE:
 * there is none (refused, broken, too slow); it is unknown whether the server acted. */
enum mld_error http_client_call(struct http_client *c, const struct http_request *request,
                                struct http_reply *reply);
/* An answer that is not 2xx as an error with the server's message: 401 MLD_EAUTH, 403 MLD_EACCESS,
 * 404 and 410 MLD_ENOTFOUND, 409 MLD_ECONFLICT, 413 MLD_ETOOLARGE, 422 MLD_ECHECKSUM, 408, 425, 429
 * and 5xx but 507 MLD_EUNAVAILABLE, 507 MLD_ENOSPACE, others MLD_EINVALID. */
enum mld_error http_reply_check(const struct http_reply *reply, const char *what);
/* The member "error" of an answer is this code. */
bool http_reply_is(const struct http_reply *reply, const char *code);

/* Appends a path component, percent-encoded. */
void http_put_component(struct buf *out, const char *text);

#endif

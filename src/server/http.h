/* http.h: requests and responses as handlers see them, and the table of routes.
 *
 * A handler is plain blocking code on a worker thread: it reads the request, asks the stores,
 * answers once. The threads of libmicrohttpd only move bytes: they never call a handler, a store or
 * a slow hash. Who may do what is decided before the handler, at one place (access.h), from the
 * permission in the route's row; a handler finds the caller and the experiment or namespace already
 * resolved.
 *
 * Two pools of workers: quick routes get their whole body first (ROUTE's max_body bytes at most),
 * streaming routes (max_body 0) read it piece by piece through a ring of HTTP_RING_BYTES while it
 * arrives. A full pool answers 503 with Retry-After; so does one of which a user has more than a
 * share (http_share.h), and the same holds for the memory of bodies and answers. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "server/accounts.h"

#define HTTP_RING_BYTES (512u << 10)
#define HTTP_MAX_HEADER_BYTES (32u << 10) /* of one request's head, all in all */
#define HTTP_MAX_URL_BYTES (8u << 10)
#define HTTP_MAX_PARAMS 8
#define HTTP_MAX_JSON_DEPTH 32

struct server;
struct request;
struct http;

/* What a caller must be allowed to do; what it refers to is in the route's path. */
enum permission {
    PERMISSION_UNSET = 0, /* a row without permission: refused at start */
    PERMISSION_PUBLIC,    /* anybody */
    PERMISSION_USER,      /* anybody with a valid token */
    PERMISSION_READ,      /* reader of the namespace that {namespace} or {experiment} is in */
    PERMISSION_WRITE,     /* writer of it */
    PERMISSION_OWN,       /* owner of it */
    PERMISSION_ADMIN      /* an administrator of this server */
};

typedef void handler(struct request *r);

struct route {
    const char *method;
    const char *path; /* "/api/v1/experiments/{experiment}/files/{file}/content": each {name} is one
                         segment; a last {name...} is all the rest */
    enum permission permission;
    handler *handler;
    size_t max_body; /* bytes of a body that is read before the handler is called; 0: the handler
                        reads it (request_read). A larger body is 413. */
};
/* The one table of the server, ended by a row without method (routes.c). */
extern const struct route server_routes[];

/* The request. Texts are borrowed and live as long as the request. Path parameters and the query
 * are percent-decoded once; what is no UTF-8 or has NUL has been refused with 400. */
struct server *request_server(const struct request *r);
struct http *request_http(const struct request *r);
const char *request_param(const struct request *r, const char *name); /* never NULL for a name of
                                                                         the route */
const char *request_query(const struct request *r, const char *name); /* NULL: not there */
/* All of it, in order, for names that may come several times or that the caller makes up
 * ("metadata.KEY"). */
size_t request_query_count(const struct request *r);
const char *request_query_at(const struct request *r, size_t index, const char **out_name);
/* An integer of the query: `otherwise` when not there; MLD_EINVALID (naming it) when it is none, or
 * outside [min, max]. */
enum mld_error request_query_int(const struct request *r, const char *name, int64_t otherwise,
                                 int64_t min, int64_t max, int64_t *out);
const char *request_header(const struct request *r, const char *name); /* NULL: not there */
const char *request_method(const struct request *r);                   /* "HEAD" for HEAD */
const char *request_client(const struct request *r);                   /* address, for logs */
const char *request_id(const struct request *r);                       /* as in the log */
struct arena *request_arena(struct request *r); /* freed with the request; the worker's alone */
/* Content-Length, or UINT64_MAX when the body is chunked. */
uint64_t request_body_bytes(const struct request *r);

/* The body. Of quick routes: all of it. */
const char *request_body(const struct request *r, size_t *out_len);
/* It as a JSON object (own reference of the request; borrowed): MLD_EINVALID when it is none, is
 * nested deeper than HTTP_MAX_JSON_DEPTH, has duplicate keys, NUL in strings or numbers out of
 * range. */
enum mld_error request_json(struct request *r, json_t **out);
/* Of streaming routes: up to `capacity` bytes; *out_len is 0 at the end only. MLD_EUNAVAILABLE: the
 * client went away or was slower than the minimum rate; answer nothing, just return. Blocks. */
enum mld_error request_read(struct request *r, void *data, size_t capacity, size_t *out_len);
/* Exactly `len` bytes; MLD_EINVALID ("the body ends early") when there are fewer. */
enum mld_error request_read_all(struct request *r, void *data, size_t len);

/* Who asks, and for what, as access.h resolved it. */
struct caller {
    const char *user_id; /* NULL: nobody (public routes) */
    const char *username;
    const char *token_id; /* NULL: a foreign JWT */
    bool admin;
    enum role role;           /* in the namespace below */
    const char *namespace_id; /* NULL: the route names neither a namespace nor an experiment */
    const char *namespace_name;
    const char *project_id; /* set with an experiment */
    const char *experiment_id;
};
const struct caller *request_caller(const struct request *r);

/* Answers. Exactly one of these, once. Header values are checked: CR, LF and NUL never get out. */

/* `body` is taken over. `status` 200 and so on. */
void respond_json(struct request *r, unsigned status, json_t *body);
/* Bytes that were made in `body`, which is emptied. */
void respond_bytes(struct request *r, unsigned status, const char *content_type, struct buf *body);
/* This thread's error as {"error":code,"message":...,"field":...}: status by code
 * (mldash/error.h); `field` NULL: none. 5xx go to the log with their message, and are answered with
 * general words where the message would tell of the server's inside. 401 always has the same
 * body. */
void respond_error(struct request *r, enum mld_error code, const char *field);
/* The same with a code of the protocol and more members (`more` is taken over, may be NULL):
 * {"error":"diverged","message":...,...}. */
void respond_problem(struct request *r, unsigned status, const char *error, const char *message,
                     json_t *more);
void response_header(struct request *r, const char *name,
                     const char *value); /* before the answer */

/* A long answer piece by piece: begin with its whole length, write all of it. respond_write blocks
 * while the client is slow; MLD_EUNAVAILABLE: it went away, just return. A handler that returns
 * early closes the connection, so that a short answer is never taken for whole. */
enum mld_error respond_begin(struct request *r, unsigned status, const char *content_type,
                             uint64_t length);
enum mld_error respond_write(struct request *r, const void *data, size_t len);

/* Starting and stopping. */
struct http_options {
    const char *listen;          /* "127.0.0.1:3000", "[::1]:0" (any port), "unix" is not offered */
    const char *tls_certificate; /* PEM files; NULL: no TLS */
    const char *tls_key;
    const char *const *cors_origins; /* exact origins; none: no cross-origin answers */
    size_t n_cors_origins;
    const char *const *trusted_proxies; /* addresses, "10.0.0.0/8": whose X-Forwarded-For is
                                           believed; none: nobody's */
    size_t n_trusted_proxies;
    const char *const *hosts; /* accepted Host names besides loopback ones and the listen address;
                                 none: any when listening beyond loopback */
    size_t n_hosts;
    unsigned threads;           /* of libmicrohttpd; 0: 2 */
    unsigned quick_workers;     /* 0: 8 */
    unsigned stream_workers;    /* 0: 32 */
    unsigned max_connections;   /* 0: 4096 */
    unsigned header_timeout_ms; /* 0: 10 s from the first byte to the end of the head */
    unsigned idle_timeout_ms;   /* 0: 60 s between requests */
    unsigned min_bytes_per_s;   /* 0: 1024, of a body in either direction ... */
    unsigned rate_window_ms;    /* ... over this time; 0: 10 s */
    const char *log_path;       /* NULL: stderr */
};
/* Listens and serves until http_stop. `routes`: server_routes, or a test's own. MLD_EINVALID: an
 * option is wrong, or a row lacks its permission; MLD_EACCESS, MLD_EEXISTS: the address. */
enum mld_error http_start(struct http **out, struct server *server, const struct route *routes,
                          const struct http_options *options);
unsigned http_port(const struct http *h);
/* A line in the log: level "error", "warning" or "info". Never blocks. */
void http_note(struct http *h, const char *level, const char *message);
/* Appends the layer's counters as Prometheus text. */
void http_metrics(struct http *h, struct buf *out);
/* No new connections; requests under way may finish for up to `grace_ms`; then all is closed. */
void http_stop(struct http *h, unsigned grace_ms);

#endif

/* http_guard.h: what of a request's head is refused before anything is done with it. The library
 * below accepts what proxies read in another way (and so lets one request hide in another), and a
 * browser can be made to send requests to a server that only this machine should reach. Pure. */
#ifndef SERVER_HTTP_GUARD_H
#define SERVER_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_MAX_HEADERS 100

struct header {
    const char *name;
    const char *value; /* without blanks at its ends */
};

/* A head as the library read it. */
struct guard_head {
    const char *method;
    const char *target; /* as sent: path and query */
    const char *version;
    const struct header *headers;
    size_t n_headers;
};

/* Which Host and Origin names a server answers to. */
struct guard_names {
    bool any_host;            /* listens beyond loopback and nobody named hosts */
    const char *const *hosts; /* besides loopback ones: names without port */
    size_t n_hosts;
    const char *const *origins; /* "https://host:port" */
    size_t n_origins;
};

struct guard_verdict {
    unsigned status; /* 0: fine */
    const char *message;
    const char *field; /* the header to blame, "target", "method" or "head" */
};

/* Framing and form: 400 (a method or target that is none, a header's name or value with characters
 * that it may not have, Transfer-Encoding but "chunked" alone, that with Content-Length, repeated
 * Content-Length, Transfer-Encoding, Host or Authorization, no Host in HTTP/1.1), 414, 417 (an
 * Expect that is not 100-continue), 431. */
struct guard_verdict guard_form(const struct guard_head *head);
/* 421 for a Host that is not ours; 403 for an Origin that is neither the Host itself nor allowed,
 * unless the method only reads. */
struct guard_verdict guard_names_check(const struct guard_head *head,
                                       const struct guard_names *names);
/* The allowed origin that the request comes from, to be named in the answer; NULL: none. */
const char *guard_origin(const struct guard_head *head, const struct guard_names *names);

/* The head's bytes as they lie in the library's memory, where head->method begins, for `len` bytes:
 * whether every byte is accounted for by method, target (which lies at `target_at` and may have
 * been written over since), version and headers, with CRLF at each line's end. The head's texts but
 * the target must be the library's own. False: a NUL, a bare LF, a folded line, blanks where there
 * may be none. */
bool guard_accounts(const struct guard_head *head, const char *target_at, size_t len);

/* The value of a header by name (any case); NULL: not there. */
const char *guard_header(const struct guard_head *head, const char *name);
/* "localhost", 127.0.0.0/8, [::1], with or without port. */
bool guard_is_loopback(const char *host);

#endif

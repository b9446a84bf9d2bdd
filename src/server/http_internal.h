/* http_internal.h: what the http*.c files share.
 *
 * Threads. The library's threads (MHD) move bytes and call the three callbacks of http_cycle.c;
 * workers run handlers (http_work.c); the gate accepts connections and closes late ones
 * (http_gate.c); the log thread writes lines. A request is shared by one MHD thread and at most one
 * worker, and belongs to both: its lock guards all fields below `lock`; what is above is set before
 * a worker sees it. Lock order: http.conns_lock, conn.request_lock, request.lock, then the
 * library's own.
 *
 * Phases of a request. The library calls the same function for the head, for each piece of a body
 * and for the end; after a suspend in the head's call it calls again with no bytes, just as at the
 * end. So the phase, and never the arguments, says what a call means:
 *
 *   HEAD ─┬─ no body ────► END ─────────────────────────► WORK ─► ANSWER ─► SENT
 *         ├─ small body ─► BODY ─► (end) ───────────────► WORK
 *         └─ body ───────► ADMIT (a worker decides) ─┬──► READY ─► BODY ─► (end) ─► WORK
 *                                                    └──► ANSWER (refused: not a byte was read)
 *   BODY ─ answered while it still arrives ─┬─ little is left ─► DISCARD ─► (end) ─► SENT
 *                                           └─ LINGER: the answer was written past the library,
 *                                              what arrives is dropped until the gate closes
 *
 * A streaming handler runs from ADMIT on: the connection goes to READY at its first request_read.
 * ADMIT and WORK are suspended; BODY is when the ring is full; SENT when a streamed answer has
 * nothing to send. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "server/http.h"
#include "server/http_count.h"
#include "server/http_guard.h"
#include "server/http_log.h"
#include "server/http_pool.h"
#include "server/http_proxy.h"
#include "server/http_ring.h"
#include "server/http_route.h"
#include "server/http_share.h"

#define HTTP_EARLY_BODY_BYTES (16u << 10) /* smaller ones are read before they are admitted */
#define HTTP_DISCARD_BYTES (256u << 10)   /* of a body that nobody wants, to keep a connection */
#define HTTP_LINGER_MS 2000               /* after an answer in the middle of a body */
#define HTTP_MEMORY_BYTES ((size_t)256 << 20) /* bodies and answers held in memory, of all */
#define HTTP_MAX_RESPONSE_HEADERS 24
#define HTTP_RATE_WINDOW_MS 10000
#define HTTP_TICK_MS 200

enum phase {
    PHASE_HEAD,
    PHASE_END,
    PHASE_ADMIT,
    PHASE_READY,
    PHASE_BODY,
    PHASE_WORK,
    PHASE_ANSWER,
    PHASE_DISCARD,
    PHASE_LINGER,
    PHASE_SENT
};

/* Whose turn it is on a connection, for the deadlines. */
enum turn {
    TURN_FRESH,  /* nothing came yet that is a request: header_timeout_ms from its beginning */
    TURN_HEAD,   /* the request line is there: header_timeout_ms from it */
    TURN_SERVER, /* a worker is at it: no deadline */
    TURN_BODY,   /* the client sends: the minimum rate */
    TURN_ANSWER, /* the client receives: the minimum rate */
    TURN_LINGER, /* HTTP_LINGER_MS */
    TURN_IDLE    /* between requests: idle_timeout_ms, header_timeout_ms from the first byte */
};

struct conn {
    struct conn *next, *previous; /* in http.conns */
    pthread_mutex_t request_lock;
    struct request *request; /* under it; NULL between requests */
    int fd;
    bool cut; /* by the gate, which alone looks at it */
    _Atomic int turn;
    _Atomic int64_t since_ms; /* when the turn began, monotonic */
    /* The gate's own notes. */
    int64_t noted_ms; /* since_ms of the turn that the window is about */
    enum turn noted_turn;
    int64_t window_ms;
    uint64_t window_bytes;
    char client[PROXY_ADDRESS_MAX];
};

struct http {
    struct server *server;
    const struct route *routes;
    struct http_options options; /* with defaults filled in; texts are own */
    struct guard_names names;
    struct proxy_net *proxies; /* trusted ones, in the arena */
    struct arena arena;        /* of the options' texts */
    int listen_fd;
    int wake_fd;
    unsigned port;
    bool tls;
    struct MHD_Daemon *daemon;
    struct pool *quick;
    struct pool *stream;
    struct log *log;
    struct counts *counts;
    pthread_t gate;
    bool gate_runs;
    unsigned cuts; /* by the gate, in its look at all */
    _Atomic bool gate_stops;
    pthread_mutex_t conns_lock;
    struct conn *conns, *last_conn;
    _Atomic unsigned n_conns;
    _Atomic unsigned active; /* requests whose head is there and whose answer is not out */
    struct share memory;     /* of HTTP_MEMORY_BYTES: bodies and answers */
    struct share transfers;  /* of the streaming workers */
    _Atomic bool closing;    /* no new connections; answers close theirs */
    _Atomic bool aborting;   /* nothing is waited for any more */
    char id_prefix[17];      /* of request ids */
    _Atomic uint64_t next_id;
};

struct request {
    struct http *http;
    struct conn *conn;
    struct MHD_Connection *mhd;
    char id[40];
    char client[PROXY_ADDRESS_MAX]; /* address, without port */
    int64_t begun_us;               /* wall clock, for the log */
    int64_t begun_ms;
    const char *target_at; /* where the library has the target */
    struct arena arena;
    struct guard_head head; /* own texts */
    struct route_match match;
    struct pair *query;
    size_t n_query;
    const char *origin; /* allowed one, NULL: none */
    bool is_head;
    bool has_body;
    bool must_close;         /* the head is such that nothing after it can be trusted */
    uint64_t content_length; /* UINT64_MAX: chunked */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs; /* the library's, and a worker's */
    enum phase phase;
    bool suspended;
    bool gone;       /* the connection is closed; mhd and conn are not to be touched */
    bool admitted;   /* caller is filled */
    bool wants_body; /* the handler called request_read */
    bool body_ended;
    bool handler_over;
    bool broken; /* the body did not come whole, and the handler was told */
    struct caller caller;
    uint64_t received; /* bytes of the body */
    struct buf body;   /* of quick routes */
    json_t *json;
    struct ring ring; /* the body, later the answer */
    size_t reserved;  /* of http.memory: what is small, or was before it was known for whom */
    size_t own;       /* of it, in the caller's share */
    bool transfers;   /* has a place of http.transfers */

    /* The answer. */
    bool answered;
    bool streamed;
    unsigned status;
    struct pair headers[HTTP_MAX_RESPONSE_HEADERS];
    size_t n_headers;
    struct buf answer;
    uint64_t length;
    uint64_t written; /* by the handler */
    uint64_t sent;    /* to the library */
    struct MHD_Response *response;
};

/* http_cycle.c: the library's callbacks. */
void *cycle_target(void *http, const char *target, struct MHD_Connection *mhd);
enum MHD_Result cycle_call(void *http, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **request);
void cycle_completed(void *http, struct MHD_Connection *mhd, void **request,
                     enum MHD_RequestTerminationCode code);

/* http_head.c: fills the request from the head; on failure it is answered already. */
bool head_read(struct request *r, const char *method, const char *version);

/* http_request.c */
struct request *request_new(struct http *http, struct conn *conn, struct MHD_Connection *mhd);
void request_unref(struct request *r);
/* Reserves bytes of the memory for bodies and answers, given back with the request: of the caller's
 * share, once it is admitted and unless they are few. */
bool request_reserve(struct request *r, size_t bytes);
/* In whose share it is: the user's, or else the address's. */
const char *request_holder(const struct request *r);
void request_suspend_locked(struct request *r);
/* Resumes the connection if it is suspended. */
void request_resume_locked(struct request *r, enum turn turn);
void request_turn_locked(struct request *r, enum turn turn);

/* http_work.c: the job of both pools. */
void work_run(void *request);
/* Hands the request to a worker; answers 503 when there is none. The phase must be set. */
void work_submit_locked(struct request *r);

/* http_respond.c: an answer of the layer itself, from any thread. `field`: what is to blame, or
 * NULL.
 */
void respond_status_locked(struct request *r, unsigned status, const char *error,
                           const char *message, const char *field);
/* r->status, headers and answer (or stream) are set: gets them on their way. */
void respond_ready_locked(struct request *r);

/* http_answer.c: makes r->response; false: no memory. */
bool answer_make_locked(struct request *r);
/* Calls `put` for each header of the answer. */
typedef void answer_put(void *payload, const char *name, const char *value);
void answer_headers(const struct request *r, answer_put *put, void *payload);

/* http_stream.c */
ssize_t stream_reader(void *request, uint64_t position, char *out, size_t capacity);

/* http_raw.c: an answer in the middle of a body, past the library. */
void raw_send_locked(struct request *r);

/* http_gate.c */
enum mld_error gate_start(struct http *h);
void gate_stop(struct http *h);
void gate_connection(void *http, struct MHD_Connection *mhd, void **socket_context,
                     enum MHD_ConnectionNotificationCode code);
void gate_cut_all(struct http *h);

/* http_listen.c: sets listen_fd, port and names.any_host from options.listen. */
enum mld_error http_listen(struct http *h);

/* http_tls.c: reads and checks the two files; `*out` are their texts in the arena. */
enum mld_error tls_read(const char **out_certificate, const char **out_key, struct arena *arena,
                        const struct http_options *options);
/* Sends on a TLS connection; the bytes sent, or -1. */
ssize_t tls_send(void *session, const void *data, size_t len);

#endif

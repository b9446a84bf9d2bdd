/* http_gate.c: the thread at the door: it accepts connections while there is room, hands them to
 * the library, and shuts those that are late. The library's own timeout is reset by every byte, and
 * so a client that sends one every few seconds would hold its place for ever. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/http_internal.h"

/* States of tcp_info.tcpi_state, which the kernel's headers do not name. */
#define TCP_STATE_CLOSE 7
#define TCP_STATE_CLOSE_WAIT 8
#define MAX_ACCEPTS 64      /* in one go */
#define MAX_LOOKS 16        /* the same */
#define MAX_CUTS 32         /* in one look at all */
#define CROWDED_MS 1000     /* idle time when places are few */
#define ACCEPT_PAUSE_MS 100 /* after accept failed for want of descriptors */

static void client_text(char out[64], const struct sockaddr *address)
{
    const void *bytes = NULL;
    int family = address->sa_family;
    out[0] = '\0';
    if (family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    } else if (family == AF_INET6) {
        const struct in6_addr *in6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(in6);
        bytes = mapped ? (const void *)(in6->s6_addr + 12) : in6;
        family = mapped ? AF_INET : AF_INET6;
    }
    if (bytes == NULL || inet_ntop(family, bytes, out, 64) == NULL)
        memcpy(out, "?", 2);
}

static void append_locked(struct http *h, struct conn *conn)
{
    conn->next = NULL;
    conn->previous = h->last_conn;
    if (h->last_conn)
        h->last_conn->next = conn;
    else
        h->conns = conn;
    h->last_conn = conn;
}

static void remove_locked(struct http *h, struct conn *conn)
{
    if (conn->next)
        conn->next->previous = conn->previous;
    else
        h->last_conn = conn->previous;
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        h->conns = conn->next;
}

static void begin(struct http *h, struct MHD_Connection *mhd, void **context)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct conn *conn = calloc(1, sizeof *conn);
    *context = conn;
    if (conn == NULL || fd == NULL || address == NULL) {
        free(conn);
        *context = NULL; /* its requests are refused: there is no memory */
        return;
    }
    conn->fd = fd->connect_fd;
    pthread_mutex_init(&conn->request_lock, NULL);
    client_text(conn->client, address->client_addr);
    atomic_store(&conn->turn, TURN_FRESH);
    atomic_store(&conn->since_ms, clock_monotonic_ms());
    pthread_mutex_lock(&h->conns_lock);
    append_locked(h, conn);
    pthread_mutex_unlock(&h->conns_lock);
    atomic_fetch_add(&h->n_conns, 1);
}

static void end(struct http *h, struct conn *conn)
{
    if (conn == NULL)
        return;
    pthread_mutex_lock(&h->conns_lock);
    remove_locked(h, conn);
    pthread_mutex_unlock(&h->conns_lock);
    atomic_fetch_sub(&h->n_conns, 1);
    pthread_mutex_destroy(&conn->request_lock);
    free(conn);
}

/* The library calls this when it takes a connection, and before it closes the descriptor. */
void gate_connection(void *http, struct MHD_Connection *mhd, void **socket_context,
                     enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        begin(http, mhd, socket_context);
    } else {
        end(http, *socket_context);
        *socket_context = NULL;
    }
}

static bool is_crowded(const struct http *h)
{
    return atomic_load(&h->n_conns) >= h->options.max_connections / 8 * 7;
}

/* What the system knows of a connection. */
struct look {
    uint64_t bytes; /* that the client has sent, or (TURN_ANSWER) has confirmed to have received */
    bool left;      /* the client has closed its side, and all that it sent was read */
};

static struct look look_at(const struct conn *conn, enum turn turn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unread = 0;
    struct look look = {0};
    if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return look;
    look.bytes = turn == TURN_ANSWER ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
    if (info.tcpi_state == TCP_STATE_CLOSE_WAIT || info.tcpi_state == TCP_STATE_CLOSE)
        look.left = ioctl(conn->fd, SIOCINQ, &unread) == 0 && unread == 0;
    return look;
}

/* Nothing is on its way to the client: if an answer goes slowly, it is not the client. */
static bool has_received_all(const struct conn *conn)
{
    int waiting = 0;
    return ioctl(conn->fd, SIOCOUTQ, &waiting) == 0 && waiting == 0;
}

static bool is_slow(struct http *h, struct conn *conn, enum turn turn, uint64_t bytes, int64_t now)
{
    int64_t window = h->options.rate_window_ms;
    if (turn == TURN_ANSWER && has_received_all(conn)) {
        conn->window_ms = now;
        conn->window_bytes = bytes;
    }
    if (now - conn->window_ms < window)
        return false;
    uint64_t least = (uint64_t)window * h->options.min_bytes_per_s / 1000;
    bool slow = bytes - conn->window_bytes < least;
    conn->window_ms = now;
    conn->window_bytes = bytes;
    return slow;
}

static bool is_idle_too_long(struct http *h, struct conn *conn, uint64_t bytes, int64_t now,
                             int64_t age)
{
    if (atomic_load(&h->closing) || age > h->options.idle_timeout_ms ||
        (age > CROWDED_MS && is_crowded(h)))
        return true;
    /* The window stands still until the first byte of a request comes. */
    if (bytes == conn->window_bytes)
        conn->window_ms = now;
    return now - conn->window_ms > h->options.header_timeout_ms;
}

/* A client that is gone is late, too: the library misses its end when that was there already at the
 * last read, and would wait for more. */
static bool is_late(struct http *h, struct conn *conn, int64_t now)
{
    enum turn turn = (enum turn)atomic_load(&conn->turn);
    int64_t since = atomic_load(&conn->since_ms);
    int64_t age = now - since;
    if (turn == TURN_SERVER)
        return false;
    struct look look = look_at(conn, turn);
    if (since != conn->noted_ms || turn != conn->noted_turn) {
        conn->noted_ms = since;
        conn->noted_turn = turn;
        conn->window_ms = now;
        conn->window_bytes = look.bytes;
    }
    if (turn == TURN_ANSWER)
        return is_slow(h, conn, turn, look.bytes, now);
    if (look.left)
        return true;
    switch (turn) {
    case TURN_FRESH:
        return age > h->options.header_timeout_ms || (age > CROWDED_MS && is_crowded(h));
    case TURN_HEAD:
        return age > h->options.header_timeout_ms;
    case TURN_BODY:
        return is_slow(h, conn, turn, look.bytes, now);
    case TURN_LINGER:
        return age > HTTP_LINGER_MS;
    case TURN_IDLE:
        return is_idle_too_long(h, conn, look.bytes, now, age);
    case TURN_SERVER:
    case TURN_ANSWER:
        break;
    }
    return false;
}

/* A shut connection reads as ended, and the library closes it. Many that came together are late
 * together; unless room is needed they go a few at a time, or requests would wait for the library
 * to close them all, and to open those that come back. */
static void look_at_one(struct http *h, struct conn *conn, int64_t now)
{
    bool hurry = atomic_load(&h->closing) || is_crowded(h);
    if (conn->cut || (h->cuts == MAX_CUTS && !hurry) || !is_late(h, conn, now))
        return;
    conn->cut = true;
    h->cuts += !hurry;
    shutdown(conn->fd, SHUT_RDWR);
    if (!atomic_load(&h->closing))
        counts_cut(h->counts);
}

/* The first ones, which then are the last. */
static unsigned look_at_some_locked(struct http *h, int64_t now)
{
    unsigned n = 0;
    for (; n < MAX_LOOKS && h->conns; n++) {
        struct conn *conn = h->conns;
        look_at_one(h, conn, now);
        remove_locked(h, conn);
        append_locked(h, conn);
    }
    return n;
}

/* A few at a time: each look is a call of the system, and meanwhile no connection opens or ends. */
static void look_at_all(struct http *h)
{
    int64_t now = clock_monotonic_ms();
    unsigned all = atomic_load(&h->n_conns);
    h->cuts = 0;
    for (unsigned done = 0, n = 1; done < all && n > 0; done += n) {
        pthread_mutex_lock(&h->conns_lock);
        n = look_at_some_locked(h, now);
        pthread_mutex_unlock(&h->conns_lock);
    }
}

static void wake(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->changed);
    if (r->phase == PHASE_SENT)
        request_resume_locked(r, TURN_ANSWER);
    pthread_mutex_unlock(&r->lock);
}

/* Wakes everybody who waits for a client; h->aborting is set. */
void gate_cut_all(struct http *h)
{
    pthread_mutex_lock(&h->conns_lock);
    for (struct conn *conn = h->conns; conn; conn = conn->next) {
        pthread_mutex_lock(&conn->request_lock);
        if (conn->request)
            wake(conn->request);
        pthread_mutex_unlock(&conn->request_lock);
    }
    pthread_mutex_unlock(&h->conns_lock);
}

/* False: there is nothing more to accept for now. */
static bool accept_one(struct http *h, bool *out_pause)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    int fd = accept4(h->listen_fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        *out_pause = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        return errno == EINTR || errno == ECONNABORTED;
    }
    counts_connection(h->counts);
    if (MHD_add_connection(h->daemon, fd, (struct sockaddr *)&address, len) != MHD_YES)
        counts_cut(h->counts);
    return true;
}

/* At once the library may have them later than we count: what was accepted just now counts. */
static bool accept_some(struct http *h)
{
    bool pause = false;
    unsigned room = h->options.max_connections;
    unsigned taken = atomic_load(&h->n_conns);
    for (unsigned n = 0; n < MAX_ACCEPTS && n + taken < room; n++) {
        if (!accept_one(h, &pause))
            break;
    }
    return pause;
}

static void *run(void *payload)
{
    struct http *h = payload;
    int64_t next_ms = 0;
    int64_t pause_until_ms = 0;
    while (!atomic_load(&h->gate_stops)) {
        int64_t now = clock_monotonic_ms();
        bool room = atomic_load(&h->n_conns) < h->options.max_connections;
        bool accepts = !atomic_load(&h->closing) && room && now >= pause_until_ms;
        struct pollfd fds[2] = {{h->wake_fd, POLLIN, 0}, {accepts ? h->listen_fd : -1, POLLIN, 0}};
        int64_t wait = next_ms - now;
        if (!room && wait > ACCEPT_PAUSE_MS)
            wait = ACCEPT_PAUSE_MS;
        poll(fds, 2, wait > 0 ? (int)wait : 0);
        if ((fds[1].revents & POLLIN) && accept_some(h))
            pause_until_ms = clock_monotonic_ms() + ACCEPT_PAUSE_MS;
        if (clock_monotonic_ms() >= next_ms) {
            look_at_all(h);
            next_ms = clock_monotonic_ms() + HTTP_TICK_MS;
        }
    }
    return NULL;
}

enum mld_error gate_start(struct http *h)
{
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake_fd < 0)
        return error_set_errno(errno, "could not start the server");
    if (pthread_create(&h->gate, NULL, run, h) != 0)
        return error_set(MLD_ENOMEM, "could not start the server's thread");
    h->gate_runs = true;
    return MLD_OK;
}

void gate_stop(struct http *h)
{
    const uint64_t one = 1;
    if (!h->gate_runs)
        return;
    atomic_store(&h->gate_stops, true);
    (void)!write(h->wake_fd, &one, sizeof one);
    pthread_join(h->gate, NULL);
    h->gate_runs = false;
}

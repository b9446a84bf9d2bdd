/* http_raw.c: an answer in the middle of a large body. The library takes none there, and to read
 * gigabytes first would be absurd: the answer is written to the socket as it is, the rest of the
 * body is dropped for a moment (or the system would take the answer back), and the connection is
 * closed. */
#include <string.h>
#include <sys/socket.h>

#include "server/http_internal.h"

#define MAX_RAW_BYTES (128u << 10)

static void put_header(void *payload, const char *name, const char *value)
{
    struct buf *out = payload;
    if (strcmp(name, "Connection") != 0)
        buf_printf(out, "%s: %s\r\n", name, value);
}

static void put_answer(struct buf *out, const struct request *r)
{
    buf_printf(out, "HTTP/1.1 %u %s\r\n", r->status, MHD_get_reason_phrase_for(r->status));
    answer_headers(r, put_header, out);
    buf_printf(out, "Connection: close\r\nContent-Length: %zu\r\n\r\n", r->answer.len);
    buf_put(out, buf_text(&r->answer), r->answer.len);
}

/* Never blocks: what does not fit into the socket's buffer, which is empty at this time, is not
 * sent, and the client sees a cut answer. The connection cannot be closed meanwhile: that needs the
 * request's lock first. */
void raw_send_locked(struct request *r)
{
    struct buf out;
    buf_init(&out, MAX_RAW_BYTES);
    put_answer(&out, r);
    const union MHD_ConnectionInfo *info =
        r->http->tls ? MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION) : NULL;
    if (r->streamed || buf_check(&out, "the answer") != MLD_OK)
        log_event(r->http->log, "error", r->id, "too long an answer in the middle of a body");
    else if (info)
        (void)tls_send(info->tls_session, out.data, out.len);
    else
        (void)send(r->conn->fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_free(&out);
}

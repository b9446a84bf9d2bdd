/* http_stream.c: an answer piece by piece, from a worker through the ring to the library. */
#include <assert.h>
#include <string.h>

#include "server/http_internal.h"

/* So much is there before a waiting connection is woken, unless it is the end. */
#define WAKE_BYTES (HTTP_RING_BYTES / 4)

static bool has_no_body(const struct request *r)
{
    return r->is_head || r->status == 204 || r->status == 304;
}

enum mld_error respond_begin(struct request *r, unsigned status, const char *content_type,
                             uint64_t length)
{
    if (content_type)
        response_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock);
    enum mld_error error = MLD_OK;
    bool in_body = r->phase == PHASE_BODY;
    if (r->gone || r->answered)
        error = error_set(MLD_EUNAVAILABLE, "the client went away");
    else if (in_body && r->content_length - r->received > HTTP_DISCARD_BYTES)
        error = error_set(MLD_ESTATE, "a long answer while the body still arrives");
    else if (!ring_open(&r->ring, HTTP_RING_BYTES))
        error = error_set(MLD_ENOMEM, "out of memory for the answer");
    if (error == MLD_OK) {
        r->status = status;
        r->streamed = true;
        r->length = length;
        respond_ready_locked(r);
    }
    pthread_mutex_unlock(&r->lock);
    return error;
}

static enum mld_error write_locked(struct request *r, const char *data, size_t len)
{
    while (len > 0) {
        while (r->ring.used == r->ring.capacity && !r->gone && !atomic_load(&r->http->aborting))
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->gone || atomic_load(&r->http->aborting))
            return error_set(MLD_EUNAVAILABLE, "the client went away");
        size_t n = ring_put(&r->ring, data, len);
        data += n;
        len -= n;
        r->written += n;
        if (r->phase == PHASE_SENT && (r->ring.used >= WAKE_BYTES || r->written == r->length))
            request_resume_locked(r, TURN_ANSWER);
    }
    return MLD_OK;
}

enum mld_error respond_write(struct request *r, const void *data, size_t len)
{
    enum mld_error error;
    pthread_mutex_lock(&r->lock);
    assert(r->streamed);
    if (has_no_body(r))
        error = error_set(MLD_EUNAVAILABLE, "nobody wants these bytes");
    else if (len > r->length - r->written)
        error = error_set(MLD_EINVALID, "the answer is longer than announced");
    else
        error = write_locked(r, data, len);
    pthread_mutex_unlock(&r->lock);
    return error;
}

ssize_t stream_reader(void *request, uint64_t position, char *out, size_t capacity)
{
    struct request *r = request;
    (void)position;
    pthread_mutex_lock(&r->lock);
    ssize_t n = (ssize_t)ring_get(&r->ring, out, capacity);
    r->sent += (uint64_t)n;
    if (n > 0 && r->ring.used <= r->ring.capacity / 2)
        pthread_cond_broadcast(&r->changed);
    if (n == 0 && (r->handler_over || atomic_load(&r->http->aborting)))
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    else if (n == 0)
        request_suspend_locked(r);
    pthread_mutex_unlock(&r->lock);
    return n;
}

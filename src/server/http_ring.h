/* http_ring.h: a ring of bytes of fixed size between the thread that moves a connection's bytes and
 * the worker that makes or takes them. It has no lock: the request's is held. */
#ifndef SERVER_HTTP_RING_H
#define SERVER_HTTP_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
    char *data; /* NULL: not opened */
    size_t capacity;
    size_t start;
    size_t used;
};

/* Takes memory for `capacity` bytes; false when there is none. An open ring is only emptied. */
bool ring_open(struct ring *ring, size_t capacity);
void ring_close(struct ring *ring); /* safe on a zeroed struct, and twice */
/* Both move what they can and return how much that was. */
size_t ring_put(struct ring *ring, const void *data, size_t len);
size_t ring_get(struct ring *ring, void *out, size_t capacity);

#endif

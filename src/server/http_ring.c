/* http_ring.c: bytes in a ring. */
#include "server/http_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool ring_open(struct ring *ring, size_t capacity)
{
    assert(capacity > 0);
    if (ring->data == NULL) {
        ring->data = malloc(capacity);
        ring->capacity = ring->data ? capacity : 0;
    }
    ring->start = ring->used = 0;
    return ring->data != NULL;
}

void ring_close(struct ring *ring)
{
    free(ring->data);
    *ring = (struct ring){0};
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t ring_put(struct ring *ring, const void *data, size_t len)
{
    assert(ring->used <= ring->capacity);
    len = smaller(len, ring->capacity - ring->used);
    if (len == 0)
        return 0;
    size_t end = (ring->start + ring->used) % ring->capacity;
    size_t first = smaller(len, ring->capacity - end);
    memcpy(ring->data + end, data, first);
    memcpy(ring->data, (const char *)data + first, len - first);
    ring->used += len;
    return len;
}

size_t ring_get(struct ring *ring, void *out, size_t capacity)
{
    size_t len = smaller(capacity, ring->used);
    if (len == 0)
        return 0;
    size_t first = smaller(len, ring->capacity - ring->start);
    memcpy(out, ring->data + ring->start, first);
    memcpy((char *)out + first, ring->data, len - first);
    ring->used -= len;
    ring->start = ring->used == 0 ? 0 : (ring->start + len) % ring->capacity;
    return len;
}

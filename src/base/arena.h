/* arena.h: memory that is freed all at once: the strings of a loaded folder, a list handed to the
 * user. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/buf.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
    size_t used;        /* in the newest chunk */
    size_t total_bytes; /* of all chunks */
};

/* A zeroed struct is an empty arena. Allocations are aligned to 16 bytes and zeroed; NULL when out
 * of memory. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strndup(struct arena *a, const char *text, size_t len); /* NUL-terminated copy */
char *arena_strdup(struct arena *a, const char *text);              /* NULL gives NULL */
void arena_free(struct arena *a);

#endif

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

#define ARENA_CHUNK_BYTES (64u * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t capacity;
    _Alignas(16) char data[];
};

static struct arena_chunk *chunk_new(struct arena *a, size_t size)
{
    /* Chunks grow with the arena, so that a folder of 100,000 files needs a dozen of them. */
    size_t capacity = ARENA_CHUNK_BYTES;
    if (capacity < a->total_bytes / 4)
        capacity = a->total_bytes / 4;
    if (capacity < size)
        capacity = size;
    struct arena_chunk *chunk = malloc(sizeof *chunk + capacity);
    if (chunk == NULL)
        return NULL;
    pages_prefer_huge(chunk, capacity);
    chunk->capacity = capacity;
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->used = 0;
    a->total_bytes += capacity;
    return chunk;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded < size)
        return NULL;
    struct arena_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->capacity - a->used < rounded) {
        chunk = chunk_new(a, rounded);
        if (chunk == NULL)
            return NULL;
    }
    void *memory = chunk->data + a->used;
    a->used += rounded;
    return memset(memory, 0, rounded);
}

char *arena_strndup(struct arena *a, const char *text, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    if (copy != NULL && len > 0)
        memcpy(copy, text, len);
    return copy;
}

char *arena_strdup(struct arena *a, const char *text)
{
    return text == NULL ? NULL : arena_strndup(a, text, strlen(text));
}

void arena_free(struct arena *a)
{
    struct arena_chunk *chunk = a->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *a = (struct arena){0};
}

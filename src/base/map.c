#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

#define MAP_FIRST_CAPACITY 64

/* FNV-1a over eight bytes at a time: keys are ids and names, not chosen to collide, and tables are
 * small. */
static uint64_t hash_of(const char *key, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, key, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
        key += 8;
        len -= 8;
    }
    for (; len > 0; key++, len--)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    hash ^= hash >> 29;
    return hash;
}

static struct map_slot *find(struct map_slot *slots, size_t capacity, const char *key, size_t len,
                             uint64_t hash)
{
    size_t i = hash & (capacity - 1);
    while (slots[i].key != NULL) {
        if (slots[i].hash == hash && slots[i].key_len == len && memcmp(slots[i].key, key, len) == 0)
            break;
        i = (i + 1) & (capacity - 1);
    }
    return &slots[i];
}

void *map_get(const struct map *m, const char *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    return find(m->slots, m->capacity, key, len, hash_of(key, len))->value;
}

static enum mld_error grow(struct map *m)
{
    size_t capacity = m->capacity == 0 ? MAP_FIRST_CAPACITY : 2 * m->capacity;
    struct map_slot *slots = calloc(capacity, sizeof *slots);
    if (slots == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a table of %zu names", capacity);
    pages_prefer_huge(slots, capacity * sizeof *slots);
    for (size_t i = 0; i < m->capacity; i++) {
        struct map_slot *old = &m->slots[i];
        if (old->key != NULL)
            *find(slots, capacity, old->key, old->key_len, old->hash) = *old;
    }
    free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
    return MLD_OK;
}

enum mld_error map_put(struct map *m, const char *key, size_t len, void *value)
{
    if (4 * (m->count + 1) > 3 * m->capacity) {
        enum mld_error error = grow(m);
        if (error != MLD_OK)
            return error;
    }
    uint64_t hash = hash_of(key, len);
    struct map_slot *slot = find(m->slots, m->capacity, key, len, hash);
    if (slot->key == NULL) {
        *slot = (struct map_slot){.key = key, .key_len = len, .hash = hash};
        m->count++;
    }
    slot->value = value;
    return MLD_OK;
}

void map_free(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

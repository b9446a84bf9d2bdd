/* map.h: string keys to pointers; open addressing, no removal, keys and values borrowed. Not
 * thread-safe. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct map_slot {
    const char *key; /* NULL: empty */
    size_t key_len;
    uint64_t hash;
    void *value;
};
struct map {
    struct map_slot *slots; /* capacity: a power of two */
    size_t capacity;
    size_t count;
};

/* A zeroed struct is an empty map. Keys are bytes and may hold NUL. */
void *map_get(const struct map *m, const char *key, size_t len);
/* Sets or replaces; `key` must outlive the map. MLD_ENOMEM. */
enum mld_error map_put(struct map *m, const char *key, size_t len, void *value);
void map_free(struct map *m);

#endif

/* state_contest.c: files of two machines that have the same id. The server gives one of them
 * another (docs/protocol.md, "Id taken"); so does the mirror's reader, which must show both. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "run/state_internal.h"

#define OTHER_IDS 8

static char *key_of(struct arena *arena, const char *shard, const char *id)
{
    size_t shard_len = strlen(shard);
    size_t id_len = strlen(id);
    char *key = arena_alloc(arena, shard_len + id_len + 2);
    if (key == NULL)
        return NULL;
    memcpy(key, shard, shard_len);
    key[shard_len] = '/';
    memcpy(key + shard_len + 1, id, id_len + 1);
    return key;
}

const char *state_renamed(const struct state *s, const char *shard, const char *id)
{
    struct arena arena = {0};
    if (s->renamed.count == 0)
        return id;
    const char *key = key_of(&arena, shard, id);
    const char *other = key == NULL ? NULL : map_get(&s->renamed, key, strlen(key));
    arena_free(&arena);
    return other == NULL ? id : other;
}

/* An id for the file that `shard` names `id`, which no known file has. */
static const char *other_id(struct state *s, const char *shard, const char *id)
{
    char stream[ID_RANDOM_LEN + 1];
    char other[ID_FILE_MAX + 1];
    snprintf(stream, sizeof stream, "%.*s", ID_RANDOM_LEN, shard);
    for (unsigned n = 0; n < OTHER_IDS; n++) {
        id_file_other(other, stream, id, n);
        if (map_get(&s->files, other, strlen(other)) == NULL)
            break;
    }
    char *key = key_of(&s->arena, shard, id);
    char *copy = arena_strdup(&s->arena, other);
    if (key == NULL || copy == NULL || map_put(&s->renamed, key, strlen(key), copy) != MLD_OK)
        return NULL;
    return copy;
}

/* Gives the holder another id, and its own to a new entry. */
static struct file_entry *displace(struct state *s, struct file_entry *holder)
{
    const char *id = holder->id;
    const char *other = other_id(s, holder->shard, id);
    struct file_entry *f = arena_alloc(&s->arena, sizeof *f);
    if (other == NULL || f == NULL || map_put(&s->files, id, strlen(id), f) != MLD_OK ||
        map_put(&s->files, other, strlen(other), holder) != MLD_OK)
        return NULL;
    f->id = id;
    f->contested = true;
    holder->id = other;
    holder->recorded_id = id;
    return f;
}

struct file_entry *state_contest(struct state *s, struct file_entry *holder, const char *shard,
                                 bool mirrored)
{
    holder->contested = true;
    /* One's own file keeps its id; of others, it is the same one in whatever order they are read.
     */
    if (holder->mirrored && (!mirrored || strcmp(shard, holder->shard) < 0))
        return displace(s, holder);
    const char *id = holder->id;
    const char *other = other_id(s, shard, id);
    struct file_entry *f = other == NULL ? NULL : state_file_slot(s, other, strlen(other));
    if (f == NULL)
        return NULL;
    f->contested = true;
    f->recorded_id = id;
    return f;
}

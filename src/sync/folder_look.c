/* folder_look.c: what the syncer looks for beside its way through the records: files given up by
 * records that may not be sent yet, and data that no record names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "run/stream.h"
#include "sync/folder_internal.h"

#define PEEK_BYTES (256u << 10)

/* Whole lines of `data`; returns where the last one ends. */
static size_t peek_lines(struct sync_folder *f, const char *data, size_t len,
                         enum mld_error *out_error)
{
    size_t used = 0;
    const char *end;
    while (*out_error == MLD_OK && (end = memchr(data + used, '\n', len - used)) != NULL) {
        size_t line = (size_t)(end - data) - used;
        /* Few records give files up: most lines need no parsing. */
        if (memmem(data + used, line, "retire", 6) != NULL ||
            memmem(data + used, line, "removed", 7) != NULL ||
            memmem(data + used, line, "\"gone\"", 6) != NULL)
            *out_error = folder_apply_gone(f, data + used, line);
        used += line + 1;
    }
    return used;
}

/* Looks through a records shard from where reading stands to its end. */
static enum mld_error peek(struct sync_folder *f, struct sync_stream *s, char *data)
{
    enum mld_error error = MLD_OK;
    size_t got, used;
    if (s->peeked < s->parsed)
        s->peeked = s->parsed;
    do {
        error = sync_folder_read(f, s, s->peeked, data, PEEK_BYTES, &got);
        used = error == MLD_OK ? peek_lines(f, data, got, &error) : 0;
        /* A line that is longer than the buffer gives up no file. */
        s->peeked += used == 0 && got == PEEK_BYTES ? got : used;
    } while (error == MLD_OK && got == PEEK_BYTES);
    return error;
}

enum mld_error sync_folder_is_gone(struct sync_folder *f, const char *file_id, bool *out)
{
    size_t len = strlen(file_id);
    const bool *gone = map_get(&f->gone, file_id, len);
    enum mld_error error = MLD_OK;
    *out = gone != NULL && *gone;
    if (*out)
        return MLD_OK;
    char *data = malloc(PEEK_BYTES);
    if (data == NULL)
        return error_set(MLD_ENOMEM, "no memory to read records");
    for (struct sync_stream *s = f->streams; error == MLD_OK && s != NULL; s = s->next) {
        if (!s->vanished && strcmp(s->kind, "records") == 0)
            error = peek(f, s, data);
    }
    free(data);
    gone = map_get(&f->gone, file_id, len);
    *out = error == MLD_OK && gone != NULL && *gone;
    return error;
}

struct search {
    struct sync_folder *f;
    const char *top, *stem;
    struct map known; /* files of streams */
    void (*visit)(const char *file, void *payload);
    void *payload;
};

static enum mld_error look_at(const char *name, unsigned char type, void *payload)
{
    struct search *search = payload;
    struct sync_folder *f = search->f;
    const char *slash = strrchr(name, '/');
    char path[4096];
    unsigned slot, part;
    enum mld_error error = sync_folder_check_stop(f);
    (void)type;
    if (error != MLD_OK)
        return error;
    if (!shard_parse(slash == NULL ? name : slash + 1, search->stem, &slot, &part) ||
        snprintf(path, sizeof path, "%s/%s", search->top, name) >= (int)sizeof path)
        return MLD_OK;
    size_t len = strlen(path);
    if (map_get(&search->known, path, len) != NULL || map_get(&f->foreign, path, len) != NULL)
        return MLD_OK;
    const char *key = arena_strdup(&f->arena, path);
    if (key == NULL)
        return error_set(MLD_ENOMEM, "no memory for a path");
    search->visit(path, search->payload);
    return map_put(&f->foreign, key, len, f);
}

enum mld_error sync_folder_find_foreign(struct sync_folder *f,
                                        void (*visit)(const char *file, void *payload),
                                        void *payload)
{
    static const char *const tops[][2] = {
        {"metrics", "data"}, {"tracks", "data"}, {"logs", "logs"}};
    struct search search = {.f = f, .visit = visit, .payload = payload};
    enum mld_error error = MLD_OK;
    for (struct sync_stream *s = f->streams; error == MLD_OK && s != NULL; s = s->next)
        error = map_put(&search.known, s->file, strlen(s->file), s);
    for (size_t i = 0; error == MLD_OK && i < sizeof tops / sizeof tops[0]; i++) {
        search.top = tops[i][0];
        search.stem = tops[i][1];
        error = fs_walk(f->dir_fd, search.top, look_at, &search);
    }
    map_free(&search.known);
    return error;
}

/* Reading records shards, from where the last look ended. */
#include "run/shards.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/record.h"

#define READ_BYTES (4u << 20)
#define RECORDS_DIR ".mldash"
#define PATH_MAX_BYTES (SHARD_NAME_MAX + RUN_MIRROR_MAX + 1)

static struct shard_cursor *find_cursor(const struct run *run, const char *name)
{
    struct shard_cursor *c = run->cursors;
    while (c != NULL && strcmp(c->name, name) != 0)
        c = c->next;
    return c;
}

enum mld_error shards_cursor(struct run *run, struct shard_cursor **out, const char *name,
                             unsigned slot)
{
    *out = find_cursor(run, name);
    if (*out != NULL)
        return MLD_OK;
    struct shard_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(MLD_ENOMEM, "out of memory for shard %s", name);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->origin.slot = slot;
    c->origin.shard = state_intern(&run->state, name, strlen(name));
    c->next = run->cursors;
    run->cursors = c;
    *out = c;
    return MLD_OK;
}

static void path_of(char out[PATH_MAX_BYTES], const struct shard_cursor *c)
{
    const char *dir = c->origin.mirror == NULL ? RECORDS_DIR : c->origin.mirror;
    snprintf(out, PATH_MAX_BYTES, "%s/%s", dir, c->name);
}

static enum mld_error garbled(struct run *run, struct shard_cursor *c, off_t offset,
                              const char *why)
{
    char path[PATH_MAX_BYTES];
    path_of(path, c);
    return state_problem(&run->state, MLD_PROBLEM_GARBLED, path, (uint64_t)offset, why);
}

/* The shards that this one stands for: a reader has read them, or need not. */
static void note_replaced(struct run *run, unsigned slot)
{
    const struct json_node *names = json_get(&run->doc, json_root(&run->doc), "replaces");
    const struct json_node *node = NULL;
    while ((node = json_next(&run->doc, names, node)) != NULL) {
        struct shard_cursor *c;
        unsigned own_slot;
        unsigned part;
        char *name = json_strdup(&run->doc, node);
        if (name != NULL && shard_parse(name, "records", &own_slot, &part) && own_slot == slot &&
            shards_cursor(run, &c, name, slot) == MLD_OK) {
            c->replaced = true;
            c->ended = false;
        }
        free(name);
    }
}

/* The stream id of a shard comes with its first `stream` record. */
static void note_stream(struct run *run, struct shard_cursor *c)
{
    const struct json_node *root = json_root(&run->doc);
    const struct json_node *type = json_get(&run->doc, root, "type");
    c->ended = !c->replaced && json_equals(&run->doc, type, "end");
    if (c->origin.mirror == NULL && json_equals(&run->doc, type, "stream") &&
        json_get(&run->doc, root, "replaces") != NULL)
        note_replaced(run, c->origin.slot);
    if (c->stream[0] != '\0' || !json_equals(&run->doc, type, "stream"))
        return;
    char *id = json_strdup(&run->doc, json_get(&run->doc, root, "stream"));
    if (id != NULL)
        snprintf(c->stream, sizeof c->stream, "%s", id);
    free(id);
}

static enum mld_error apply_line(struct run *run, struct shard_cursor *c, const char *line,
                                 size_t len, off_t offset)
{
    if (!record_is_intact(line, len))
        return garbled(run, c, offset, "a line that is damaged (its crc does not match)");
    enum mld_error error = json_parse(&run->doc, line, len);
    if (error == MLD_OK) {
        note_stream(run, c);
        error = state_apply(&run->state, &run->doc, &c->origin);
    }
    if (error == MLD_OK || error == MLD_ENOMEM || error == MLD_EFORMAT)
        return error;
    return garbled(run, c, offset, mld_error_message());
}

/* Applies the whole lines of data[0..len) that lies at c->offset, and moves the offset behind them.
 */
static enum mld_error apply_lines(struct run *run, struct shard_cursor *c, const char *data,
                                  size_t len)
{
    const char *line = data;
    const char *end = data + len;
    const char *newline;
    enum mld_error error = MLD_OK;
    while (error == MLD_OK && (newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        error = apply_line(run, c, line, (size_t)(newline - line), c->offset);
        c->offset += newline + 1 - line;
        line = newline + 1;
    }
    return error;
}

/* Reads on from the cursor to the end, in pieces of READ_BYTES, or one line if that is longer. */
static enum mld_error read_shard(struct run *run, struct shard_cursor *c, int fd)
{
    size_t capacity = READ_BYTES;
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size <= c->offset)
        return MLD_OK;
    if ((size_t)(st.st_size - c->offset) < capacity)
        capacity = (size_t)(st.st_size - c->offset);
    char *data = malloc(capacity);
    if (data == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading %s", c->name);
    enum mld_error error = MLD_OK;
    while (error == MLD_OK) {
        size_t len;
        off_t before = c->offset;
        error = fs_pread(fd, data, capacity, c->offset, &len, c->name);
        if (error == MLD_OK && len > 0)
            error = apply_lines(run, c, data, len);
        if (error != MLD_OK || len < capacity)
            break;
        if (c->offset == before) { /* a line longer than the buffer */
            assert(capacity > 0);
            char *larger = capacity < RECORD_MAX_BYTES ? realloc(data, 2 * capacity) : NULL;
            if (larger == NULL)
                break;
            data = larger;
            capacity *= 2;
        }
    }
    free(data);
    return error;
}

static enum mld_error refresh_cursor(struct run *run, struct shard_cursor *c)
{
    char path[PATH_MAX_BYTES];
    int fd;
    path_of(path, c);
    enum mld_error error = fs_open(&fd, run->dir_fd, path, O_RDONLY, 0);
    if (error == MLD_ENOTFOUND) /* gc replaced it meanwhile */
        return MLD_OK;
    if (error != MLD_OK)
        return error;
    error = read_shard(run, c, fd);
    close(fd);
    return error;
}

static enum mld_error refresh_one(const char *name, unsigned char type, void *payload)
{
    struct run *run = payload;
    struct shard_cursor *c;
    unsigned slot;
    unsigned part;
    if ((type != DT_REG && type != DT_UNKNOWN) || !shard_parse(name, "records", &slot, &part))
        return MLD_OK;
    enum mld_error error = shards_cursor(run, &c, name, slot);
    return error != MLD_OK || c->mine ? error : refresh_cursor(run, c);
}

static enum mld_error refresh_mirrored(const char *name, unsigned char type, void *payload)
{
    struct run *run = payload;
    struct shard_cursor *c;
    if ((type != DT_REG && type != DT_UNKNOWN) || strlen(name) < ID_RANDOM_LEN ||
        strcmp(name + ID_RANDOM_LEN, RUN_MIRROR_RECORDS) != 0)
        return MLD_OK;
    enum mld_error error = shards_cursor(run, &c, name, 0);
    if (error != MLD_OK)
        return error;
    c->origin.mirror = run->mirror;
    return refresh_cursor(run, c);
}

enum mld_error run_refresh(struct run *run)
{
    enum mld_error error = fs_list_dir(run->dir_fd, RECORDS_DIR, refresh_one, run);
    if (error == MLD_OK && run->mirrored && run->mirror[0] != '\0')
        error = fs_list_dir(run->dir_fd, run->mirror, refresh_mirrored, run);
    return error;
}

void shards_free(struct run *run)
{
    while (run->cursors != NULL) {
        struct shard_cursor *next = run->cursors->next;
        free(run->cursors);
        run->cursors = next;
    }
}

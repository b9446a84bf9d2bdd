#include "run/stream.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"

#define SCAN_BYTES (1u << 20)

/* Global: streams' descriptors of all runs of this process, so that many runs leave some for
 * others. */
static _Atomic int open_everywhere;

/* The stream was opened, or used: it is the newest of those that are open. */
static void put_newest(struct stream_set *set, struct stream *s)
{
    s->older = set->newest;
    s->newer = NULL;
    if (set->newest != NULL)
        set->newest->newer = s;
    else
        set->oldest = s;
    set->newest = s;
}

static void take_out(struct stream_set *set, struct stream *s)
{
    *(s->newer != NULL ? &s->newer->older : &set->newest) = s->older;
    *(s->older != NULL ? &s->older->newer : &set->oldest) = s->newer;
}

/* Closes the descriptor that was used longest ago. */
static void close_oldest(struct stream_set *set)
{
    struct stream *s = set->oldest;
    if (s == NULL)
        return;
    take_out(set, s);
    /* Its lines were written already; what close() reports the keeper's fsync sees, too. */
    if (fs_close(&s->fd, s->path) != MLD_OK)
        s->broken = true;
    set->open_count--;
    open_everywhere--;
}

/* True when this run, or all together, hold what they may: half of what the process may open. */
static bool is_crowded(const struct stream_set *set)
{
    struct rlimit limit;
    int most = STREAM_MAX_OPEN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < (rlim_t)INT_MAX)
        most = (int)limit.rlim_cur / 2;
    return set->open_count >= STREAM_MAX_OPEN || set->open_count >= most / 2 ||
           open_everywhere >= most;
}

static enum mld_error open_fd(struct stream_set *set, struct stream *s)
{
    if (is_crowded(set))
        close_oldest(set);
    enum mld_error error = fs_open(&s->fd, set->dir_fd, s->path, O_RDWR | O_APPEND | O_CREAT, 0666);
    if (error == MLD_OK) {
        put_newest(set, s);
        set->open_count++;
        open_everywhere++;
    }
    return error;
}

/* Counts and hashes the whole lines that are there. */
static enum mld_error scan(struct stream *s, off_t *out_size)
{
    char *data = malloc(SCAN_BYTES);
    if (data == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading %s", s->path);
    enum mld_error error;
    uint32_t crc = 0;
    off_t offset = 0;
    for (;;) {
        size_t len;
        error = fs_pread(s->fd, data, SCAN_BYTES, offset, &len, s->path);
        if (error != MLD_OK || len == 0)
            break;
        const char *rest = data;
        const char *end = data + len;
        const char *newline;
        while ((newline = memchr(rest, '\n', (size_t)(end - rest))) != NULL) {
            s->lines++;
            rest = newline + 1;
        }
        if (rest > data) { /* everything up to the last newline is now whole */
            s->crc = crc32c(crc, data, (size_t)(rest - data));
            s->length = offset + (rest - data);
        }
        crc = crc32c(rest > data ? s->crc : crc, rest, (size_t)(end - rest));
        offset += (off_t)len;
    }
    *out_size = offset;
    free(data);
    return error;
}

static void stream_free(struct stream *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0) {
        close(s->fd);
        open_everywhere--;
    }
    free(s->path);
    free(s);
}

static enum mld_error stream_new(struct stream **out, const char *path, const char *id)
{
    *out = NULL;
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return error_set(MLD_ENOMEM, "out of memory for stream %s", path);
    }
    s->fd = -1;
    s->reserved = -1;
    enum mld_error error = MLD_OK;
    if (id != NULL)
        snprintf(s->id, sizeof s->id, "%s", id);
    else
        error = id_random(s->id);
    if (error != MLD_OK) {
        stream_free(s);
        return error;
    }
    *out = s;
    return MLD_OK;
}

enum mld_error stream_open(struct stream **out, struct stream_set *set, const char *path,
                           const char *id, off_t *out_cut_bytes)
{
    struct stream *s;
    off_t size = 0;
    *out = NULL;
    if (out_cut_bytes != NULL)
        *out_cut_bytes = 0;
    enum mld_error error = stream_new(&s, path, id);
    if (error != MLD_OK)
        return error;
    error = open_fd(set, s);
    if (error == MLD_OK)
        error = scan(s, &size);
    if (error == MLD_OK && size > s->length) {
        error = fs_truncate(s->fd, s->length, path);
        if (out_cut_bytes != NULL)
            *out_cut_bytes = size - s->length;
    }
    if (error == MLD_OK)
        error = map_put(&set->by_path, s->path, strlen(s->path), s);
    if (error != MLD_OK) {
        if (s->fd >= 0) {
            take_out(set, s);
            set->open_count--;
        }
        stream_free(s);
        return error;
    }
    s->next = set->first;
    set->first = s;
    *out = s;
    return MLD_OK;
}

void stream_reserve(struct stream *s)
{
    if (s->reserved < 0)
        s->reserved = 0;
}

void stream_release_reserve(struct stream *s)
{
    if (s == NULL || s->reserved < 0 || s->fd < 0 || s->broken)
        return;
    fs_truncate(s->fd, s->length, s->path); /* best effort: it only frees blocks */
    s->reserved = 0;
}

/* Keeps at least half of the reserve behind what is about to be written. */
static void extend_reserve(struct stream *s, size_t len)
{
    off_t end = s->length + (off_t)len;
    if (s->reserved < 0 || end + (off_t)(STREAM_RESERVE_BYTES / 2) <= s->reserved)
        return;
    fs_preallocate(s->fd, s->length, (off_t)(len + STREAM_RESERVE_BYTES));
    s->reserved = end + (off_t)STREAM_RESERVE_BYTES;
}

/* Cuts our own half-written lines away; if that fails, too, nothing may follow them. */
static void take_back(struct stream *s)
{
    struct error_copy first;
    error_save(MLD_EIO, &first);
    if (fs_truncate(s->fd, s->length, s->path) != MLD_OK)
        s->broken = true;
    error_restore(&first);
}

enum mld_error stream_append(struct stream_set *set, struct stream *s, const void *data, size_t len,
                             int64_t lines)
{
    if (s->broken)
        return error_set(MLD_EIO,
                         "%s could not be cut back after a failed write; nothing more is "
                         "written to it",
                         s->path);
    if (s->fd < 0) {
        enum mld_error error = open_fd(set, s);
        if (error != MLD_OK)
            return error;
    }
    extend_reserve(s, len);
    size_t written = 0;
    enum mld_error error = fs_write_once(s->fd, data, len, &written, s->path);
    if (error == MLD_OK && written < len) {
        /* The rest tells the reason (disk full); if it fits after all, the lines are whole. */
        error = fs_write_all(s->fd, (const char *)data + written, len - written, s->path);
        if (error != MLD_OK)
            take_back(s);
    }
    if (error != MLD_OK)
        return error;
    s->length += (off_t)len;
    s->lines += lines;
    s->crc = crc32c(s->crc, data, len);
    if (set->newest != s) {
        take_out(set, s);
        put_newest(set, s);
    }
    return MLD_OK;
}

enum mld_error stream_dup_fd(int *out_fd, const struct stream_set *set, const struct stream *s)
{
    *out_fd = -1;
    if (s->fd < 0)
        return fs_open(out_fd, set->dir_fd, s->path, O_RDWR | O_APPEND, 0);
    *out_fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
    if (*out_fd < 0)
        return error_set(MLD_EIO, "no descriptor left for making %s durable", s->path);
    return MLD_OK;
}

void stream_set_forget(struct stream_set *set)
{
    for (struct stream *s = set->first; s != NULL; s = s->next) {
        if (s->fd < 0)
            continue;
        close(s->fd);
        s->fd = -1;
        open_everywhere--;
    }
    set->newest = set->oldest = NULL;
    set->open_count = 0;
}

struct stream *stream_set_find(const struct stream_set *set, const char *path)
{
    return map_get(&set->by_path, path, strlen(path));
}

void stream_set_close(struct stream_set *set)
{
    struct stream *s = set->first;
    while (s != NULL) {
        struct stream *next = s->next;
        stream_free(s);
        s = next;
    }
    map_free(&set->by_path);
    *set = (struct stream_set){.dir_fd = -1};
}

void shard_name(char out[SHARD_NAME_MAX], const char *stem, unsigned slot, unsigned part)
{
    if (slot == 0 && part == 0)
        snprintf(out, SHARD_NAME_MAX, "%s.jsonl", stem);
    else if (part == 0)
        snprintf(out, SHARD_NAME_MAX, "%s.%u.jsonl", stem, slot);
    else
        snprintf(out, SHARD_NAME_MAX, "%s.%u-%u.jsonl", stem, slot, part);
}

/* Reads digits; NULL when there are none, or more than a slot or part can have. */
static const char *parse_number(const char *text, unsigned *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 6)
        return NULL;
    *out = (unsigned)strtoul(text, NULL, 10);
    return text + digits;
}

bool shard_parse(const char *name, const char *stem, unsigned *out_slot, unsigned *out_part)
{
    size_t stem_len = strlen(stem);
    unsigned slot = 0;
    unsigned part = 0;
    char canonical[SHARD_NAME_MAX];
    if (strncmp(name, stem, stem_len) != 0)
        return false;
    const char *rest = name + stem_len;
    if (strcmp(rest, ".jsonl") != 0) {
        rest = rest[0] == '.' ? parse_number(rest + 1, &slot) : NULL;
        if (rest != NULL && rest[0] == '-')
            rest = parse_number(rest + 1, &part);
        if (rest == NULL)
            return false;
    }
    shard_name(canonical, stem, slot, part); /* refuses "data.007.jsonl" and the like */
    if (strcmp(canonical, name) != 0)
        return false;
    *out_slot = slot;
    *out_part = part;
    return true;
}

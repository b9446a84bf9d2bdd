/* Lines have no checksum of their own in metrics, tracks and logs, so the mark's is compared, and
 * what lies behind the mark is parsed. Nothing here fails the opening: what cannot be looked at is
 * a problem, too, and what is too much is verify's. */
#include "run/look.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/lines.h"
#include "run/mark.h"
#include "run/stream_check.h"

#define NETWORK_SHARE 8
#define QUIET_S 10 /* another tool's line that did not grow for so long is not being written */

struct look {
    struct run *run;
    struct arena arena;
    struct map marked; /* file -> struct mark_stream */
    struct map seen;   /* files that were looked at */
    struct json_doc doc;
    size_t files_left, garbled_left;
    uint64_t marked_left, lines_left;
};

/* One shard at hand. */
struct looked {
    enum stream_kind kind;
    const char *file;
    unsigned slot;
    bool recorded; /* a record names it: this library wrote it, in that slot */
    const struct mark_stream *mark;
    int fd;
    uint64_t size;
    time_t modified;
    bool changed;
};

/* Verify finds the same again by itself. */
static enum mld_error tell(struct look *l, const struct looked *s, enum mld_problem problem,
                           uint64_t offset, const char *detail)
{
    struct state *state = &l->run->state;
    size_t before = state->n_problems;
    enum mld_error error = state_problem(state, problem, s->file, offset, detail);
    if (error == MLD_OK && state->n_problems > before)
        state->problems->found_again = true;
    return error;
}

/* No one will finish its last line. A slot that this writer has just taken has no other writer. */
static bool is_left(const struct look *l, const struct looked *s)
{
    if (l->run->slot.number != (int)s->slot && !run_slot_is_gone(l->run, s->slot))
        return false;
    return s->recorded || time(NULL) - s->modified > QUIET_S;
}

static bool note_size(struct looked *s)
{
    struct stat st;
    if (fstat(s->fd, &st) != 0)
        return false;
    s->size = (uint64_t)st.st_size;
    s->modified = st.st_mtime;
    return true;
}

/* Where the unterminated last line begins; the size when there is none. */
static uint64_t whole_length(const struct looked *s)
{
    char data[4096];
    uint64_t end = s->size;
    while (end > 0) {
        size_t want = end < sizeof data ? (size_t)end : sizeof data;
        size_t len;
        if (fs_pread(s->fd, data, want, (off_t)(end - want), &len, s->file) != MLD_OK || len < want)
            return s->size;
        const char *newline = memrchr(data, '\n', len);
        if (newline != NULL)
            return end - want + (uint64_t)(newline - data) + 1;
        if (s->size - end > LOOK_MAX_SHARD_LINE_BYTES)
            return end - want;
        end -= want;
    }
    return 0;
}

/* A line that a living writer is just writing is seen in parts, too: its writer must be gone before
 * the look that counts. */
static enum mld_error look_at_tail(struct look *l, struct looked *s)
{
    char detail[128];
    if (whole_length(s) == s->size || !is_left(l, s) || !note_size(s))
        return MLD_OK;
    uint64_t whole = whole_length(s);
    if (whole == s->size)
        return MLD_OK;
    snprintf(detail, sizeof detail, "the last line is torn after %" PRIu64 " bytes",
             s->size - whole);
    return tell(l, s, MLD_PROBLEM_TORN, whole, detail);
}

static enum mld_error look_at_line(struct look *l, const struct looked *s, const struct line *line)
{
    if (stream_line_is_good(&l->doc, s->kind, line->text, line->len))
        return MLD_OK;
    l->garbled_left--;
    return tell(l, s, MLD_PROBLEM_GARBLED, (uint64_t)line->offset, mld_error_message());
}

/* The lines of [from, size); when `from` is within one, those after it. */
static enum mld_error look_at_range(struct look *l, const struct looked *s, uint64_t from,
                                    bool within)
{
    struct line_reader reader;
    struct line line;
    enum mld_error error = lines_open(&reader, l->run->dir_fd, s->file, (off_t)from);
    if (error == MLD_OK && within)
        error = lines_next(&reader, &line);
    while (error == MLD_OK && l->garbled_left > 0) {
        error = lines_next(&reader, &line);
        if (error != MLD_OK || line.text == NULL || (uint64_t)line.offset >= s->size)
            break;
        error = look_at_line(l, s, &line);
    }
    lines_close(&reader);
    return error == MLD_ENOMEM ? error : MLD_OK;
}

/* Lines from the mark on, or all when the marked ones changed; the last ones of them when the bound
 * lets us read no more. */
static enum mld_error look_at_lines(struct look *l, const struct looked *s)
{
    uint64_t from = s->mark == NULL || s->changed ? 0 : s->mark->length;
    uint64_t most =
        l->lines_left < LOOK_MAX_SHARD_LINE_BYTES ? l->lines_left : LOOK_MAX_SHARD_LINE_BYTES;
    if (s->kind == STREAM_RECORDS || s->size <= from || most == 0)
        return MLD_OK;
    bool within = s->size - from > most;
    if (within)
        from = s->size - most;
    l->lines_left -= s->size - from;
    return look_at_range(l, s, from, within);
}

static enum mld_error look_at_marked(struct look *l, struct looked *s)
{
    char detail[160];
    uint32_t crc;
    const struct mark_stream *m = s->mark;
    if (m == NULL)
        return MLD_OK;
    if (s->size < m->length) {
        snprintf(detail, sizeof detail, "%" PRIu64 " bytes were durable, %" PRIu64 " are there",
                 m->length, s->size);
        return tell(l, s, MLD_PROBLEM_MARK, s->size, detail);
    }
    if (s->kind == STREAM_RECORDS || m->length > l->marked_left)
        return MLD_OK;
    l->marked_left -= m->length;
    if (stream_prefix_crc(s->fd, s->file, m->length, &crc) && crc == m->crc)
        return MLD_OK;
    snprintf(detail, sizeof detail, "the first %" PRIu64 " bytes are not those that were durable",
             m->length);
    s->changed = true;
    return tell(l, s, MLD_PROBLEM_MARK, 0, detail);
}

static enum mld_error look_at_open_one(struct look *l, struct looked *s)
{
    if (!note_size(s))
        return MLD_OK;
    enum mld_error error = look_at_marked(l, s);
    if (error == MLD_OK)
        error = look_at_lines(l, s);
    return error == MLD_OK ? look_at_tail(l, s) : error;
}

static enum mld_error look_at(struct look *l, enum stream_kind kind, const char *file,
                              unsigned slot, bool recorded)
{
    size_t len = strlen(file);
    struct looked s = {.kind = kind, .file = file, .slot = slot, .recorded = recorded};
    if (l->files_left == 0 || map_get(&l->seen, file, len) != NULL)
        return MLD_OK;
    l->files_left--;
    enum mld_error error = map_put(&l->seen, file, len, l);
    if (error != MLD_OK)
        return error;
    s.mark = map_get(&l->marked, file, len);
    error = fs_open(&s.fd, l->run->dir_fd, file, O_RDONLY, 0);
    if (error == MLD_OK) {
        error = look_at_open_one(l, &s);
        close(s.fd);
        return error;
    }
    if (error != MLD_ENOTFOUND)
        return tell(l, &s, MLD_PROBLEM_UNREADABLE, 0, mld_error_message());
    return s.mark == NULL ? tell(l, &s, MLD_PROBLEM_MISSING, 0, "it is not there")
                          : tell(l, &s, MLD_PROBLEM_MARK, 0, "it was durable, and is not there");
}

static enum mld_error read_marks(struct look *l)
{
    bool slots[SLOT_MAX];
    enum mld_error error = mark_list(l->run->dir_fd, slots);
    for (unsigned slot = 0; slot < SLOT_MAX && error == MLD_OK; slot++) {
        struct mark mark;
        if (!slots[slot] || mark_read(&mark, &l->arena, l->run->dir_fd, slot) != MLD_OK)
            continue;
        for (size_t i = 0; i < mark.count && error == MLD_OK; i++)
            error = map_put(&l->marked, mark.streams[i].file, strlen(mark.streams[i].file),
                            (void *)&mark.streams[i]);
    }
    return error;
}

/* Our own was just looked at as a whole, and cut where it was torn. */
static enum mld_error look_at_records(struct look *l)
{
    enum mld_error error = MLD_OK;
    char path[SHARD_NAME_MAX + 16];
    for (const struct shard_cursor *c = l->run->cursors; c != NULL && error == MLD_OK;
         c = c->next) {
        snprintf(path, sizeof path, ".mldash/%s", c->name);
        const char *file = arena_strdup(&l->arena, path);
        if (file == NULL)
            return MLD_ENOMEM;
        if (c->mine || c->replaced) /* gc may have removed it */
            error = map_put(&l->seen, file, strlen(file), l);
        else
            error = look_at(l, STREAM_RECORDS, file, c->origin.slot, true);
    }
    return error;
}

static enum mld_error look_at_shards(struct look *l, enum stream_kind kind,
                                     const struct shard_entry *s)
{
    enum mld_error error = MLD_OK;
    for (; s != NULL && error == MLD_OK; s = s->next)
        error = look_at(l, kind, s->file, s->slot, s->stream != NULL);
    return error;
}

/* What a mark tells of, and nothing else does. */
static enum mld_error look_at_marked_only(struct look *l)
{
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < l->marked.capacity && error == MLD_OK; i++) {
        const char *file = l->marked.slots[i].key;
        if (file == NULL)
            continue;
        enum stream_kind kind = strncmp(file, ".mldash/", 8) == 0   ? STREAM_RECORDS
                                : strncmp(file, "metrics/", 8) == 0 ? STREAM_METRIC
                                : strncmp(file, "tracks/", 7) == 0  ? STREAM_TRACK
                                                                    : STREAM_LOGS;
        error = look_at(l, kind, file, SLOT_MAX, false);
    }
    return error;
}

static enum mld_error look_at_all(struct look *l)
{
    const struct state *state = &l->run->state;
    enum mld_error error = read_marks(l);
    if (error == MLD_OK)
        error = look_at_records(l);
    if (error == MLD_OK)
        error = look_at_shards(l, STREAM_LOGS, state->log_shards);
    for (const struct series_entry *e = state->series; e != NULL && error == MLD_OK; e = e->next)
        error = look_at_shards(l, e->kind == MLD_METRIC ? STREAM_METRIC : STREAM_TRACK, e->shards);
    return error == MLD_OK ? look_at_marked_only(l) : error;
}

enum mld_error look_at_streams(struct run *run)
{
    unsigned share = run->network ? NETWORK_SHARE : 1;
    struct look l = {
        .run = run,
        .files_left = LOOK_MAX_FILES / share,
        .garbled_left = LOOK_MAX_GARBLED,
        .marked_left = LOOK_MAX_MARKED_BYTES / share,
        .lines_left = LOOK_MAX_LINE_BYTES / share,
    };
    json_doc_init(&l.doc);
    enum mld_error error = look_at_all(&l);
    json_doc_free(&l.doc);
    map_free(&l.marked);
    map_free(&l.seen);
    arena_free(&l.arena);
    if (error != MLD_OK)
        error_set(MLD_ENOMEM, "out of memory for opening %s", run->dir);
    return error;
}

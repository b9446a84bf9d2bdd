#include "run/verify_streams.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/lines.h"
#include "run/mark.h"

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for checking a run folder");
}

static enum mld_error add(struct stream_list *list, struct run *run, enum stream_kind kind,
                          const char *file, const char *id, unsigned slot)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        struct listed_stream *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL)
            return no_memory();
        list->items = items;
        list->capacity = capacity;
    }
    struct listed_stream *item = &list->items[list->count];
    *item = (struct listed_stream){
        .kind = kind,
        .file = arena_strdup(&list->arena, file),
        .id = arena_strdup(&list->arena, id),
        .writer_gone = run_slot_is_gone(run, slot),
    };
    if (item->file == NULL)
        return no_memory();
    list->count++;
    return MLD_OK;
}

enum mld_error verify_note_streams(struct stream_list *list, struct run *run)
{
    enum mld_error error = MLD_OK;
    char path[SHARD_NAME_MAX + 16];
    for (const struct shard_cursor *c = run->cursors; c != NULL && error == MLD_OK; c = c->next) {
        snprintf(path, sizeof path, ".mldash/%s", c->name);
        error = add(list, run, STREAM_RECORDS, path, c->stream, c->origin.slot);
        if (error == MLD_OK)
            list->items[list->count - 1].replaced = c->replaced;
    }
    for (const struct series_entry *e = run->state.series; e != NULL; e = e->next)
        for (const struct shard_entry *s = e->shards; s != NULL && error == MLD_OK; s = s->next)
            error = add(list, run, e->kind == MLD_METRIC ? STREAM_METRIC : STREAM_TRACK, s->file,
                        s->stream, s->slot);
    for (const struct shard_entry *s = run->state.log_shards; s != NULL && error == MLD_OK;
         s = s->next)
        error = add(list, run, STREAM_LOGS, s->file, s->stream, s->slot);
    return error;
}

void verify_streams_free(struct stream_list *list)
{
    arena_free(&list->arena);
    free(list->items);
}

static enum mld_error report_line(struct report *report, const struct listed_stream *s,
                                  enum mld_problem problem, off_t offset, uint64_t bytes,
                                  const char *detail)
{
    const struct mld_finding finding = {
        .problem = problem,
        .name = s->file,
        .detail = detail,
        .offset = (uint64_t)offset,
        .bytes = bytes,
        .loss = true,
    };
    return report_add(report, &finding);
}

/* What follows the last newline, at `offset`. */
static enum mld_error check_tail(struct report *report, const struct listed_stream *s, int dir_fd,
                                 off_t offset)
{
    struct stat st;
    if (!s->writer_gone || fs_stat(dir_fd, s->file, &st) != MLD_OK || st.st_size <= offset)
        return MLD_OK;
    return report_line(report, s, MLD_PROBLEM_TORN, offset, (uint64_t)(st.st_size - offset),
                       "the last line is torn: its writer is gone");
}

static enum mld_error check_lines(struct report *report, const struct listed_stream *s, int dir_fd,
                                  struct json_doc *doc)
{
    struct line_reader reader;
    struct line line;
    enum mld_error error = lines_open(&reader, dir_fd, s->file, 0);
    while (error == MLD_OK && (error = lines_next(&reader, &line)) == MLD_OK && line.text != NULL) {
        report->public.lines_checked++;
        if (!stream_line_is_good(doc, s->kind, line.text, line.len))
            error = report_line(report, s, MLD_PROBLEM_GARBLED, line.offset, line.len,
                                mld_error_message());
    }
    off_t end = reader.offset - (off_t)reader.dropped;
    lines_close(&reader);
    if (error == MLD_OK)
        return check_tail(report, s, dir_fd, end);
    if (error == MLD_ENOMEM)
        return error;
    if (error == MLD_ENOTFOUND && s->replaced)
        return MLD_OK;
    return report_line(report, s,
                       error == MLD_ENOTFOUND ? MLD_PROBLEM_MISSING : MLD_PROBLEM_UNREADABLE, end,
                       0, mld_error_message());
}

static bool is_as_marked(int dir_fd, const struct mark_stream *m)
{
    int fd;
    uint32_t crc;
    if (fs_open(&fd, dir_fd, m->file, O_RDONLY, 0) != MLD_OK)
        return false;
    bool same = stream_prefix_crc(fd, m->file, m->length, &crc) && crc == m->crc;
    close(fd);
    return same;
}

/* gc may have put a records shard into another one since the mark was written. */
static bool is_replaced(const struct stream_list *list, const char *file)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].replaced && strcmp(list->items[i].file, file) == 0)
            return true;
    return false;
}

static enum mld_error check_marked(struct report *report, const struct stream_list *list,
                                   int dir_fd, const struct mark_stream *m)
{
    struct stat st;
    char detail[160];
    struct mld_finding finding = {.problem = MLD_PROBLEM_MARK, .name = m->file, .loss = true};
    if (fs_stat(dir_fd, m->file, &st) == MLD_ENOTFOUND) {
        if (is_replaced(list, m->file))
            return MLD_OK;
        finding.detail = "it was durable, and is not there";
        return report_add(report, &finding);
    }
    if ((uint64_t)st.st_size < m->length) {
        snprintf(detail, sizeof detail, "%" PRIu64 " bytes were durable, %" PRIu64 " are there",
                 m->length, (uint64_t)st.st_size);
        finding.detail = detail;
        finding.bytes = m->length - (uint64_t)st.st_size;
        finding.offset = (uint64_t)st.st_size;
        return report_add(report, &finding);
    }
    if (is_as_marked(dir_fd, m))
        return MLD_OK;
    snprintf(detail, sizeof detail, "the first %" PRIu64 " bytes are not those that were durable",
             m->length);
    finding.detail = detail;
    finding.bytes = m->length;
    return report_add(report, &finding);
}

static enum mld_error check_mark(struct report *report, const struct stream_list *list, int dir_fd,
                                 unsigned slot)
{
    struct mark mark;
    struct arena arena = {0};
    char path[64];
    enum mld_error error = mark_read(&mark, &arena, dir_fd, slot);
    snprintf(path, sizeof path, ".mldash/mark.%u.json", slot);
    if (error == MLD_ENOTFOUND && fs_exists(dir_fd, path)) {
        const struct mld_finding finding = {
            .problem = MLD_PROBLEM_MARK,
            .name = path,
            .detail = "it does not read: nothing of this writer counts as durable",
        };
        error = report_add(report, &finding);
    } else if (error == MLD_ENOTFOUND) {
        error = MLD_OK;
    }
    for (size_t i = 0; i < mark.count && error == MLD_OK; i++)
        error = check_marked(report, list, dir_fd, &mark.streams[i]);
    arena_free(&arena);
    return error;
}

enum mld_error verify_streams(struct report *report, const struct stream_list *list, int dir_fd)
{
    struct json_doc doc;
    bool slots[SLOT_MAX];
    enum mld_error error = mark_list(dir_fd, slots);
    json_doc_init(&doc);
    for (size_t i = 0; i < list->count && error == MLD_OK; i++)
        error = check_lines(report, &list->items[i], dir_fd, &doc);
    json_doc_free(&doc);
    for (unsigned slot = 0; slot < SLOT_MAX && error == MLD_OK; slot++)
        if (slots[slot])
            error = check_mark(report, list, dir_fd, slot);
    return error;
}

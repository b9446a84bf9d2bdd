/* Log lines: writing, and reading the shards of all writers. */
#include "run/logs.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fs.h"
#include "mldash/log.h"
#include "run/fields.h"
#include "run/lines.h"
#include "run/record.h"

#define LOGS_DIR "logs"
#define PATH_MAX_BYTES 512
#define MAX_TIME_S 253402300799.0 /* the year 9999 */

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for log lines");
}

static enum mld_error check_level(const char *level)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", "fatal"};

    for (size_t i = 0; level != NULL && i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(level, levels[i]) == 0)
            return MLD_OK;
    }
    return error_set(MLD_EINVALID, "log level \"%s\": use debug, info, warn, error or fatal",
                     level == NULL ? "NULL" : level);
}

static enum mld_error time_text(char out[CLOCK_ISO_LEN + 1], double time_s)
{
    if (!isnan(time_s) && !(time_s >= 0 && time_s <= MAX_TIME_S))
        return error_set(MLD_EINVALID,
                         "the time of a log line must be in seconds since 1970, until 9999");
    clock_format_iso(out, isnan(time_s) ? clock_now_us() : (int64_t)llround(time_s * 1e6));
    return MLD_OK;
}

/* What the caller of mld_log gave. */
struct entry {
    char timestamp[CLOCK_ISO_LEN + 1];
    const char *level;
    const char *message;
    size_t message_len;
    const struct mld_field *fields;
    size_t n_fields;
};

static enum mld_error encode(struct run *run, const struct entry *entry, int64_t sequence)
{
    struct buf *line = &run->line;
    enum mld_error error = MLD_OK;

    buf_clear(line);
    buf_puts(line, "{\"sequenceNumber\":");
    json_put_int64(line, sequence);
    record_put_text(line, "timestamp", entry->timestamp);
    record_put_text(line, "level", entry->level);
    json_put_key(line, "message");
    json_put_string(line, entry->message, entry->message_len);
    if (entry->n_fields > 0) {
        json_put_key(line, "metadata");
        buf_putc(line, '{');
        error = fields_put(line, &run->doc, FIELDS_AS_GIVEN, entry->fields, entry->n_fields);
        buf_putc(line, '}');
    }
    buf_puts(line, "}\n");
    return error == MLD_OK ? buf_check(line, "a log line") : error;
}

static bool is_recorded(const struct run *run)
{
    const struct shard_entry *s = run->state.log_shards;

    while (s != NULL && strcmp(s->file, run->logs->path) != 0)
        s = s->next;
    return s != NULL && s->stream != NULL;
}

/* Opens this writer's shard, in a new part when the last one is broken, and records it. */
static enum mld_error logs_ready(struct run *run)
{
    bool is_new;
    struct buf *line = &run->line;

    if (run->logs == NULL || run->logs->broken) {
        enum mld_error error =
            run_open_stream(run, &run->logs, &is_new, LOGS_DIR, "logs", run->state.log_shards);
        if (error != MLD_OK)
            return error;
    }
    if (is_recorded(run))
        return MLD_OK;
    buf_clear(line);
    record_begin(line, "logs", run_clock(run));
    record_put_text(line, "file", run->logs->path);
    record_put_text(line, "stream", run->logs->id);
    json_put_key(line, "base");
    json_put_int64(line, (int64_t)run->logs->length);
    record_end(line);
    return run_write_record(run, line);
}

static enum mld_error write_entry(struct run *run, const struct entry *entry)
{
    enum mld_error error = encode(run, entry, 0); /* refused before anything is made */

    if (error == MLD_OK)
        error = logs_ready(run);
    if (error == MLD_OK)
        error = encode(run, entry, run->logs->lines);
    if (error == MLD_OK)
        error = stream_append(&run->streams, run->logs, run->line.data, run->line.len, 1);
    if (error == MLD_OK)
        run_stream_written(run, run->logs);
    return error;
}

enum mld_error mld_log(mld_experiment *experiment, const char *level, const char *message,
                       size_t message_len, const struct mld_field *fields, size_t n_fields,
                       double time_s)
{
    struct run *run;
    struct entry entry = {.level = level,
                          .message = message,
                          .message_len = message_len,
                          .fields = fields,
                          .n_fields = n_fields};

    enum mld_error error = check_level(level);
    if (error == MLD_OK && message == NULL && message_len > 0)
        error = error_set(MLD_EINVALID, "a log message is NULL");
    if (error == MLD_OK)
        error = time_text(entry.timestamp, time_s);
    if (error == MLD_OK)
        error = run_enter(&run, experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    error = write_entry(run, &entry);
    run_leave(run);
    return error;
}

static enum mld_error visit(const char *name, unsigned char type, void *payload)
{
    struct run *run = payload;
    char file[PATH_MAX_BYTES];
    unsigned slot;
    unsigned part;

    if ((type != DT_REG && type != DT_UNKNOWN) || !shard_parse(name, "logs", &slot, &part))
        return MLD_OK;
    snprintf(file, sizeof(file), LOGS_DIR "/%s", name);
    return state_add_shard(&run->state, &run->state.log_shards, file, slot);
}

enum mld_error logs_discover(struct run *run)
{
    return fs_list_dir(run->dir_fd, LOGS_DIR, visit, run);
}

/* What mld_log_lines_free gets. */
struct lines_box {
    struct mld_log_lines lines; /* first */
    struct arena arena;
    struct mld_log_line *items;
    size_t capacity;
};

/* A read in progress. */
struct reading {
    struct run *run;
    struct lines_box *box;
    const char *level; /* NULL: any */
    int64_t start;     /* matching lines to pass over */
    size_t limit;
    int64_t sequence; /* of the next line */
    int64_t matching; /* lines met */
};

void mld_log_lines_free(struct mld_log_lines *lines)
{
    struct lines_box *box = (struct lines_box *)lines;

    if (box == NULL)
        return;
    arena_free(&box->arena);
    free(box->items);
    free(box);
}

static const char *keep_text(struct lines_box *box, const struct json_doc *doc,
                             const struct json_node *string, size_t *out_len)
{
    struct buf text;

    if (!string->escaped) {
        *out_len = string->len;
        return arena_strndup(&box->arena, doc->text + string->start, string->len);
    }
    buf_init(&text, (size_t)string->len + 1);
    json_decoded(doc, string, &text);
    *out_len = text.len;
    const char *kept =
        text.failed != MLD_OK ? NULL : arena_strndup(&box->arena, buf_text(&text), text.len);
    buf_free(&text);
    return kept;
}

static enum mld_error add_item(struct lines_box *box, const struct mld_log_line *item)
{
    if (box->lines.count == box->capacity) {
        size_t capacity = box->capacity == 0 ? 64 : 2 * box->capacity;
        struct mld_log_line *items = realloc(box->items, capacity * sizeof(*items));
        if (items == NULL)
            return no_memory();
        box->items = items;
        box->capacity = capacity;
    }
    box->items[box->lines.count++] = *item;
    return MLD_OK;
}

/* The members of a parsed line that matter. */
struct parts {
    const struct json_node *timestamp, *level, *message, *metadata;
};

static bool is_string(const struct json_node *node)
{
    return node != NULL && node->type == JSON_STRING;
}

static bool find_parts(const struct json_doc *doc, struct parts *out)
{
    const struct json_node *root = json_root(doc);

    out->timestamp = json_get(doc, root, "timestamp");
    out->level = json_get(doc, root, "level");
    out->message = json_get(doc, root, "message");
    out->metadata = json_get(doc, root, "metadata");
    return is_string(out->timestamp) && is_string(out->level) && is_string(out->message);
}

static enum mld_error keep_line(struct reading *r, const struct parts *parts)
{
    const struct json_doc *doc = &r->run->doc;
    struct mld_log_line item = {.sequence = r->sequence};
    size_t len;

    item.timestamp = keep_text(r->box, doc, parts->timestamp, &len);
    item.level = keep_text(r->box, doc, parts->level, &len);
    item.message = keep_text(r->box, doc, parts->message, &item.message_len);
    if (item.timestamp == NULL || item.level == NULL || item.message == NULL)
        return no_memory();
    if (parts->metadata != NULL && parts->metadata->type == JSON_OBJECT) {
        const char *raw = json_raw(doc, parts->metadata, &len);
        item.metadata_json = arena_strndup(&r->box->arena, raw, len);
        if (item.metadata_json == NULL)
            return no_memory();
    }
    return add_item(r->box, &item);
}

static enum mld_error take_line(struct reading *r, const struct parts *parts)
{
    enum mld_error error = MLD_OK;

    if (r->level == NULL || json_equals(&r->run->doc, parts->level, r->level)) {
        if (r->limit > 0 && r->box->lines.count == r->limit)
            r->box->lines.has_more = true;
        else if (r->matching >= r->start)
            error = keep_line(r, parts);
        r->matching++;
    }
    r->sequence++;
    return error;
}

/* Garbled lines are met again at each read, but are one problem. */
static enum mld_error note_garbled(struct run *run, const char *file, off_t offset)
{
    for (const struct problem_entry *p = run->state.problems; p != NULL; p = p->next) {
        if (p->offset == (uint64_t)offset && strcmp(p->name, file) == 0)
            return MLD_OK;
    }
    return state_problem(&run->state, MLD_PROBLEM_GARBLED, file, (uint64_t)offset,
                         "a line that does not parse; it is skipped");
}

static enum mld_error read_shard(struct reading *r, const struct shard_entry *shard)
{
    struct line_reader lines;
    struct line line;
    struct parts parts;

    enum mld_error error = lines_open(&lines, r->run->dir_fd, shard->file, 0);
    if (error == MLD_ENOTFOUND) /* its record came before its first line */
        return MLD_OK;
    while (error == MLD_OK && !r->box->lines.has_more) {
        error = lines_next(&lines, &line);
        if (error != MLD_OK || line.text == NULL)
            break;
        if (json_parse(&r->run->doc, line.text, line.len) == MLD_OK &&
            find_parts(&r->run->doc, &parts))
            error = take_line(r, &parts);
        else
            error = note_garbled(r->run, shard->file, line.offset);
    }
    lines_close(&lines);
    return error;
}

static enum mld_error read_all(struct reading *r)
{
    enum mld_error error = run_refresh(r->run);

    if (error == MLD_OK)
        error = logs_discover(r->run);
    for (const struct shard_entry *s = r->run->state.log_shards; s != NULL && error == MLD_OK;
         s = s->next)
        error = read_shard(r, s);
    return error;
}

enum mld_error mld_log_read(struct mld_log_lines **out, mld_experiment *experiment,
                            const char *level, int64_t start, size_t limit)
{
    struct reading r = {.level = level, .start = start, .limit = limit};

    *out = NULL;
    if (start < 0)
        return error_set(MLD_EINVALID, "log lines from %lld on: the first is 0", (long long)start);
    enum mld_error error = level == NULL ? MLD_OK : check_level(level);
    if (error != MLD_OK)
        return error;
    r.box = calloc(1, sizeof(*r.box));
    if (r.box == NULL)
        return no_memory();
    error = run_enter(&r.run, experiment, RUN_READ);
    if (error == MLD_OK) {
        error = read_all(&r);
        run_leave(r.run);
    }
    r.box->lines.lines = r.box->items;
    if (error != MLD_OK)
        mld_log_lines_free(&r.box->lines);
    else
        *out = &r.box->lines;
    return error;
}

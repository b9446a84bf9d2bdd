/* After a power loss the bytes of files whose records lie past the mark may be missing or hold
 * zeros. The writers concerned are those of another boot that did not end; on a file system that
 * machines share, only those of this machine: others may be alive. */
#include "run/recover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/name.h"
#include "run/lines.h"
#include "run/mark.h"
#include "run/record.h"
#include "run/stored.h"

#define PATH_MAX_BYTES 4096

struct recovery {
    struct run *run;
    char boot[40];
    char host[256];
    struct json_doc doc; /* run->doc is used by the records that are written */
    bool suspect;        /* the line at hand is of a writer that a power loss may have hit */
    bool own;            /* of this writer itself: all before it was looked at */
};

/* The member of a record is this text. */
static bool member_is(const struct json_doc *doc, const char *key, const char *text)
{
    const struct json_node *node = json_get(doc, json_root(doc), key);
    return node != NULL && json_equals(doc, node, text);
}

static void note_writer(struct recovery *r)
{
    r->own = member_is(&r->doc, "writer", r->run->slot.writer);
    r->suspect = !member_is(&r->doc, "boot", r->boot) &&
                 (!r->run->network || member_is(&r->doc, "host", r->host));
}

static enum mld_error record_damaged(struct run *run, const char *id, const char *reason)
{
    struct buf *line = &run->line;
    buf_clear(line);
    record_begin(line, "damaged", run_clock(run));
    record_put_text(line, "id", id);
    record_put_text(line, "reason", reason);
    record_end(line);
    return run_write_record(run, line);
}

/* A `file` record past the mark. */
static enum mld_error check_file(struct recovery *r)
{
    struct run *run = r->run;
    struct stored_result result;
    struct buf path;
    char *id = json_strdup(&r->doc, json_get(&r->doc, json_root(&r->doc), "id"));
    const struct file_entry *f = id == NULL ? NULL : state_file(&run->state, id);
    free(id);
    if (f == NULL || !state_is_listed(f) || f->damaged)
        return MLD_OK;
    buf_init(&path, PATH_MAX_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    enum mld_error error = buf_check(&path, "path of a file");
    if (error == MLD_OK) {
        const struct stored_expected expected = {
            .path = path.data, .size_bytes = f->size_bytes, .checksum = f->checksum};
        error = stored_check(&result, run->dir_fd, &expected);
    }
    buf_free(&path);
    if (error != MLD_OK || result.intact)
        return error;
    return record_damaged(run, f->id, result.detail);
}

static enum mld_error check_line(struct recovery *r, const struct line *line)
{
    if (!record_is_intact(line->text, line->len) ||
        json_parse(&r->doc, line->text, line->len) != MLD_OK)
        return MLD_OK; /* told by who read it */
    if (member_is(&r->doc, "type", "stream"))
        note_writer(r);
    return r->suspect && member_is(&r->doc, "type", "file") ? check_file(r) : MLD_OK;
}

/* How far the shard is known to be durable, or was checked. */
static uint64_t safe_length(struct recovery *r, const struct shard_cursor *c)
{
    struct arena arena = {0};
    struct mark mark;
    uint64_t length = 0;
    if (mark_read(&mark, &arena, r->run->dir_fd, c->origin.slot) == MLD_OK) {
        for (size_t i = 0; i < mark.count; i++)
            if (strcmp(mark.streams[i].stream, c->stream) == 0)
                length = mark.streams[i].length;
    }
    arena_free(&arena);
    for (const struct checked_entry *e = r->run->state.checked; e != NULL; e = e->next)
        if (strcmp(e->stream, c->stream) == 0 && e->length > length)
            length = e->length;
    return length;
}

/* Who wrote the line at `length`, unless a `stream` record there says so: the shard's last writer
 * before it. */
static enum mld_error find_writer(struct recovery *r, const char *path, uint64_t length)
{
    struct line_reader reader;
    struct line line;
    enum mld_error error = lines_open(&reader, r->run->dir_fd, path, 0);
    while (error == MLD_OK && (error = lines_next(&reader, &line)) == MLD_OK && line.text != NULL &&
           (uint64_t)line.offset < length) {
        static const char STREAM[] = "{\"type\":\"stream\"";
        if (line.len > sizeof STREAM && memcmp(line.text, STREAM, sizeof STREAM - 1) == 0 &&
            json_parse(&r->doc, line.text, line.len) == MLD_OK)
            note_writer(r);
    }
    lines_close(&reader);
    return error;
}

static enum mld_error record_checked(struct run *run, const char *stream, uint64_t length)
{
    struct buf *line = &run->line;
    buf_clear(line);
    record_begin(line, "checked", run_clock(run));
    record_put_text(line, "stream", stream);
    json_put_key(line, "length");
    json_put_int64(line, (int64_t)length);
    record_end(line);
    return run_write_record(run, line);
}

/* The lines from `from` on, up to this writer's own. *out_end: behind the last one looked at. */
static enum mld_error check_lines(struct recovery *r, const char *path, uint64_t from,
                                  uint64_t *out_end, bool *out_any)
{
    struct line_reader reader;
    struct line line;
    *out_end = from;
    enum mld_error error = lines_open(&reader, r->run->dir_fd, path, (off_t)from);
    while (error == MLD_OK && !r->own && (error = lines_next(&reader, &line)) == MLD_OK &&
           line.text != NULL) {
        error = check_line(r, &line);
        if (r->suspect && !r->own)
            *out_any = true;
        if (!r->own)
            *out_end = (uint64_t)line.offset + line.len + 1;
    }
    lines_close(&reader);
    return error;
}

static enum mld_error check_shard(struct recovery *r, const struct shard_cursor *c)
{
    char path[SHARD_NAME_MAX + 16];
    struct stat st;
    uint64_t end;
    bool any = false;
    snprintf(path, sizeof path, ".mldash/%s", c->name);
    uint64_t from = safe_length(r, c);
    if (c->ended || c->replaced || fs_stat(r->run->dir_fd, path, &st) != MLD_OK ||
        (uint64_t)st.st_size <= from)
        return MLD_OK;
    r->suspect = false;
    r->own = false;
    enum mld_error error = find_writer(r, path, from);
    if (error == MLD_OK)
        error = check_lines(r, path, from, &end, &any);
    if (error == MLD_OK && any)
        error = record_checked(r->run, c->stream, end);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

enum mld_error recover_after_boot(struct run *run)
{
    struct recovery r = {.run = run};
    enum mld_error error = MLD_OK;
    clock_boot_id(r.boot);
    clock_host_name(r.host);
    json_doc_init(&r.doc);
    /* The records that are written here go to our own shard, whose cursor does not move. */
    for (const struct shard_cursor *c = run->cursors; c != NULL && error == MLD_OK; c = c->next)
        error = check_shard(&r, c);
    json_doc_free(&r.doc);
    return error;
}

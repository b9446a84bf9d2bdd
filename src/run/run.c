/* One open run folder. Opening: folder, format.json, slot, own records shard, all records, views of
 * other tools, what a power loss left. */
#include "run/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "run/foreign.h"
#include "run/look.h"
#include "run/record.h"
#include "run/recover.h"
#include "run/registry.h"
#include "run/series.h"
#include "run/shards.h"

#define FORMAT_FILE ".mldash/format.json"
#define FORMAT_VERSION 1
#define LINE_MAX_BYTES (64u << 20)

int64_t run_clock(struct run *run)
{
    int64_t now = clock_now_us();
    return now > run->state.max_clock ? now : run->state.max_clock + 1;
}

void run_stream_written(struct run *run, struct stream *stream)
{
    keeper_add_stream(run->keeper, stream);
}

bool run_slot_is_gone(struct run *run, unsigned slot)
{
    bool ended = false;
    if (run->slot.number == (int)slot)
        return false;
    for (struct shard_cursor *c = run->cursors; c != NULL; c = c->next)
        if (c->origin.mirror == NULL && c->origin.slot == slot && c->ended)
            ended = true;
    enum slot_life life = slot_life_of(run->dir_fd, slot, ended);
    return life == SLOT_FREE || life == SLOT_GONE;
}

/* The part to begin the search at. gc may have removed earlier parts of records, and their names
 * are not used again: somebody may have read them up to an offset. */
static unsigned first_part(const struct run *run, const char *stem)
{
    unsigned first = 0;
    unsigned slot;
    unsigned part;
    for (const struct shard_cursor *c = run->cursors; c != NULL; c = c->next)
        if (shard_parse(c->name, stem, &slot, &part) && (int)slot == run->slot.number &&
            part > first)
            first = part;
    return first;
}

/* The last part of our slot that is on disk, or the next one when it is broken. */
static enum mld_error choose_part(struct run *run, struct stream **out, char path[],
                                  size_t path_size, const char *dir, const char *stem)
{
    char name[SHARD_NAME_MAX];
    unsigned part = first_part(run, stem);
    *out = NULL;
    for (;; part++) {
        shard_name(name, stem, (unsigned)run->slot.number, part + 1);
        snprintf(path, path_size, "%s/%s", dir, name);
        if (!fs_exists(run->dir_fd, path))
            break;
    }
    shard_name(name, stem, (unsigned)run->slot.number, part);
    snprintf(path, path_size, "%s/%s", dir, name);
    struct stream *s = stream_set_find(&run->streams, path);
    if (s == NULL || !s->broken) {
        *out = s;
        return MLD_OK;
    }
    shard_name(name, stem, (unsigned)run->slot.number, part + 1);
    snprintf(path, path_size, "%s/%s", dir, name);
    return MLD_OK;
}

enum mld_error run_open_stream(struct run *run, struct stream **out, bool *out_is_new,
                               const char *dir, const char *stem, const struct shard_entry *known)
{
    char path[2048];
    off_t cut;
    *out_is_new = false;
    enum mld_error error = choose_part(run, out, path, sizeof path, dir, stem);
    if (error != MLD_OK || *out != NULL)
        return error;
    while (known != NULL && strcmp(known->file, path) != 0)
        known = known->next;
    const char *id = known == NULL ? NULL : known->stream;
    *out_is_new = id == NULL;
    error = fs_make_dirs(run->dir_fd, dir, false);
    if (error == MLD_OK)
        error = stream_open(out, &run->streams, path, id, &cut);
    if (error == MLD_OK && cut > 0)
        error = state_problem(&run->state, MLD_PROBLEM_TORN, path, (uint64_t)(*out)->length,
                              "the last line was torn by a crash and has been cut");
    return error;
}

/* The first line of this writer in a records shard. */
static enum mld_error write_stream_record(struct run *run)
{
    char host[256];
    char boot[40];
    char now[CLOCK_ISO_LEN + 1];
    struct buf *line = &run->line;
    clock_host_name(host);
    clock_boot_id(boot);
    clock_format_iso(now, clock_now_us());
    buf_clear(line);
    record_begin(line, "stream", run_clock(run));
    json_put_key(line, "version");
    json_put_int64(line, FORMAT_VERSION);
    record_put_text(line, "stream", run->records->id);
    record_put_text(line, "writer", run->slot.writer);
    json_put_key(line, "slot");
    json_put_int64(line, run->slot.number);
    record_put_text(line, "host", host);
    record_put_text(line, "boot", boot);
    record_put_text(line, "created", now);
    if (run->tidies)
        record_put_json(line, "tidies", "true");
    record_end(line);
    return run_write_record(run, line);
}

/* Opens our records shard (or its next part) and makes its cursor ours. */
static enum mld_error open_records(struct run *run)
{
    struct stream *stream;
    struct shard_cursor *cursor;
    bool is_new;
    enum mld_error error = run_refresh(run); /* what the slot's earlier writers said, too */
    if (error == MLD_OK)
        error = run_open_stream(run, &stream, &is_new, ".mldash", "records", NULL);
    if (error != MLD_OK)
        return error;
    const char *name = strrchr(stream->path, '/') + 1;
    error = shards_cursor(run, &cursor, name, (unsigned)run->slot.number);
    if (error != MLD_OK)
        return error;
    if (cursor->stream[0] != '\0')
        memcpy(stream->id, cursor->stream, sizeof stream->id);
    cursor->mine = true;
    cursor->origin.mine = true;
    cursor->offset = stream->length;
    run->records = stream;
    stream_reserve(stream);
    return write_stream_record(run);
}

static struct shard_cursor *own_cursor(struct run *run)
{
    const char *name = strrchr(run->records->path, '/') + 1;
    struct shard_cursor *c = run->cursors;
    while (c != NULL && strcmp(c->name, name) != 0)
        c = c->next;
    return c;
}

enum mld_error run_write_record(struct run *run, const struct buf *line)
{
    enum mld_error error = buf_check(line, "record");
    if (error != MLD_OK)
        return error;
    if (run->records->broken) {
        struct buf kept = *line; /* open_records uses the scratch buffer itself */
        bool scratch = line == &run->line;
        if (scratch)
            buf_init(&run->line, LINE_MAX_BYTES);
        error = open_records(run);
        if (scratch) {
            buf_free(&run->line);
            run->line = kept;
        }
        if (error != MLD_OK)
            return error;
    }
    error = stream_append(&run->streams, run->records, line->data, line->len, 1);
    if (error != MLD_OK)
        return error;
    struct shard_cursor *cursor = own_cursor(run);
    cursor->offset = run->records->length;
    run_stream_written(run, run->records);
    error = json_parse(&run->doc, line->data, line->len - 1);
    if (error == MLD_OK)
        error = state_apply(&run->state, &run->doc, &cursor->origin);
    return error;
}

static enum mld_error make_format_file(struct run *run)
{
    char id[ID_RANDOM_LEN + 1];
    char now[CLOCK_ISO_LEN + 1];
    char text[256];
    enum mld_error error = fs_make_dirs(run->dir_fd, ".mldash/writers", false);
    if (error == MLD_OK)
        error = id_random(id);
    if (error != MLD_OK)
        return error;
    clock_format_iso(now, clock_now_us());
    int len = snprintf(text, sizeof text, "{\"version\":%d,\"id\":\"%s\",\"created\":\"%s\"}\n",
                       FORMAT_VERSION, id, now);
    /* Durable at once: a torn one would make the whole folder unreadable. */
    error = fs_create_file(run->dir_fd, FORMAT_FILE, text, (size_t)len, true);
    return error == MLD_EEXISTS ? MLD_OK : error;
}

static enum mld_error parse_format(struct run *run, const struct buf *text)
{
    int64_t version;
    enum mld_error error = json_parse(&run->doc, text->data, text->len);
    const struct json_node *root = json_root(&run->doc);
    if (error != MLD_OK || !json_int64(&run->doc, json_get(&run->doc, root, "version"), &version))
        return error_set(MLD_EFORMAT, "%s/" FORMAT_FILE " does not read; restore it from a copy",
                         run->dir);
    if (version > FORMAT_VERSION)
        return error_set(MLD_EFORMAT,
                         "%s was written in format %lld; this library knows %d: use a newer one",
                         run->dir, (long long)version, FORMAT_VERSION);
    char *id = json_strdup(&run->doc, json_get(&run->doc, root, "id"));
    snprintf(run->experiment_id, sizeof run->experiment_id, "%s", id == NULL ? "" : id);
    free(id);
    char *created = json_strdup(&run->doc, json_get(&run->doc, root, "created"));
    run->state.experiment.created_at = arena_strdup(&run->state.arena, created);
    free(created);
    return MLD_OK;
}

/* Checks the version before anything else is read, and learns the experiment's id. */
static enum mld_error read_format(struct run *run)
{
    struct buf text;
    buf_init(&text, 65536);
    enum mld_error error = fs_read_file(run->dir_fd, FORMAT_FILE, &text);
    if (error == MLD_OK)
        error = parse_format(run, &text);
    else if (error == MLD_ENOTFOUND && run->read_only)
        error = MLD_OK; /* a folder of another tool */
    buf_free(&text);
    return error;
}

static enum mld_error open_for_writing(struct run *run)
{
    enum mld_error error = make_format_file(run);
    if (error == MLD_OK)
        error = read_format(run);
    if (error == MLD_OK)
        error = slot_take(&run->slot, run->dir_fd);
    if (error == MLD_OK)
        error = keeper_new(&run->keeper, run);
    if (error == MLD_OK)
        error = open_records(run);
    if (error == MLD_OK)
        error = recover_after_boot(run);
    return error;
}

static enum mld_error run_new(struct run **out, const char *dir, enum run_purpose purpose)
{
    *out = NULL;
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return error_set(MLD_ENOMEM, "out of memory for opening %s", dir);
    run->dir_fd = -1;
    run->slot = (struct slot){.number = -1, .lock_fd = -1};
    run->read_only = run_purpose_reads(purpose);
    run->mirrored = purpose == RUN_FOR_MIRRORED;
    run->tidies = purpose == RUN_FOR_GC;
    run->handles = 1;
    state_init(&run->state);
    json_doc_init(&run->doc);
    buf_init(&run->line, LINE_MAX_BYTES);
    pthread_mutex_init(&run->lock, NULL);
    *out = run;
    return MLD_OK;
}

enum mld_error run_open(struct run **out, const char *dir, int dir_fd, enum run_purpose purpose)
{
    struct stat st;
    struct run *run;
    *out = NULL;
    enum mld_error error = run_new(&run, dir, purpose);
    if (error != MLD_OK) {
        close(dir_fd);
        return error;
    }
    run->dir_fd = dir_fd;
    run->streams.dir_fd = dir_fd;
    run->network = fs_is_network(dir_fd);
    run->dir = realpath(dir, NULL);
    if (run->dir == NULL || fstat(dir_fd, &st) != 0)
        error = error_set(MLD_EIO, "cannot find out where %s is", dir);
    if (error == MLD_OK) {
        run->device = st.st_dev;
        run->inode = st.st_ino;
        pthread_mutex_lock(&run->lock); /* the keeper's thread may be at work already */
        error = run->read_only ? read_format(run) : open_for_writing(run);
        if (error == MLD_OK && run->read_only)
            error = run_refresh(run);
        if (error == MLD_OK)
            error = foreign_merge(run);
        if (error == MLD_OK)
            error = look_at_streams(run);
        pthread_mutex_unlock(&run->lock);
    }
    if (error != MLD_OK) {
        struct error_copy copy;
        error_save(error, &copy);
        run_free(run, false);
        return error_restore(&copy);
    }
    *out = run;
    return MLD_OK;
}

void run_free(struct run *run, bool clean)
{
    if (run->keeper != NULL) {
        keeper_flush(run->keeper);
        keeper_free(run->keeper);
    }
    if (run->slot.number >= 0)
        stream_release_reserve(run->records);
    if (clean)
        slot_release(&run->slot, run->dir_fd);
    else
        slot_abandon(&run->slot);
    series_free(run);
    stream_set_close(&run->streams);
    shards_free(run);
    state_free(&run->state);
    json_doc_free(&run->doc);
    buf_free(&run->line);
    free(run->dir);
    free(run->failure);
    if (run->dir_fd >= 0)
        close(run->dir_fd);
    pthread_mutex_destroy(&run->lock);
    free(run);
}

/* In the child of fork(): gives up descriptors without a system call that the parent would notice.
 * The memory stays, since another thread of the parent may have held the lock. */
void run_forget_after_fork(struct run *run)
{
    if (run->slot.lock_fd >= 0)
        close(run->slot.lock_fd);
    run->slot.lock_fd = -1;
    stream_set_forget(&run->streams);
    keeper_forget(run->keeper);
    if (run->dir_fd >= 0)
        close(run->dir_fd);
    run->dir_fd = -1;
}

#include "run/views.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"
#include "run/foreign.h"
#include "run/record.h"
#include "run/views_series.h"

#define LOCK_WAIT_MS 1000
#define LOCK_PAUSE_MS 2
#define PATH_MAX_BYTES 4096

const struct view_entry *views_known(const struct run *run, const char *file)
{
    const struct view_entry *view = run->state.views;
    while (view != NULL && strcmp(view->file, file) != 0)
        view = view->next;
    return view;
}

/* "experiment.json" has ".experiment.lock", "files/.files_metadata.json"
 * "files/.files_metadata.lock", "logs/.log_sequence" "logs/.log_sequence.lock". */
static void lock_path(char out[PATH_MAX_BYTES], const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *base = slash == NULL ? file : slash + 1;
    size_t len = strlen(base);
    if (len > 5 && strcmp(base + len - 5, ".json") == 0)
        len -= 5;
    snprintf(out, PATH_MAX_BYTES, "%.*s%s%.*s.lock", (int)(base - file), file,
             base[0] == '.' ? "" : ".", (int)len, base);
}

int views_lock(const struct run *run, const char *file)
{
    const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000L};
    char path[PATH_MAX_BYTES];
    bool locked = false;
    int fd;
    lock_path(path, file);
    if (fs_open(&fd, run->dir_fd, path, O_RDONLY, 0) != MLD_OK)
        return -1;
    for (int waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_PAUSE_MS) {
        if (fs_try_lock(fd, &locked, path) != MLD_OK || locked)
            break;
        nanosleep(&pause, NULL);
    }
    if (locked)
        return fd;
    close(fd);
    return -1;
}

/* Exactly one of `prefix` and `folder` is there: by that the clients tell the layouts apart. */
static void put_experiment(struct buf *text, struct run *run, enum mld_status status)
{
    const struct experiment_entry *x = &run->state.experiment;
    struct run_status times = run_status(run, status != MLD_RUNNING);
    buf_putc(text, '{');
    record_put_text(text, "name", x->name);
    record_put_text(text, "project", x->project);
    record_put_text(text, "description", x->description);
    record_put_strings(text, "tags", x->tags.items, x->tags.count);
    record_put_strings(text, "bindrs", x->bindrs.items, x->bindrs.count);
    if (x->prefix != NULL)
        record_put_text(text, "prefix", x->prefix);
    else
        record_put_text(text, "folder", x->folder);
    record_put_json(text, "metadata", x->metadata);
    record_put_text(text, "created_at", x->created_at);
    json_put_key(text, "write_protected");
    json_put_bool(text, false);
    record_put_text(text, "id", run->experiment_id);
    record_put_text(text, "status", mld_status_name(status));
    record_put_text(text, "startedAt", times.started_at);
    record_put_text(text, "endedAt", status == MLD_RUNNING ? NULL : times.ended_at);
    if (status == MLD_FAILED && times.error != NULL)
        record_put_text(text, "error", times.error);
    buf_putc(text, '}');
}

static void put_parameters(struct buf *text, const struct run *run)
{
    const struct state *s = &run->state;
    char updated[CLOCK_ISO_LEN + 1];
    state_stamp last = 0;
    buf_puts(text, "{\"version\":1");
    json_put_key(text, "data");
    buf_putc(text, '{');
    for (size_t i = 0; i < s->n_params; i++) {
        const struct param_entry *p = s->all_params[i];
        if (i > 0)
            buf_putc(text, ',');
        json_put_string(text, p->name, p->name_len);
        buf_putc(text, ':');
        json_put_compact(text, p->json, strlen(p->json));
        if (p->stamp > last)
            last = p->stamp;
    }
    buf_putc(text, '}');
    clock_format_iso(updated, (int64_t)(last >> 10));
    record_put_text(text, "createdAt", s->experiment.created_at);
    record_put_text(text, "updatedAt", updated);
    buf_putc(text, '}');
}

static void put_file(struct buf *text, const struct run *run, const struct file_entry *f)
{
    const struct experiment_entry *x = &run->state.experiment;
    struct buf id;
    buf_init(&id, PATH_MAX_BYTES);
    buf_printf(&id, "%s/%s", x->project == NULL ? "" : x->project,
               x->prefix != NULL ? x->prefix
               : x->name != NULL ? x->name
                                 : "");
    buf_putc(text, '{');
    record_put_text(text, "id", f->id);
    record_put_text(text, "experimentId", buf_text(&id));
    record_put_text(text, "path", f->path);
    record_put_text(text, "filename", f->filename);
    record_put_text(text, "description", f->description);
    record_put_strings(text, "tags", f->tags.items, f->tags.count);
    record_put_strings(text, "bindrs", f->bindrs.items, f->bindrs.count);
    record_put_text(text, "contentType", f->content_type);
    json_put_key(text, "sizeBytes");
    json_put_int64(text, (int64_t)f->size_bytes);
    record_put_text(text, "checksum", f->checksum);
    record_put_json(text, "metadata", f->metadata);
    record_put_text(text, "uploadedAt", f->uploaded_at);
    record_put_text(text, "updatedAt", f->updated_at);
    record_put_text(text, "deletedAt", f->deleted_at);
    buf_putc(text, '}');
    buf_free(&id);
}

/* The newest version of each name, and deleted files whose bytes are there. The clients know one
 * file of a name; older versions that were kept are not for them. */
static void put_files(struct buf *text, struct run *run)
{
    struct state *s = &run->state;
    bool first = true;
    state_sort_files(s);
    buf_puts(text, "{\"files\":[");
    for (size_t i = 0; i < s->n_files; i++) {
        const struct file_entry *f = s->all_files[i];
        if (!state_is_listed(f) || (f->deleted_at == NULL && state_newest(f->name) != f))
            continue;
        if (!first)
            buf_putc(text, ',');
        first = false;
        put_file(text, run, f);
    }
    buf_puts(text, "]}");
}

/* Says in a record what the view is now, so that changes of other tools can be told. */
static enum mld_error remember(struct run *run, const char *file, size_t size, const char *checksum)
{
    struct buf *line = &run->line;
    buf_clear(line);
    record_begin(line, "view", run_clock(run));
    record_put_text(line, "file", file);
    json_put_key(line, "size");
    json_put_int64(line, (int64_t)size);
    record_put_text(line, "checksum", checksum);
    record_end(line);
    return run_write_record(run, line);
}

/* Views from which changes of other tools are taken are durable before their record: else, after a
 * power loss, an older view beside the newer record would look like another tool's work. */
static bool is_merged(const char *file)
{
    return strcmp(file, VIEW_EXPERIMENT) == 0 || strcmp(file, VIEW_PARAMETERS) == 0 ||
           strcmp(file, VIEW_FILES) == 0;
}

static enum mld_error replace(struct run *run, const char *file, const struct buf *text)
{
    const struct view_entry *known = views_known(run, file);
    struct sha256 hash = {NULL};
    struct stat st;
    char checksum[SHA256_HEX_LEN + 1];
    enum mld_error error = sha256_begin(&hash);
    if (error == MLD_OK) {
        sha256_update(&hash, text->data, text->len);
        error = sha256_end(&hash, checksum);
    }
    sha256_free(&hash);
    if (error != MLD_OK)
        return error;
    if (known != NULL && known->size == text->len && strcmp(known->checksum, checksum) == 0 &&
        fs_stat(run->dir_fd, file, &st) == MLD_OK && (size_t)st.st_size == text->len)
        return MLD_OK; /* it says so already */
    error = fs_replace_file(run->dir_fd, file, text->data, text->len, is_merged(file));
    return error != MLD_OK ? error : remember(run, file, text->len, checksum);
}

enum mld_error views_write_one(struct run *run, const char *file, enum mld_status status)
{
    struct buf text;
    enum mld_error error = MLD_OK;
    if (strcmp(file, VIEW_PARAMETERS) == 0 && run->state.n_params == 0)
        return MLD_OK;
    if (strcmp(file, VIEW_FILES) == 0) {
        if (run->state.n_files == 0)
            return MLD_OK;
        error = fs_make_dirs(run->dir_fd, "files", false);
    }
    buf_init(&text, VIEW_MAX_BYTES);
    if (strcmp(file, VIEW_EXPERIMENT) == 0)
        put_experiment(&text, run, status);
    else if (strcmp(file, VIEW_PARAMETERS) == 0)
        put_parameters(&text, run);
    else
        put_files(&text, run);
    if (error == MLD_OK)
        error = buf_check(&text, file);
    if (error == MLD_OK)
        error = replace(run, file, &text);
    buf_free(&text);
    return error;
}

/* Takes in what another tool changed, then writes. What does not read is put aside: perhaps
 * somebody can make something of it. */
static enum mld_error update(struct run *run, const char *file, enum mld_status status)
{
    char aside[PATH_MAX_BYTES];
    enum foreign_news news;
    int lock = views_lock(run, file);
    enum mld_error error = foreign_take(run, file, &news);
    if (error == MLD_OK && news == FOREIGN_UNREADABLE) {
        snprintf(aside, sizeof aside, "%s.unreadable", file);
        error = fs_rename(run->dir_fd, file, aside, true);
    }
    if (error == MLD_OK)
        error = views_write_one(run, file, status);
    if (lock >= 0)
        close(lock);
    return error;
}

enum mld_error views_write_experiment(struct run *run, enum mld_status status)
{
    return update(run, VIEW_EXPERIMENT, status);
}

enum mld_error views_write(struct run *run, enum mld_status status)
{
    enum mld_error error = update(run, VIEW_EXPERIMENT, status);
    if (error == MLD_OK)
        error = update(run, VIEW_PARAMETERS, status);
    if (error == MLD_OK)
        error = update(run, VIEW_FILES, status);
    if (error == MLD_OK)
        error = views_write_series(run);
    return error;
}

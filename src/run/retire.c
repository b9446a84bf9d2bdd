/* The order that loses nothing: `retire` record, durable; all shards read again; an alias that
 * turned up is answered by `unretire`; only then the bytes go. Who sets an alias writes first and
 * reads then, so one of the two sees the other. */
#include "run/retire.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/name.h"
#include "run/record.h"

#define RETIRE_MAX 4096 /* versions a round; the rest waits for the next save or for gc */
#define PATH_MAX_BYTES 4096

struct retired {
    struct file_entry *files[RETIRE_MAX];
    size_t count;
};

static enum mld_error write_record(struct run *run, const char *type, const char *id,
                                   const char *by)
{
    struct buf line;
    buf_init(&line, 4096);
    record_begin(&line, type, run_clock(run));
    record_put_text(&line, "id", id);
    record_put_text(&line, "by", by);
    record_end(&line);
    enum mld_error error = run_write_record(run, &line);
    buf_free(&line);
    return error;
}

static enum mld_error retire_name(struct run *run, const struct retire_item *item,
                                  struct retired *done)
{
    int kept = 0;
    enum mld_error error = MLD_OK;
    for (struct file_entry *f = item->newest->name->versions; f != NULL; f = f->older) {
        if (!state_is_listed(f) || f->deleted_at != NULL)
            continue;
        if (kept++ < item->keep || !f->mine || f->foreign || state_has_alias(f))
            continue;
        if (done->count == RETIRE_MAX)
            break;
        error = write_record(run, "retire", f->id, item->newest->id);
        if (error != MLD_OK)
            break;
        done->files[done->count++] = f;
    }
    return error;
}

static enum mld_error sync_records(struct run *run)
{
    int fd;
    pthread_mutex_lock(&run->lock);
    enum mld_error error = stream_dup_fd(&fd, &run->streams, run->records);
    pthread_mutex_unlock(&run->lock);
    if (error != MLD_OK)
        return error;
    error = fs_sync_data(fd, ".mldash/records");
    close(fd);
    return error;
}

/* Drops those that got an alias meanwhile. */
static enum mld_error look_again(struct run *run, struct retired *done)
{
    size_t kept = 0;
    enum mld_error error = run_refresh(run);
    for (size_t i = 0; i < done->count && error == MLD_OK; i++) {
        struct file_entry *f = done->files[i];
        if (state_has_alias(f))
            error = write_record(run, "unretire", f->id, NULL);
        else
            done->files[kept++] = f;
    }
    done->count = error == MLD_OK ? kept : 0;
    return error;
}

void retire_remove_bytes(struct run *run, const struct file_entry *f)
{
    struct buf path;
    buf_init(&path, PATH_MAX_BYTES);
    name_file_path(&path, f->path, f->id, f->filename);
    if (buf_check(&path, "path") == MLD_OK) {
        fs_unlink(run->dir_fd, path.data);
        path.data[path.len - strlen(f->filename) - 1] = '\0';
        fs_remove_empty_dir(run->dir_fd, path.data, NULL);
    }
    buf_free(&path);
}

enum mld_error retire_versions(struct run *run, const struct retire_item *items, size_t count)
{
    enum mld_error error = MLD_OK;
    struct retired *done = calloc(1, sizeof *done);
    if (done == NULL)
        return error_set(MLD_ENOMEM, "out of memory for retiring old versions");
    pthread_mutex_lock(&run->lock);
    for (size_t i = 0; i < count && error == MLD_OK; i++)
        error = retire_name(run, &items[i], done);
    pthread_mutex_unlock(&run->lock);
    if (error == MLD_OK && done->count > 0) {
        error = sync_records(run);
        pthread_mutex_lock(&run->lock);
        if (error == MLD_OK)
            error = look_again(run, done);
        for (size_t i = 0; i < done->count && error == MLD_OK; i++)
            retire_remove_bytes(run, done->files[i]);
        pthread_mutex_unlock(&run->lock);
    }
    free(done);
    return error;
}

/* mirror_streams.c: streams of other folders, from the server into the mirror. A file of the mirror
 * only ever gets bytes that were checked, at the offset where they belong; so several processes may
 * write the same ones at once. */
#include "sync/mirror.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"

#define COPY_BYTES (1u << 20)

/* One refresh. */
struct refresh {
    struct mirror *m;
    int dir_fd;                   /* of the mirror's folder */
    char dir[RUN_MIRROR_MAX];     /* its path below the run folder */
    struct remote_stream *listed; /* what the server has */
    struct map own;               /* id -> struct own_stream */
    struct arena arena;
    char *buffer; /* of COPY_BYTES */
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for streams of the server");
}

static enum mld_error list_all(struct refresh *f)
{
    struct mirror *m = f->m;
    char after[REMOTE_AFTER_MAX] = "";
    unsigned failures = 0;
    enum mld_error error = MLD_OK;
    do {
        enum mld_error met = remote_list_streams(&m->remote, &f->arena, &f->listed, after);
        failures = met == MLD_OK ? 0 : failures + 1;
        if (met == MLD_OK)
            mirror_moved(&m->patience, 0);
        else
            error = mirror_again(m, &m->patience, met, failures, m->remote.retry_after_s);
    } while (error == MLD_OK && (after[0] != '\0' || failures > 0));
    return error;
}

/* A stream that the folder has itself. */
struct own_stream {
    uint64_t length;
    bool alive;    /* its writer is at work: what the server has of it comes from here */
    bool outgrown; /* the server has more: this folder is an older copy of another */
};

static enum mld_error add_own(struct refresh *f, const struct run *run, const char *id,
                              const char *file, unsigned slot)
{
    struct stat st;
    if (id == NULL || id[0] == '\0')
        return MLD_OK;
    char *key = arena_strdup(&f->arena, id);
    struct own_stream *own = arena_alloc(&f->arena, sizeof *own);
    if (key == NULL || own == NULL)
        return no_memory();
    own->length = fs_stat(run->dir_fd, file, &st) == MLD_OK ? (uint64_t)st.st_size : 0;
    own->alive = slot_life_of(run->dir_fd, slot, false) == SLOT_ALIVE;
    return map_put(&f->own, key, strlen(key), own);
}

static bool is_in_mirror(const char *file)
{
    return strncmp(file, RUN_MIRROR_ROOT "/", sizeof RUN_MIRROR_ROOT) == 0;
}

static enum mld_error add_own_shards(struct refresh *f, const struct run *run,
                                     const struct shard_entry *shard)
{
    enum mld_error error = MLD_OK;
    for (; error == MLD_OK && shard != NULL; shard = shard->next)
        if (!is_in_mirror(shard->file))
            error = add_own(f, run, shard->stream, shard->file, shard->slot);
    return error;
}

static enum mld_error add_own_records(struct refresh *f, const struct run *run)
{
    enum mld_error error = MLD_OK;
    for (const struct shard_cursor *c = run->cursors; error == MLD_OK && c != NULL; c = c->next) {
        char path[SHARD_NAME_MAX + 16];
        snprintf(path, sizeof path, ".mldash/%s", c->name);
        if (c->origin.mirror == NULL)
            error = add_own(f, run, c->stream, path, c->origin.slot);
    }
    return error;
}

/* What the folder's own records name. Read after the server was asked: it cannot have a stream of
 * ours that no record here names. */
static enum mld_error find_own(struct refresh *f)
{
    struct run *run;
    enum mld_error error = run_enter(&run, f->m->experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    error = run_refresh(run);
    if (error == MLD_OK)
        error = add_own_records(f, run);
    for (const struct series_entry *s = run->state.series; error == MLD_OK && s != NULL;
         s = s->next)
        error = add_own_shards(f, run, s->shards);
    if (error == MLD_OK)
        error = add_own_shards(f, run, run->state.log_shards);
    if (error == MLD_OK)
        error = fs_make_dirs(run->dir_fd, f->dir, false);
    if (error == MLD_OK)
        error = fs_open_dir(&f->dir_fd, run->dir_fd, f->dir);
    run_leave(run);
    return error;
}

static void name_of(char out[SHARD_NAME_MAX], const char *id, bool records)
{
    snprintf(out, SHARD_NAME_MAX, "%s%s", id, records ? RUN_MIRROR_RECORDS : ".jsonl");
}

static void forget(struct mirror_stream *s)
{
    s->offset = 0;
    sha256_state_init(&s->hash);
}

static enum mld_error known_stream(struct mirror *m, struct mirror_stream **out, const char *id)
{
    *out = map_get(&m->streams, id, strlen(id));
    if (*out != NULL)
        return MLD_OK;
    struct mirror_stream *s = arena_alloc(&m->arena, sizeof *s);
    if (s == NULL)
        return no_memory();
    memcpy(s->id, id, sizeof s->id);
    forget(s);
    *out = s;
    return map_put(&m->streams, s->id, strlen(s->id), s);
}

/* Hashes on to the end of what is in the file: another process, or an earlier one, wrote it. */
static enum mld_error hash_on(struct refresh *f, struct mirror_stream *s, const char *name)
{
    int fd;
    size_t len = COPY_BYTES;
    enum mld_error error = fs_open(&fd, f->dir_fd, name, O_RDONLY | O_NOFOLLOW, 0);
    if (error != MLD_OK)
        return error;
    while (error == MLD_OK && len == COPY_BYTES) {
        error = fs_pread(fd, f->buffer, COPY_BYTES, (off_t)s->offset, &len, name);
        if (error != MLD_OK)
            break;
        sha256_state_update(&s->hash, f->buffer, len);
        s->offset += len;
    }
    close(fd);
    return error;
}

/* Makes the entry say what the file has; it may have been deleted, or be longer. */
static enum mld_error look(struct refresh *f, struct mirror_stream *s, const char *name)
{
    struct stat st;
    enum mld_error error = fs_stat(f->dir_fd, name, &st);
    if (error == MLD_ENOTFOUND) {
        forget(s);
        return MLD_OK;
    }
    if (error != MLD_OK || (uint64_t)st.st_size == s->offset)
        return error;
    if ((uint64_t)st.st_size < s->offset)
        forget(s);
    return hash_on(f, s, name);
}

/* Bytes on their way: in a file without a name until they are checked. */
struct incoming {
    struct mirror_patience *patience;
    int fd;
    uint64_t got;
    struct sha256_state hash;
};

static enum mld_error take(const void *data, size_t len, void *payload)
{
    struct incoming *in = payload;
    if (!mirror_moved(in->patience, len))
        return error_set(MLD_EINTERRUPTED, "reading from the server was stopped");
    sha256_state_update(&in->hash, data, len);
    in->got += len;
    return fs_write_all(in->fd, data, len, "a file of the mirror");
}

static enum mld_error open_incoming(struct refresh *f, struct incoming *in)
{
    char random[ID_RANDOM_LEN + 1];
    char name[SHARD_NAME_MAX];
    enum mld_error error = id_random(random);
    snprintf(name, sizeof name, "%s.part", random);
    if (error == MLD_OK)
        error = fs_open(&in->fd, f->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    return error == MLD_OK ? fs_unlink(f->dir_fd, name) : error;
}

static enum mld_error receive(struct refresh *f, struct incoming *in, const struct mirror_stream *s,
                              uint64_t to)
{
    struct mirror *m = f->m;
    unsigned failures = 0;
    enum mld_error error = MLD_OK;
    while (error == MLD_OK && s->offset + in->got < to) {
        uint64_t before = in->got;
        enum mld_error met =
            remote_read_stream(&m->remote, s->id, s->offset + in->got, to, take, in);
        failures = in->got > before ? 1 : failures + 1;
        if (met != MLD_OK)
            error = mirror_again(m, in->patience, met, failures, m->remote.retry_after_s);
    }
    return error;
}

static enum mld_error append(struct refresh *f, const struct incoming *in, off_t at,
                             const char *name)
{
    int fd;
    uint64_t done = 0;
    enum mld_error error = fs_open(&fd, f->dir_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0666);
    if (error != MLD_OK)
        return error;
    while (error == MLD_OK && done < in->got) {
        size_t len;
        error = fs_pread(in->fd, f->buffer, COPY_BYTES, (off_t)done, &len, name);
        if (error == MLD_OK && len == 0)
            error = error_set(MLD_EIO, "%s: what was received is not there any more", name);
        if (error == MLD_OK)
            error = fs_pwrite_all(fd, f->buffer, len, at + (off_t)done, name);
        done += len;
    }
    enum mld_error closed = fs_close(&fd, name);
    return error == MLD_OK ? closed : error;
}

static enum mld_error bring_once(struct refresh *f, struct mirror_stream *s, const char *name,
                                 const struct remote_head *head)
{
    char got[SHA256_HEX_LEN + 1];
    struct incoming in = {.patience = &f->m->patience, .fd = -1, .hash = s->hash};
    enum mld_error error = open_incoming(f, &in);
    if (error == MLD_OK)
        error = receive(f, &in, s, head->offset);
    if (error == MLD_OK) {
        sha256_state_digest(&in.hash, got);
        if (strcmp(got, head->sha256) != 0)
            error = error_set(MLD_ECHECKSUM,
                              "stream %s did not arrive as %.200s has it: SHA-256 is %.16s..., not "
                              "%.16s...",
                              s->id, f->m->url, got, head->sha256);
    }
    if (error == MLD_OK)
        error = append(f, &in, (off_t)s->offset, name);
    if (error == MLD_OK) {
        s->offset += in.got;
        s->hash = in.hash;
    }
    if (in.fd >= 0)
        close(in.fd);
    return error;
}

/* What does not fit is fetched anew, whole: what was here may be to blame. */
static enum mld_error bring(struct refresh *f, const struct remote_stream *listed,
                            const struct remote_head *head)
{
    struct mirror_stream *s;
    char name[SHARD_NAME_MAX];
    name_of(name, listed->id, listed->records);
    enum mld_error error = known_stream(f->m, &s, listed->id);
    if (error != MLD_OK || head->offset <= s->offset)
        return error;
    error = bring_once(f, s, name, head);
    if (error != MLD_ECHECKSUM)
        return error;
    error = fs_unlink(f->dir_fd, name);
    forget(s);
    return error == MLD_OK || error == MLD_ENOTFOUND ? bring_once(f, s, name, head) : error;
}

/* Lines come before the records that name them. */
static enum mld_error bring_all(struct refresh *f, struct remote_stream *const *due,
                                const struct remote_head *heads, size_t n)
{
    enum mld_error error = MLD_OK;
    for (int records = 0; records <= 1; records++)
        for (size_t i = 0; i < n && error == MLD_OK; i++)
            if (due[i]->records == (records == 1))
                error = bring(f, due[i], &heads[i]);
    return error;
}

/* The hashes of what is due, as of now: it may be more than was listed. */
static enum mld_error ask_heads(struct refresh *f, struct remote_stream *const *due,
                                struct remote_head *heads, size_t n)
{
    struct mirror *m = f->m;
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < n; i++)
        heads[i] = (struct remote_head){.stream = due[i]->id};
    for (size_t at = 0, failures = 1; error == MLD_OK && at < n;) {
        size_t count = n - at < REMOTE_MAX_HEADS ? n - at : REMOTE_MAX_HEADS;
        enum mld_error met = remote_heads(&m->remote, heads + at, count);
        at += met == MLD_OK ? count : 0;
        if (met != MLD_OK)
            error =
                mirror_again(m, &m->patience, met, (unsigned)failures++, m->remote.retry_after_s);
    }
    return error;
}

/* False: the folder has it itself, all that the server has of it. */
static bool is_wanted(const struct refresh *f, const struct remote_stream *r)
{
    struct own_stream *own = map_get(&f->own, r->id, strlen(r->id));
    if (own != NULL)
        own->outgrown = !own->alive && r->offset > own->length;
    return own == NULL || own->outgrown;
}

/* Puts those of which the server has more into `due`. */
static enum mld_error find_due(struct refresh *f, struct remote_stream **due, size_t *out_n)
{
    enum mld_error error = MLD_OK;
    for (struct remote_stream *r = f->listed; error == MLD_OK && r != NULL; r = r->next) {
        struct mirror_stream *s;
        char name[SHARD_NAME_MAX];
        if (!is_wanted(f, r))
            continue;
        name_of(name, r->id, r->records);
        error = known_stream(f->m, &s, r->id);
        if (error == MLD_OK)
            error = look(f, s, name);
        if (error == MLD_OK && r->offset > s->offset) {
            due[(*out_n)++] = r;
            f->m->patience.total_bytes += r->offset - s->offset;
        }
    }
    return error;
}

static enum mld_error fetch_due(struct refresh *f)
{
    size_t listed = 0;
    size_t n = 0;
    for (const struct remote_stream *r = f->listed; r != NULL; r = r->next)
        listed++;
    struct remote_stream **due = calloc(listed + 1, sizeof *due);
    struct remote_head *heads = calloc(listed + 1, sizeof *heads);
    f->buffer = malloc(COPY_BYTES);
    enum mld_error error =
        due == NULL || heads == NULL || f->buffer == NULL ? no_memory() : find_due(f, due, &n);
    if (error == MLD_OK && n > 0)
        error = ask_heads(f, due, heads, n);
    if (error == MLD_OK)
        error = bring_all(f, due, heads, n);
    free(due);
    free(heads);
    free(f->buffer);
    return error;
}

/* Lets shards that are longer in the mirror be read there. */
static enum mld_error replace_outgrown(const struct refresh *f, struct run *run,
                                       struct shard_entry *shard)
{
    char path[RUN_MIRROR_MAX + SHARD_NAME_MAX];
    for (; shard != NULL; shard = shard->next) {
        if (shard->stream == NULL || is_in_mirror(shard->file))
            continue;
        const struct own_stream *own = map_get(&f->own, shard->stream, strlen(shard->stream));
        if (own == NULL || !own->outgrown)
            continue;
        snprintf(path, sizeof path, "%s/%s.jsonl", f->dir, shard->stream);
        const char *file = arena_strdup(&run->state.arena, path);
        if (file == NULL)
            return no_memory();
        shard->file = file;
    }
    return MLD_OK;
}

/* From now on the handle reads it. */
static enum mld_error show(const struct refresh *f)
{
    struct run *run;
    enum mld_error error = run_enter(&run, f->m->experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    memcpy(run->mirror, f->dir, sizeof run->mirror);
    for (struct series_entry *s = run->state.series; error == MLD_OK && s != NULL; s = s->next)
        error = replace_outgrown(f, run, s->shards);
    if (error == MLD_OK)
        error = replace_outgrown(f, run, run->state.log_shards);
    run_leave(run);
    return error;
}

enum mld_error mirror_streams(struct mirror *m)
{
    struct refresh f = {.m = m, .dir_fd = -1};
    snprintf(f.dir, sizeof f.dir, RUN_MIRROR_ROOT "/%s", m->remote.experiment);
    enum mld_error error = list_all(&f);
    if (error == MLD_OK)
        error = find_own(&f);
    if (error == MLD_OK)
        error = fetch_due(&f);
    if (error == MLD_OK)
        error = show(&f);
    struct error_copy copy;
    error_save(error, &copy);
    if (f.dir_fd >= 0)
        close(f.dir_fd);
    map_free(&f.own);
    arena_free(&f.arena);
    return error == MLD_OK ? MLD_OK : error_restore(&copy);
}

/* The ring: 8 buffers of 1 MB. The calling thread reads into the next free one and writes it while
 * another thread hashes those before. On two cores a file in the page cache costs no more than its
 * SHA-256. */
#include "run/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "run/hasher.h"

#define RING_SLOTS HASHER_MAX_PIECES
#define RING_BYTES (1u << 20)
#define PROGRESS_EVERY_BYTES (8u << 20)
#define STACK_BYTES 16384

/* An open file on its way to another, or only through the hash. */
struct pass {
    int source_fd;
    int destination_fd; /* -1: hash only */
    const char *source_name;
    const char *destination_name;
    const struct copy_options *options;
    uint64_t size; /* moved so far */
    struct hasher hasher;
};

static enum mld_error tell(const struct pass *p, size_t step)
{
    const struct copy_options *o = p->options;
    uint64_t before = p->size - step;
    if (o->progress == NULL || before / PROGRESS_EVERY_BYTES == p->size / PROGRESS_EVERY_BYTES)
        return MLD_OK;
    if (o->progress(p->size, o->total_bytes, o->payload))
        return MLD_OK;
    return error_set(MLD_EINTERRUPTED, "copying %s was stopped", p->source_name);
}

/* One read, as a second one at the end of each small file would cost as much as the first. */
static enum mld_error read_once(const struct pass *p, char *buffer, size_t capacity,
                                size_t *out_len)
{
    ssize_t n;
    do {
        n = pread(p->source_fd, buffer, capacity, (off_t)p->size);
    } while (n < 0 && errno == EINTR);
    *out_len = n < 0 ? 0 : (size_t)n;
    return n < 0 ? error_set_errno(errno, "cannot read %s", p->source_name) : MLD_OK;
}

/* Reads the next piece, hands it to the hash and writes it. *out_len 0: the end. */
static enum mld_error move_piece(struct pass *p, char *buffer, size_t capacity, size_t *out_len)
{
    enum mld_error error = read_once(p, buffer, capacity, out_len);
    if (error != MLD_OK || *out_len == 0)
        return error;
    if (*out_len > p->options->max_bytes - p->size)
        return error_set(MLD_ETOOLARGE, "%s has more than the limit of %" PRIu64 " bytes",
                         p->source_name, p->options->max_bytes);
    hasher_put(&p->hasher, buffer, *out_len);
    if (p->destination_fd >= 0)
        error = fs_write_all(p->destination_fd, buffer, *out_len, p->destination_name);
    if (error != MLD_OK)
        return error;
    p->size += *out_len;
    return tell(p, *out_len);
}

/* There is room for more than is expected: a short read then says that this is the end. */
static enum mld_error move_small(struct pass *p)
{
    char on_stack[STACK_BYTES];
    uint64_t expected = p->options->total_bytes;
    size_t capacity = expected < sizeof on_stack ? sizeof on_stack : (size_t)expected + 1;
    char *buffer = expected < sizeof on_stack ? on_stack : malloc(capacity);
    size_t len;
    enum mld_error error = MLD_OK;
    if (buffer == NULL)
        return error_set(MLD_ENOMEM, "out of memory for copying %s", p->source_name);
    do {
        error = move_piece(p, buffer, capacity, &len);
        hasher_wait(&p->hasher, 0);
    } while (error == MLD_OK && len > 0 && !(len < capacity && p->size == expected));
    if (buffer != on_stack)
        free(buffer);
    return error;
}

static enum mld_error move_big(struct pass *p)
{
    char *ring = malloc((size_t)RING_SLOTS * RING_BYTES);
    size_t len = 1;
    enum mld_error error = MLD_OK;
    if (ring == NULL)
        return error_set(MLD_ENOMEM, "out of memory for copying %s", p->source_name);
    for (size_t slot = 0; error == MLD_OK && len > 0; slot = (slot + 1) % RING_SLOTS) {
        hasher_wait(&p->hasher, RING_SLOTS - 1); /* then this slot's last use is over */
        error = move_piece(p, ring + slot * RING_BYTES, RING_BYTES, &len);
    }
    hasher_wait(&p->hasher, 0);
    free(ring);
    return error;
}

static enum mld_error run_pass(struct copy_result *out, struct pass *p)
{
    *out = (struct copy_result){0};
    enum mld_error error = hasher_begin(&p->hasher);
    if (error == MLD_OK)
        error = p->options->total_bytes < RING_BYTES ? move_small(p) : move_big(p);
    if (error == MLD_OK)
        error = hasher_end(&p->hasher, out->checksum);
    hasher_free(&p->hasher);
    out->size_bytes = p->size;
    return error;
}

enum mld_error copy_hash(struct copy_result *out, int fd, const char *name,
                         const struct copy_options *o)
{
    struct pass p = {fd, -1, name, name, o, 0, {.started = false}};
    return run_pass(out, &p);
}

enum mld_error copy_file(struct copy_result *out, int source_fd, int destination_fd,
                         const char *source_name, const char *destination_name,
                         const struct copy_options *o)
{
    struct pass p = {source_fd, destination_fd,    source_name, destination_name, o,
                     0,         {.started = false}};
    if (o->total_bytes >= RING_BYTES && fs_clone(source_fd, destination_fd))
        return copy_hash(out, destination_fd, destination_name, o);
    return run_pass(out, &p);
}

static enum mld_error check_kind(const struct copy_source *s)
{
    if (S_ISREG(s->st.st_mode))
        return MLD_OK;
    if (S_ISDIR(s->st.st_mode))
        return error_set(MLD_EINVALID, "%s is a directory; save its files, or an archive of it",
                         s->path);
    return error_set(MLD_EINVALID, "%s is no regular file; read it and save its bytes", s->path);
}

enum mld_error copy_source_open(struct copy_source *out, const char *path)
{
    *out = (struct copy_source){.fd = -1, .path = path};
    do {
        out->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    } while (out->fd < 0 && errno == EINTR);
    if (out->fd < 0 && (errno == ENXIO || errno == ENODEV)) /* a socket, a device without driver */
        return error_set(MLD_EINVALID, "%s is no regular file; read it and save its bytes", path);
    if (out->fd < 0)
        return error_set_errno(errno, "cannot open %s", path);
    enum mld_error error = fstat(out->fd, &out->st) == 0
                               ? check_kind(out)
                               : error_set_errno(errno, "cannot look at %s", path);
    if (error != MLD_OK)
        copy_source_close(out);
    return error;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

enum mld_error copy_source_check(const struct copy_source *s)
{
    struct stat now;
    if (fstat(s->fd, &now) != 0)
        return error_set_errno(errno, "cannot look at %s", s->path);
    if (now.st_size == s->st.st_size && same_time(now.st_mtim, s->st.st_mtim) &&
        same_time(now.st_ctim, s->st.st_ctim))
        return MLD_OK;
    return error_set(MLD_ECHANGED, "%s was written to while it was saved; save it once it is whole",
                     s->path);
}

void copy_source_close(struct copy_source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

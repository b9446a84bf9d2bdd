/* blob_dir_part.c: the parts of an upload on their way in.
 *
 * A part is written where it belongs in the file. That place has one owner at a time; whoever sends
 * the same part meanwhile, or sends other bytes for one that is finished, writes into a file of its
 * own and moves over once its bytes have proved right. So bytes that turn out wrong never harm a
 * finished part, and two senders never mix. A finished part that is sent again with the same
 * SHA-256 is not written at all. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

static bool is_there(const struct dir_upload *u, unsigned number, const struct blob_digest *digest)
{
    return strcmp(u->parts[number].hex, digest->hex) == 0;
}

/* Who writes to the place of this part. */
static struct dir_part *owner_of(const struct dir_upload *u, unsigned number)
{
    struct dir_part *part = u->writers;

    while (part != NULL &&
           (part->base.number != number || part->mode != DIR_PLACE || part->superseded))
        part = part->next;
    return part;
}

static off_t place_of(const struct dir_part *part)
{
    return (off_t)(DIR_DATA_OFFSET + part->base.number * part->upload->file.part_size_bytes);
}

/* A file without a name: gone with its descriptor, whatever happens. */
static enum mld_error open_side(struct dir *d, int *out_fd, uint64_t len)
{
    char random[ID_RANDOM_LEN + 1];
    struct dir_path path;
    enum mld_error error = id_random(random);

    if (error != MLD_OK)
        return error;
    path = dir_upload_path("put-", random);
    error = fs_open(out_fd, d->root_fd, path.text, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (error != MLD_OK)
        return error;
    error = fs_unlink(d->root_fd, path.text);
    if (error == MLD_OK)
        error = fs_allocate(*out_fd, (off_t)len, path.text);
    if (error != MLD_OK) {
        close(*out_fd);
        *out_fd = -1;
    }
    return error;
}

enum mld_error dir_part_begin(struct blob_part **out, struct blob *b,
                              const struct blob_upload *upload, unsigned number, uint64_t len,
                              const struct blob_digest *digest)
{
    struct dir *d = (struct dir *)b;
    struct dir_upload *u;
    struct dir_part *part = NULL;
    enum mld_error error = dir_upload_enter(&u, d, upload);

    if (error != MLD_OK)
        return error;
    part = calloc(1, sizeof(*part));
    if (part == NULL) {
        dir_upload_leave(d, u);
        return error_set(MLD_ENOMEM, "no memory for a part");
    }
    part->side_fd = -1;
    part->upload = u;
    blob_part_fill(&part->base, b, number, len, digest);
    if (is_there(u, number, digest))
        part->mode = DIR_NOTHING;
    else if (u->parts[number].hex[0] != '\0' || owner_of(u, number) != NULL)
        part->mode = DIR_SIDE;
    if (part->mode == DIR_SIDE)
        error = open_side(d, &part->side_fd, len);
    if (error != MLD_OK) {
        dir_upload_leave(d, u);
        free(part);
        return error;
    }
    part->next = u->writers;
    u->writers = part;
    pthread_mutex_unlock(&u->lock); /* the part keeps the reference */
    *out = &part->base;
    return MLD_OK;
}

/* The end of a part; its upload's lock is held, and is given up here. */
static void part_end(struct dir_part *part)
{
    struct dir_upload *u = part->upload;
    struct dir_part **slot = &u->writers;

    while (*slot != part)
        slot = &(*slot)->next;
    *slot = part->next;
    pthread_cond_broadcast(&u->changed);
    dir_upload_leave((struct dir *)part->base.blob, u);
    if (part->side_fd >= 0)
        close(part->side_fd);
    free(part);
}

/* With the lock held: what the disk says decides whether the upload can go on. */
static enum mld_error after_write(struct dir_part *part, enum mld_error error)
{
    if (error != MLD_EIO)
        return error;
    return dir_upload_fail((struct dir *)part->base.blob, part->upload, error);
}

static enum mld_error write_in_place(struct dir_part *part, const void *data, size_t len)
{
    struct dir_upload *u = part->upload;
    enum mld_error error = MLD_OK;

    pthread_mutex_lock(&u->lock);
    if (u->gone)
        error = blob_no_upload(u->file.name);
    part->writing = error == MLD_OK && !part->superseded;
    if (part->writing) {
        pthread_mutex_unlock(&u->lock);
        error = fs_pwrite_all(u->fd, data, len, place_of(part) + (off_t)part->base.written,
                              u->path.text);
        pthread_mutex_lock(&u->lock);
        part->writing = false;
        if (part->superseded)
            pthread_cond_broadcast(&u->changed);
        error = after_write(part, error);
    }
    pthread_mutex_unlock(&u->lock);
    return error;
}

enum mld_error dir_part_write(struct blob_part *base, const void *data, size_t len)
{
    struct dir_part *part = (struct dir_part *)base;

    if (part->mode == DIR_PLACE)
        return write_in_place(part, data, len);
    if (part->mode == DIR_SIDE)
        return fs_pwrite_all(part->side_fd, data, len, (off_t)base->written,
                             part->upload->path.text);
    return MLD_OK;
}

/* The part that is there no longer counts, and what was hashed of it neither. */
static enum mld_error forget_part(struct dir_part *part)
{
    struct dir_upload *u = part->upload;
    unsigned number = part->base.number;
    uint64_t begin = number * u->file.part_size_bytes;
    enum mld_error error;

    if (u->parts[number].hex[0] == '\0')
        return MLD_OK;
    error = dir_record_write(u->fd, &u->file, number, NULL, 0, u->path.text);
    if (error != MLD_OK)
        return after_write(part, error);
    u->parts[number].hex[0] = '\0';
    u->n_there--;
    if (begin < u->hashed || (u->hashing && begin < u->hash_end))
        u->hash_again = true;
    u->whole_digest.hex[0] = '\0';
    return MLD_OK;
}

/* Copies what came aside to its place, which nobody else writes to now. */
static enum mld_error copy_side(struct dir_part *part)
{
    struct dir_upload *u = part->upload;
    unsigned char *buffer = malloc(DIR_COPY_BYTES);
    enum mld_error error = MLD_OK;
    uint64_t done = 0;

    if (buffer == NULL)
        return error_set(MLD_ENOMEM, "no memory for a part");
    while (error == MLD_OK && done < part->base.len) {
        uint64_t left = part->base.len - done;
        size_t want = left < DIR_COPY_BYTES ? (size_t)left : DIR_COPY_BYTES;
        size_t n;
        error = fs_pread(part->side_fd, buffer, want, (off_t)done, &n, u->path.text);
        if (error == MLD_OK && n != want)
            error = error_set(MLD_EIO, "'%s': a part could not be read back", u->path.text);
        if (error == MLD_OK)
            error = fs_pwrite_all(u->fd, buffer, n, place_of(part) + (off_t)done, u->path.text);
        done += n;
    }
    free(buffer);
    return error;
}

/* Waits until nobody else writes to this place (`moving`: or is about to, with right bytes). */
static void wait_for_place(struct dir_part *part, bool moving)
{
    struct dir_upload *u = part->upload;

    for (bool busy = true; busy;) {
        busy = u->committing;
        for (const struct dir_part *p = u->writers; p != NULL; p = p->next)
            busy = busy || (p != part && p->base.number == part->base.number &&
                            (p->writing || (moving && p->moving)));
        if (busy)
            pthread_cond_wait(&u->changed, &u->lock);
    }
}

/* Takes the place over from a sender whose bytes have not proved right yet, and fills it. The lock
 * is held, and given up meanwhile; the part is missing then, so no commit begins. */
static enum mld_error move_over(struct dir_part *part)
{
    struct dir_upload *u = part->upload;
    struct dir_part *owner;
    enum mld_error error;

    wait_for_place(part, true);
    if (u->gone || u->failed.code != MLD_OK || is_there(u, part->base.number, &part->base.digest))
        return MLD_OK; /* the caller looks again */
    owner = owner_of(u, part->base.number);
    if (owner != NULL)
        owner->superseded = true;
    part->mode = DIR_PLACE;
    part->moving = true;
    error = forget_part(part);
    if (error != MLD_OK)
        return error;
    wait_for_place(part, false);
    pthread_mutex_unlock(&u->lock);
    error = copy_side(part);
    pthread_mutex_lock(&u->lock);
    return after_write(part, error);
}

/* With the lock held. */
static enum mld_error count_part(struct dir_part *part)
{
    struct dir *d = (struct dir *)part->base.blob;
    struct dir_upload *u = part->upload;
    unsigned number = part->base.number;
    enum mld_error error =
        dir_record_write(u->fd, &u->file, number, &part->base.digest, d->boot, u->path.text);

    if (error != MLD_OK)
        return after_write(part, error);
    assert(u->parts[number].hex[0] == '\0');
    u->parts[number] = part->base.digest;
    u->n_there++;
    dir_hash_queue(d, u);
    return MLD_OK;
}

/* Whether the upload can still be added to. With the lock held. */
static enum mld_error check_alive(const struct dir_upload *u)
{
    if (u->gone)
        return blob_no_upload(u->file.name);
    return u->failed.code != MLD_OK ? error_restore(&u->failed) : MLD_OK;
}

enum mld_error dir_part_finish(struct blob_part *base)
{
    struct dir_part *part = (struct dir_part *)base;
    struct dir_upload *u = part->upload;
    enum mld_error error;

    if (part->mode == DIR_PLACE)
        fs_write_back(u->fd, place_of(part), (off_t)base->len);
    pthread_mutex_lock(&u->lock);
    while (u->committing)
        pthread_cond_wait(&u->changed, &u->lock);
    error = check_alive(u);
    if (error == MLD_OK && part->mode == DIR_SIDE && !is_there(u, base->number, &base->digest)) {
        error = move_over(part);
        if (error == MLD_OK)
            error = check_alive(u);
    }
    if (error == MLD_OK && part->superseded) {
        wait_for_place(part, true); /* its successor may be moving the very same bytes */
        error = check_alive(u);
    }
    if (error == MLD_OK && !is_there(u, base->number, &base->digest)) {
        if (part->mode == DIR_PLACE && !part->superseded)
            error = count_part(part);
        else
            error = error_set(MLD_ECONFLICT,
                              "part %u: other bytes were sent for it meanwhile; send it again",
                              base->number);
    }
    part_end(part);
    return error;
}

void dir_part_abandon(struct blob_part *base)
{
    struct dir_part *part = (struct dir_part *)base;

    pthread_mutex_lock(&part->upload->lock);
    part_end(part);
}

/* blob_dir_upload.c: uploads under way: the table of those in memory, making, loading, dropping. */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for an upload");
}

static void upload_free(struct dir_upload *u)
{
    if (u == NULL)
        return;
    if (u->fd >= 0)
        close(u->fd);
    sha256_free(&u->whole);
    free(u->parts);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->changed);
    free(u);
}

static struct dir_upload *upload_new(const char *name)
{
    struct dir_upload *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return NULL;
    u->fd = -1;
    u->refs = 1;
    u->path = dir_upload_path("", name);
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->changed, NULL);
    return u;
}

/* ---- the table ---- */

static struct dir_upload **bucket_of(struct dir_table *t, const char *name)
{
    return &t->buckets[crc32c(0, name, strlen(name)) % DIR_BUCKETS];
}

/* Takes it out of its bucket; with the table's lock held. */
static void unlist(struct dir_table *t, struct dir_upload *u)
{
    struct dir_upload **slot = bucket_of(t, u->file.name);

    assert(u->listed);
    while (*slot != u)
        slot = &(*slot)->next;
    *slot = u->next;
    u->listed = false;
    t->n_listed--;
}

/* The one that nobody uses and that was used least lately; with the table's lock held. */
static struct dir_upload *idlest(struct dir_table *t)
{
    struct dir_upload *found = NULL;

    for (unsigned i = 0; i < DIR_BUCKETS; i++) {
        for (struct dir_upload *u = t->buckets[i]; u != NULL; u = u->next) {
            if (u->refs == 0 && (found == NULL || u->last_use < found->last_use))
                found = u;
        }
    }
    return found;
}

/* With the table's lock held. One that is forgotten to make room is loaded again when it is asked
 * for. */
static void enlist(struct dir_table *t, struct dir_upload *u)
{
    struct dir_upload **slot = bucket_of(t, u->file.name);

    if (t->n_listed >= DIR_MAX_UPLOADS) {
        struct dir_upload *old = idlest(t);
        if (old != NULL) {
            unlist(t, old);
            upload_free(old);
        }
    }
    u->next = *slot;
    *slot = u;
    u->listed = true;
    u->last_use = ++t->uses;
    t->n_listed++;
}

void dir_upload_ref(struct dir *d, struct dir_upload *u)
{
    pthread_mutex_lock(&d->table.lock);
    u->refs++;
    pthread_mutex_unlock(&d->table.lock);
}

void dir_upload_unref(struct dir *d, struct dir_upload *u)
{
    pthread_mutex_lock(&d->table.lock);
    assert(u->refs > 0);
    bool last = --u->refs == 0 && !u->listed;
    pthread_mutex_unlock(&d->table.lock);
    if (last)
        upload_free(u);
}

void dir_upload_forget(struct dir *d, struct dir_upload *u)
{
    pthread_mutex_lock(&d->table.lock);
    if (u->listed)
        unlist(&d->table, u);
    pthread_mutex_unlock(&d->table.lock);
}

/* ---- loading ---- */

/* Whether there is a blob that was made by this very upload: where a commit links and unlinks
 * instead of renaming, a crash between leaves both names of the one file. */
static enum mld_error is_committed(struct dir *d, const struct dir_file *file, bool *out)
{
    struct dir_file blob;
    int blob_fd = -1;
    enum mld_error error = dir_file_find(d, file->key, &blob_fd, &blob);

    *out = blob_fd >= 0 && strcmp(blob.name, file->name) == 0;
    if (blob_fd >= 0)
        close(blob_fd);
    return error == MLD_EDAMAGED ? MLD_OK : error;
}

/* Reads the state of an upload. MLD_ENOTFOUND: it is none, or is committed; then nobody will go on
 * with this file. */
static enum mld_error read_state(struct dir *d, struct dir_upload *u, const char *name)
{
    bool committed = false;
    enum mld_error error = fs_open(&u->fd, d->root_fd, u->path.text, O_RDWR, 0);

    if (error == MLD_OK)
        error = dir_file_read(&u->file, u->fd, u->path.text);
    if (error == MLD_EDAMAGED || (error == MLD_OK && strcmp(u->file.name, name) != 0))
        return blob_no_upload(name);
    if (error == MLD_OK)
        error = is_committed(d, &u->file, &committed);
    return error == MLD_OK && committed ? blob_no_upload(name) : error;
}

static enum mld_error load(struct dir_upload **out, struct dir *d, const char *name)
{
    struct dir_upload *u = upload_new(name);
    enum mld_error error;

    *out = NULL;
    if (u == NULL)
        return no_memory();
    u->loaded = true;
    error = read_state(d, u, name);
    if (error == MLD_OK) {
        u->parts = calloc((size_t)u->file.n_parts + 1, sizeof(*u->parts));
        if (u->parts == NULL)
            error = no_memory();
    }
    if (error == MLD_OK)
        error = dir_records_read(u->parts, d->boot, &u->unverified, u->fd, &u->file, u->path.text);
    for (uint32_t i = 0; error == MLD_OK && i < u->file.n_parts; i++)
        u->n_there += u->parts[i].hex[0] != '\0';
    if (error == MLD_OK)
        *out = u;
    else
        upload_free(u);
    if (error == MLD_ENOTFOUND)
        return blob_no_upload(name);
    return error;
}

/* The lock is held while one is loaded, so that there are never two of the same. */
static enum mld_error find(struct dir_upload **out, struct dir *d, const char *name)
{
    struct dir_table *t = &d->table;
    struct dir_upload *u;
    enum mld_error error = MLD_OK;

    *out = NULL;
    if (!dir_is_name(name))
        return blob_no_upload(name);
    pthread_mutex_lock(&t->lock);
    u = *bucket_of(t, name);
    while (u != NULL && strcmp(u->file.name, name) != 0)
        u = u->next;
    if (u != NULL) {
        u->refs++;
        u->last_use = ++t->uses;
    } else {
        error = load(&u, d, name);
        if (error == MLD_OK)
            enlist(t, u);
    }
    pthread_mutex_unlock(&t->lock);
    *out = u;
    return error;
}

/* After a loss of power: what the records say must be seen. With the upload's lock held. */
static enum mld_error verify_parts(struct dir *d, struct dir_upload *u)
{
    struct sha256 hash = {.context = NULL};
    char hex[SHA256_HEX_LEN + 1];
    unsigned char *buffer = malloc(DIR_COPY_BYTES);
    struct blob_upload whole = {.size_bytes = u->file.size_bytes,
                                .part_size_bytes = u->file.part_size_bytes};
    enum mld_error error = buffer == NULL ? no_memory() : MLD_OK;

    for (uint32_t i = 0; error == MLD_OK && i < u->file.n_parts; i++) {
        if (u->parts[i].hex[0] == '\0')
            continue;
        error = sha256_begin(&hash);
        if (error == MLD_OK)
            error = dir_hash_range(&hash, u->fd, i * u->file.part_size_bytes,
                                   blob_part_length(&whole, i), buffer, u->path.text);
        if (error == MLD_OK)
            error = sha256_end(&hash, hex);
        if (error != MLD_OK)
            break;
        bool right = strcmp(hex, u->parts[i].hex) == 0;
        error = dir_record_write(u->fd, &u->file, i, right ? &u->parts[i] : NULL, d->boot,
                                 u->path.text);
        if (!right) {
            u->parts[i].hex[0] = '\0';
            u->n_there--;
        }
    }
    sha256_free(&hash);
    free(buffer);
    u->unverified = error != MLD_OK;
    return error;
}

enum mld_error dir_upload_enter(struct dir_upload **out, struct dir *d,
                                const struct blob_upload *upload)
{
    struct dir_upload *u;
    enum mld_error error = find(&u, d, upload->name);

    *out = NULL;
    if (error != MLD_OK)
        return error;
    if (strcmp(u->file.key, upload->key) != 0) {
        error = blob_no_upload(upload->name);
    } else if (u->file.size_bytes != upload->size_bytes ||
               u->file.part_size_bytes != upload->part_size_bytes) {
        error = error_set(MLD_EINVALID, "blob '%.400s': the upload has another size", upload->key);
    }
    if (error != MLD_OK) {
        dir_upload_unref(d, u);
        return error;
    }
    pthread_mutex_lock(&u->lock);
    while (u->committing)
        pthread_cond_wait(&u->changed, &u->lock);
    /* One that failed was told to those who used it then; now there is none any more. */
    if (u->gone || u->failed.code != MLD_OK)
        error = blob_no_upload(upload->name);
    else if (u->unverified)
        error = verify_parts(d, u);
    if (error == MLD_OK)
        *out = u;
    else
        dir_upload_leave(d, u);
    return error;
}

void dir_upload_leave(struct dir *d, struct dir_upload *u)
{
    pthread_mutex_unlock(&u->lock);
    dir_upload_unref(d, u);
}

enum mld_error dir_upload_fail(struct dir *d, struct dir_upload *u, enum mld_error error)
{
    if (u->failed.code != MLD_OK)
        return error_restore(&u->failed);
    error = error_prefix(error, "this upload has failed for good; begin again");
    error_save(error, &u->failed);
    /* The kernel has told of the failure once, and would call the file good the next time. */
    if (fs_unlink(d->root_fd, u->path.text) == MLD_OK)
        dir_upload_forget(d, u);
    return error_restore(&u->failed);
}

/* ---- making and dropping ---- */

/* The header comes last: a file without one is no upload, and goes when the store is opened. */
static enum mld_error make_file(struct dir *d, struct dir_upload *u)
{
    enum mld_error error =
        fs_open(&u->fd, d->root_fd, u->path.text, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (error != MLD_OK)
        return error;
    error = fs_allocate(u->fd, (off_t)dir_file_length(&u->file), u->path.text);
    if (error == MLD_OK)
        error = dir_header_write(u->fd, &u->file, u->path.text);
    if (error == MLD_OK)
        error = fs_sync(u->fd, u->path.text);
    if (error == MLD_OK)
        error = fs_sync_dir(d->root_fd, "uploads");
    if (error != MLD_OK) {
        struct error_copy why;
        error_save(error, &why);
        (void)fs_unlink(d->root_fd, u->path.text);
        error = error_restore(&why);
    }
    return error;
}

enum mld_error dir_create(struct blob *b, struct buf *out_name, const char *key,
                          uint64_t size_bytes, uint64_t part_size_bytes)
{
    struct dir *d = (struct dir *)b;
    char name[ID_RANDOM_LEN + 1];
    struct dir_upload *u = NULL;
    enum mld_error error = id_random(name);

    if (error != MLD_OK)
        return error;
    u = upload_new(name);
    if (u == NULL)
        return no_memory();
    u->file.size_bytes = size_bytes;
    u->file.part_size_bytes = part_size_bytes;
    u->file.n_parts = (uint32_t)blob_part_count(size_bytes, part_size_bytes);
    memcpy(u->file.name, name, sizeof(name));
    memcpy(u->file.key, key, strlen(key) + 1);
    u->parts = calloc((size_t)u->file.n_parts + 1, sizeof(*u->parts));
    error = u->parts == NULL ? no_memory() : make_file(d, u);
    if (error != MLD_OK) {
        upload_free(u);
        return error;
    }
    buf_puts(out_name, name);
    pthread_mutex_lock(&d->table.lock);
    u->refs = 0;
    enlist(&d->table, u);
    pthread_mutex_unlock(&d->table.lock);
    return MLD_OK;
}

enum mld_error dir_upload_parts(struct blob *b, const struct blob_upload *upload, unsigned **out,
                                size_t *out_n)
{
    struct dir *d = (struct dir *)b;
    struct dir_upload *u;
    size_t n = 0;
    enum mld_error error = dir_upload_enter(&u, d, upload);

    if (error != MLD_OK)
        return error;
    *out = calloc((size_t)u->n_there + 1, sizeof(**out));
    if (*out == NULL)
        error = no_memory();
    for (uint32_t i = 0; error == MLD_OK && i < u->file.n_parts; i++) {
        if (u->parts[i].hex[0] != '\0')
            (*out)[n++] = i;
    }
    *out_n = n;
    dir_upload_leave(d, u);
    return error;
}

/* One that has failed is locked too. */
static enum mld_error enter_to_drop(struct dir_upload **out, struct dir *d,
                                    const struct blob_upload *upload)
{
    struct dir_upload *u;
    enum mld_error error = find(&u, d, upload->name);

    *out = NULL;
    if (error != MLD_OK)
        return error == MLD_ENOTFOUND ? MLD_OK : error;
    if (strcmp(u->file.key, upload->key) != 0) {
        dir_upload_unref(d, u);
        return MLD_OK;
    }
    pthread_mutex_lock(&u->lock);
    while (u->committing)
        pthread_cond_wait(&u->changed, &u->lock);
    *out = u;
    return MLD_OK;
}

enum mld_error dir_abort(struct blob *b, const struct blob_upload *upload)
{
    struct dir *d = (struct dir *)b;
    struct dir_upload *u;
    enum mld_error error = enter_to_drop(&u, d, upload);

    if (error != MLD_OK || u == NULL)
        return error;
    if (!u->gone) {
        error = fs_unlink(d->root_fd, u->path.text);
        if (error == MLD_ENOTFOUND)
            error = MLD_OK;
        u->gone = error == MLD_OK;
    }
    if (error == MLD_OK)
        error = fs_sync_dir(d->root_fd, "uploads");
    if (u->gone)
        dir_upload_forget(d, u);
    dir_upload_leave(d, u);
    return error;
}

/* ---- at open and at the end ---- */

/* What is no upload, or no longer one, goes: nobody could name it. */
static enum mld_error sweep_one(const char *name, unsigned char type, void *payload)
{
    struct dir *d = payload;
    struct dir_upload *u;
    enum mld_error error = MLD_ENOTFOUND;

    if (dir_is_name(name) && type == DT_REG) {
        u = upload_new(name);
        if (u == NULL)
            return no_memory();
        error = read_state(d, u, name);
        upload_free(u);
    }
    if (error != MLD_ENOTFOUND)
        return error;
    struct dir_path path;
    if (strlen(name) >= sizeof(path.text) - strlen("uploads/"))
        return MLD_OK; /* none of ours */
    path = dir_upload_path("", name);
    error = fs_unlink(d->root_fd, path.text);
    return error == MLD_ENOTFOUND || type == DT_DIR ? MLD_OK : error;
}

enum mld_error dir_uploads_open(struct dir *d)
{
    return fs_list_dir(d->root_fd, "uploads", sweep_one, d);
}

void dir_uploads_close(struct dir *d)
{
    for (unsigned i = 0; i < DIR_BUCKETS; i++) {
        while (d->table.buckets[i] != NULL) {
            struct dir_upload *u = d->table.buckets[i];
            assert(u->refs == 0);
            d->table.buckets[i] = u->next;
            upload_free(u);
        }
    }
}

/* blob_dir.c: the store in a directory: opening, deleting, health. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "blob/blob_dir.h"

#define RESERVE_BYTES ((off_t)16 << 20)
#define ROOM_BYTES ((uint64_t)64 << 20) /* less than this is no health */
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

bool dir_thread_start(pthread_t *out, void *(*run)(void *), void *argument)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(out, NULL, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* A number that is the same until the machine starts again. Where it cannot be had it is a new one
 * each time, and parts are read again more often than they had to be. */
static enum mld_error read_boot(uint64_t *out)
{
    char text[ID_RANDOM_LEN + 8] = "";
    char digits[17] = "";
    size_t n = 0;
    int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    enum mld_error error = MLD_OK;

    if (fd >= 0) {
        ssize_t len = read(fd, text, sizeof(text) - 1);
        text[len > 0 ? len : 0] = '\0';
        close(fd);
    }
    if (strlen(text) < ID_RANDOM_LEN)
        error = id_random(text);
    for (const char *c = text; *c != '\0' && n < sizeof(digits) - 1; c++) {
        if (*c != '-')
            digits[n++] = *c;
    }
    *out = strtoull(digits, NULL, 16);
    return error;
}

enum mld_error dir_make_fan(struct dir *d, const struct dir_path *blob)
{
    struct dir_path fan = dir_path_parent(blob); /* blobs/ab/cd */
    char digits[5] = {fan.text[6], fan.text[7], fan.text[9], fan.text[10], '\0'};
    unsigned long number = strtoul(digits, NULL, 16);
    enum mld_error error = MLD_OK;

    /* Known is what this process has seen to be durable: another may have died before it was. */
    pthread_mutex_lock(&d->fan_lock);
    if ((d->fan_known[number / 8] >> number % 8 & 1) == 0) {
        error = fs_make_dirs(d->root_fd, fan.text, true);
        struct dir_path parent = dir_path_parent(&fan);
        if (error == MLD_OK)
            error = fs_sync_dir(d->root_fd, parent.text);
        if (error == MLD_OK)
            error = fs_sync_dir(d->root_fd, "blobs");
        if (error == MLD_OK)
            d->fan_known[number / 8] |= (unsigned char)(1 << number % 8);
    }
    pthread_mutex_unlock(&d->fan_lock);
    return error;
}

void dir_reserve_drop(struct dir *d)
{
    (void)fs_unlink(d->root_fd, "reserve");
}

void dir_reserve_take(struct dir *d)
{
    int fd;

    if (fs_open(&fd, d->root_fd, "reserve", O_RDWR | O_CREAT, 0600) != MLD_OK)
        return;
    if (fs_allocate(fd, RESERVE_BYTES, "reserve") != MLD_OK)
        dir_reserve_drop(d);
    close(fd);
}

/* A small blob is the writer's; a large one is a file. */
static enum mld_error dir_remove(struct blob *b, const char *key)
{
    struct dir *d = (struct dir *)b;
    struct dir_job job = {.remove_key = key};
    struct dir_path path;
    bool found;
    enum mld_error error = dir_blob_path(&path, key);

    if (error == MLD_OK)
        error = fs_unlink(d->root_fd, path.text);
    if (error == MLD_OK)
        return fs_sync_dir(d->root_fd, dir_path_parent(&path).text);
    if (error != MLD_ENOTFOUND)
        return error;
    error = dir_small_get(d, key, &found, NULL, NULL, NULL);
    return error == MLD_OK && found ? dir_small_run(d, &job) : error;
}

static enum mld_error dir_health(struct blob *b)
{
    struct dir *d = (struct dir *)b;
    struct statvfs room;
    enum mld_error error = dir_small_health(d);

    if (error != MLD_OK)
        return error;
    if (fstatvfs(d->root_fd, &room) != 0)
        return error_set_errno(errno, "cannot look at the blob store's disk");
    uint64_t left = (uint64_t)room.f_bavail * room.f_frsize;
    if (left < ROOM_BYTES)
        return error_set(MLD_ENOSPACE, "the blob store's disk has %llu MB left; make room",
                         (unsigned long long)(left >> 20));
    if (!fs_exists(d->root_fd, "reserve")) /* it was needed; now there is room again */
        dir_reserve_take(d);
    return MLD_OK;
}

static void dir_close(struct blob *b)
{
    struct dir *d = (struct dir *)b;

    dir_hashers_close(d);
    dir_queue_stop(d);
    dir_uploads_close(d);
    dir_small_close(d);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->root_fd >= 0)
        close(d->root_fd);
    pthread_mutex_destroy(&d->table.lock);
    pthread_mutex_destroy(&d->fan_lock);
    free(d);
}

static const struct blob_ops dir_ops = {
    .kind = "directory",
    .put_small = dir_put_small,
    .put_large = dir_put_large,
    .create = dir_create,
    .part_begin = dir_part_begin,
    .part_write = dir_part_write,
    .part_finish = dir_part_finish,
    .part_abandon = dir_part_abandon,
    .upload_parts = dir_upload_parts,
    .commit = dir_commit,
    .abort = dir_abort,
    .drop_idle = dir_drop_idle,
    .open = dir_open_reader,
    .read = dir_read,
    .reader_close = dir_reader_close,
    .stat = dir_stat,
    .remove = dir_remove,
    .list = dir_list,
    .health = dir_health,
    .close = dir_close,
};

static enum mld_error take_lock(struct dir *d, const char *path)
{
    bool locked = false;
    enum mld_error error = fs_open(&d->lock_fd, d->root_fd, "lock", O_RDWR | O_CREAT, 0600);

    if (error == MLD_OK)
        error = fs_try_lock(d->lock_fd, &locked, "lock");
    if (error == MLD_OK && !locked)
        error = error_set(MLD_ESTATE,
                          "another process has the blob store '%.400s' open: stop it first", path);
    return error;
}

/* A new store and the directories that were made for it survive a loss of power. What may not be
 * opened was not made now. */
static enum mld_error sync_upwards(const char *folder)
{
    char *path = strdup(folder);
    enum mld_error error = path == NULL ? error_set(MLD_ENOMEM, "no memory for a path") : MLD_OK;

    for (char *slash = path; error == MLD_OK && slash != NULL;) {
        int fd;
        if (fs_open_root(&fd, path[0] == '\0' ? "/" : path, false) == MLD_OK) {
            error = fs_sync_dir(fd, ".");
            close(fd);
        }
        slash = strrchr(path, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    free(path);
    return error;
}

static enum mld_error open_folder(struct dir *d, const char *path)
{
    char *folder = NULL;
    bool is_new = false;
    enum mld_error error = fs_open_root(&d->root_fd, path, true);

    if (error == MLD_OK)
        error = take_lock(d, path);
    if (error != MLD_OK)
        return error;
    folder = realpath(path, NULL);
    if (folder == NULL)
        return error_set_errno(errno, "cannot find '%.400s'", path);
    is_new = !fs_exists(d->root_fd, "small.sqlite");
    error = fs_make_dirs(d->root_fd, "blobs", true);
    if (error == MLD_OK)
        error = fs_make_dirs(d->root_fd, "uploads", true);
    if (error == MLD_OK)
        error = dir_small_open(d, folder);
    if (error == MLD_OK && is_new)
        error = sync_upwards(folder);
    free(folder);
    return error;
}

enum mld_error blob_dir_open(struct blob **out, const char *path)
{
    struct dir *d = calloc(1, sizeof(*d));
    enum mld_error error;

    *out = NULL;
    if (d == NULL)
        return error_set(MLD_ENOMEM, "no memory for a blob store");
    d->base.ops = &dir_ops;
    d->root_fd = -1;
    d->lock_fd = -1;
    pthread_mutex_init(&d->table.lock, NULL);
    pthread_mutex_init(&d->fan_lock, NULL);
    dir_small_init(d);
    dir_hashers_open(d);
    error = open_folder(d, path);
    if (error == MLD_OK)
        error = read_boot(&d->boot);
    if (error == MLD_OK)
        error = dir_uploads_open(d);
    if (error == MLD_OK)
        error = dir_queue_start(d);
    if (error != MLD_OK) {
        struct error_copy why;
        error_save(error, &why);
        dir_close(&d->base);
        return error_restore(&why);
    }
    dir_reserve_take(d);
    *out = &d->base;
    return MLD_OK;
}

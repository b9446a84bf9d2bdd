/* Taking a slot, the usual way: write and lock a temporary file, link it to writers/{n}.json. When
 * the name is taken, its writer may be gone: then, with the old file's lock held and the name still
 * leading to it, a new file replaces it. Whoever waits for the old lock sees that the name leads
 * elsewhere and tries the next number. */
#include "run/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"

#define SLOT_DIR ".mldash/writers"
#define SLOT_FILE_MAX_BYTES 4096
#define SLOT_PATH_MAX 96

struct claim {
    int dir_fd;
    int fd; /* the new writer file, locked */
    char temporary[SLOT_PATH_MAX];
    char writer[ID_RANDOM_LEN + 1];
    char boot[40];
};

static void slot_path(char out[SLOT_PATH_MAX], unsigned number)
{
    snprintf(out, SLOT_PATH_MAX, SLOT_DIR "/%u.json", number);
}

static enum mld_error claim_write(struct claim *claim, unsigned number)
{
    struct buf text;
    char host[256];
    char now[CLOCK_ISO_LEN + 1];
    buf_init(&text, SLOT_FILE_MAX_BYTES);
    clock_host_name(host);
    clock_format_iso(now, clock_now_us());
    buf_puts(&text, "{\"version\":1");
    json_put_key(&text, "writer");
    json_put_cstring(&text, claim->writer);
    json_put_key(&text, "slot");
    json_put_int64(&text, number);
    json_put_key(&text, "host");
    json_put_cstring(&text, host);
    json_put_key(&text, "boot");
    json_put_cstring(&text, claim->boot);
    json_put_key(&text, "pid");
    json_put_int64(&text, getpid());
    json_put_key(&text, "started");
    json_put_cstring(&text, now);
    buf_puts(&text, "}\n");
    enum mld_error error = buf_check(&text, "writer file");
    if (error == MLD_OK)
        error = fs_truncate(claim->fd, 0, claim->temporary);
    if (error == MLD_OK)
        error = fs_write_all(claim->fd, text.data, text.len, claim->temporary);
    buf_free(&text);
    return error;
}

static enum mld_error claim_begin(struct claim *claim, int dir_fd)
{
    bool locked = false;
    *claim = (struct claim){.dir_fd = dir_fd, .fd = -1};
    clock_boot_id(claim->boot);
    enum mld_error error = id_random(claim->writer);
    if (error == MLD_OK)
        error = fs_make_dirs(dir_fd, SLOT_DIR, false);
    if (error != MLD_OK)
        return error;
    snprintf(claim->temporary, sizeof claim->temporary, SLOT_DIR "/.%s.tmp", claim->writer);
    error =
        fs_open(&claim->fd, dir_fd, claim->temporary, O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0666);
    if (error == MLD_OK)
        error = fs_try_lock(claim->fd, &locked, claim->temporary);
    return error;
}

/* The boot id that a writer file names; false when the file does not read. */
static bool read_boot(int fd, char out[40])
{
    char text[SLOT_FILE_MAX_BYTES];
    size_t len;
    struct json_doc doc;
    if (fs_pread(fd, text, sizeof text, 0, &len, "writer file") != MLD_OK)
        return false;
    json_doc_init(&doc);
    char *boot = NULL;
    if (json_parse(&doc, text, len) == MLD_OK)
        boot = json_strdup(&doc, json_get(&doc, json_root(&doc), "boot"));
    snprintf(out, 40, "%s", boot == NULL ? "" : boot);
    free(boot);
    json_doc_free(&doc);
    return out[0] != '\0';
}

/* True when `path` still leads to the file that is open. */
static bool leads_to(int dir_fd, const char *path, int fd)
{
    struct stat by_name;
    struct stat opened;
    return fs_stat(dir_fd, path, &by_name) == MLD_OK && fstat(fd, &opened) == 0 &&
           by_name.st_dev == opened.st_dev && by_name.st_ino == opened.st_ino;
}

/* Opens and locks the writer file at `path` if its writer is gone: it is of this boot (or `ended`),
 * and nobody holds its lock. *out_fd stays -1 otherwise, and *out_life says why. */
static void lock_if_gone(int dir_fd, const char *path, bool ended, int *out_fd,
                         enum slot_life *out_life)
{
    int fd;
    char boot[40];
    char own_boot[40];
    bool locked = false;
    *out_fd = -1;
    *out_life = SLOT_UNKNOWN;
    enum mld_error error = fs_open(&fd, dir_fd, path, O_RDWR, 0);
    if (error == MLD_EACCESS) /* a read-only folder: a lock needs no write access */
        error = fs_open(&fd, dir_fd, path, O_RDONLY, 0);
    if (error != MLD_OK) {
        if (error == MLD_ENOTFOUND)
            *out_life = SLOT_FREE;
        return;
    }
    clock_boot_id(own_boot);
    bool same_boot = read_boot(fd, boot) && strcmp(boot, own_boot) == 0;
    if (fs_try_lock(fd, &locked, path) == MLD_OK && locked && leads_to(dir_fd, path, fd) &&
        (same_boot || ended)) {
        *out_life = SLOT_GONE;
        *out_fd = fd;
        return;
    }
    if (same_boot && !locked)
        *out_life = SLOT_ALIVE;
    close(fd);
}

/* One number: free, or taken over from a writer that is gone. *out_taken tells. */
static enum mld_error try_number(struct claim *claim, unsigned number, bool *out_taken)
{
    char path[SLOT_PATH_MAX];
    int old_fd;
    enum slot_life life;
    *out_taken = false;
    slot_path(path, number);
    lock_if_gone(claim->dir_fd, path, false, &old_fd, &life);
    if (life != SLOT_FREE && life != SLOT_GONE)
        return MLD_OK;
    enum mld_error error = claim_write(claim, number);
    if (error == MLD_OK && life == SLOT_FREE) {
        error = fs_link(claim->dir_fd, claim->temporary, claim->dir_fd, path);
        if (error == MLD_EEXISTS) /* somebody was quicker */
            return MLD_OK;
        if (error == MLD_EACCESS || error == MLD_EIO) /* a file system without hard links */
            error = fs_rename(claim->dir_fd, claim->temporary, path, false);
        else if (error == MLD_OK)
            error = fs_unlink(claim->dir_fd, claim->temporary);
    } else if (error == MLD_OK) {
        error = fs_rename(claim->dir_fd, claim->temporary, path, true);
    }
    if (old_fd >= 0)
        close(old_fd);
    if (error == MLD_EEXISTS)
        return MLD_OK;
    *out_taken = error == MLD_OK;
    return error;
}

/* Takes the first of the numbers [first, end) that is free or gone. */
static enum mld_error take_from(struct slot *out, int dir_fd, unsigned first, unsigned end)
{
    struct claim claim;
    bool taken = false;
    unsigned number = first;
    *out = (struct slot){.number = -1, .lock_fd = -1};
    enum mld_error error = claim_begin(&claim, dir_fd);
    for (; error == MLD_OK && !taken && number < end; number++)
        error = try_number(&claim, number, &taken);
    if (error != MLD_OK || !taken) {
        struct error_copy copy;
        error_save(error, &copy);
        if (claim.fd >= 0) {
            fs_unlink(dir_fd, claim.temporary);
            close(claim.fd);
        }
        return error == MLD_OK ? MLD_OK : error_restore(&copy);
    }
    out->number = (int)number - 1;
    out->lock_fd = claim.fd;
    memcpy(out->writer, claim.writer, sizeof out->writer);
    return MLD_OK;
}

enum mld_error slot_take_number(struct slot *out, int dir_fd, unsigned number)
{
    return take_from(out, dir_fd, number, number + 1);
}

enum mld_error slot_take(struct slot *out, int dir_fd)
{
    enum mld_error error = take_from(out, dir_fd, 0, SLOT_MAX);
    if (error == MLD_OK && out->number < 0)
        error = error_set(MLD_ESTATE,
                          "all %d writers of this experiment are in use; end some, or remove the "
                          "files of dead ones in " SLOT_DIR,
                          SLOT_MAX);
    return error;
}

void slot_release(struct slot *slot, int dir_fd)
{
    char path[SLOT_PATH_MAX];
    if (slot->number >= 0) {
        slot_path(path, (unsigned)slot->number);
        if (leads_to(dir_fd, path, slot->lock_fd))
            fs_unlink(dir_fd, path);
    }
    slot_abandon(slot);
}

void slot_abandon(struct slot *slot)
{
    if (slot->lock_fd >= 0)
        close(slot->lock_fd);
    *slot = (struct slot){.number = -1, .lock_fd = -1};
}

enum slot_life slot_life_of(int dir_fd, unsigned number, bool ended)
{
    char path[SLOT_PATH_MAX];
    int fd;
    enum slot_life life;
    slot_path(path, number);
    lock_if_gone(dir_fd, path, ended, &fd, &life);
    if (fd >= 0)
        close(fd);
    return life;
}

/* What only the directory store promises: one process at a time, nothing left behind, loss of
 * power, damage, failing disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "blob/blob_dir.h"
#include "scratch.h"

#define MB ((size_t)1 << 20)
#define assert_ok(call) assert_int_equal(call, MLD_OK)

/* Faults for the calls of the whole program; they come here first. */
static atomic_int fail_fdatasync; /* errno, 0: none */
static atomic_int fail_pwrite;    /* errno for large writes */
static atomic_int fail_fallocate;
static atomic_int n_syncs;

int fdatasync(int fd)
{
    static int (*real)(int);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    n_syncs++;
    if (fail_fdatasync != 0) {
        errno = fail_fdatasync;
        return -1;
    }
    return real(fd);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite");
    if (fail_pwrite != 0 && len > BLOB_SMALL_BYTES) {
        errno = fail_pwrite;
        return -1;
    }
    return real(fd, data, len, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    static int (*real)(int, int, off_t, off_t);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fallocate");
    if (fail_fallocate != 0) {
        errno = fail_fallocate;
        return -1;
    }
    return real(fd, mode, offset, len);
}

struct upload {
    struct blob_upload u;
    struct buf name;
    unsigned char *data;
    char sha256[65];
};

static struct blob *open_store(const struct scratch *scratch)
{
    struct blob *b;

    assert_ok(blob_dir_open(&b, scratch->path));
    return b;
}

static void hash_of(const void *data, size_t len, char out[65])
{
    struct sha256 hash = {.context = NULL};

    assert_ok(sha256_begin(&hash));
    sha256_update(&hash, data, len);
    assert_ok(sha256_end(&hash, out));
    sha256_free(&hash);
}

static void create(struct upload *up, struct blob *b, const char *key, size_t len)
{
    up->data = malloc(len);
    assert_non_null(up->data);
    for (size_t i = 0; i < len; i++)
        up->data[i] = (unsigned char)(i * 7 + i / 1000);
    hash_of(up->data, len, up->sha256);
    buf_init(&up->name, 1000);
    assert_ok(blob_create(b, &up->name, key, len));
    up->u = (struct blob_upload){.key = key,
                                 .name = buf_text(&up->name),
                                 .size_bytes = len,
                                 .part_size_bytes = blob_part_size(b, len)};
}

static enum mld_error send_part(struct upload *up, struct blob *b, unsigned number)
{
    size_t begin = number * up->u.part_size_bytes;
    size_t len = blob_part_length(&up->u, number);
    struct blob_part *part;
    char sha256[65];

    hash_of(up->data + begin, len, sha256);
    enum mld_error error = blob_part_begin(&part, b, &up->u, number, len, sha256);
    if (error != MLD_OK)
        return error;
    (void)blob_part_write(part, up->data + begin, len);
    return blob_part_finish(part);
}

static void drop(struct upload *up)
{
    buf_free(&up->name);
    free(up->data);
}

static void expect_parts(struct blob *b, const struct upload *up, size_t n, unsigned first)
{
    unsigned *parts;
    size_t n_parts;

    assert_ok(blob_upload_parts(b, &up->u, &parts, &n_parts));
    assert_int_equal(n_parts, n);
    if (n > 0)
        assert_int_equal(parts[0], first);
    free(parts);
}

static void expect_whole(struct blob *b, const struct upload *up)
{
    struct buf found;

    buf_init(&found, up->u.size_bytes + 1);
    assert_ok(blob_get(b, up->u.key, &found));
    assert_int_equal(found.len, up->u.size_bytes);
    assert_memory_equal(found.data, up->data, found.len);
    buf_free(&found);
}

static char *upload_file(const struct scratch *scratch, const struct upload *up)
{
    char *path;

    assert_true(asprintf(&path, "%s/uploads/%s", scratch->path, up->u.name) > 0);
    return path;
}

static void poke(const char *path, off_t offset, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, offset), len);
    close(fd);
}

static void one_process_at_a_time(void **state)
{
    struct blob *b = open_store(*state);
    struct blob *second;

    assert_int_equal(blob_dir_open(&second, ((struct scratch *)*state)->path), MLD_ESTATE);
    assert_null(second);
    assert_true(strstr(mld_error_message(), "another process") != NULL);
    blob_close(b);
    blob_close(open_store(*state));
}

static void makes_the_folder(void **state)
{
    struct scratch *scratch = *state;
    char path[128];
    struct blob *b;

    snprintf(path, sizeof(path), "%s/a/b/c", scratch->path);
    assert_ok(blob_dir_open(&b, path));
    blob_close(b);
    scratch_write(scratch, "file", "x");
    snprintf(path, sizeof(path), "%s/file", scratch->path);
    assert_true(blob_dir_open(&b, path) != MLD_OK);
    assert_null(b);
}

/* Everything in uploads/ that is no upload goes at open; uploads stay. */
static void sweeps(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload up;
    struct upload torn;

    create(&up, b, "k", 100);
    create(&torn, b, "torn", 100);
    assert_int_equal(scratch_count(scratch, "uploads"), 2);
    blob_close(b);
    scratch_write(scratch, "uploads/put-0123456789abcdef0123456789abcdef", "half");
    scratch_write(scratch, "uploads/0123456789abcdef0123456789abcdef", "no header");
    scratch_write(scratch, "uploads/stray", "");
    char *path = upload_file(scratch, &torn);
    poke(path, 20, "x", 1); /* in the header */
    free(path);
    b = open_store(scratch);
    assert_int_equal(scratch_count(scratch, "uploads"), 1);
    assert_ok(send_part(&up, b, 0));
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    assert_int_equal(send_part(&torn, b, 0), MLD_ENOTFOUND);
    assert_int_equal(scratch_count(scratch, "uploads"), 0);
    blob_close(b);
    drop(&up);
    drop(&torn);
}

static void nothing_stays_of_what_ended(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload up;

    for (unsigned i = 0; i < 3; i++) {
        create(&up, b, i == 2 ? "other" : "k", 100);
        assert_ok(send_part(&up, b, 0));
        assert_ok(i == 2 ? blob_abort(b, &up.u) : blob_commit(b, &up.u, up.sha256, NULL));
        assert_int_equal(scratch_count(scratch, "uploads"), 0);
        drop(&up);
    }
    unsigned char *data = calloc(1, 100000);
    assert_int_equal(blob_put(b, "k", data, 100000), MLD_EEXISTS);
    assert_int_equal(scratch_count(scratch, "uploads"), 0);
    free(data);
    blob_close(b);
}

/* A commit that linked and did not come to unlink: both names, one file. */
static void a_commit_cut_in_two(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct dir_path path;
    struct upload up;

    create(&up, b, "k", 9 * MB);
    assert_ok(send_part(&up, b, 0));
    assert_ok(send_part(&up, b, 1));
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    assert_ok(dir_blob_path(&path, "k"));
    char *name = upload_file(scratch, &up);
    assert_int_equal(linkat(scratch->fd, path.text, AT_FDCWD, name, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1) { /* found only when it is opened */
            blob_close(b);
            b = open_store(scratch);
            assert_int_equal(scratch_count(scratch, "uploads"), 0);
        }
        up.data[0] ^= 1; /* must not get into the blob */
        assert_int_equal(send_part(&up, b, 0), MLD_ENOTFOUND);
        up.data[0] ^= 1;
        assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
        assert_ok(blob_abort(b, &up.u));
        expect_whole(b, &up);
    }
    free(name);
    blob_close(b);
    drop(&up);
}

/* Records of another boot count only as far as the bytes bear them out. */
static void loss_of_power(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload up;
    unsigned char other_boot = 0x5A;

    create(&up, b, "k", 17 * MB);
    for (unsigned i = 0; i < 3; i++)
        assert_ok(send_part(&up, b, i));
    blob_close(b);
    char *path = upload_file(scratch, &up);
    for (unsigned i = 0; i < 3; i++) {
        struct dir_file file;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        char sha256[65];
        assert_ok(dir_file_read(&file, fd, path));
        hash_of(up.data + i * up.u.part_size_bytes, blob_part_length(&up.u, i), sha256);
        struct blob_digest digest;
        memcpy(digest.hex, sha256, sizeof(sha256));
        assert_ok(dir_record_write(fd, &file, i, &digest, other_boot, path));
        close(fd);
    }
    poke(path, DIR_DATA_OFFSET + 5, "\0\0\0\0\0\0\0", 7); /* never reached the disk */
    free(path);
    for (unsigned i = 0; i < 2; i++) { /* the second time it is known */
        b = open_store(scratch);
        expect_parts(b, &up, 2, 1);
        assert_int_equal(blob_commit(b, &up.u, up.sha256, NULL), MLD_ESTATE);
        blob_close(b);
    }
    b = open_store(scratch);
    assert_ok(send_part(&up, b, 0));
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    expect_whole(b, &up);
    blob_close(b);
    drop(&up);
}

/* A part that this boot wrote is believed; the whole is read again all the same. */
static void bytes_that_changed_meanwhile(void **state)
{
    static const size_t sizes[] = {200000, 9 * MB};

    for (unsigned i = 0; i < 2; i++) {
        struct blob *b = open_store(*state);
        struct upload up;
        create(&up, b, "k", sizes[i]);
        assert_ok(send_part(&up, b, 0));
        if (i == 1)
            assert_ok(send_part(&up, b, 1));
        blob_close(b);
        char *path = upload_file(*state, &up);
        poke(path, DIR_DATA_OFFSET + 5, "\0\0\0\0\0\0\0", 7);
        free(path);
        b = open_store(*state);
        assert_int_equal(blob_commit(b, &up.u, up.sha256, NULL), MLD_ECHECKSUM);
        blob_close(b);
        drop(&up);
    }
}

static enum mld_error count_keys(const char *key, uint64_t size, void *payload)
{
    (void)key;
    (void)size;
    ++*(unsigned *)payload;
    return MLD_OK;
}

static void damage_is_found(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    unsigned char *data = calloc(1, 100000);
    struct blob_reader *r;
    struct dir_path path;
    unsigned n = 0;

    assert_ok(blob_put(b, "a", data, 100000));
    assert_ok(blob_put(b, "b", data, 100000));
    assert_ok(blob_put(b, "small", data, 100));
    for (unsigned i = 0; i < 3; i++) {
        struct stat st;
        assert_ok(dir_blob_path(&path, "a"));
        int fd = openat(scratch->fd, path.text, O_RDWR | O_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        /* Too short; then of full length again, without its seal; then without its header. */
        assert_int_equal(ftruncate(fd, i == 0 ? st.st_size - 1 : DIR_DATA_OFFSET + 100000), 0);
        if (i > 0)
            assert_int_equal(pwrite(fd, "?", 1, i == 1 ? DIR_HEADER_BYTES + 10 : 70), 1);
        close(fd);
        assert_int_equal(blob_open(&r, b, "a", 0, UINT64_MAX), MLD_EDAMAGED);
        assert_null(r);
        assert_int_equal(blob_put(b, "a", data, 100), MLD_EDAMAGED);
    }
    assert_int_equal(blob_list(b, count_keys, &n), MLD_EDAMAGED);
    assert_int_equal(n, 2);
    free(data);
    blob_close(b);
}

/* A failed fsync ends an upload: nothing is tried again with that file. */
static void a_failed_fsync(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload up;

    create(&up, b, "k", 9 * MB);
    assert_ok(send_part(&up, b, 0));
    assert_ok(send_part(&up, b, 1));
    fail_fdatasync = EIO;
    assert_int_equal(blob_commit(b, &up.u, up.sha256, NULL), MLD_EIO);
    fail_fdatasync = 0;
    assert_int_equal(blob_commit(b, &up.u, up.sha256, NULL), MLD_ENOTFOUND);
    assert_int_equal(send_part(&up, b, 0), MLD_ENOTFOUND);
    assert_int_equal(scratch_count(scratch, "uploads"), 0);
    uint64_t size;
    assert_int_equal(blob_stat(b, "k", &size), MLD_ENOTFOUND);
    assert_ok(blob_abort(b, &up.u));
    blob_close(b);
    b = open_store(scratch);
    assert_int_equal(blob_commit(b, &up.u, up.sha256, NULL), MLD_ENOTFOUND);
    drop(&up);
    create(&up, b, "k", 9 * MB); /* again, in a new file */
    assert_ok(send_part(&up, b, 0));
    assert_ok(send_part(&up, b, 1));
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    expect_whole(b, &up);
    blob_close(b);
    drop(&up);
}

/* After a failed fsync of the SQLite file nothing small is stored until the store is reopened. */
static void a_failed_fsync_of_small_blobs(void **state)
{
    struct blob *b = open_store(*state);
    struct buf found;

    assert_ok(blob_put(b, "a", "1", 1));
    fail_fdatasync = EIO;
    assert_int_equal(blob_put(b, "b", "2", 1), MLD_EIO);
    fail_fdatasync = 0;
    assert_int_equal(blob_put(b, "c", "3", 1), MLD_EIO);
    assert_int_equal(blob_delete(b, "a"), MLD_EIO);
    assert_int_equal(blob_health(b), MLD_EIO);
    buf_init(&found, 10);
    assert_ok(blob_get(b, "a", &found));
    blob_close(b);
    b = open_store(*state);
    assert_ok(blob_health(b));
    assert_ok(blob_put(b, "c", "3", 1));
    assert_ok(blob_get(b, "a", &found));
    buf_free(&found);
    blob_close(b);
}

static void a_full_disk(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload up;
    struct buf name;

    buf_init(&name, 1000);
    fail_fallocate = ENOSPC;
    assert_int_equal(blob_create(b, &name, "k", 9 * MB), MLD_ENOSPACE);
    assert_int_equal(name.len, 0);
    assert_int_equal(scratch_count(scratch, "uploads"), 0);
    fail_fallocate = EOPNOTSUPP; /* a file system that cannot reserve */
    create(&up, b, "k", 9 * MB);
    fail_fallocate = 0;
    assert_ok(send_part(&up, b, 0));
    fail_pwrite = ENOSPC;
    assert_int_equal(send_part(&up, b, 1), MLD_ENOSPACE);
    fail_pwrite = 0;
    expect_parts(b, &up, 1, 0);
    assert_ok(send_part(&up, b, 1)); /* there is room again */
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    expect_whole(b, &up);
    buf_free(&name);
    drop(&up);
    create(&up, b, "bad", 9 * MB);
    fail_pwrite = EIO;
    assert_int_equal(send_part(&up, b, 0), MLD_EIO);
    fail_pwrite = 0;
    assert_int_equal(send_part(&up, b, 0), MLD_ENOTFOUND); /* for good */
    blob_close(b);
    drop(&up);
}

/* The fsync before an answer cannot silently go. */
static void syncs(void **state)
{
    struct blob *b = open_store(*state);
    struct upload up;
    unsigned char *data = calloc(1, 100000);

    n_syncs = 0;
    assert_ok(blob_put(b, "a", "1", 1));
    assert_true(n_syncs >= 1);
    n_syncs = 0;
    assert_ok(blob_put(b, "b", data, 100000));
    assert_true(n_syncs >= 1);
    create(&up, b, "c", 100000);
    assert_ok(send_part(&up, b, 0));
    n_syncs = 0;
    assert_ok(blob_commit(b, &up.u, up.sha256, NULL));
    assert_true(n_syncs >= 1);
    n_syncs = 0;
    assert_ok(blob_delete(b, "a"));
    assert_true(n_syncs >= 1);
    free(data);
    blob_close(b);
    drop(&up);
}

/* Sets when an upload was last written to, seconds ago. */
static void age(const struct scratch *scratch, const struct upload *up, time_t seconds)
{
    char path[4200];
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = time(NULL) - seconds}};

    snprintf(path, sizeof(path), "uploads/%s", up->u.name);
    assert_int_equal(utimensat(scratch->fd, path, times, 0), 0);
}

/* Uploads whose names nobody knows go once they are old; others stay as they are. */
static void idle_uploads(void **state)
{
    struct scratch *scratch = *state;
    struct blob *b = open_store(scratch);
    struct upload ups[3];
    const char *const keys[] = {"old", "new", "old too"};
    int64_t before = clock_now_us() - (int64_t)3600 * 1000000;
    size_t n;

    for (size_t i = 0; i < 3; i++) {
        create(&ups[i], b, keys[i], 9 * MB);
        assert_ok(send_part(&ups[i], b, 0));
        age(scratch, &ups[i], i == 1 ? 3500 : 3700);
    }
    assert_ok(send_part(&ups[2], b, 1)); /* somebody goes on with it */
    assert_ok(blob_drop_idle(b, before, &n));
    assert_int_equal(n, 1);
    assert_int_equal(scratch_count(scratch, "uploads"), 2);
    assert_int_equal(send_part(&ups[0], b, 1), MLD_ENOTFOUND);
    assert_ok(send_part(&ups[1], b, 1));
    for (size_t i = 1; i < 3; i++) {
        assert_ok(blob_commit(b, &ups[i].u, ups[i].sha256, NULL));
        expect_whole(b, &ups[i]);
    }
    blob_close(b);
    b = open_store(scratch);
    drop(&ups[0]);
    create(&ups[0], b, "old", 9 * MB);
    age(scratch, &ups[0], 3700);
    blob_close(b);
    b = open_store(scratch); /* known from the disk alone */
    assert_ok(blob_drop_idle(b, before, &n));
    assert_int_equal(n, 1);
    assert_int_equal(scratch_count(scratch, "uploads"), 0);
    for (size_t i = 0; i < 3; i++)
        drop(&ups[i]);
    blob_close(b);
}

/* More uploads than are kept in memory. */
static void many_uploads(void **state)
{
    struct blob *b = open_store(*state);
    enum { N = DIR_MAX_UPLOADS + 40 };
    struct upload *ups = calloc(N, sizeof(*ups));
    char keys[N][16];

    assert_non_null(ups);
    for (unsigned i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%u", i);
        create(&ups[i], b, keys[i], 100 + i);
    }
    for (unsigned i = 0; i < N; i++)
        assert_ok(send_part(&ups[i], b, 0));
    for (unsigned i = 0; i < N; i++) {
        expect_parts(b, &ups[i], 1, 0);
        assert_ok(blob_commit(b, &ups[i].u, ups[i].sha256, NULL));
    }
    for (unsigned i = 0; i < N; i++) {
        expect_whole(b, &ups[i]);
        drop(&ups[i]);
    }
    free(ups);
    blob_close(b);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(one_process_at_a_time),
        WITH_SCRATCH(makes_the_folder),
        WITH_SCRATCH(sweeps),
        WITH_SCRATCH(nothing_stays_of_what_ended),
        WITH_SCRATCH(a_commit_cut_in_two),
        WITH_SCRATCH(loss_of_power),
        WITH_SCRATCH(bytes_that_changed_meanwhile),
        WITH_SCRATCH(damage_is_found),
        WITH_SCRATCH(a_failed_fsync),
        WITH_SCRATCH(a_failed_fsync_of_small_blobs),
        WITH_SCRATCH(a_full_disk),
        WITH_SCRATCH(syncs),
        WITH_SCRATCH(idle_uploads),
        WITH_SCRATCH(many_uploads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

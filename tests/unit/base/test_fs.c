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
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/fs_internal.h"
#include "scratch.h"

/* Faults: errno for the next calls, 0 for none. The library's calls come here first. */
static int fault_openat2;
static int fault_flock;
static int openat2_calls;

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_openat2) {
        openat2_calls++;
        errno = fault_openat2;
        if (fault_openat2 != 0)
            return -1;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int flock(int fd, int operation)
{
    if (fault_flock != 0) {
        errno = fault_flock;
        return -1;
    }
    return (int)syscall(SYS_flock, (long)fd, (long)operation, 0L, 0L, 0L, 0L);
}

static void expect_open(const struct scratch *s, const char *path, int flags, enum mld_error code)
{
    int fd = 7;

    assert_int_equal(fs_open(&fd, s->fd, path, flags, 0666), code);
    assert_int_equal(fd >= 0, code == MLD_OK);
    if (fd >= 0)
        close(fd);
}

static void refuses_paths_that_are_no_names(void **state)
{
    static const char *const bad[] = {"",     "/",      "/etc/passwd", "..",      "../x",
                                      "a/..", "a/../b", "a//b",        "a/",      "./a",
                                      "a/.",  "a/./b",  "//",          "../..//", "/."};
    const struct scratch *s = *state;
    struct stat st;

    scratch_mkdir(s, "a");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_open(s, bad[i], O_RDONLY, MLD_ENAME);
        expect_open(s, bad[i], O_WRONLY | O_CREAT | O_EXCL, MLD_ENAME);
        assert_int_equal(fs_make_dirs(s->fd, bad[i], false), MLD_ENAME);
        assert_int_equal(fs_stat(s->fd, bad[i], &st), MLD_ENAME);
        assert_int_equal(fs_unlink(s->fd, bad[i]), MLD_ENAME);
        assert_int_equal(fs_remove_empty_dir(s->fd, bad[i], NULL), MLD_ENAME);
        assert_int_equal(fs_rename(s->fd, bad[i], "x", true), MLD_ENAME);
        assert_int_equal(fs_rename(s->fd, "a", bad[i], true), MLD_ENAME);
        assert_int_equal(fs_link(s->fd, "a", s->fd, bad[i]), MLD_ENAME);
        assert_int_equal(fs_replace_file(s->fd, bad[i], "x", 1, false), MLD_ENAME);
    }
    assert_int_equal(scratch_count(s, "."), 1);
}

static void opens_what_is_there(void **state)
{
    const struct scratch *s = *state;

    scratch_mkdir(s, "a");
    scratch_mkdir(s, "a/...");
    scratch_write(s, "a/.../f", "text");
    expect_open(s, "a/.../f", O_RDONLY, MLD_OK);
    expect_open(s, "a/.../g", O_WRONLY | O_CREAT | O_EXCL, MLD_OK);
    expect_open(s, "a/.../g", O_WRONLY | O_CREAT | O_EXCL, MLD_EEXISTS);
    expect_open(s, "a/.../h", O_WRONLY | O_CREAT | O_APPEND, MLD_OK);
    expect_open(s, "a/none", O_RDONLY, MLD_ENOTFOUND);
    expect_open(s, "b/none", O_RDONLY, MLD_ENOTFOUND);
    expect_open(s, "a/.../f/x", O_RDONLY, MLD_EIO);
    expect_open(s, "a", O_RDONLY, MLD_EIO);
    expect_open(s, "a/.../f", O_RDONLY | O_DIRECTORY, MLD_EIO);
    expect_open(s, ".", O_RDONLY | O_DIRECTORY, MLD_OK);
    expect_open(s, "a", O_RDONLY | O_DIRECTORY, MLD_OK);
}

static void closes_on_exec(void **state)
{
    const struct scratch *s = *state;
    int fd;

    assert_int_equal(fs_open(&fd, s->fd, "f", O_WRONLY | O_CREAT, 0640), MLD_OK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07137, 0);
    close(fd);
}

/* No call may follow a symlink, last or on the way, wherever it leads. */
static void follows_no_symlink(void **state)
{
    static const char *const links[] = {"out", "absolute", "inside", "dangling", "self"};
    const struct scratch *s = *state;
    char path[64];
    struct stat st;

    scratch_mkdir(s, "root");
    scratch_mkdir(s, "root/real");
    scratch_mkdir(s, "outside");
    scratch_write(s, "outside/f", "secret");
    scratch_write(s, "root/real/f", "ours");
    scratch_symlink(s, "root/out", "../outside");
    scratch_symlink(s, "root/absolute", "/tmp");
    scratch_symlink(s, "root/inside", "real");
    scratch_symlink(s, "root/dangling", "nowhere");
    scratch_symlink(s, "root/self", "self");
    scratch_symlink(s, "root/file", "real/f");
    struct scratch root = {.fd = openat(s->fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        snprintf(path, sizeof(path), "%s/f", links[i]);
        expect_open(&root, path, O_RDONLY, MLD_EACCESS);
        assert_non_null(strstr(mld_error_message(), "symlink leaves"));
        expect_open(&root, path, O_WRONLY | O_CREAT | O_EXCL, MLD_EACCESS);
        expect_open(&root, links[i], O_RDONLY | O_DIRECTORY, MLD_EACCESS);
        expect_open(&root, links[i], O_RDONLY, MLD_EACCESS);
        expect_open(&root, links[i], O_WRONLY | O_CREAT, MLD_EACCESS);
        expect_open(&root, links[i], O_WRONLY | O_CREAT | O_EXCL, MLD_EEXISTS);
        assert_int_equal(fs_stat(root.fd, path, &st), MLD_EACCESS);
        assert_int_equal(fs_make_dirs(root.fd, path, false), MLD_EACCESS);
        assert_int_equal(fs_make_dirs(root.fd, links[i], false), MLD_EACCESS);
        assert_int_equal(fs_unlink(root.fd, path), MLD_EACCESS);
        assert_int_equal(fs_remove_empty_dir(root.fd, path, NULL), MLD_EACCESS);
        assert_int_equal(fs_rename(root.fd, path, "stolen", true), MLD_EACCESS);
        assert_int_equal(fs_rename(root.fd, "real", path, true), MLD_EACCESS);
        assert_int_equal(fs_link(root.fd, path, root.fd, "stolen"), MLD_EACCESS);
        assert_int_equal(fs_create_file(root.fd, path, "x", 1, false), MLD_EACCESS);
        assert_int_equal(fs_replace_file(root.fd, path, "x", 1, true), MLD_EACCESS);
        assert_int_equal(fs_stat(root.fd, links[i], &st), MLD_OK);
        assert_true(S_ISLNK(st.st_mode));
    }
    expect_open(&root, "file", O_RDONLY, MLD_EACCESS);
    scratch_expect(s, "outside/f", "secret");
    assert_int_equal(scratch_count(s, "outside"), 1);
    assert_int_equal(scratch_count(s, "root"), 7);
    close(root.fd);
}

static void does_not_wait_for_a_fifo(void **state)
{
    const struct scratch *s = *state;

    assert_int_equal(mkfifoat(s->fd, "fifo", 0666), 0);
    expect_open(s, "fifo", O_RDONLY, MLD_EACCESS);
    expect_open(s, "fifo", O_RDWR | O_CREAT, MLD_EACCESS);
}

static void remembers_that_openat2_is_missing(void **state)
{
    const struct scratch *s = *state;

    scratch_mkdir(s, "a");
    scratch_write(s, "a/f", "");
    openat2_calls = 0;
    fault_openat2 = ENOSYS;
    expect_open(s, "a/f", O_RDONLY, MLD_OK);
    fault_openat2 = 0;
    expect_open(s, "a/f", O_RDONLY, MLD_OK);
    assert_int_equal(openat2_calls, 1);
    fs_testing_disable_openat2(false);

    fault_openat2 = EPERM; /* one refusal that is not about the file is enough */
    expect_open(s, "a/none", O_RDONLY, MLD_ENOTFOUND);
    expect_open(s, "a/f", O_RDONLY, MLD_OK);
    expect_open(s, "a/f", O_RDONLY, MLD_OK);
    assert_int_equal(openat2_calls, 3);
    fault_openat2 = 0;
    fs_testing_disable_openat2(false);
    expect_open(s, "a/f", O_RDONLY, MLD_OK);
    assert_int_equal(openat2_calls, 4);
}

static void refuses_a_component_that_is_too_long(void **state)
{
    const struct scratch *s = *state;
    char path[300];

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    expect_open(s, path, O_RDONLY, MLD_ENAME);
    path[280] = '/';
    expect_open(s, path, O_RDONLY, MLD_ENAME);
}

/* The switch of `a` between directory and symlink must never let a file appear outside. */
static atomic_bool race_over;

static void *swap_for_a_while(void *payload)
{
    const struct scratch *s = payload;

    while (!atomic_load(&race_over))
        (void)renameat2(s->fd, "root/a", s->fd, "root/b", RENAME_EXCHANGE);
    return NULL;
}

static void is_not_led_out_by_a_swapped_symlink(void **state)
{
    struct scratch *s = *state;
    pthread_t thread;
    int made = 0;

    scratch_mkdir(s, "root");
    scratch_mkdir(s, "root/a");
    scratch_mkdir(s, "outside");
    scratch_symlink(s, "root/b", "../outside");
    int root = openat(s->fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    atomic_store(&race_over, false);
    assert_int_equal(pthread_create(&thread, NULL, swap_for_a_while, s), 0);
    for (int i = 0; i < 3000 || (made < 50 && i < 300000); i++) {
        int fd;
        (void)fs_make_dirs(root, "a/d/e", false);
        made += fs_create_file(root, "a/whole", "x", 1, false) == MLD_OK;
        if (fs_open(&fd, root, "a/d/e/f", O_WRONLY | O_CREAT, 0666) == MLD_OK)
            close(fd);
        (void)fs_unlink(root, "a/whole");
    }
    atomic_store(&race_over, true);
    pthread_join(thread, NULL);
    assert_true(made > 0);
    assert_int_equal(scratch_count(s, "outside"), 0);
    close(root);
}

static void reads_a_whole_file(void **state)
{
    const struct scratch *s = *state;
    struct buf b;

    buf_init(&b, 10);
    scratch_write(s, "f", "12345");
    scratch_write(s, "empty", "");
    assert_int_equal(fs_read_file(s->fd, "f", &b), MLD_OK);
    assert_int_equal(fs_read_file(s->fd, "empty", &b), MLD_OK);
    assert_int_equal(fs_read_file(s->fd, "f", &b), MLD_OK);
    assert_string_equal(buf_text(&b), "1234512345");
    assert_int_equal(fs_read_file(s->fd, "empty", &b), MLD_OK);
    assert_int_equal(fs_read_file(s->fd, "f", &b), MLD_ETOOLARGE);
    assert_string_equal(buf_text(&b), "1234512345");
    assert_int_equal(fs_read_file(s->fd, "none", &b), MLD_ENOTFOUND);
    assert_int_equal(fs_read_file(s->fd, ".", &b), MLD_EIO);
    buf_free(&b);
}

/* Files of /proc say that their size is 0. */
static void reads_a_file_of_unknown_size(void **state)
{
    struct buf b;
    int proc;

    (void)state;
    assert_int_equal(fs_open_root(&proc, "/proc/self", false), MLD_OK);
    buf_init(&b, 1 << 20);
    assert_int_equal(fs_read_file(proc, "status", &b), MLD_OK);
    assert_non_null(strstr(buf_text(&b), "Umask:"));
    size_t whole = b.len;
    buf_free(&b);
    buf_init(&b, whole / 2);
    assert_int_equal(fs_read_file(proc, "status", &b), MLD_ETOOLARGE);
    assert_int_equal(b.len, 0);
    buf_free(&b);
    close(proc);
}

static void reads_parts(void **state)
{
    const struct scratch *s = *state;
    char text[8] = "";
    size_t len = 9;
    int fd;

    scratch_write(s, "f", "0123456789");
    assert_int_equal(fs_open(&fd, s->fd, "f", O_RDONLY, 0), MLD_OK);
    assert_int_equal(fs_pread(fd, text, 4, 3, &len, "f"), MLD_OK);
    assert_int_equal(len, 4);
    assert_memory_equal(text, "3456", 4);
    assert_int_equal(fs_pread(fd, text, 4, 8, &len, "f"), MLD_OK);
    assert_int_equal(len, 2);
    assert_int_equal(fs_pread(fd, text, 4, 20, &len, "f"), MLD_OK);
    assert_int_equal(len, 0);
    close(fd);
    assert_int_equal(fs_pread(fd, text, 4, 0, &len, "f"), MLD_EIO);
}

static void writes_and_cuts(void **state)
{
    const struct scratch *s = *state;
    size_t n = 9;
    int fd;

    assert_int_equal(fs_open(&fd, s->fd, "f", O_WRONLY | O_CREAT | O_EXCL, 0666), MLD_OK);
    assert_int_equal(fs_write_all(fd, "whole", 5, "f"), MLD_OK);
    assert_int_equal(fs_write_once(fd, " line", 5, &n, "f"), MLD_OK);
    assert_int_equal(n, 5);
    assert_int_equal(fs_write_once(fd, "", 0, &n, "f"), MLD_OK);
    assert_int_equal(n, 0);
    fs_preallocate(fd, 10, 4096);
    assert_int_equal(fs_truncate(fd, 7, "f"), MLD_OK);
    assert_int_equal(fs_close(&fd, "f"), MLD_OK);
    assert_int_equal(fd, -1);
    assert_int_equal(fs_close(&fd, "f"), MLD_OK);
    scratch_expect(s, "f", "whole l");
    fd = 1000000;
    assert_int_equal(fs_close(&fd, "f"), MLD_EIO);
    assert_int_equal(fd, -1);
}

static void writes_at_offsets_into_reserved_room(void **state)
{
    const struct scratch *s = *state;
    struct stat st;
    int fd;

    assert_int_equal(fs_open(&fd, s->fd, "f", O_WRONLY | O_CREAT | O_EXCL, 0666), MLD_OK);
    assert_int_equal(fs_allocate(fd, 0, "f"), MLD_OK);
    assert_int_equal(fs_allocate(fd, 10, "f"), MLD_OK);
    assert_int_equal(fs_pwrite_all(fd, "world", 5, 5, "f"), MLD_OK);
    assert_int_equal(fs_pwrite_all(fd, "hello", 5, 0, "f"), MLD_OK);
    fs_write_back(fd, 0, 10);
    scratch_expect(s, "f", "helloworld");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 10);
    assert_true(st.st_blocks > 0);
    assert_int_equal(fs_allocate(fd, (off_t)1 << 43, "f"), MLD_ENOSPACE);
    assert_non_null(strstr(mld_error_message(), "'f'"));
    close(fd);
    assert_int_equal(fs_allocate(fd, 10, "f"), MLD_EIO);
    assert_int_equal(fs_pwrite_all(fd, "x", 1, 0, "f"), MLD_EIO);
}

static void reports_a_full_disk(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    size_t n = 9;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fs_write_once(fd, "x", 1, &n, "data.jsonl"), MLD_ENOSPACE);
    assert_int_equal(n, 0);
    assert_non_null(strstr(mld_error_message(), "data.jsonl"));
    assert_int_equal(fs_write_all(fd, "x", 1, "data.jsonl"), MLD_ENOSPACE);
    close(fd);
}

/* A pipe takes less than what it is given when a signal or its size says so. */
static void goes_on_after_a_short_write(void **state)
{
    static char big[1 << 20];
    int ends[2];
    size_t n;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fs_write_once(ends[1], big, sizeof(big), &n, "pipe"), MLD_OK);
    assert_true(n > 0 && n < sizeof(big));
    assert_int_equal(fs_write_all(ends[1], big, 1, "pipe"), MLD_EIO); /* EAGAIN */
    close(ends[0]);
    close(ends[1]);
}

static void locks_once(void **state)
{
    const struct scratch *s = *state;
    bool locked;
    int a;
    int b;

    assert_int_equal(fs_open(&a, s->fd, "f", O_RDWR | O_CREAT, 0666), MLD_OK);
    assert_int_equal(fs_open(&b, s->fd, "f", O_RDWR, 0), MLD_OK);
    assert_int_equal(fs_try_lock(a, &locked, "f"), MLD_OK);
    assert_true(locked);
    assert_int_equal(fs_try_lock(b, &locked, "f"), MLD_OK);
    assert_false(locked);
    close(a);
    assert_int_equal(fs_try_lock(b, &locked, "f"), MLD_OK);
    assert_true(locked);
    close(b);
}

static void advises_where_locks_do_not_work(void **state)
{
    static const int faults[] = {ENOLCK, EOPNOTSUPP, ENOSYS, EACCES};
    const struct scratch *s = *state;
    bool locked = true;

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        fault_flock = faults[i];
        assert_int_equal(fs_try_lock(s->fd, &locked, "w.json"), MLD_EIO);
        assert_false(locked);
        assert_non_null(strstr(mld_error_message(), "w.json"));
        assert_non_null(strstr(mld_error_message(), "local disk"));
    }
    fault_flock = 0;
}

static void clones_or_says_no(void **state)
{
    const struct scratch *s = *state;
    int from;
    int to;

    scratch_write(s, "from", "bytes");
    assert_int_equal(fs_open(&from, s->fd, "from", O_RDONLY, 0), MLD_OK);
    assert_int_equal(fs_open(&to, s->fd, "to", O_WRONLY | O_CREAT | O_EXCL, 0666), MLD_OK);
    scratch_expect(s, "to", fs_clone(from, to) ? "bytes" : "");
    assert_false(fs_clone(-1, to));
    assert_false(fs_is_network(s->fd));
    assert_true(fs_is_network(-1));
    close(from);
    close(to);
}

static int setup_without_openat2(void **state)
{
    fs_testing_disable_openat2(true);
    return scratch_setup(state);
}

static int teardown_openat2(void **state)
{
    fs_testing_disable_openat2(false);
    return scratch_teardown(state);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)
#define WITHOUT_OPENAT2(test) \
    {#test "_without_openat2", test, setup_without_openat2, teardown_openat2, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(refuses_paths_that_are_no_names),
        WITHOUT_OPENAT2(refuses_paths_that_are_no_names),
        WITH_SCRATCH(opens_what_is_there),
        WITHOUT_OPENAT2(opens_what_is_there),
        WITH_SCRATCH(closes_on_exec),
        WITHOUT_OPENAT2(closes_on_exec),
        WITH_SCRATCH(follows_no_symlink),
        WITHOUT_OPENAT2(follows_no_symlink),
        WITH_SCRATCH(does_not_wait_for_a_fifo),
        WITHOUT_OPENAT2(does_not_wait_for_a_fifo),
        WITH_SCRATCH(refuses_a_component_that_is_too_long),
        WITHOUT_OPENAT2(refuses_a_component_that_is_too_long),
        WITH_SCRATCH(is_not_led_out_by_a_swapped_symlink),
        WITHOUT_OPENAT2(is_not_led_out_by_a_swapped_symlink),
        WITH_SCRATCH(remembers_that_openat2_is_missing),
        WITH_SCRATCH(reads_a_whole_file),
        cmocka_unit_test(reads_a_file_of_unknown_size),
        WITH_SCRATCH(reads_parts),
        WITH_SCRATCH(writes_and_cuts),
        WITH_SCRATCH(writes_at_offsets_into_reserved_room),
        cmocka_unit_test(reports_a_full_disk),
        cmocka_unit_test(goes_on_after_a_short_write),
        WITH_SCRATCH(locks_once),
        WITH_SCRATCH(advises_where_locks_do_not_work),
        WITH_SCRATCH(clones_or_says_no),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

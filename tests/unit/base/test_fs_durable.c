#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "scratch.h"

/* Faults: errno for every call from the library, 0 for none. The calls are noted in `trace`. */
static int fault_fsync;
static int fault_renameat2;
static int fault_linkat;
static int fault_close;
static char trace[256];
static mode_t unfinished_mode; /* of the file at its last write */

static int fail_with(int fault)
{
    errno = fault;
    return -1;
}

static void add_to_trace(const char *call)
{
    size_t used = strlen(trace);

    snprintf(trace + used, sizeof(trace) - used, "%s", call);
}

ssize_t write(int fd, const void *data, size_t len)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        unfinished_mode = st.st_mode & 07777;
    add_to_trace("write ");
    return syscall(SYS_write, fd, data, len);
}

int fsync(int fd)
{
    struct stat st;

    fstat(fd, &st);
    add_to_trace(S_ISDIR(st.st_mode) ? "fsyncdir " : "fsync ");
    return fault_fsync != 0 ? fail_with(fault_fsync) : (int)syscall(SYS_fsync, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    add_to_trace("rename ");
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    add_to_trace("renamenew ");
    if (fault_renameat2 != 0)
        return fail_with(fault_renameat2);
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    add_to_trace("link ");
    if (fault_linkat != 0)
        return fail_with(fault_linkat);
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int close(int fd)
{
    struct stat st;
    bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    int result = (int)syscall(SYS_close, fd);

    return is_file && fault_close != 0 ? fail_with(fault_close) : result;
}

static int setup(void **state)
{
    fault_fsync = fault_renameat2 = fault_linkat = fault_close = 0;
    scratch_setup(state);
    trace[0] = '\0';
    return 0;
}

static void replaces_a_file_whole(void **state)
{
    const struct scratch *s = *state;
    struct stat st;

    scratch_mkdir(s, "d");
    mode_t before = umask(027);
    assert_int_equal(fs_replace_file(s->fd, "d/f", "first", 5, false), MLD_OK);
    assert_int_equal(unfinished_mode, 0600);
    scratch_expect(s, "d/f", "first");
    assert_int_equal(fs_replace_file(s->fd, "d/f", "", 0, false), MLD_OK);
    scratch_expect(s, "d/f", "");
    assert_int_equal(fs_stat(s->fd, "d/f", &st), MLD_OK);
    assert_int_equal(st.st_mode & 07777, 0640);
    umask(before);
    assert_int_equal(scratch_count(s, "d"), 1);
    assert_null(strstr(trace, "fsync"));
    assert_int_equal(fs_replace_file(s->fd, "none/f", "x", 1, false), MLD_ENOTFOUND);
    scratch_mkdir(s, "d/sub");
    assert_int_equal(fs_replace_file(s->fd, "d/sub", "x", 1, false), MLD_EIO);
    assert_int_equal(scratch_count(s, "d"), 2);
}

/* A symlink in the file's own place is replaced, not written through. */
static void replaces_a_symlink_itself(void **state)
{
    const struct scratch *s = *state;

    scratch_write(s, "target", "kept");
    scratch_symlink(s, "f", "target");
    assert_int_equal(fs_create_file(s->fd, "f", "new", 3, false), MLD_EEXISTS);
    assert_int_equal(fs_replace_file(s->fd, "f", "new", 3, false), MLD_OK);
    scratch_expect(s, "f", "new");
    scratch_expect(s, "target", "kept");
}

static void syncs_in_the_right_order(void **state)
{
    const struct scratch *s = *state;

    scratch_mkdir(s, "d");
    assert_int_equal(fs_replace_file(s->fd, "d/f", "x", 1, true), MLD_OK);
    assert_string_equal(trace, "write fsync rename fsyncdir ");
    trace[0] = '\0';
    assert_int_equal(fs_replace_file(s->fd, "f", "x", 1, true), MLD_OK);
    assert_string_equal(trace, "write fsync rename fsyncdir ");
    trace[0] = '\0';
    assert_int_equal(fs_create_file(s->fd, "d/g", "x", 1, true), MLD_OK);
    assert_string_equal(trace, "write fsync renamenew fsyncdir ");
    trace[0] = '\0';
    assert_int_equal(fs_create_file(s->fd, "d/h", "x", 1, false), MLD_OK);
    assert_string_equal(trace, "write renamenew ");
}

static void creates_a_file_once(void **state)
{
    static const int faults[] = {0, EINVAL, ENOSYS};
    const struct scratch *s = *state;
    char name[16];

    for (int i = 0; i < 3; i++) {
        fault_renameat2 = faults[i];
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(fs_create_file(s->fd, name, "mine", 4, false), MLD_OK);
        assert_int_equal(fs_create_file(s->fd, name, "yours", 5, false), MLD_EEXISTS);
        scratch_expect(s, name, "mine");
        assert_int_equal(scratch_count(s, "."), i + 1);
        struct stat st;
        assert_int_equal(fs_stat(s->fd, name, &st), MLD_OK);
        assert_int_equal(st.st_nlink, 1);
    }
    fault_linkat = EPERM;
    assert_int_equal(fs_create_file(s->fd, "g", "x", 1, false), MLD_EACCESS);
    assert_int_equal(scratch_count(s, "."), 3);
}

static void fails_without_leftovers(void **state)
{
    const struct scratch *s = *state;

    scratch_write(s, "f", "old");
    fault_fsync = EIO;
    trace[0] = '\0';
    assert_int_equal(fs_replace_file(s->fd, "f", "new", 3, true), MLD_EIO);
    assert_string_equal(trace, "write fsync "); /* tried once, then given up */
    assert_int_equal(fs_create_file(s->fd, "g", "new", 3, true), MLD_EIO);
    fault_fsync = 0;
    fault_close = EDQUOT;
    assert_int_equal(fs_replace_file(s->fd, "f", "new", 3, false), MLD_ENOSPACE);
    fault_close = 0;
    assert_int_equal(scratch_count(s, "."), 1);
    scratch_expect(s, "f", "old");
}

static void reports_every_failed_sync_as_io(void **state)
{
    static const int faults[] = {EIO, ENOSPC, EDQUOT, EROFS, EINVAL};
    const struct scratch *s = *state;

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        fault_fsync = faults[i];
        assert_int_equal(fs_sync(s->fd, "models/x"), MLD_EIO);
        assert_non_null(strstr(mld_error_message(), "models/x"));
        assert_non_null(strstr(mld_error_message(), strerror(faults[i])));
    }
    assert_int_equal(fs_sync_dir(s->fd, "."), MLD_OK); /* EINVAL: directories need none there */
    fault_fsync = EIO;
    assert_int_equal(fs_sync_dir(s->fd, "."), MLD_EIO);
    fault_fsync = 0;
    assert_int_equal(fs_sync_dir(s->fd, "."), MLD_OK);
    assert_int_equal(fs_sync_dir(s->fd, "none"), MLD_ENOTFOUND);
    assert_int_equal(fs_sync_data(s->fd, "x"), MLD_OK);
    assert_int_equal(fs_sync_data(-1, "x"), MLD_EIO);
    assert_int_equal(fs_sync_filesystem(s->fd, "x"), MLD_OK);
    assert_int_equal(fs_sync_filesystem(-1, "x"), MLD_EIO);
}

/* In a process of its own with a small tmpfs; 77 when the system does not let it. */
static int run_on_a_full_disk(const struct scratch *s)
{
    static char big[256 << 10];
    char path[128];
    struct scratch full;

    if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", s->path, "tmpfs", 0, "size=64k") != 0)
        return 77;
    snprintf(path, sizeof(path), "%s", s->path);
    if (fs_open_root(&full.fd, path, false) != MLD_OK)
        return 1;
    if (fs_replace_file(full.fd, "f", "old", 3, true) != MLD_OK)
        return 2;
    if (fs_replace_file(full.fd, "f", big, sizeof(big), false) != MLD_ENOSPACE)
        return 3;
    if (fs_create_file(full.fd, "g", big, sizeof(big), true) != MLD_ENOSPACE)
        return 4;
    if (scratch_count(&full, ".") != 1)
        return 5;
    /* What was freed can be used. */
    if (fs_replace_file(full.fd, "g", big, 40 << 10, false) != MLD_OK)
        return 6;
    return fs_unlink(full.fd, "g") == MLD_OK && fs_exists(full.fd, "f") ? 0 : 7;
}

static void keeps_the_old_file_on_a_full_disk(void **state)
{
    const struct scratch *s = *state;
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(run_on_a_full_disk(s));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        scratch_left_out("mounting is not allowed here");
        return;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void renames(void **state)
{
    const struct scratch *s = *state;

    scratch_mkdir(s, "a");
    scratch_mkdir(s, "b");
    scratch_write(s, "a/f", "one");
    scratch_write(s, "b/g", "two");
    assert_int_equal(fs_rename(s->fd, "a/f", "b/g", false), MLD_EEXISTS);
    scratch_expect(s, "b/g", "two");
    assert_int_equal(fs_rename(s->fd, "a/f", "b/h", false), MLD_OK);
    scratch_expect(s, "b/h", "one");
    assert_int_equal(fs_rename(s->fd, "b/h", "b/g", true), MLD_OK);
    scratch_expect(s, "b/g", "one");
    fault_renameat2 = EINVAL;
    assert_int_equal(fs_rename(s->fd, "b/g", "a/f", false), MLD_OK);
    scratch_write(s, "b/g", "two");
    assert_int_equal(fs_rename(s->fd, "b/g", "a/f", false), MLD_EEXISTS);
    assert_int_equal(scratch_count(s, "a"), 1);
    assert_int_equal(scratch_count(s, "b"), 1);
    assert_int_equal(fs_rename(s->fd, "none", "x", true), MLD_ENOTFOUND);
    assert_int_equal(fs_rename(s->fd, "a/f", "none/x", true), MLD_ENOTFOUND);
}

static void links_and_unlinks(void **state)
{
    const struct scratch *s = *state;
    char path[128];
    struct stat st;

    scratch_mkdir(s, "a");
    scratch_write(s, "f", "text");
    scratch_symlink(s, "link", "f");
    assert_int_equal(fs_link(s->fd, "f", s->fd, "a/g"), MLD_OK);
    scratch_expect(s, "a/g", "text");
    assert_int_equal(fs_link(s->fd, "f", s->fd, "a/g"), MLD_EEXISTS);
    snprintf(path, sizeof(path), "%s/a/../f", s->path);
    assert_int_equal(fs_link(AT_FDCWD, path, s->fd, "a/h"), MLD_OK);
    assert_int_equal(fs_link(s->fd, "link", s->fd, "a/link"), MLD_OK);
    assert_int_equal(fs_stat(s->fd, "a/link", &st), MLD_OK);
    assert_true(S_ISLNK(st.st_mode));

    assert_true(fs_exists(s->fd, "link"));
    assert_int_equal(fs_unlink(s->fd, "link"), MLD_OK);
    assert_false(fs_exists(s->fd, "link"));
    assert_int_equal(fs_unlink(s->fd, "link"), MLD_ENOTFOUND);
    assert_int_equal(fs_unlink(s->fd, "a"), MLD_EIO);
    scratch_expect(s, "f", "text");
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(replaces_a_file_whole),
        WITH_SCRATCH(replaces_a_symlink_itself),
        WITH_SCRATCH(syncs_in_the_right_order),
        WITH_SCRATCH(creates_a_file_once),
        WITH_SCRATCH(fails_without_leftovers),
        WITH_SCRATCH(reports_every_failed_sync_as_io),
        WITH_SCRATCH(keeps_the_old_file_on_a_full_disk),
        WITH_SCRATCH(renames),
        WITH_SCRATCH(links_and_unlinks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

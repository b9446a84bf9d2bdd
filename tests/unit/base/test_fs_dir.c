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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/fs_internal.h"
#include "scratch.h"

/* The library's calls come here first and are counted. */
static int mkdirat_calls;
static int fsync_calls;
static int remove_before_open; /* after so many mkdirat, the directory made is removed again */

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdirat, dir_fd, path, mode);

    mkdirat_calls++;
    if (remove_before_open > 0 && --remove_before_open == 0)
        unlinkat(dir_fd, path, AT_REMOVEDIR);
    return result;
}

int fsync(int fd)
{
    fsync_calls++;
    return (int)syscall(SYS_fsync, fd);
}

static bool is_directory(const struct scratch *s, const char *path)
{
    struct stat st;

    return fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void opens_a_root_and_makes_it(void **state)
{
    const struct scratch *s = *state;
    char path[128];
    int fd = 7;

    snprintf(path, sizeof(path), "%s/x/./y//z", s->path);
    assert_int_equal(fs_open_root(&fd, path, false), MLD_ENOTFOUND);
    assert_int_equal(fd, -1);
    assert_int_equal(fs_open_root(&fd, path, true), MLD_OK);
    assert_true(is_directory(s, "x/y/z"));
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    assert_int_equal(fs_open_root(&fd, path, true), MLD_OK);
    close(fd);

    scratch_symlink(s, "link", "x");
    snprintf(path, sizeof(path), "%s/link/w", s->path);
    assert_int_equal(fs_open_root(&fd, path, true), MLD_OK);
    assert_true(is_directory(s, "x/w"));
    close(fd);

    scratch_write(s, "file", "");
    snprintf(path, sizeof(path), "%s/file", s->path);
    assert_int_equal(fs_open_root(&fd, path, true), MLD_EIO);
    snprintf(path, sizeof(path), "%s/file/x", s->path);
    assert_int_equal(fs_open_root(&fd, path, true), MLD_EIO);
    assert_int_equal(fs_open_root(&fd, "", true), MLD_ENOTFOUND);
}

static void makes_directories(void **state)
{
    const struct scratch *s = *state;

    assert_int_equal(fs_make_dirs(s->fd, "files/models/17", false), MLD_OK);
    assert_true(is_directory(s, "files/models/17"));
    assert_int_equal(fs_make_dirs(s->fd, "files/models/17", false), MLD_OK);
    assert_int_equal(fs_make_dirs(s->fd, "one", false), MLD_OK);
    assert_int_equal(fs_make_dirs(s->fd, ".", false), MLD_OK);
    mkdirat_calls = 0;
    assert_int_equal(fs_make_dirs(s->fd, "files/models/18", false), MLD_OK);
    assert_int_equal(mkdirat_calls, 1);

    scratch_write(s, "file", "");
    assert_int_equal(fs_make_dirs(s->fd, "file", false), MLD_EEXISTS);
    assert_int_equal(fs_make_dirs(s->fd, "file/x", false), MLD_EIO);
    assert_int_equal(fs_make_dirs(s->fd, "file/x/y", false), MLD_EIO);
    char deep[4000];
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = i % 2 == 1 ? '/' : 'd';
    deep[1023] = '\0';
    assert_int_equal(fs_make_dirs(s->fd, deep, false), MLD_OK);
    assert_true(is_directory(s, deep));
}

static void syncs_where_an_entry_was_made(void **state)
{
    const struct scratch *s = *state;

    fsync_calls = 0;
    assert_int_equal(fs_make_dirs(s->fd, "a/b", false), MLD_OK);
    assert_int_equal(fsync_calls, 0);
    assert_int_equal(fs_make_dirs(s->fd, "a/b/c/d", true), MLD_OK);
    assert_int_equal(fsync_calls, 2);
    assert_int_equal(fs_make_dirs(s->fd, "a/b/c/e", true), MLD_OK);
    assert_int_equal(fsync_calls, 3);
    assert_int_equal(fs_make_dirs(s->fd, "a/b/c/e", true), MLD_OK);
    assert_int_equal(fsync_calls, 3);
}

/* gc may remove a directory that is empty for now between its making and its use. */
static void makes_again_what_was_removed_meanwhile(void **state)
{
    const struct scratch *s = *state;

    remove_before_open = 2;
    assert_int_equal(fs_make_dirs(s->fd, "a/b/c", false), MLD_OK);
    assert_int_equal(remove_before_open, 0);
    assert_true(is_directory(s, "a/b/c"));
}

static void removes_only_empty_directories(void **state)
{
    const struct scratch *s = *state;
    bool removed = true;

    scratch_mkdir(s, "full");
    scratch_write(s, "full/f", "");
    scratch_mkdir(s, "empty");
    assert_int_equal(fs_remove_empty_dir(s->fd, "full", &removed), MLD_OK);
    assert_false(removed);
    assert_int_equal(fs_remove_empty_dir(s->fd, "empty", &removed), MLD_OK);
    assert_true(removed);
    assert_int_equal(fs_remove_empty_dir(s->fd, "empty", &removed), MLD_OK);
    assert_false(removed);
    assert_int_equal(fs_remove_empty_dir(s->fd, "none/x", NULL), MLD_OK);
    assert_int_equal(fs_remove_empty_dir(s->fd, "full/f", NULL), MLD_EIO);
    assert_int_equal(scratch_count(s, "."), 1);
}

struct seen {
    int count;
    int stop_after;
    char text[1024]; /* "name:type " for each */
};

static enum mld_error note(const char *name, unsigned char type, void *payload)
{
    struct seen *seen = payload;
    size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof(seen->text) - used, "%s:%d ", name, type);
    if (++seen->count == seen->stop_after)
        return error_set(MLD_ESTATE, "enough");
    return MLD_OK;
}

static void expect_seen(const struct seen *seen, const char *name, int type)
{
    char text[128];

    snprintf(text, sizeof(text), "%s:%d ", name, type);
    if (strstr(seen->text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, seen->text);
}

static void lists_a_directory(void **state)
{
    const struct scratch *s = *state;
    struct seen seen = {0};

    scratch_mkdir(s, "d");
    scratch_write(s, "d/file", "");
    scratch_write(s, "d/.hidden", "");
    scratch_mkdir(s, "d/dir");
    scratch_symlink(s, "d/link", "file");
    assert_int_equal(fs_list_dir(s->fd, "d", note, &seen), MLD_OK);
    assert_int_equal(seen.count, 4);
    expect_seen(&seen, "file", DT_REG);
    expect_seen(&seen, ".hidden", DT_REG);
    expect_seen(&seen, "dir", DT_DIR);
    expect_seen(&seen, "link", DT_LNK);

    seen = (struct seen){.stop_after = 2};
    assert_int_equal(fs_list_dir(s->fd, "d", note, &seen), MLD_ESTATE);
    assert_int_equal(seen.count, 2);
    assert_int_equal(fs_list_dir(s->fd, "none", note, &seen), MLD_OK);
    assert_int_equal(seen.count, 2);
    assert_int_equal(fs_list_dir(s->fd, "d/file", note, &seen), MLD_EIO);
    assert_int_equal(fs_list_dir(s->fd, "d/link", note, &seen), MLD_EACCESS);
}

static void walks_over_regular_files(void **state)
{
    const struct scratch *s = *state;
    struct seen seen = {0};

    scratch_mkdir(s, "w");
    scratch_mkdir(s, "w/a");
    scratch_mkdir(s, "w/a/b");
    scratch_mkdir(s, "w/c");
    scratch_mkdir(s, "w/empty");
    scratch_write(s, "w/top", "");
    scratch_write(s, "w/a/one", "");
    scratch_write(s, "w/a/b/two", "");
    scratch_write(s, "w/c/three", "");
    scratch_symlink(s, "w/c/loop", "..");
    scratch_symlink(s, "w/link", "top");
    assert_int_equal(mkfifoat(s->fd, "w/fifo", 0666), 0);
    assert_int_equal(fs_walk(s->fd, "w", note, &seen), MLD_OK);
    assert_int_equal(seen.count, 4);
    expect_seen(&seen, "top", DT_REG);
    expect_seen(&seen, "a/one", DT_REG);
    expect_seen(&seen, "a/b/two", DT_REG);
    expect_seen(&seen, "c/three", DT_REG);

    seen = (struct seen){.stop_after = 3};
    assert_int_equal(fs_walk(s->fd, "w", note, &seen), MLD_ESTATE);
    assert_int_equal(seen.count, 3);
    seen = (struct seen){0};
    assert_int_equal(fs_walk(s->fd, "w/empty", note, &seen), MLD_OK);
    assert_int_equal(fs_walk(s->fd, "none", note, &seen), MLD_OK);
    assert_int_equal(seen.count, 0);
    assert_int_equal(fs_walk(s->fd, "w/link", note, &seen), MLD_EACCESS);
}

/* One descriptor at a time, however deep: a tree may be deeper than a process may have files open.
 */
static void walks_deep_trees(void **state)
{
    const struct scratch *s = *state;
    struct seen seen = {0};
    char path[1025];

    for (size_t i = 0; i < 1024; i++)
        path[i] = i % 2 == 1 ? '/' : 'd';
    path[1023] = '\0';
    assert_int_equal(fs_make_dirs(s->fd, path, false), MLD_OK);
    assert_int_equal(fs_create_file(s->fd, "d/d/d/first", "", 0, false), MLD_OK);
    path[1022] = 'f';
    assert_int_equal(fs_create_file(s->fd, path, "", 0, false), MLD_OK);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit few = {.rlim_cur = 32, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(fs_walk(s->fd, ".", note, &seen), MLD_OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(seen.count, 2);
    expect_seen(&seen, "d/d/d/first", DT_REG);
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
        WITH_SCRATCH(opens_a_root_and_makes_it),
        WITH_SCRATCH(makes_directories),
        WITHOUT_OPENAT2(makes_directories),
        WITH_SCRATCH(syncs_where_an_entry_was_made),
        WITH_SCRATCH(makes_again_what_was_removed_meanwhile),
        WITH_SCRATCH(removes_only_empty_directories),
        WITHOUT_OPENAT2(removes_only_empty_directories),
        WITH_SCRATCH(lists_a_directory),
        WITHOUT_OPENAT2(lists_a_directory),
        WITH_SCRATCH(walks_over_regular_files),
        WITHOUT_OPENAT2(walks_over_regular_files),
        WITH_SCRATCH(walks_deep_trees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

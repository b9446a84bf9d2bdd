#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"

int scratch_setup(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    assert_non_null(scratch);
    snprintf(scratch->path, sizeof(scratch->path), "/tmp/mldash-test-XXXXXX");
    assert_non_null(mkdtemp(scratch->path));
    scratch->fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(scratch->fd >= 0);
    *state = scratch;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int scratch_teardown(void **state)
{
    struct scratch *scratch = *state;

    close(scratch->fd);
    nftw(scratch->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(scratch);
    return 0;
}

void scratch_write(const struct scratch *scratch, const char *path, const char *text)
{
    int fd = openat(scratch->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

void scratch_mkdir(const struct scratch *scratch, const char *path)
{
    assert_int_equal(mkdirat(scratch->fd, path, 0777), 0);
}

void scratch_symlink(const struct scratch *scratch, const char *path, const char *target)
{
    assert_int_equal(symlinkat(target, scratch->fd, path), 0);
}

void scratch_expect(const struct scratch *scratch, const char *path, const char *text)
{
    char found[4096];
    int fd = openat(scratch->fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    assert_true(fd >= 0);
    ssize_t n = read(fd, found, sizeof(found) - 1);
    assert_true(n >= 0);
    found[n] = '\0';
    assert_string_equal(found, text);
    close(fd);
}

int scratch_count(const struct scratch *scratch, const char *path)
{
    int fd = openat(scratch->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int count = 0;

    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2; /* "." and ".." */
}

void scratch_left_out(const char *why)
{
    fprintf(stderr, "left out: %s\n", why);
}

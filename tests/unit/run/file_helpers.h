/* file_helpers.h: what the tests of saving files share. */
#ifndef TESTS_FILE_HELPERS_H
#define TESTS_FILE_HELPERS_H

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

#include "base/hash.h"
#include "mldash/mldash.h"
#include "scratch.h"

static inline void expect_ok(enum mld_error error)
{
    if (error != MLD_OK)
        fail_msg("%s: %s", mld_error_name(error), mld_error_message());
}

/* The code, and a part of the message. */
static inline void expect_error(enum mld_error error, enum mld_error code, const char *part)
{
    if (error != code || strstr(mld_error_message(), part) == NULL)
        fail_msg("%s: %s; expected %s: ...%s...", mld_error_name(error), mld_error_message(),
                 mld_error_name(code), part);
}

/* The run folder is "run" in the scratch directory; sources lie beside it. */
static inline mld_experiment *open_run_with(const struct scratch *scratch,
                                            struct mld_experiment_options options)
{
    mld_experiment *experiment = NULL;

    options.version = MLD_EXPERIMENT_OPTIONS_VERSION;
    options.root = scratch->path;
    options.prefix = "run/run"; /* owner and name */
    expect_ok(mld_experiment_open(&experiment, &options));
    return experiment;
}

static inline mld_experiment *open_run(const struct scratch *scratch)
{
    return open_run_with(scratch, (struct mld_experiment_options)MLD_EXPERIMENT_OPTIONS_INIT);
}

static inline struct mld_save_options named(const char *filename)
{
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;

    options.filename = filename;
    return options;
}

/* A path below the scratch directory, in memory of the test program. */
static inline const char *in_scratch(const struct scratch *scratch, const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", scratch->path, name);
    return path;
}

/* `len` bytes that differ from place to place. */
static inline char *make_bytes(size_t len)
{
    char *bytes = malloc(len + 1);
    uint64_t x = 88172645463325252u + len;

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (char)x;
    }
    return bytes;
}

/* A source file of `len` such bytes; returns its path. */
static inline const char *make_source(const struct scratch *scratch, const char *name, size_t len)
{
    const char *path = in_scratch(scratch, name);
    char *bytes = make_bytes(len);
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    return path;
}

static inline void hash_of(char out[SHA256_HEX_LEN + 1], const void *data, size_t len)
{
    struct sha256 hash = {NULL};

    assert_int_equal(sha256_begin(&hash), MLD_OK);
    sha256_update(&hash, data, len);
    assert_int_equal(sha256_end(&hash, out), MLD_OK);
    sha256_free(&hash);
}

static int files_found;
static inline int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)st;
    files_found += type == FTW_F || (type == FTW_DP && ftw->level == 1); /* id directories, too */
    return 0;
}

/* Files and id directories (with the prefix "/") below files/: 0 when nothing was left behind. */
static inline int count_stored(const struct scratch *scratch)
{
    files_found = 0;
    nftw(in_scratch(scratch, "run/run/files"), count_file, 16, FTW_DEPTH | FTW_PHYS);
    return files_found;
}

/* How many versions can be listed; `filename` NULL: of all names. */
static inline size_t count_listed(mld_experiment *experiment, const char *filename)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list = NULL;

    options.all_versions = true;
    options.filename = filename;
    expect_ok(mld_file_list(&list, experiment, &options));
    size_t count = list->count;
    mld_file_list_free(list);
    return count;
}

static inline bool is_stored(mld_experiment *experiment, const char *id)
{
    char *path = NULL;

    if (mld_file_stored_path(&path, experiment, id) != MLD_OK)
        return false;
    bool found = access(path, F_OK) == 0;
    mld_free(path);
    return found;
}

/* How often `text` occurs in a file below the run folder; 0 when there is no file. */
static inline int count_text(const struct scratch *scratch, const char *file, const char *text)
{
    char path[512];
    static char content[1 << 20];
    int count = 0;

    snprintf(path, sizeof(path), "%s/run/run/%s", scratch->path, file);
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        return 0;
    content[fread(content, 1, sizeof(content) - 1, in)] = '\0';
    fclose(in);
    for (const char *at = content; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

#endif

/* folder_helpers.h: what the tests of verify, gc, recovery, views and foreign folders share. The
 * scratch directory itself is the run folder. */
#ifndef TESTS_FOLDER_HELPERS_H
#define TESTS_FOLDER_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mldash/mldash.h"
#include "scratch.h"

struct saved {
    char id[24];
    char path[256]; /* of the bytes, below the run folder */
};

static inline void expect_ok(enum mld_error error)
{
    if (error != MLD_OK)
        fail_msg("%s: %s", mld_error_name(error), mld_error_message());
}

static inline mld_experiment *open_with(const struct scratch *s, bool read_only,
                                        struct mld_experiment_options options)
{
    mld_experiment *e = NULL;
    if (!read_only && faccessat(s->fd, "experiment.json", F_OK, 0) != 0)
        scratch_write(s, "experiment.json",
                      "{\"name\":\"run\",\"project\":\"proj\",\"folder\":null}");
    options.directory = s->path;
    options.read_only = read_only;
    expect_ok(mld_experiment_open(&e, &options));
    return e;
}

static inline mld_experiment *open_folder(const struct scratch *s, bool read_only)
{
    return open_with(s, read_only, (struct mld_experiment_options)MLD_EXPERIMENT_OPTIONS_INIT);
}

static inline void end_folder(mld_experiment *e)
{
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    mld_experiment_close(e);
}

static inline struct saved save(mld_experiment *e, const char *prefix, const char *name,
                                const char *text)
{
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    struct mld_file *file = NULL;
    struct saved out;
    options.prefix = prefix;
    options.filename = name;
    expect_ok(mld_file_save_bytes(&file, e, text, strlen(text), &options));
    snprintf(out.id, sizeof out.id, "%s", file->id);
    snprintf(out.path, sizeof out.path, "files%s/%s/%s",
             strcmp(file->path, "/") == 0 ? "" : file->path, file->id, file->filename);
    mld_file_free(file);
    return out;
}

static inline bool is_there(const struct scratch *s, const char *path)
{
    struct stat st;
    return fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline off_t size_of(const struct scratch *s, const char *path)
{
    struct stat st;
    return fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_size : -1;
}

/* A whole small file as a string; the caller frees it. */
static inline char *read_text(const struct scratch *s, const char *path)
{
    int fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

static inline void append_text(const struct scratch *s, const char *path, const char *text)
{
    int fd = openat(s->fd, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* Runs `body` in a child that then dies as by kill -9: nothing is ended or flushed. */
static inline void in_dying_child(const struct scratch *s,
                                  void (*body)(const struct scratch *s, void *payload),
                                  void *payload)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body(s, payload);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The finding of this kind whose name ends with `name`; NULL: there is none. */
static inline const struct mld_finding *find(const struct mld_report *report,
                                             enum mld_problem problem, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < report->count; i++) {
        const struct mld_finding *f = &report->findings[i];
        size_t n = strlen(f->name);
        if (f->problem == problem && n >= len && strcmp(f->name + n - len, name) == 0)
            return f;
    }
    return NULL;
}

static inline void print_report(const struct mld_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        print_message("  %s %s: %s\n", mld_problem_name(report->findings[i].problem),
                      report->findings[i].name, report->findings[i].detail);
}

static inline struct mld_report *verify(const struct scratch *s, bool quick)
{
    struct mld_report *report = NULL;
    mld_experiment *e = open_folder(s, true);
    expect_ok(mld_verify(&report, e, quick, NULL, NULL));
    mld_experiment_close(e);
    return report;
}

/* Fails unless verify finds nothing. */
static inline void expect_clean(const struct scratch *s)
{
    struct mld_report *report = verify(s, false);
    if (report->count > 0)
        print_report(report);
    assert_int_equal(report->count, 0);
    assert_int_equal(report->n_losses, 0);
    mld_report_free(report);
}

#endif

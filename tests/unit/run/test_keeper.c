#include "file_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "run/keeper.h"
#include "run/mark.h"

/* The library's calls in order: F fsync of a file, D of a directory, S fdatasync of a stream, A
 * syncfs, M the mark's rename. */
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static char trace[4096];
static char fault_on; /* the letter that fails */
static int faults;

static bool note(char letter)
{
    pthread_mutex_lock(&trace_lock);
    size_t used = strlen(trace);
    if (used + 1 < sizeof(trace))
        trace[used] = letter;
    bool fails = letter == fault_on;
    faults += fails;
    pthread_mutex_unlock(&trace_lock);
    if (fails)
        errno = EIO;
    return fails;
}

static void start_trace(char fault)
{
    pthread_mutex_lock(&trace_lock);
    memset(trace, 0, sizeof(trace));
    fault_on = fault;
    faults = 0;
    pthread_mutex_unlock(&trace_lock);
}

static int count_calls(char letter)
{
    int count = 0;
    pthread_mutex_lock(&trace_lock);
    for (const char *at = trace; *at != '\0'; at++)
        count += *at == letter;
    pthread_mutex_unlock(&trace_lock);
    return count;
}

int fsync(int fd)
{
    struct stat st;
    fstat(fd, &st);
    return note(S_ISDIR(st.st_mode) ? 'D' : 'F') ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return note('S') ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
    (void)fd; /* the machine's other work is none of the test's */
    return note('A') ? -1 : 0;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    if (strncmp(to, "mark.", 5) == 0)
        note('M');
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

static void save_number(mld_experiment *e, int number)
{
    char name[32];
    snprintf(name, sizeof(name), "f%d", number);
    struct mld_save_options o = named(name);
    expect_ok(mld_file_save_bytes(NULL, e, name, strlen(name), &o));
}

/* Lets `done` come true within some seconds. */
static bool becomes(bool (*done)(void *payload), void *payload)
{
    for (int i = 0; i < 1000; i++) {
        if (done(payload))
            return true;
        usleep(10000);
    }
    return false;
}

static bool mark_was_written(void *payload)
{
    (void)payload;
    return count_calls('M') > 0;
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    while (readdir(tasks) != NULL)
        count++;
    closedir(tasks);
    return count;
}

static int own_threads; /* before there was a run */

static void *do_nothing(void *argument)
{
    return argument;
}

static bool is_alone(void *payload)
{
    (void)payload;
    return count_threads() == own_threads;
}

static void test_a_save_is_durable_a_moment_later_and_the_thread_leaves(void **state)
{
    mld_experiment *e = open_run(*state);

    expect_ok(mld_flush(e));
    assert_true(becomes(is_alone, NULL));
    start_trace(0);
    save_number(e, 1);
    assert_int_equal(count_calls('F'), 0); /* not by the call itself */
    assert_false(is_alone(NULL));
    assert_true(becomes(mark_was_written, NULL));
    assert_int_equal(count_calls('F'), 1);
    const char *bytes = strchr(trace, 'F');
    const char *stream = strchr(trace, 'S');
    const char *mark = strchr(trace, 'M');
    assert_true(bytes != NULL && stream != NULL && mark != NULL);
    assert_true(bytes < stream && stream < mark);
    assert_true(strchr(bytes, 'D') != NULL && strchr(bytes, 'D') < stream);
    assert_true(becomes(is_alone, NULL));
    mld_experiment_close(e);
}

static void test_flush_does_not_wait_for_the_moment(void **state)
{
    mld_experiment *e = open_run(*state);

    expect_ok(mld_flush(e));
    start_trace(0);
    save_number(e, 1);
    expect_ok(mld_flush(e));
    assert_int_equal(count_calls('F'), 1);
    assert_int_equal(count_calls('M'), 1);
    start_trace(0);
    expect_ok(mld_flush(e));
    assert_string_equal(trace, ""); /* all is safe */
    mld_experiment_close(e);
}

static void test_the_mark_says_how_far_each_stream_is_safe(void **state)
{
    const struct scratch *scratch = *state;
    struct arena arena = {NULL, 0, 0};
    struct mark mark;
    struct stat st;
    mld_experiment *e = open_run(scratch);

    save_number(e, 1);
    expect_ok(mld_flush(e));
    int dir = open(in_scratch(scratch, "run/run"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    expect_ok(mark_read(&mark, &arena, dir, 0));
    assert_int_equal(mark.count, 1);
    assert_string_equal(mark.streams[0].file, ".mldash/records.jsonl");
    char *text = calloc(1, 1 << 16);
    int fd = openat(dir, ".mldash/records.jsonl", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(mark.streams[0].length, st.st_size);
    assert_int_equal(read(fd, text, 1 << 16), st.st_size);
    assert_int_equal(mark.streams[0].crc, crc32c(0, text, (size_t)st.st_size));
    close(fd);
    free(text);
    close(dir);
    arena_free(&arena);
    mld_experiment_close(e);
}

static void test_a_mark_that_does_not_read_marks_nothing(void **state)
{
    const struct scratch *scratch = *state;
    struct arena arena = {NULL, 0, 0};
    struct mark mark = {"w", "b", NULL, 0};
    char text[256] = "";

    scratch_mkdir(scratch, ".mldash");
    assert_int_equal(mark_read(&mark, &arena, scratch->fd, 3), MLD_ENOTFOUND);
    mark = (struct mark){"w", "b", NULL, 0};
    expect_ok(mark_write(scratch->fd, 3, &mark));
    expect_ok(mark_read(&mark, &arena, scratch->fd, 3));
    int fd = openat(scratch->fd, ".mldash/mark.3.json", O_RDWR | O_CLOEXEC);
    ssize_t len = read(fd, text, sizeof(text));
    for (ssize_t i = 0; i < len; i++) { /* any byte that is changed, and any cut */
        char changed = (char)(text[i] ^ 1);
        assert_int_equal(pwrite(fd, &changed, 1, i), 1);
        assert_int_equal(mark_read(&mark, &arena, scratch->fd, 3), MLD_ENOTFOUND);
        assert_int_equal(pwrite(fd, &text[i], 1, i), 1);
    }
    for (ssize_t i = len - 1; i >= 0; i--) {
        assert_int_equal(ftruncate(fd, i), 0);
        assert_int_equal(mark_read(&mark, &arena, scratch->fd, 3), MLD_ENOTFOUND);
    }
    close(fd);
    arena_free(&arena);
}

static void test_what_earlier_writers_marked_stays_marked(void **state)
{
    const struct scratch *scratch = *state;
    struct mld_field field = mld_number("value", 1);
    struct arena arena = {NULL, 0, 0};
    struct mark mark;
    mld_series *series = NULL;
    mld_experiment *e = open_run(scratch);

    expect_ok(mld_series_open(&series, e, MLD_METRIC, "loss", NULL));
    expect_ok(mld_series_append(series, &field, 1, 1.0, NULL));
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    mld_experiment_close(e);
    e = open_run(scratch);
    save_number(e, 1);
    expect_ok(mld_flush(e));
    int dir = open(in_scratch(scratch, "run/run"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    expect_ok(mark_read(&mark, &arena, dir, 0));
    bool found = false;
    for (size_t i = 0; i < mark.count; i++)
        found = found || strcmp(mark.streams[i].file, "metrics/loss/data.jsonl") == 0;
    assert_true(found);
    close(dir);
    arena_free(&arena);
    mld_experiment_close(e);
}

static void test_many_files_are_made_durable_at_once(void **state)
{
    mld_experiment *e = open_run(*state);

    expect_ok(mld_flush(e));
    start_trace(0);
    for (int i = 0; i < KEEPER_MAX_FDS + 1; i++)
        save_number(e, i);
    expect_ok(mld_flush(e));
    if (count_calls('F') == 0) { /* else the machine was so slow that the thread came first */
        assert_int_equal(count_calls('A'), 1);
        assert_int_equal(count_calls('M'), 1);
    }
    start_trace(0);
    for (int i = 0; i < KEEPER_MAX_FDS; i++)
        save_number(e, i);
    expect_ok(mld_flush(e));
    assert_int_equal(count_calls('A'), 0);
    assert_int_equal(count_calls('F'), KEEPER_MAX_FDS);
    mld_experiment_close(e);
}

static void test_many_streams_are_made_durable_at_once(void **state)
{
    struct mld_field field = mld_number("value", 1);
    mld_experiment *e = open_run(*state);

    expect_ok(mld_flush(e));
    start_trace(0);
    for (int i = 0; i < KEEPER_MAX_FDS + 1; i++) {
        mld_series *series = NULL;
        char name[32];
        snprintf(name, sizeof(name), "m%d", i);
        expect_ok(mld_series_open(&series, e, MLD_METRIC, name, NULL));
        expect_ok(mld_series_append(series, &field, 1, 1.0, NULL));
    }
    expect_ok(mld_flush(e));
    assert_int_equal(count_calls('A'), 1);
    assert_int_equal(count_text(*state, ".mldash/mark.0.json", "metrics/"), KEEPER_MAX_FDS + 1);
    mld_experiment_close(e);
}

/* One round in which calls of this kind fail; then what the next calls say. */
static void fail_once(const struct scratch *scratch, char letter, int n_files)
{
    struct mld_save_options o = named("next");
    mld_experiment *e = open_run(scratch);

    expect_ok(mld_flush(e));
    start_trace(letter);
    for (int i = 0; i < n_files; i++)
        save_number(e, i);
    expect_error(mld_flush(e), MLD_EIO, "power loss");
    assert_true(faults > 0);
    start_trace(0);
    expect_ok(mld_file_save_bytes(NULL, e, "x", 1, &o)); /* it is told once */
    expect_ok(mld_flush(e));
    mld_experiment_close(e);
}

static void test_a_failed_fsync_of_bytes_is_recorded_and_told_once(void **state)
{
    fail_once(*state, 'F', 1);
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "\"type\":\"unsafe\""), 1);
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "/f0\""), 1); /* it names them */
}

static void test_a_failed_fsync_of_directories_is_recorded(void **state)
{
    fail_once(*state, 'D', 1);
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "\"type\":\"unsafe\""), 1);
}

static void test_a_stream_whose_fsync_failed_is_given_up(void **state)
{
    fail_once(*state, 'S', 1);
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "\"next\""), 0);
    assert_int_equal(count_text(*state, ".mldash/records.0-1.jsonl", "\"next\""), 1);
    assert_int_equal(count_text(*state, ".mldash/records.0-1.jsonl", "\"type\":\"unsafe\""), 1);
}

static void test_a_failed_syncfs_counts_for_all_in_it(void **state)
{
    fail_once(*state, 'A', KEEPER_MAX_FDS + 1);
    assert_int_equal(count_text(*state, ".mldash/records.0-1.jsonl", "\"next\""), 1);
}

static bool a_fault_happened(void *payload)
{
    (void)payload;
    pthread_mutex_lock(&trace_lock);
    bool happened = faults > 0;
    pthread_mutex_unlock(&trace_lock);
    return happened;
}

static void test_a_failure_in_the_background_is_told_by_the_next_save(void **state)
{
    struct mld_save_options o = named("next");
    mld_experiment *e = open_run(*state);

    expect_ok(mld_flush(e));
    start_trace('S');
    save_number(e, 1);
    assert_true(becomes(a_fault_happened, NULL));
    start_trace(0);
    assert_true(becomes(is_alone, NULL));
    expect_error(mld_file_save_bytes(NULL, e, "x", 1, &o), MLD_EIO, "power loss");
    expect_ok(mld_file_save_bytes(NULL, e, "x", 1, &o));
    expect_ok(mld_flush(e));
    mld_experiment_close(e);
}

static void test_nothing_is_retired_for_a_version_that_may_be_lost(void **state)
{
    struct mld_save_options o = named("model");
    struct mld_file *old = NULL;
    mld_experiment *e = open_run(*state);

    expect_ok(mld_file_save_bytes(&old, e, "old", 3, &o));
    expect_ok(mld_flush(e));
    start_trace('F');
    expect_ok(mld_file_save_bytes(NULL, e, "new", 3, &o));
    assert_int_equal(mld_flush(e), MLD_EIO);
    start_trace(0);
    assert_true(is_stored(e, old->id));
    expect_ok(mld_file_save_bytes(NULL, e, "newer", 5, &o));
    expect_ok(mld_flush(e));
    assert_false(is_stored(e, old->id));
    mld_file_free(old);
    mld_experiment_close(e);
}

static int count_open_files(const char *what)
{
    DIR *fds = opendir("/proc/self/fd");
    int count = 0;
    char target[512];
    struct dirent *entry;

    while ((entry = readdir(fds)) != NULL) {
        ssize_t len = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
        target[len < 0 ? 0 : len] = '\0';
        count += strstr(target, what) != NULL;
    }
    closedir(fds);
    return count;
}

static void test_a_forked_child_keeps_no_bytes_open(void **state)
{
    mld_experiment *e = open_run(*state);
    struct mld_save_options o = named("large");
    char *bytes = make_bytes(2u << 20);
    int status;

    expect_ok(mld_flush(e));
    expect_ok(mld_file_save_bytes(NULL, e, bytes, 2u << 20, &o));
    assert_int_equal(count_open_files("large"), 1); /* the keeper's, until it is durable */
    pid_t child = fork();
    if (child == 0)
        _exit(count_open_files("/run/run"));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_ok(mld_flush(e));
    assert_int_equal(count_open_files("large"), 0);
    free(bytes);
    mld_experiment_close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_save_is_durable_a_moment_later_and_the_thread_leaves),
        TEST(test_flush_does_not_wait_for_the_moment),
        TEST(test_the_mark_says_how_far_each_stream_is_safe),
        TEST(test_a_mark_that_does_not_read_marks_nothing),
        TEST(test_what_earlier_writers_marked_stays_marked),
        TEST(test_many_files_are_made_durable_at_once),
        TEST(test_many_streams_are_made_durable_at_once),
        TEST(test_a_failed_fsync_of_bytes_is_recorded_and_told_once),
        TEST(test_a_failed_fsync_of_directories_is_recorded),
        TEST(test_a_stream_whose_fsync_failed_is_given_up),
        TEST(test_a_failed_syncfs_counts_for_all_in_it),
        TEST(test_a_failure_in_the_background_is_told_by_the_next_save),
        TEST(test_nothing_is_retired_for_a_version_that_may_be_lost),
        TEST(test_a_forked_child_keeps_no_bytes_open),
    };

    pthread_t first;
    assert_int_equal(pthread_create(&first, NULL, do_nothing, NULL), 0);
    pthread_join(first, NULL); /* a sanitizer starts its own thread with it */
    own_threads = count_threads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

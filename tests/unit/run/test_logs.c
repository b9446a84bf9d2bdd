/* Log lines: what is written, and reading them by level and range from all writers. */
#include "series_helpers.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "run/run.h"

static void log_text(mld_experiment *experiment, const char *level, const char *message)
{
    expect_ok(mld_log(experiment, level, message, strlen(message), NULL, 0, NAN));
}

static void expect_logs(mld_experiment *experiment, const char *level, int64_t start, size_t limit,
                        const char *const *messages, size_t n, bool has_more)
{
    struct mld_log_lines *lines = NULL;

    expect_ok(mld_log_read(&lines, experiment, level, start, limit));
    assert_int_equal(lines->count, n);
    assert_int_equal(lines->has_more, has_more);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(lines->lines[i].message, messages[i]);
    mld_log_lines_free(lines);
}

static void test_a_line_has_the_published_form(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    const struct mld_field fields[] = {mld_integer("epoch", 3), mld_json("j", "{\"a\": [NaN]}")};

    expect_ok(mld_log(experiment, "warn", "a\0\"\n", 4, fields, LENGTH(fields), 1.5));
    expect_ok(mld_log(experiment, "info", NULL, 0, NULL, 0, 253402300799.0));
    scratch_expect(scratch, "logs/logs.jsonl",
                   "{\"sequenceNumber\":0,\"timestamp\":\"1970-01-01T00:00:01.500000Z\","
                   "\"level\":\"warn\",\"message\":\"a\\u0000\\\"\\n\","
                   "\"metadata\":{\"epoch\":3,\"j\":{\"a\":[NaN]}}}\n"
                   "{\"sequenceNumber\":1,\"timestamp\":\"9999-12-31T23:59:59.000000Z\","
                   "\"level\":\"info\",\"message\":\"\"}\n");
    struct mld_log_lines *lines = NULL;
    expect_ok(mld_log_read(&lines, experiment, NULL, 0, 0));
    assert_int_equal(lines->count, 2);
    assert_int_equal(lines->lines[0].message_len, 4);
    assert_memory_equal(lines->lines[0].message, "a\0\"\n", 5);
    assert_string_equal(lines->lines[0].level, "warn");
    assert_string_equal(lines->lines[0].timestamp, "1970-01-01T00:00:01.500000Z");
    assert_string_equal(lines->lines[0].metadata_json, "{\"epoch\":3,\"j\":{\"a\":[NaN]}}");
    assert_null(lines->lines[1].metadata_json);
    assert_int_equal(lines->lines[1].sequence, 1);
    mld_log_lines_free(lines);
    mld_log_lines_free(NULL);
    mld_experiment_close(experiment);
}

static void test_the_shard_is_recorded_once(void **state)
{
    const struct scratch *scratch = *state;
    char text[8192] = {0};
    int n = 0;

    for (int i = 0; i < 2; i++) {
        mld_experiment *experiment = open_run(scratch, false);
        log_text(experiment, "info", "a");
        log_text(experiment, "info", "b");
        mld_experiment_close(experiment);
    }
    int fd = openat(scratch->fd, ".mldash/records.jsonl", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    for (const char *at = text; (at = strstr(at, "\"type\":\"logs\"")) != NULL; at++)
        n++;
    assert_int_equal(n, 1);
}

static void test_levels_and_ranges(void **state)
{
    mld_experiment *experiment = open_run(*state, false);

    expect_logs(experiment, NULL, 0, 0, NULL, 0, false);
    log_text(experiment, "info", "a");
    log_text(experiment, "error", "b");
    log_text(experiment, "info", "c");
    log_text(experiment, "info", "d");
    expect_logs(experiment, "info", 0, 0, (const char *[]){"a", "c", "d"}, 3, false);
    expect_logs(experiment, "info", 1, 1, (const char *[]){"c"}, 1, true);
    expect_logs(experiment, "info", 1, 2, (const char *[]){"c", "d"}, 2, false);
    expect_logs(experiment, "error", 0, 1, (const char *[]){"b"}, 1, false);
    expect_logs(experiment, "debug", 0, 5, NULL, 0, false);
    expect_logs(experiment, NULL, 3, 9, (const char *[]){"d"}, 1, false);
    expect_logs(experiment, NULL, 9, 0, NULL, 0, false);
    struct mld_log_lines *lines = NULL;
    expect_ok(mld_log_read(&lines, experiment, "error", 0, 0));
    assert_int_equal(lines->lines[0].sequence, 1); /* among all */
    mld_log_lines_free(lines);
    mld_experiment_close(experiment);
}

static void test_bad_input(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    struct mld_log_lines *lines = NULL;
    const struct mld_field bad = mld_json("x", "nul");

    assert_int_equal(mld_log(experiment, "warning", "m", 1, NULL, 0, NAN), MLD_EINVALID);
    expect_message("debug, info, warn, error or fatal");
    assert_int_equal(mld_log(experiment, NULL, "m", 1, NULL, 0, NAN), MLD_EINVALID);
    assert_int_equal(mld_log(experiment, "INFO", "m", 1, NULL, 0, NAN), MLD_EINVALID);
    assert_int_equal(mld_log(experiment, "info", NULL, 1, NULL, 0, NAN), MLD_EINVALID);
    assert_int_equal(mld_log(experiment, "info", "m", 1, &bad, 1, NAN), MLD_EINVALID);
    assert_int_equal(mld_log(experiment, "info", "m", 1, NULL, 0, INFINITY), MLD_EINVALID);
    assert_int_equal(mld_log(experiment, "info", "m", 1, NULL, 0, -1), MLD_EINVALID);
    assert_int_equal(mld_log_read(&lines, experiment, "warning", 0, 0), MLD_EINVALID);
    assert_int_equal(mld_log_read(&lines, experiment, NULL, -1, 0), MLD_EINVALID);
    assert_null(lines);
    assert_true(faccessat(scratch->fd, "logs/logs.jsonl", F_OK, 0) != 0);
    mld_experiment_close(experiment);
}

static void log_in_child(mld_experiment *experiment)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        log_text(experiment, "info", "child");
        mld_experiment_close(experiment);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_shards_of_all_writers(void **state)
{
    mld_experiment *experiment = open_run(*state, false);

    log_text(experiment, "info", "a");
    log_in_child(experiment);
    log_text(experiment, "info", "b");
    expect_logs(experiment, NULL, 0, 0, (const char *[]){"a", "b", "child"}, 3, false);
    expect_logs(experiment, NULL, 2, 1, (const char *[]){"child"}, 1, false);
    expect_logs(experiment, NULL, 0, 2, (const char *[]){"a", "b"}, 2, true);
    mld_experiment_close(experiment);
    experiment = open_run(*state, true);
    expect_logs(experiment, NULL, 0, 0, (const char *[]){"a", "b", "child"}, 3, false);
    mld_experiment_close(experiment);
}

static void test_a_broken_shard_is_followed_by_another(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    struct run *run = NULL;

    log_text(experiment, "info", "a");
    expect_ok(run_enter(&run, experiment, RUN_WRITE));
    run->logs->broken = true;
    run_leave(run);
    log_text(experiment, "info", "b");
    assert_int_equal(faccessat(scratch->fd, "logs/logs.0-1.jsonl", F_OK, 0), 0);
    expect_logs(experiment, NULL, 0, 0, (const char *[]){"a", "b"}, 2, false);
    mld_experiment_close(experiment);
}

static void test_lines_of_other_tools_and_damage(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, true);

    if (scratch_count(scratch, "logs") < 0)
        scratch_mkdir(scratch, "logs");
    scratch_write(scratch, "logs/logs.jsonl",
                  "{\"sequenceNumber\": 0, \"timestamp\": \"2025-01-01T00:00:00Z\", "
                  "\"level\": \"info\", \"message\": \"caf\\u00e9\", \"metadata\": {\"k\": 1}}\n"
                  "{\"sequenceNumber\": 1, \"timestamp\": \"2025-01-01T00:00:00Z\"\n"
                  "{\"level\": \"info\"}\n"
                  "{\"timestamp\": \"x\", \"level\": \"info\", \"message\": \"last\"}\n"
                  "{\"timestamp\": \"x\", \"level\": \"info\", \"message\": \"torn\"}");
    for (int i = 0; i < 2; i++)
        expect_logs(experiment, "info", 0, 0, (const char *[]){"caf\xC3\xA9", "last"}, 2, false);
    assert_int_equal(problems_of(experiment), 2);
    mld_experiment_close(experiment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line_has_the_published_form, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_the_shard_is_recorded_once, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_levels_and_ranges, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_bad_input, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_shards_of_all_writers, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_broken_shard_is_followed_by_another, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_lines_of_other_tools_and_damage, scratch_setup,
                                        scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

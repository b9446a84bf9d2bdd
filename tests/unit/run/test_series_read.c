/* Reading: order, ranges, times, damage, files of other writers and other tools, lists. */
#include "series_helpers.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

/* Adds text to a file of the run, as another process would. */
static void add_text(const struct scratch *scratch, const char *path, const char *text)
{
    int fd = openat(scratch->fd, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_metric_dir(const struct scratch *scratch, const char *dir)
{
    if (scratch_count(scratch, "metrics") < 0)
        scratch_mkdir(scratch, "metrics");
    scratch_mkdir(scratch, dir);
}

static struct mld_points *read_range(mld_series *series, int64_t start, size_t limit)
{
    struct mld_points *points = NULL;

    expect_ok(mld_series_read(&points, series, start, limit));
    return points;
}

static void expect_range(mld_series *series, int64_t start, size_t limit, int64_t first,
                         size_t count, bool has_more)
{
    struct mld_points *points = read_range(series, start, limit);
    char text[64];

    assert_int_equal(points->count, count);
    assert_int_equal(points->has_more, has_more);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(text, sizeof(text), "{\"value\":%d.0}", (int)first + (int)i);
        assert_string_equal(points->points[i].data_json, text);
        assert_int_equal(points->points[i].index, first + (int64_t)i);
    }
    mld_points_free(points);
}

static void test_ranges(void **state)
{
    enum { COUNT = 5000 }; /* more than one mark of the index */
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");

    expect_range(loss, 0, 0, 0, 0, false);
    expect_range(loss, -5, 3, 0, 0, false);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(append_value(loss, i, NAN), i);
    expect_range(loss, 0, 0, 0, COUNT, false);
    expect_range(loss, 0, 1, 0, 1, true);
    expect_range(loss, 1023, 2, 1023, 2, true);
    expect_range(loss, 1024, 1, 1024, 1, true);
    expect_range(loss, 4096, 2000, 4096, COUNT - 4096, false);
    expect_range(loss, -1, 0, COUNT - 1, 1, false);
    expect_range(loss, -3, 2, COUNT - 3, 2, true);
    expect_range(loss, -COUNT - 7, 1, 0, 1, true);
    expect_range(loss, INT64_MIN, 1, 0, 1, true);
    expect_range(loss, COUNT, 1, 0, 0, false);
    expect_range(loss, INT64_MAX, SIZE_MAX, 0, 0, false);
    mld_experiment_close(experiment);
}

static void test_times(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_points *points = NULL;
    double before = (double)time(NULL) - 1;

    append_value(loss, 0, 30);
    append_value(loss, 1, 10);
    append_value(loss, 2, 20);
    append_value(loss, 3, 10);
    append_value(loss, 4, NAN); /* has the time of its createdAt */
    expect_ok(mld_series_slice(&points, loss, 10, 20));
    assert_int_equal(points->count, 3);
    assert_int_equal(points->total, 5);
    assert_int_equal(points->points[0].index, 1);
    assert_int_equal(points->points[1].index, 3);
    assert_int_equal(points->points[2].index, 2);
    assert_true(points->points[2].time_s == 20);
    mld_points_free(points);
    expect_ok(mld_series_slice(&points, loss, NAN, NAN));
    assert_int_equal(points->count, 5);
    assert_int_equal(points->points[4].index, 4);
    assert_true(points->points[4].time_s > before && points->points[4].time_s < before + 60);
    assert_int_equal(strlen(points->points[4].created_at), 27);
    mld_points_free(points);
    expect_ok(mld_series_slice(&points, loss, 20.5, NAN));
    assert_int_equal(points->count, 2);
    mld_points_free(points);
    expect_ok(mld_series_slice(&points, loss, 20, 10));
    assert_int_equal(points->count, 0);
    mld_points_free(points);
    mld_experiment_close(experiment);
}

static void append_entry(mld_series *series, const char *json, double time_s)
{
    struct mld_field field = mld_json("f", json);

    expect_ok(mld_series_append(series, &field, 1, time_s, NULL));
}

static void test_entries_of_equal_time_are_merged(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *pose = series_of(experiment, MLD_TRACK, "pose");
    struct mld_points *points = NULL;
    struct mld_series_list *list = NULL;

    append_entry(pose, "{\"a\": 1, \"b\": 2}", 5);
    append_entry(pose, "9", 1.5);
    append_entry(pose, "{\"b\": 3, \"c\": 4}", 5);
    append_entry(pose, "{\"a\": NaN}", 5);
    const char *const merged[] = {"{\"f\":9}", "{\"f.a\":NaN,\"f.b\":3,\"f.c\":4}"};
    expect_data(pose, merged, 2);
    append_entry(pose, "7", 3);
    expect_data(pose, (const char *[]){merged[0], "{\"f\":7}", merged[1]}, 3);

    expect_ok(mld_series_slice(&points, pose, 2, 5));
    assert_int_equal(points->count, 2);
    assert_int_equal(points->points[0].index, 1);
    assert_true(points->points[1].time_s == 5);
    assert_null(points->points[1].created_at);
    mld_points_free(points);
    expect_ok(mld_series_slice(&points, pose, NAN, 1.5));
    assert_int_equal(points->count, 1);
    mld_points_free(points);
    points = read_range(pose, -1, 0);
    assert_int_equal(points->count, 1);
    assert_int_equal(points->points[0].index, 2);
    mld_points_free(points);

    expect_ok(mld_series_stats(&list, pose));
    assert_int_equal(list->series[0].total, 3);
    assert_true(list->series[0].first_s == 1.5 && list->series[0].last_s == 5);
    assert_int_equal(list->series[0].n_columns, 4);
    assert_string_equal(list->series[0].columns[3], "f.c");
    assert_non_null(list->series[0].created_at);
    mld_series_list_free(list);
    mld_experiment_close(experiment);
}

static void test_many_entries_out_of_order(void **state)
{
    enum { COUNT = 20000 };
    mld_experiment *experiment = open_run(*state, false);
    mld_series *pose = series_of(experiment, MLD_TRACK, "pose");
    mld_batch *batch = NULL;
    int64_t first, last;

    expect_ok(mld_batch_new(&batch, pose));
    for (int i = 0; i < COUNT; i++) {
        int at = (int)((int64_t)i * 7919 % COUNT);
        struct mld_field field = mld_number("value", at);
        expect_ok(mld_batch_add(batch, &field, 1, at));
    }
    expect_ok(mld_batch_commit(batch, &first, &last));
    mld_batch_free(batch);
    expect_range(pose, 0, 0, 0, COUNT, false);
    expect_range(pose, 12345, 10, 12345, 10, true);
    mld_experiment_close(experiment);
}

static void test_torn_and_garbled_lines(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_series_list *list = NULL;

    make_metric_dir(scratch, "metrics/loss");
    add_text(scratch, "metrics/loss/data.9.jsonl",
             "{\"index\":0,\"data\":{\"a\":1},\"createdAt\":\"2026-01-02T03:04:05Z\"}\n"
             "{\"index\":1,\"data\":{\"a\":\n"
             "\n"
             "[1]\n"
             "{\"data\":[]}\n"
             "{\"index\":9,\"data\":{\"b\":2}}\n"
             "{\"index\":10,\"data\":{\"torn\":");
    const char *const good[] = {"{\"a\":1}", "{\"b\":2}", "{\"torn\":3}"};
    expect_data(loss, good, 2);
    assert_int_equal(problems_of(experiment), 4);
    expect_data(loss, good, 2);
    expect_ok(mld_series_stats(&list, loss));
    assert_int_equal(list->series[0].n_columns, 2);
    assert_string_equal(list->series[0].created_at, "2026-01-02T03:04:05.000000Z");
    mld_series_list_free(list);
    add_text(scratch, "metrics/loss/data.9.jsonl", "3}}\n");
    expect_data(loss, good, 3);
    assert_int_equal(problems_of(experiment), 4); /* once each */
    mld_experiment_close(experiment);
}

static void test_reading_goes_on_where_it_ended(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, true);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    char line[64];

    make_metric_dir(scratch, "metrics/loss");
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(line, sizeof(line), "{\"index\":%d,\"data\":{\"value\":%d.0}}\n", i, i);
        add_text(scratch, "metrics/loss/data.jsonl", line);
        if (i % 500 == 499)
            expect_range(loss, 0, 0, 0, (size_t)i + 1, false);
    }
    expect_range(loss, 1024, 5, 1024, 5, true);
    mld_experiment_close(experiment);
}

static void test_a_file_that_was_replaced(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, true);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_series_list *list = NULL;

    make_metric_dir(scratch, "metrics/loss");
    add_text(scratch, "metrics/loss/data.jsonl",
             "{\"data\":{\"old\":1}}\n{\"data\":{\"old\":2}}\n");
    expect_data(loss, (const char *[]){"{\"old\":1}", "{\"old\":2}"}, 2);
    assert_int_equal(unlinkat(scratch->fd, "metrics/loss/data.jsonl", 0), 0);
    expect_range(loss, 0, 0, 0, 0, false);
    add_text(scratch, "metrics/loss/data.jsonl", "{\"data\":{\"new\":1}}\n");
    expect_data(loss, (const char *[]){"{\"new\":1}"}, 1);
    scratch_write(scratch, "metrics/loss/data.jsonl", "{\"data\":{}}\n"); /* cut, same inode */
    expect_data(loss, (const char *[]){"{}"}, 1);
    expect_ok(mld_series_stats(&list, loss));
    assert_int_equal(list->series[0].n_columns, 0);
    mld_series_list_free(list);
    scratch_write(scratch, "metrics/loss/other", "{\"data\":{}}\n{\"data\":{\"n\":2}}\n");
    assert_int_equal(
        renameat(scratch->fd, "metrics/loss/other", scratch->fd, "metrics/loss/data.jsonl"), 0);
    expect_ok(mld_series_stats(&list, loss));
    assert_int_equal(list->series[0].total, 2);
    mld_series_list_free(list);
    scratch_write(scratch, "metrics/loss/other", "{\"data\":{\"m\":1}}\n{\"data\":{}}\n");
    assert_int_equal(
        renameat(scratch->fd, "metrics/loss/other", scratch->fd, "metrics/loss/data.jsonl"), 0);
    expect_data(loss, (const char *[]){"{\"m\":1}", "{}"}, 2); /* as long as the one before */
    expect_ok(mld_series_stats(&list, loss));
    assert_string_equal(list->series[0].columns[0], "m");
    mld_series_list_free(list);
    assert_int_equal(problems_of(experiment), 0);
    mld_experiment_close(experiment);
}

/* A folder as the published clients write it. */
static void make_foreign(const struct scratch *scratch)
{
    make_metric_dir(scratch, "metrics/train");
    scratch_mkdir(scratch, "metrics/train/loss");
    scratch_mkdir(scratch, "metrics/None");
    scratch_mkdir(scratch, "tracks");
    scratch_mkdir(scratch, "tracks/robot_pos");
    scratch_write(scratch, "metrics/train/loss/data.jsonl",
                  "{\"index\": 0, \"data\": {\"v\": NaN, \"_ts\": 3.5}, "
                  "\"createdAt\": \"2025-01-02T03:04:05.500000Z\"}\n");
    scratch_write(scratch, "metrics/train/loss/metadata.json",
                  "{\"metricId\": \"local-metric-loss\", \"name\": \"train/loss\", "
                  "\"description\": \"d\", \"tags\": [\"x\", 5, \"y\"], \"metadata\": {\"k\": 1}}");
    scratch_write(scratch, "metrics/None/data.jsonl", "{\"index\": 0, \"data\": {\"u\": 1}}\n");
    scratch_write(scratch, "metrics/None/metadata.json", "{\"name\": null}");
    scratch_write(scratch, "metrics/old.jsonl", "{\"timestamp\": 12.0, \"data\": {\"flat\": 1}}\n");
    scratch_write(scratch, "tracks/robot_pos/data.jsonl",
                  "{\"timestamp\": 2, \"x\": 1, \"y.z\": [1, 2]}\n");
    scratch_write(scratch, "tracks/robot_pos/metadata.json",
                  "{\"trackId\": \"local-track-robot_pos\", \"topic\": \"robot/pos\", "
                  "\"createdAt\": \"2025-01-02T03:04:05Z\"}");
    scratch_mkdir(scratch, "tracks/robot_pos/deep"); /* tracks have one level */
    scratch_write(scratch, "tracks/robot_pos/deep/data.jsonl", "{\"timestamp\": 2}\n");
}

static void expect_foreign(mld_experiment *experiment)
{
    struct mld_series_list *list = NULL;

    expect_ok(mld_series_list(&list, experiment, MLD_METRIC));
    assert_int_equal(list->count, 3);
    assert_null(list->series[0].name);
    assert_string_equal(list->series[1].name, "old");
    assert_true(list->series[1].first_s == 12);
    assert_string_equal(list->series[2].name, "train/loss");
    assert_string_equal(list->series[2].description, "d");
    assert_int_equal(list->series[2].n_tags, 2);
    assert_string_equal(list->series[2].tags[1], "y");
    assert_string_equal(list->series[2].metadata_json, "{\"k\": 1}");
    assert_int_equal(list->series[2].total, 1);
    assert_int_equal(list->series[2].n_columns, 1);
    assert_true(list->series[2].last_s == 3.5);
    assert_string_equal(list->series[2].updated_at, "2025-01-02T03:04:05.500000Z");
    mld_series_list_free(list);
    expect_ok(mld_series_list(&list, experiment, MLD_TRACK));
    assert_int_equal(list->count, 1);
    assert_string_equal(list->series[0].name, "robot/pos");
    assert_string_equal(list->series[0].created_at, "2025-01-02T03:04:05Z");
    mld_series_list_free(list);
}

static void test_series_of_other_tools(void **state)
{
    const struct scratch *scratch = *state;

    make_foreign(scratch);
    mld_experiment *experiment = open_run(scratch, true);
    expect_data(series_of(experiment, MLD_METRIC, NULL), (const char *[]){"{\"u\": 1}"}, 1);
    expect_data(series_of(experiment, MLD_METRIC, "old"), (const char *[]){"{\"flat\": 1}"}, 1);
    expect_data(series_of(experiment, MLD_TRACK, "robot/pos"),
                (const char *[]){"{\"x\":1,\"y.z\":[1, 2]}"}, 1);
    expect_data(series_of(experiment, MLD_METRIC, "train/loss"),
                (const char *[]){"{\"v\": NaN, \"_ts\": 3.5}"}, 1);
    expect_foreign(experiment);
    mld_experiment_close(experiment);
    experiment = open_run(scratch, true); /* the list first */
    expect_foreign(experiment);
    expect_foreign(experiment);
    assert_int_equal(problems_of(experiment), 0);
    mld_experiment_close(experiment);
}

static void test_going_on_in_a_series_of_another_tool(void **state)
{
    const struct scratch *scratch = *state;

    make_foreign(scratch);
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "train/loss");
    mld_series *other = series_of(experiment, MLD_TRACK, "robot_pos");
    struct mld_series_list *list = NULL;

    assert_int_equal(append_value(loss, 1, NAN), 1);
    expect_data(loss, (const char *[]){"{\"v\": NaN, \"_ts\": 3.5}", "{\"value\":1.0}"}, 2);
    expect_ok(mld_series_stats(&list, loss));
    assert_string_equal(list->series[0].description, "d");
    mld_series_list_free(list);
    append_value(other, 1, 1); /* not into the file of robot/pos */
    expect_data(other, (const char *[]){"{\"value\":1.0}"}, 1);
    expect_data(series_of(experiment, MLD_TRACK, "robot/pos"),
                (const char *[]){"{\"x\":1,\"y.z\":[1, 2]}"}, 1);
    mld_experiment_close(experiment);
}

static void write_in_child(const struct scratch *scratch, double value)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        mld_experiment *experiment = open_run(scratch, false);
        append_value(series_of(experiment, MLD_METRIC, "loss"), value, NAN);
        append_value(series_of(experiment, MLD_TRACK, "pose"), value, 5);
        _exit(0); /* as if killed */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_shards_of_other_processes(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    mld_series *pose = series_of(experiment, MLD_TRACK, "pose");

    write_in_child(scratch, 7);
    expect_data(loss, (const char *[]){"{\"value\":7.0}"}, 1);
    append_value(loss, 1, NAN);
    append_value(pose, 1, 5);
    expect_data(loss, (const char *[]){"{\"value\":7.0}", "{\"value\":1.0}"}, 2);
    write_in_child(scratch, 8); /* into the shard of the one that is gone */
    expect_data(loss, (const char *[]){"{\"value\":7.0}", "{\"value\":8.0}", "{\"value\":1.0}"}, 3);
    expect_data(pose, (const char *[]){"{\"value\":1.0}"}, 1);
    mld_experiment_close(experiment);
}

static void test_the_list(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    struct mld_series_list *list = NULL;
    const struct mld_field fields[] = {mld_number("z", 1), mld_number("a\"b", 1),
                                       mld_number("z", 2)};
    mld_series *b = series_of(experiment, MLD_METRIC, "b/c");

    expect_ok(mld_series_list(&list, experiment, MLD_METRIC));
    assert_int_equal(list->count, 0);
    mld_series_list_free(list);
    expect_ok(mld_series_stats(&list, b));
    assert_int_equal(list->count, 1);
    assert_int_equal(list->series[0].total, 0);
    assert_true(isnan(list->series[0].first_s));
    assert_null(list->series[0].created_at);
    mld_series_list_free(list);

    append_value(series_of(experiment, MLD_METRIC, "c"), 1, NAN);
    expect_ok(mld_series_append(b, fields, LENGTH(fields), 4, NULL));
    append_value(series_of(experiment, MLD_TRACK, "a"), 1, 1);
    append_value(series_of(experiment, MLD_METRIC, NULL), 1, NAN);
    expect_ok(mld_series_list(&list, experiment, MLD_METRIC));
    assert_int_equal(list->count, 3);
    assert_null(list->series[0].name);
    assert_string_equal(list->series[1].name, "b/c");
    assert_string_equal(list->series[2].name, "c");
    assert_int_equal(list->series[1].n_columns, 2);
    assert_string_equal(list->series[1].columns[0], "a\"b");
    assert_string_equal(list->series[1].columns[1], "z");
    assert_true(list->series[1].first_s == 4 && list->series[1].last_s == 4);
    assert_int_equal(list->series[1].bytes, strlen("{\"index\":0,\"data\":{\"z\":1.0,\"a\\\"b\":1."
                                                   "0,\"z\":2.0,\"_ts\":4.0},\"createdAt\":\"2026-"
                                                   "11-24T01:02:03.123456Z\"}\n"));
    mld_series_list_free(list);
    mld_series_list_free(NULL);
    mld_points_free(NULL);
    mld_experiment_close(experiment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ranges, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_times, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_entries_of_equal_time_are_merged, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_many_entries_out_of_order, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_torn_and_garbled_lines, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_reading_goes_on_where_it_ended, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_was_replaced, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_series_of_other_tools, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_going_on_in_a_series_of_another_tool, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_shards_of_other_processes, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_the_list, scratch_setup, scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

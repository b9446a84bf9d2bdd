/* Appending: lines, records, handles, batches, fork, broken shards. */
#include "series_helpers.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "run/series.h"

/* The whole text of a file of the run (malloc). */
static char *text_of(const struct scratch *scratch, const char *path)
{
    int fd = openat(scratch->fd, path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return NULL;
    assert_int_equal(fstat(fd, &st), 0);
    char *text = calloc(1, (size_t)st.st_size + 1);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    return text;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

static int count_in(const struct scratch *scratch, const char *path, const char *part)
{
    char *text = text_of(scratch, path);
    int n = text == NULL ? -1 : count_of(text, part);

    free(text);
    return n;
}

static void test_a_line_has_the_published_form(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    const struct mld_field fields[] = {mld_number("value", 0.5), mld_integer("step", 3),
                                       mld_number("bad", NAN)};
    int64_t index = -1;
    mld_series *loss = series_of(experiment, MLD_METRIC, "train/loss");

    expect_ok(mld_series_append(loss, fields, LENGTH(fields), NAN, &index));
    assert_int_equal(index, 0);
    expect_ok(mld_series_append(loss, fields, 1, 12.5, &index));
    assert_int_equal(index, 1);
    char *text = text_of(scratch, "metrics/train/loss/data.jsonl");
    assert_non_null(text);
    char *second = strchr(text, '\n') + 1;
    const char *head = "{\"index\":0,\"data\":{\"value\":0.5,\"step\":3,\"bad\":NaN},"
                       "\"createdAt\":\"20";
    assert_memory_equal(text, head, strlen(head));
    head = "{\"index\":1,\"data\":{\"value\":0.5,\"_ts\":12.5},\"createdAt\":\"20";
    assert_memory_equal(second, head, strlen(head));
    assert_string_equal(text + strlen(text) - 3, "\"}\n");
    free(text);
    mld_experiment_close(experiment);
}

static void test_a_track_line_is_flat(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *pose = series_of(experiment, MLD_TRACK, "robot/pose");
    struct mld_field field = mld_json("p", "{\"x\": 1, \"y\": {\"z\": 2}}");

    expect_ok(mld_series_append(pose, &field, 1, 2, NULL));
    scratch_expect(scratch, "tracks/robot_pose/data.jsonl",
                   "{\"timestamp\":2.0,\"p.x\":1,\"p.y.z\":2}\n");
    field = mld_number("timestamp", 1);
    assert_int_equal(mld_series_append(pose, &field, 1, 2, NULL), MLD_EINVALID);
    expect_message("timestamp");
    mld_experiment_close(experiment);
}

static void test_entries_without_time_are_not_merged(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *pose = series_of(experiment, MLD_TRACK, "pose");
    struct mld_series_list *list = NULL;
    struct mld_field field = mld_number("value", 1);
    mld_batch *batch = NULL;
    int64_t first, last;

    expect_ok(mld_batch_new(&batch, pose));
    for (int i = 0; i < 10000; i++) /* many within a microsecond */
        expect_ok(mld_batch_add(batch, &field, 1, NAN));
    expect_ok(mld_batch_commit(batch, &first, &last));
    mld_batch_free(batch);
    expect_ok(mld_series_stats(&list, pose));
    assert_int_equal(list->series[0].total, 10000);
    mld_series_list_free(list);
    mld_experiment_close(experiment);
}

static void test_nothing_is_made_by_bad_input(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    mld_series *other = NULL;
    struct mld_field field = mld_json("x", "{");
    int64_t index = 5;

    assert_int_equal(mld_series_append(loss, &field, 1, NAN, &index), MLD_EINVALID);
    assert_int_equal(index, -1);
    expect_message("\"x\"");
    field = mld_number(NULL, 1);
    assert_int_equal(mld_series_append(loss, &field, 1, NAN, NULL), MLD_EINVALID);
    field = mld_number("x", 1);
    assert_int_equal(mld_series_append(loss, &field, 1, INFINITY, NULL), MLD_EINVALID);
    expect_message("finite");
    assert_int_equal(scratch_count(scratch, "metrics"), -1);

    append_value(loss, 1, NAN);
    field.name = "bad\xFF";
    assert_int_equal(mld_series_append(loss, &field, 1, NAN, NULL), MLD_EINVALID);
    expect_data(loss, (const char *[]){"{\"value\":1.0}"}, 1);

    assert_int_equal(mld_series_open(&other, experiment, MLD_METRIC, "../x", NULL), MLD_ENAME);
    assert_null(other);
    assert_int_equal(mld_series_open(&other, experiment, MLD_TRACK, NULL, NULL), MLD_ENAME);
    assert_int_equal(mld_series_open(&other, experiment, (enum mld_series_kind)9, "x", NULL),
                     MLD_EINVALID);
    struct mld_series_options options = MLD_SERIES_OPTIONS_INIT;
    options.metadata_json = "[1]";
    assert_int_equal(mld_series_open(&other, experiment, MLD_METRIC, "x", &options), MLD_EINVALID);
    options = (struct mld_series_options){.version = 99};
    assert_int_equal(mld_series_open(&other, experiment, MLD_METRIC, "x", &options), MLD_EINVALID);
    mld_experiment_close(experiment);
}

static void test_reading_only_refuses_to_append(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_field field = mld_number("value", 2);

    append_value(loss, 1, NAN);
    expect_ok(mld_experiment_end(experiment, MLD_COMPLETED));
    assert_int_equal(mld_series_append(loss, &field, 1, NAN, NULL), MLD_ESTATE);
    mld_experiment_close(experiment);

    experiment = open_run(*state, true);
    loss = series_of(experiment, MLD_METRIC, "loss");
    assert_int_equal(mld_series_append(loss, &field, 1, NAN, NULL), MLD_ESTATE);
    expect_data(loss, (const char *[]){"{\"value\":1.0}"}, 1);
    mld_experiment_close(experiment);
}

static void test_one_handle_per_name(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *a = series_of(experiment, MLD_METRIC, "a");

    assert_ptr_equal(series_of(experiment, MLD_METRIC, "a"), a);
    assert_ptr_not_equal(series_of(experiment, MLD_TRACK, "a"), a);
    mld_series *unnamed = series_of(experiment, MLD_METRIC, NULL);
    assert_ptr_not_equal(series_of(experiment, MLD_METRIC, "None"), unnamed);
    assert_ptr_equal(series_of(experiment, MLD_METRIC, NULL), unnamed);
    mld_experiment_close(experiment);
}

static void test_two_handles_of_one_folder_write_one_shard(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *first = open_run(scratch, false);
    mld_experiment *second = open_run(scratch, false);

    assert_int_equal(append_value(series_of(first, MLD_METRIC, "a"), 1, NAN), 0);
    assert_int_equal(append_value(series_of(second, MLD_METRIC, "a"), 2, NAN), 1);
    mld_experiment_close(first);
    mld_series *a = series_of(second, MLD_METRIC, "a");
    assert_int_equal(append_value(a, 3, NAN), 2);
    expect_data(a, (const char *[]){"{\"value\":1.0}", "{\"value\":2.0}", "{\"value\":3.0}"}, 3);
    assert_int_equal(count_in(scratch, ".mldash/records.jsonl", "\"type\":\"series\""), 1);
    mld_experiment_close(second);
}

static void test_the_first_description_stays(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_series_options options = MLD_SERIES_OPTIONS_INIT;
    const char *tags[] = {"a", "b"};
    struct mld_series_list *list = NULL;

    append_value(loss, 1, NAN); /* recorded without any */
    options.description = "the loss";
    options.tags = tags;
    options.n_tags = 2;
    options.metadata_json = "{\"unit\": \"nat\"}";
    expect_ok(mld_series_open(&loss, experiment, MLD_METRIC, "loss", &options));
    options.description = "too late";
    expect_ok(mld_series_open(&loss, experiment, MLD_METRIC, "loss", &options));
    append_value(loss, 2, NAN);
    mld_experiment_close(experiment);

    experiment = open_run(scratch, false);
    options.description = "another";
    expect_ok(mld_series_open(&loss, experiment, MLD_METRIC, "loss", &options));
    append_value(loss, 3, NAN);
    expect_ok(mld_series_stats(&list, loss));
    assert_string_equal(list->series[0].description, "the loss");
    assert_int_equal(list->series[0].n_tags, 2);
    assert_string_equal(list->series[0].tags[1], "b");
    assert_string_equal(list->series[0].metadata_json, "{\"unit\":\"nat\"}");
    assert_int_equal(list->series[0].total, 3);
    mld_series_list_free(list);
    assert_int_equal(count_in(scratch, ".mldash/records.jsonl", "\"type\":\"series\""), 2);
    mld_experiment_close(experiment);
}

static void test_a_resumed_shard_goes_on(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);

    append_value(series_of(experiment, MLD_METRIC, "loss"), 1, NAN);
    mld_experiment_close(experiment);
    experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    assert_int_equal(append_value(loss, 2, NAN), 1);
    expect_data(loss, (const char *[]){"{\"value\":1.0}", "{\"value\":2.0}"}, 2);
    assert_int_equal(count_in(scratch, ".mldash/records.jsonl", "\"type\":\"series\""), 1);
    mld_experiment_close(experiment);
}

static void test_topics_that_share_a_folder_name(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *slash = series_of(experiment, MLD_TRACK, "a/b");
    mld_series *line = series_of(experiment, MLD_TRACK, "a_b");
    mld_series *unnamed = series_of(experiment, MLD_METRIC, NULL);
    mld_series *none = series_of(experiment, MLD_METRIC, "None");

    for (int i = 0; i < 2; i++) {
        append_value(slash, 1, 1 + i);
        append_value(line, 2, 1 + i);
        append_value(none, 3, NAN);
        append_value(unnamed, 4, NAN);
    }
    for (int i = 0; i < 2; i++) { /* the second time resumed */
        expect_data(slash, (const char *[]){"{\"value\":1.0}", "{\"value\":1.0}"}, 2);
        expect_data(line, (const char *[]){"{\"value\":2.0}", "{\"value\":2.0}"}, 2);
        expect_data(none, (const char *[]){"{\"value\":3.0}", "{\"value\":3.0}"}, 2);
        expect_data(unnamed, (const char *[]){"{\"value\":4.0}", "{\"value\":4.0}"}, 2);
        mld_experiment_close(experiment);
        experiment = open_run(scratch, false);
        slash = series_of(experiment, MLD_TRACK, "a/b");
        line = series_of(experiment, MLD_TRACK, "a_b");
        unnamed = series_of(experiment, MLD_METRIC, NULL);
        none = series_of(experiment, MLD_METRIC, "None");
    }
    append_value(line, 5, 0);
    expect_data(line, (const char *[]){"{\"value\":5.0}", "{\"value\":2.0}", "{\"value\":2.0}"}, 3);
    mld_experiment_close(experiment);
}

static void add_value(mld_batch *batch, double value)
{
    struct mld_field field = mld_number("value", value);

    expect_ok(mld_batch_add(batch, &field, 1, NAN));
}

static void test_a_batch(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    mld_batch *batch = NULL;
    struct mld_field bad = mld_json("x", "]");
    int64_t first = 7;
    int64_t last = 7;

    append_value(loss, 0, NAN);
    expect_ok(mld_batch_new(&batch, loss));
    expect_ok(mld_batch_commit(batch, &first, &last));
    assert_int_equal(first, -1);
    assert_int_equal(last, -1);
    add_value(batch, 1);
    assert_int_equal(mld_batch_add(batch, &bad, 1, NAN), MLD_EINVALID);
    add_value(batch, 2);
    assert_int_equal(count_in(scratch, "metrics/loss/data.jsonl", "\n"), 1);
    expect_ok(mld_batch_commit(batch, &first, &last));
    assert_int_equal(first, 1);
    assert_int_equal(last, 2);
    add_value(batch, 3);
    expect_ok(mld_batch_commit(batch, &first, &last));
    assert_int_equal(first, 3);
    mld_batch_free(batch);
    mld_batch_free(NULL);
    assert_int_equal(append_value(loss, 4, NAN), 4);
    expect_data(loss,
                (const char *[]){"{\"value\":0.0}", "{\"value\":1.0}", "{\"value\":2.0}",
                                 "{\"value\":3.0}", "{\"value\":4.0}"},
                5);
    assert_int_equal(count_in(scratch, "metrics/loss/data.jsonl", "{\"index\":4,"), 1);
    mld_experiment_close(experiment);
}

static void test_a_batch_of_several_writes(void **state)
{
    enum { COUNT = 50000 }; /* a dozen pieces */
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_points *points = NULL;
    mld_batch *batch = NULL;
    int64_t first, last;

    expect_ok(mld_batch_new(&batch, loss));
    for (int i = 0; i < COUNT; i++)
        add_value(batch, i);
    expect_ok(mld_batch_commit(batch, &first, &last));
    assert_int_equal(last, COUNT - 1);
    mld_batch_free(batch);
    expect_ok(mld_series_read(&points, loss, -3, 2));
    assert_int_equal(points->count, 2);
    assert_string_equal(points->points[1].data_json, "{\"value\":49998.0}");
    assert_int_equal(points->points[0].index, COUNT - 3);
    assert_true(points->has_more);
    assert_int_equal(points->total, COUNT);
    mld_points_free(points);
    mld_experiment_close(experiment);
}

static void test_a_batch_of_a_track(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *pose = series_of(experiment, MLD_TRACK, "pose");
    struct mld_field field = mld_number("x", 1);
    mld_batch *batch = NULL;
    int64_t first, last;

    expect_ok(mld_batch_new(&batch, pose));
    expect_ok(mld_batch_add(batch, &field, 1, 2));
    expect_ok(mld_batch_add(batch, &field, 1, 1));
    expect_ok(mld_batch_commit(batch, &first, &last));
    mld_batch_free(batch);
    assert_int_equal(last, 1);
    scratch_expect(scratch, "tracks/pose/data.jsonl",
                   "{\"timestamp\":2.0,\"x\":1.0}\n{\"timestamp\":1.0,\"x\":1.0}\n");
    mld_experiment_close(experiment);
}

/* A limit on the size of files stands for a full disk: write(2) is short, then fails. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_full_disk_keeps_whole_lines(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_series_list *list = NULL;
    struct mld_field field = mld_number("value", 1);
    mld_batch *batch = NULL;
    int64_t first, last;
    enum mld_error error = MLD_OK;

    (void)signal(SIGXFSZ, SIG_IGN);
    append_value(loss, 1, NAN);
    expect_ok(mld_batch_new(&batch, loss));
    for (int i = 0; i < 200000; i++)
        add_value(batch, i);
    limit_files(12 << 20); /* the last pieces do not fit */
    assert_int_equal(mld_batch_commit(batch, &first, &last), MLD_ETOOLARGE);
    assert_int_equal(first, -1);
    expect_data(loss, (const char *[]){"{\"value\":1.0}"}, 1);
    limit_files(300);
    int64_t n = 1;
    for (; error == MLD_OK && n < 100; n++)
        error = mld_series_append(loss, &field, 1, NAN, NULL);
    assert_int_equal(error, MLD_ETOOLARGE);
    limit_files(RLIM_INFINITY);
    assert_int_equal(append_value(loss, 1, NAN), n - 1);
    expect_ok(mld_batch_commit(batch, &first, &last)); /* still there to be tried again */
    assert_int_equal(first, n);
    expect_ok(mld_series_stats(&list, loss));
    assert_int_equal(list->series[0].total, n + 200000);
    assert_int_equal(problems_of(experiment), 0);
    mld_series_list_free(list);
    mld_batch_free(batch);
    mld_experiment_close(experiment);
}

static void test_a_broken_shard_is_followed_by_another(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct run *run = NULL;
    struct stream *stream = NULL;

    append_value(loss, 1, NAN);
    expect_ok(run_enter(&run, experiment, RUN_WRITE));
    expect_ok(series_ready(&stream, run, loss));
    stream->broken = true;
    run_leave(run);
    assert_int_equal(append_value(loss, 2, NAN), 0); /* of the new shard */
    assert_int_equal(append_value(loss, 3, NAN), 1);
    assert_int_equal(count_in(scratch, "metrics/loss/data.0-1.jsonl", "\n"), 2);
    assert_int_equal(count_in(scratch, ".mldash/records.jsonl", "\"type\":\"series\""), 2);
    expect_data(loss, (const char *[]){"{\"value\":1.0}", "{\"value\":2.0}", "{\"value\":3.0}"}, 3);
    mld_experiment_close(experiment);
}

static void in_child(mld_experiment *experiment, mld_series *loss)
{
    append_value(loss, 100, NAN);
    append_value(loss, 101, NAN);
    mld_series *again = series_of(experiment, MLD_METRIC, "loss");
    append_value(again, 102, NAN);
    mld_experiment_close(experiment);
}

static void test_a_handle_kept_across_fork(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *experiment = open_run(scratch, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    int status = -1;

    append_value(loss, 1, NAN);
    pid_t child = fork();
    if (child == 0) {
        in_child(experiment, loss);
        _exit(0);
    }
    append_value(loss, 2, NAN);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    append_value(loss, 3, NAN);
    assert_int_equal(count_in(scratch, "metrics/loss/data.jsonl", "\n"), 3);
    assert_int_equal(count_in(scratch, "metrics/loss/data.1.jsonl", "\n"), 3);
    expect_data(loss,
                (const char *[]){"{\"value\":1.0}", "{\"value\":2.0}", "{\"value\":3.0}",
                                 "{\"value\":100.0}", "{\"value\":101.0}", "{\"value\":102.0}"},
                6);
    mld_experiment_close(experiment);
}

enum { THREADS = 4, APPENDS = 500 };

static void *append_many(void *payload)
{
    struct mld_field field = mld_number("value", 1);

    for (int i = 0; i < APPENDS; i++)
        if (mld_series_append(payload, &field, 1, NAN, NULL) != MLD_OK)
            return payload;
    return NULL;
}

static void test_threads_share_a_series(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    mld_series *loss = series_of(experiment, MLD_METRIC, "loss");
    struct mld_series_list *list = NULL;
    pthread_t threads[THREADS];
    void *failed = NULL;

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, loss), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    expect_ok(mld_series_stats(&list, loss));
    assert_int_equal(list->series[0].total, THREADS * APPENDS);
    mld_series_list_free(list);
    mld_experiment_close(experiment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line_has_the_published_form, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_track_line_is_flat, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_entries_without_time_are_not_merged, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_made_by_bad_input, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_reading_only_refuses_to_append, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_one_handle_per_name, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_two_handles_of_one_folder_write_one_shard,
                                        scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_the_first_description_stays, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_resumed_shard_goes_on, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_topics_that_share_a_folder_name, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_batch, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_of_several_writes, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_of_a_track, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_keeps_whole_lines, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_broken_shard_is_followed_by_another, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_handle_kept_across_fork, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_threads_share_a_series, scratch_setup,
                                        scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

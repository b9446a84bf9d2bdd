/* What opening a folder tells of damage in its streams, whoever opens it. */
#include "run/folder_helpers.h"

#include <time.h>

#define METRIC "metrics/loss/data.jsonl"
#define TRACK "tracks/pose/data.jsonl"
#define LOGS "logs/logs.jsonl"
#define RECORDS ".mldash/records.jsonl"

static void write_streams(mld_experiment *e)
{
    struct mld_field field = mld_number("value", 1.5);
    mld_series *series;
    expect_ok(mld_series_open(&series, e, MLD_METRIC, "loss", NULL));
    for (int i = 0; i < 3; i++)
        expect_ok(mld_series_append(series, &field, 1, (double)NAN, NULL));
    expect_ok(mld_series_open(&series, e, MLD_TRACK, "pose", NULL));
    expect_ok(mld_series_append(series, &field, 1, 1.0, NULL));
    expect_ok(mld_log(e, "info", "text", 4, NULL, 0, (double)NAN));
}

static void make_folder(const struct scratch *s)
{
    mld_experiment *e = open_folder(s, false);
    write_streams(e);
    end_folder(e);
}

/* Leaves all streams without a mark. */
static void be_killed(const struct scratch *s, void *payload)
{
    (void)payload;
    write_streams(open_folder(s, false));
}

/* How many problems opening tells of; the last one's words contain `words` when there are any. */
static uint64_t problems(mld_experiment *e, const char *words)
{
    struct mld_experiment_info *info = NULL;
    expect_ok(mld_experiment_info(&info, e));
    uint64_t count = info->n_problems;
    if ((count == 0) != (info->warning == NULL) ||
        (count > 0 && words != NULL && strstr(info->warning, words) == NULL))
        fail_msg("%s", info->warning == NULL ? "no warning" : info->warning);
    mld_experiment_info_free(info);
    return count;
}

/* The same for a reader and for a writer, the reader first: a writer may repair. */
static void expect_told(const struct scratch *s, uint64_t count, const char *words)
{
    for (int read_only = 1; read_only >= 0; read_only--) {
        mld_experiment *e = open_folder(s, read_only == 1);
        uint64_t told = problems(e, words);
        if (told != count)
            fail_msg("%d problems told of, %d expected", (int)told, (int)count);
        mld_experiment_close(e);
    }
}

/* Changes one byte of a file. */
static void flip(const struct scratch *s, const char *path, off_t offset)
{
    char byte;
    int fd = openat(s->fd, path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static void test_nothing_to_tell(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    expect_told(s, 0, NULL);
    in_dying_child(s, be_killed, NULL);
    expect_told(s, 0, NULL);
}

static void test_marked_bytes_that_changed(void **state)
{
    static const char *const FILES[] = {METRIC, TRACK, LOGS};
    const struct scratch *s = *state;
    make_folder(s);
    for (size_t i = 0; i < 3; i++) {
        off_t at = i == 1 ? size_of(s, TRACK) - 3 : 4; /* still a line that parses */
        flip(s, FILES[i], at);
        expect_told(s, 1, FILES[i]);
        flip(s, FILES[i], at);
    }
    expect_told(s, 0, NULL);
}

static void test_a_shard_cut_below_its_mark(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    char *text = read_text(s, METRIC);
    scratch_write(s, METRIC, "");
    append_text(s, METRIC, strchr(text, '\n') + 1);
    free(text);
    expect_told(s, 1, "bytes were durable");
}

static void test_missing_shards(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    assert_int_equal(unlinkat(s->fd, METRIC, 0), 0);
    expect_told(s, 1, "it was durable, and is not there");
}

static void test_a_missing_shard_without_mark(void **state)
{
    const struct scratch *s = *state;
    in_dying_child(s, be_killed, NULL);
    assert_int_equal(unlinkat(s->fd, LOGS, 0), 0);
    expect_told(s, 1, LOGS);
}

static void test_missing_records(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    assert_int_equal(unlinkat(s->fd, RECORDS, 0), 0);
    mld_experiment *e = open_folder(s, true);
    assert_int_equal(problems(e, RECORDS), 1);
    mld_experiment_close(e);
}

static void test_torn_lines_of_a_killed_writer(void **state)
{
    static const char *const FILES[] = {METRIC, TRACK, LOGS, RECORDS};
    const struct scratch *s = *state;
    make_folder(s);
    in_dying_child(s, be_killed, NULL);
    for (size_t i = 0; i < 4; i++)
        append_text(s, FILES[i], "{\"index\":");
    mld_experiment *e = open_folder(s, true);
    assert_int_equal(problems(e, "torn"), 4);
    struct mld_report *report = NULL;
    expect_ok(mld_verify(&report, e, false, NULL, NULL));
    assert_int_equal(report->count, 4); /* each once */
    mld_report_free(report);
    mld_experiment_close(e);
    e = open_folder(s, false); /* it takes the slot, and cuts its records */
    assert_int_equal(problems(e, NULL), 4);
    write_streams(e); /* and the others: they are told of already */
    assert_int_equal(problems(e, NULL), 4);
    expect_ok(mld_verify(&report, e, false, NULL, NULL));
    assert_int_equal(report->count, 4);
    mld_report_free(report);
    end_folder(e);
    expect_told(s, 0, NULL);
    expect_clean(s);
}

static void test_what_a_living_writer_is_writing(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *writer = open_folder(s, false);
    write_streams(writer);
    append_text(s, METRIC, "{\"index\":");
    append_text(s, LOGS, "{\"sequence");
    mld_experiment *reader = open_folder(s, true);
    assert_int_equal(problems(reader, NULL), 0);
    mld_experiment_close(reader);
    mld_experiment_close(writer);
}

static void test_garbled_lines_are_told_of_once(void **state)
{
    const struct scratch *s = *state;
    struct mld_points *points = NULL;
    mld_series *series;
    in_dying_child(s, be_killed, NULL);
    append_text(s, METRIC, "{\"index\":3,\"da\n{\"index\":3,\"data\":{\"value\":2}}\n[]\n");
    mld_experiment *e = open_folder(s, true);
    assert_int_equal(problems(e, METRIC), 2);
    expect_ok(mld_series_open(&series, e, MLD_METRIC, "loss", NULL));
    expect_ok(mld_series_read(&points, series, 0, 100));
    assert_int_equal(points->count, 4);
    mld_points_free(points);
    assert_int_equal(problems(e, METRIC), 2);
    mld_experiment_close(e);
    expect_told(s, 2, METRIC);
}

static void set_age(const struct scratch *s, const char *path, int seconds)
{
    const struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    assert_int_equal(utimensat(s->fd, path, times, 0), 0);
}

/* A folder that this library has never written to. */
static void test_another_tools_folder(void **state)
{
    static const char LINE[] = "{\"index\":0,\"data\":{\"value\":1},\"createdAt\":\"x\"}\n";
    const struct scratch *s = *state;
    scratch_write(s, "experiment.json", "{\"name\":\"run\",\"project\":\"proj\"}");
    scratch_mkdir(s, "metrics");
    scratch_mkdir(s, "metrics/loss");
    scratch_mkdir(s, "tracks");
    scratch_mkdir(s, "tracks/pose");
    scratch_mkdir(s, "logs");
    append_text(s, METRIC, LINE);
    append_text(s, METRIC, "{\"ind\n");
    append_text(s, METRIC, LINE);
    append_text(s, "metrics/flat.jsonl", LINE);
    append_text(s, TRACK, "{\"timestamp\":1}\n{\"timest");
    append_text(s, LOGS, "{}\nx\n");
    mld_experiment *e = open_folder(s, true);
    assert_int_equal(problems(e, NULL), 2);
    mld_experiment_close(e);
    set_age(s, TRACK, 60); /* nobody is writing this any more */
    append_text(s, "metrics/flat.jsonl", "x\n");
    expect_told(s, 4, NULL);
}

static void test_only_the_end_of_a_long_shard(void **state)
{
    const struct scratch *s = *state;
    in_dying_child(s, be_killed, NULL);
    append_text(s, METRIC, "garbled, but far from the end\n");
    size_t len = 3u << 20;
    char *text = malloc(len + 1);
    assert_non_null(text);
    static const char LINE[] = "{\"data\":{\"value\":2}}\n";
    for (size_t i = 0; i < len; i++)
        text[i] = LINE[i % (sizeof LINE - 1)];
    text[len - len % (sizeof LINE - 1)] = '\0';
    append_text(s, METRIC, text);
    expect_told(s, 0, NULL);
    append_text(s, METRIC, "garbled\n");
    expect_told(s, 1, "metrics/loss");
    free(text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_nothing_to_tell),
        T(test_marked_bytes_that_changed),
        T(test_a_shard_cut_below_its_mark),
        T(test_missing_shards),
        T(test_a_missing_shard_without_mark),
        T(test_missing_records),
        T(test_torn_lines_of_a_killed_writer),
        T(test_what_a_living_writer_is_writing),
        T(test_garbled_lines_are_told_of_once),
        T(test_another_tools_folder),
        T(test_only_the_end_of_a_long_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

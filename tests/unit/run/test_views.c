/* The files that other tools read: their form, when they are written, and when not. */
#include "run/folder_helpers.h"

#define FILES_VIEW "files/.files_metadata.json"

static ino_t inode_of(const struct scratch *s, const char *path)
{
    struct stat st;
    return fstatat(s->fd, path, &st, 0) == 0 ? st.st_ino : 0;
}

static void expect_part(const struct scratch *s, const char *path, const char *part)
{
    char *text = read_text(s, path);
    if (strstr(text, part) == NULL)
        fail_msg("%s is not in %s: %s", part, path, text);
    free(text);
}

static void expect_no_part(const struct scratch *s, const char *path, const char *part)
{
    char *text = read_text(s, path);
    if (strstr(text, part) != NULL)
        fail_msg("%s is in %s: %s", part, path, text);
    free(text);
}

static void test_experiment(void **state)
{
    const struct scratch *s = *state;
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    static const char *const TAGS[] = {"a", "b\"c"};
    o.description = "what \xc3\xa9";
    o.tags = TAGS;
    o.n_tags = 2;
    o.metadata_json = "{ \"seed\": 7 }";
    mld_experiment *e = open_with(s, false, o);
    expect_part(s, "experiment.json", "\"status\":\"RUNNING\"");
    expect_part(s, "experiment.json", "\"endedAt\":null");
    expect_part(s, "experiment.json",
                "{\"name\":\"run\",\"project\":\"proj\",\"description\":\"what \xc3\xa9\","
                "\"tags\":[\"a\",\"b\\\"c\"],\"bindrs\":[],\"folder\":null,"
                "\"metadata\":{\"seed\":7},\"created_at\":\"");
    expect_no_part(s, "experiment.json", "\"prefix\"");
    end_folder(e);
    expect_part(s, "experiment.json", "\"status\":\"COMPLETED\"");
    expect_no_part(s, "experiment.json", "\"endedAt\":null");
    assert_false(is_there(s, "parameters.json")); /* nothing to say */
    assert_false(is_there(s, FILES_VIEW));
}

static void test_prefix_instead_of_folder(void **state)
{
    const struct scratch *s = *state;
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    mld_experiment *e;
    o.root = s->path;
    o.prefix = "alice/proj/run";
    expect_ok(mld_experiment_open(&e, &o));
    end_folder(e);
    expect_part(s, "alice/proj/run/experiment.json", "\"prefix\":\"alice/proj/run\"");
    expect_no_part(s, "alice/proj/run/experiment.json", "\"folder\"");
}

static void test_parameters(void **state)
{
    const struct scratch *s = *state;
    const struct mld_field fields[] = {
        mld_number("lr", 0.1),
        mld_number("worst", (double)INFINITY),
        mld_text("model.name", "net"),
        mld_json("list", "[1, 2]"),
    };
    mld_experiment *e = open_folder(s, false);
    expect_ok(mld_params_set(e, fields, 4));
    expect_ok(mld_experiment_write_views(e));
    expect_part(s, "parameters.json",
                "{\"version\":1,\"data\":{\"lr\":0.1,\"worst\":Infinity,\"model.name\":\"net\","
                "\"list\":[1,2]},\"createdAt\":\"");
    expect_part(s, "parameters.json", "\"updatedAt\":\"");
    end_folder(e);
}

/* The newest version of each name, and deleted files while their bytes are there. */
static void test_files(void **state)
{
    const struct scratch *s = *state;
    struct mld_gc_options gc_options = MLD_GC_OPTIONS_INIT;
    struct mld_report *report;
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    o.keep = MLD_KEEP_ALL;
    mld_experiment *e = open_with(s, false, o);
    struct saved old = save(e, "/m", "v.txt", "one");
    struct saved new = save(e, "/m", "v.txt", "two");
    struct saved deleted = save(e, "/", "d.txt", "three");
    expect_ok(mld_file_delete(NULL, e, deleted.id));
    expect_ok(mld_experiment_write_views(e));
    expect_no_part(s, FILES_VIEW, old.id);
    expect_part(s, FILES_VIEW, new.id);
    expect_part(s, FILES_VIEW, deleted.id);
    expect_part(s, FILES_VIEW,
                "\"experimentId\":\"proj/run\",\"path\":\"/m\",\"filename\":\"v.txt\"");
    expect_part(s, FILES_VIEW, "\"sizeBytes\":3,");
    expect_part(s, FILES_VIEW, "\"deletedAt\":null");
    expect_no_part(s, FILES_VIEW, "\"deletedAt\":\"\"");
    expect_ok(mld_gc(&report, e, &gc_options));
    mld_report_free(report);
    expect_no_part(s, FILES_VIEW, deleted.id);
    end_folder(e);
}

static void test_series_and_logs(void **state)
{
    const struct scratch *s = *state;
    struct mld_series_options told = MLD_SERIES_OPTIONS_INIT;
    struct mld_field value = mld_number("value", 0.5);
    mld_series *series;
    mld_experiment *e = open_folder(s, false);
    told.description = "d";
    expect_ok(mld_series_open(&series, e, MLD_METRIC, "train/loss", &told));
    for (int i = 0; i < 3; i++)
        expect_ok(mld_series_append(series, &value, 1, (double)NAN, NULL));
    expect_ok(mld_series_open(&series, e, MLD_METRIC, NULL, NULL));
    expect_ok(mld_series_append(series, &value, 1, (double)NAN, NULL));
    expect_ok(mld_series_open(&series, e, MLD_TRACK, "robot/pos", NULL));
    expect_ok(mld_series_append(series, &value, 1, 2.0, NULL));
    expect_ok(mld_series_append(series, &value, 1, 1.0, NULL));
    expect_ok(mld_log(e, "info", "text", 4, NULL, 0, (double)NAN));
    expect_ok(mld_log(e, "info", "text", 4, NULL, 0, (double)NAN));
    end_folder(e);
    expect_part(s, "metrics/train/loss/metadata.json",
                "{\"metricId\":\"local-metric-train/loss\",\"name\":\"train/loss\","
                "\"description\":\"d\",\"tags\":[],\"metadata\":null,\"totalDataPoints\":3,"
                "\"nextIndex\":3,\"createdAt\":\"");
    expect_part(s, "metrics/None/metadata.json",
                "{\"metricId\":\"local-metric-None\",\"name\":null,\"description\":null,");
    expect_part(s, "tracks/robot_pos/metadata.json",
                "{\"trackId\":\"local-track-robot_pos\",\"topic\":\"robot/pos\",");
    expect_part(s, "tracks/robot_pos/metadata.json",
                "\"columns\":[\"value\"],\"totalEntries\":2,\"firstTimestamp\":1.0,"
                "\"lastTimestamp\":2.0,\"createdAt\":\"");
    scratch_expect(s, "logs/.log_sequence", "2");
}

static void test_what_is_right_stays(void **state)
{
    static const char *const VIEWS[] = {"parameters.json", FILES_VIEW, "metrics/loss/metadata.json",
                                        "logs/.log_sequence"};
    const struct scratch *s = *state;
    struct mld_field value = mld_number("value", 0.5);
    mld_series *series;
    ino_t inodes[4];
    mld_experiment *e = open_folder(s, false);
    save(e, "/", "a.txt", "a");
    expect_ok(mld_params_set(e, &value, 1));
    expect_ok(mld_series_open(&series, e, MLD_METRIC, "loss", NULL));
    expect_ok(mld_series_append(series, &value, 1, (double)NAN, NULL));
    expect_ok(mld_log(e, "info", "text", 4, NULL, 0, (double)NAN));
    end_folder(e);
    for (int i = 0; i < 4; i++)
        inodes[i] = inode_of(s, VIEWS[i]);
    end_folder(open_folder(s, false));
    for (int i = 0; i < 4; i++)
        assert_int_equal(inode_of(s, VIEWS[i]), inodes[i]);
    e = open_folder(s, false);
    save(e, "/", "b.txt", "b");
    end_folder(e);
    assert_int_equal(inode_of(s, VIEWS[0]), inodes[0]);
    assert_int_not_equal(inode_of(s, VIEWS[1]), inodes[1]);
}

/* A power loss may leave an empty file of the right name: it is written again. */
static void test_a_lost_view_comes_back(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/", "a.txt", "a");
    end_folder(e);
    scratch_write(s, FILES_VIEW, "");
    end_folder(open_folder(s, false));
    expect_part(s, FILES_VIEW, f.id);
    expect_clean(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_experiment),
        T(test_prefix_instead_of_folder),
        T(test_parameters),
        T(test_files),
        T(test_series_and_logs),
        T(test_what_is_right_stays),
        T(test_a_lost_view_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

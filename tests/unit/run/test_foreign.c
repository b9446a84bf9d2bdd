/* Views of other tools: what is taken in, what is refused, and by whom it is recorded. */
#include "run/folder_helpers.h"

#include <sys/file.h>

#define FILES_VIEW "files/.files_metadata.json"
#define ENTRY(id, path, name, more)                                                         \
    "{\"id\":\"" id "\",\"path\":\"" path "\",\"filename\":\"" name "\",\"sizeBytes\":5,"   \
    "\"checksum\":\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\","    \
    "\"contentType\":\"text/plain\",\"uploadedAt\":\"2024-05-01T00:00:00Z\",\"updatedAt\":" \
    "\"2024-05-01T00:00:00.5Z\"" more "}"

static void write_files_view(const struct scratch *s, const char *entries)
{
    char *text = malloc(strlen(entries) + 32);
    sprintf(text, "{\"files\": [%s]}", entries);
    mkdirat(s->fd, "files", 0777);
    scratch_write(s, FILES_VIEW, text);
    free(text);
}

static struct mld_file_list *list(mld_experiment *e, bool deleted)
{
    struct mld_list_options o = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *out;
    o.deleted = deleted;
    expect_ok(mld_file_list(&out, e, &o));
    return out;
}

static uint64_t problems_of(mld_experiment *e)
{
    struct mld_experiment_info *info;
    expect_ok(mld_experiment_info(&info, e));
    uint64_t n = info->n_problems;
    mld_experiment_info_free(info);
    return n;
}

/* Opens as reader, then twice as writer: all see the same, the first writer records it. */
static void for_each_opening(const struct scratch *s, void (*check)(mld_experiment *e))
{
    scratch_write(s, "experiment.json", "{\"name\":\"run\",\"project\":\"proj\"}");
    for (int i = 0; i < 4; i++) {
        mld_experiment *e = open_folder(s, i % 2 == 0);
        check(e);
        mld_experiment_close(e);
    }
}

static void check_odd_files(mld_experiment *e)
{
    struct mld_file_list *files = list(e, true);
    assert_int_equal(files->count, 3);
    assert_string_equal(files->files[0].path, "/");
    assert_string_equal(files->files[0].filename, "metadata.json");
    assert_string_equal(files->files[0].updated_at, "2024-05-01T00:00:00.5Z");
    assert_string_equal(files->files[1].path, "/models/best");
    assert_int_equal(files->files[1].n_tags, 1);
    assert_string_equal(files->files[1].tags[0], "t");
    assert_string_equal(files->files[1].metadata_json, "{\"k\":NaN}");
    assert_string_equal(files->files[2].deleted_at, "2024-05-02T00:00:00Z");
    mld_file_list_free(files);
}

static void test_odd_files(void **state)
{
    const struct scratch *s = *state;
    write_files_view(s, ENTRY("1", "", "metadata.json",
                              "") "," ENTRY("2", "models//best/", "a.txt",
                                            ",\"tags\":[\"t\",7],\"bindrs\":null,\"metadata\":{ "
                                            "\"k\": NaN }") "," ENTRY("3", "/", "d.txt",
                                                                      ",\"deletedAt\":\"2024-05-"
                                                                      "02T00:00:00Z\""));
    for_each_opening(s, check_odd_files);
}

static void check_refused(mld_experiment *e)
{
    struct mld_file_list *files = list(e, true);
    assert_int_equal(files->count, 1);
    assert_string_equal(files->files[0].id, "9");
    mld_file_list_free(files);
}

static const char UNSAFE[] = ENTRY("1", "/../..", "passwd", "") "," /* one a line */
    ENTRY("2", "/", "..", "") ","                                   //
    ENTRY("3", "/", "a/b", "") ","                                  //
    ENTRY("../4", "/", "a", "") ","                                 //
    ENTRY("5", "/", "a\\u0000b", "") ","                            //
    ENTRY("", "/", "a", "") ","                                     //
    ENTRY("7", "/", "", "") ","                                     //
    ENTRY("8", "/a/./b", "a", "") ",17,{\"id\":12}";

static void test_unsafe_files_are_left_out(void **state)
{
    const struct scratch *s = *state;
    char entries[4096];
    snprintf(entries, sizeof entries, "%s,%s", UNSAFE, ENTRY("9", "/", "good", ""));
    write_files_view(s, entries);
    scratch_write(s, "experiment.json", "{\"name\":\"run\",\"project\":\"proj\"}");
    mld_experiment *e = open_folder(s, true);
    assert_int_equal(problems_of(e), 10);
    mld_experiment_close(e);
    for_each_opening(s, check_refused);
}

static void check_nothing_but_problems(mld_experiment *e)
{
    struct mld_file_list *files = list(e, true);
    assert_int_equal(files->count, 0);
    mld_file_list_free(files);
    assert_true(problems_of(e) > 0);
}

static void test_views_that_are_none(void **state)
{
    static const char *const TEXTS[] = {
        "", "{", "[]", "7", "{\"files\":{}}", "{\"files\":null}", "{\"files\":[{]}", "\xff\xfe"};
    const struct scratch *s = *state;
    scratch_mkdir(s, "files");
    scratch_write(s, "experiment.json", "{\"name\":\"run\",\"project\":\"proj\"}");
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        scratch_write(s, FILES_VIEW, TEXTS[i]);
        mld_experiment *e = open_folder(s, true);
        check_nothing_but_problems(e);
        mld_experiment_close(e);
    }
    unlinkat(s->fd, FILES_VIEW, 0);
    scratch_symlink(s, FILES_VIEW, "/etc/passwd");
    mld_experiment *e = open_folder(s, true);
    check_nothing_but_problems(e);
    mld_experiment_close(e);
}

static void check_params(mld_experiment *e)
{
    char *json;
    expect_ok(mld_params_get(&json, e));
    assert_string_equal(json, "{\"a\":1,\"b\":{\"c\":[1,2]},\"big\":123456789012345678901234567890,"
                              "\"nan\":NaN}");
    mld_free(json);
}

static void test_parameters_in_both_forms(void **state)
{
    const struct scratch *s = *state;
    scratch_write(s, "parameters.json",
                  "{\"version\": 2, \"data\": {\"a\": 1, \"b\": {\"c\": [1, 2]}, \"big\": "
                  "123456789012345678901234567890, \"nan\": NaN}, \"updatedAt\": \"x\"}");
    for_each_opening(s, check_params);
}

static void check_bare(mld_experiment *e)
{
    char *json;
    expect_ok(mld_params_get(&json, e));
    assert_string_equal(json, "{\"a\":1}");
    mld_free(json);
}

static void test_bare_parameters(void **state)
{
    const struct scratch *s = *state;
    scratch_write(s, "parameters.json", "{\"a\": 1}");
    for_each_opening(s, check_bare);
}

/* A record is written once, however often the folder is opened. */
static void test_recorded_once(void **state)
{
    const struct scratch *s = *state;
    write_files_view(s, ENTRY("1", "/", "a.txt", ""));
    scratch_write(s, "parameters.json", "{\"a\": 1}");
    scratch_write(s, "experiment.json",
                  "{\"name\":\"run\",\"project\":\"proj\",\"description\":\"d\",\"tags\":[\"t\"],"
                  "\"metadata\":{\"k\":1},\"created_at\":\"2024-05-01T00:00:00Z\"}");
    for (int i = 0; i < 3; i++)
        end_folder(open_folder(s, false));
    char *text = read_text(s, ".mldash/records.jsonl");
    static const char *const TYPES[] = {"\"type\":\"file\"", "\"type\":\"params\"",
                                        "\"type\":\"experiment\""};
    for (size_t i = 0; i < 3; i++) {
        const char *at = strstr(text, TYPES[i]);
        assert_non_null(at);
        assert_null(strstr(at + 1, TYPES[i]));
    }
    free(text);
    struct mld_experiment_info *info;
    mld_experiment *e = open_folder(s, true);
    expect_ok(mld_experiment_info(&info, e));
    assert_string_equal(info->created_at, "2024-05-01T00:00:00Z");
    assert_string_equal(info->description, "d");
    assert_string_equal(info->metadata_json, "{\"k\":1}");
    mld_experiment_info_free(info);
    mld_experiment_close(e);
}

static void test_torn_views_are_put_aside(void **state)
{
    const struct scratch *s = *state;
    write_files_view(s, ENTRY("1", "/", "a.txt", "") ",{\"id\":\"2\",\"pa");
    end_folder(open_folder(s, false)); /* no files of ours: nothing to write instead */
    assert_true(is_there(s, FILES_VIEW ".unreadable"));
    mld_experiment *e = open_folder(s, false);
    save(e, "/", "ours.txt", "ours");
    end_folder(e);
    e = open_folder(s, true);
    struct mld_file_list *files = list(e, false);
    assert_int_equal(files->count, 1);
    mld_file_list_free(files);
    assert_int_equal(problems_of(e), 0);
    mld_experiment_close(e);
}

/* A view of the same size is told by its bytes. */
static void test_a_change_of_the_same_size(void **state)
{
    const struct scratch *s = *state;
    struct mld_field a = mld_integer("a", 1);
    mld_experiment *e = open_folder(s, false);
    expect_ok(mld_params_set(e, &a, 1));
    end_folder(e);
    char *text = read_text(s, "parameters.json");
    memcpy(strstr(text, "\"a\":1"), "\"a\":2", 5);
    scratch_write(s, "parameters.json", text);
    free(text);
    for (int i = 0; i < 3; i++) {
        char *json;
        e = open_folder(s, i != 1);
        expect_ok(mld_params_get(&json, e));
        assert_string_equal(json, "{\"a\":2}");
        mld_free(json);
        mld_experiment_close(e);
    }
}

/* keep counts versions that this library saved; another tool's file is not ours to retire. */
static void test_a_foreign_version_waits_for_gc(void **state)
{
    const struct scratch *s = *state;
    write_files_view(s, ENTRY("1", "/", "a.txt", ""));
    scratch_mkdir(s, "files/1");
    scratch_write(s, "files/1/a.txt", "hello");
    mld_experiment *e = open_folder(s, false);
    save(e, "/", "a.txt", "newer");
    expect_ok(mld_flush(e));
    assert_true(is_there(s, "files/1/a.txt"));
    struct mld_file_list *files = list(e, false);
    assert_int_equal(files->count, 1);
    assert_string_not_equal(files->files[0].id, "1");
    mld_file_list_free(files);
    end_folder(e);
    expect_clean(s);
}

/* The lock that the published clients hold while they write is waited for. */
static void test_waits_for_their_lock(void **state)
{
    const struct scratch *s = *state;
    int ready[2];
    char byte;
    scratch_mkdir(s, "files");
    scratch_write(s, "files/.files_metadata.lock", "");
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int fd = openat(s->fd, "files/.files_metadata.lock", O_RDONLY);
        if (flock(fd, LOCK_EX) != 0)
            _exit(1);
        scratch_write(s, FILES_VIEW, "{\"files\": [{\"id\"");
        _exit(write(ready[1], "x", 1) == 1 && usleep(200 * 1000) == 0 &&
                      (write_files_view(s, ENTRY("1", "/", "a.txt", "")), true)
                  ? 0
                  : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    scratch_write(s, "experiment.json", "{\"name\":\"run\",\"project\":\"proj\"}");
    mld_experiment *e = open_folder(s, true);
    struct mld_file_list *files = list(e, false);
    assert_int_equal(files->count, 1);
    assert_int_equal(problems_of(e), 0);
    mld_file_list_free(files);
    mld_experiment_close(e);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_odd_files),
        T(test_unsafe_files_are_left_out),
        T(test_views_that_are_none),
        T(test_parameters_in_both_forms),
        T(test_bare_parameters),
        T(test_recorded_once),
        T(test_torn_views_are_put_aside),
        T(test_a_change_of_the_same_size),
        T(test_a_foreign_version_waits_for_gc),
        T(test_waits_for_their_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

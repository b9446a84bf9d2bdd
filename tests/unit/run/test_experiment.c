/* Opening, resuming, forking, dying and ending. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mldash/mldash.h"
#include "scratch.h"

static struct mld_experiment_options at(const char *root)
{
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    o.root = root;
    o.project = "project";
    o.name = "name";
    return o;
}

static mld_experiment *opened(const struct mld_experiment_options *o)
{
    mld_experiment *e;
    enum mld_error error = mld_experiment_open(&e, o);
    if (error != MLD_OK)
        fail_msg("%s", mld_error_message());
    return e;
}

static enum mld_status status_of(mld_experiment *e)
{
    struct mld_experiment_info *info;
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    enum mld_status status = info->status;
    mld_experiment_info_free(info);
    return status;
}

/* The status that a fresh reader sees, and whether it calls the run lost. */
static enum mld_status status_read(const char *root, bool *out_lost)
{
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *info;
    o.read_only = true;
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    enum mld_status status = info->status;
    if (out_lost != NULL)
        *out_lost = info->lost;
    mld_experiment_info_free(info);
    mld_experiment_close(e);
    return status;
}

static void wait_for(pid_t child, int expected_status)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, expected_status);
}

static void test_open_and_end(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *info;
    static const char *const TAGS[] = {"a", "b"};
    o.description = "first";
    o.tags = TAGS;
    o.n_tags = 2;
    o.metadata_json = "{\"seed\": 7}";
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    assert_int_equal(info->status, MLD_RUNNING);
    assert_string_equal(info->name, "name");
    assert_string_equal(info->project, "project");
    assert_string_equal(info->description, "first");
    assert_int_equal(info->n_tags, 2);
    assert_string_equal(info->tags[1], "b");
    assert_string_equal(info->metadata_json, "{\"seed\":7}");
    assert_int_equal(strlen(info->id), 32);
    assert_int_equal(info->n_problems, 0);
    mld_experiment_info_free(info);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    assert_int_equal(mld_experiment_end(e, MLD_FAILED), MLD_OK); /* the first counts */
    assert_int_equal(status_of(e), MLD_COMPLETED);
    assert_int_equal(mld_experiment_update(e, &o), MLD_ESTATE);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_COMPLETED);
}

static void test_resume_keeps_id_and_words(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *first;
    struct mld_experiment_info *second;
    o.description = "kept";
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_info(&first, e), MLD_OK);
    assert_int_equal(mld_experiment_end(e, MLD_FAILED), MLD_OK);
    mld_experiment_close(e);
    o.description = NULL;
    e = opened(&o);
    assert_int_equal(mld_experiment_info(&second, e), MLD_OK);
    assert_string_equal(first->id, second->id);
    assert_string_equal(second->description, "kept");
    assert_int_equal(second->status, MLD_RUNNING);
    mld_experiment_info_free(first);
    mld_experiment_info_free(second);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_COMPLETED); /* an earlier FAILED is history */
}

static void test_two_handles_are_one_writer(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct stat st;
    char path[512];
    mld_experiment *a = opened(&o);
    mld_experiment *b = opened(&o);
    snprintf(path, sizeof path, "%s/project/name/.mldash/records.1.jsonl", root);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(mld_experiment_end(a, MLD_COMPLETED), MLD_OK);
    assert_int_equal(status_of(b), MLD_RUNNING);
    assert_int_equal(mld_experiment_end(b, MLD_FAILED), MLD_OK);
    assert_int_equal(status_of(b), MLD_FAILED);
    mld_experiment_close(a);
    mld_experiment_close(b);
}

static void test_killed_run_is_lost_and_resumed(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct stat st;
    char path[512];
    bool lost = false;
    pid_t child = fork();
    if (child == 0) {
        mld_experiment *e = NULL;
        if (mld_experiment_open(&e, &o) != MLD_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    wait_for(child, SIGKILL);
    assert_int_equal(status_read(root, &lost), MLD_RUNNING);
    assert_true(lost);
    mld_experiment *e = opened(&o);
    snprintf(path, sizeof path, "%s/project/name/.mldash/records.1.jsonl", root);
    assert_int_equal(stat(path, &st), -1); /* the dead writer's slot was taken again */
    assert_int_equal(mld_experiment_end(e, MLD_CANCELLED), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, &lost), MLD_CANCELLED);
    assert_false(lost);
}

static void test_forked_child_writes_beside_its_parent(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *info;
    mld_experiment *e = opened(&o);
    pid_t child = fork();
    if (child == 0) {
        o.description = "from the child";
        bool ok = mld_experiment_update(e, &o) == MLD_OK;
        ok = ok && mld_experiment_end(e, MLD_FAILED) == MLD_OK;
        mld_experiment_close(e);
        _exit(ok ? 0 : 1);
    }
    wait_for(child, 0);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    assert_string_equal(info->description, "from the child");
    assert_int_equal(info->status, MLD_RUNNING); /* a child never ends the run */
    mld_experiment_info_free(info);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_COMPLETED);
}

static void test_two_processes_take_two_slots(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    int ready[2];
    int done[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        mld_experiment *e;
        bool ok = mld_experiment_open(&e, &o) == MLD_OK && write(ready[1], "x", 1) == 1 &&
                  read(done[0], &byte, 1) == 1 && mld_experiment_end(e, MLD_FAILED) == MLD_OK;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_RUNNING); /* the other one still writes */
    assert_int_equal(write(done[1], "x", 1), 1);
    wait_for(child, 0);
    assert_int_equal(status_read(root, NULL), MLD_FAILED); /* any FAILED wins */
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
}

static void append_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_garbled_and_torn_lines_are_reported(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *info;
    char path[512];
    o.description = "before";
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(e);
    snprintf(path, sizeof path, "%s/project/name/.mldash/records.jsonl", root);
    append_text(path, "{\"type\":\"params\",\"clock\":1,\"data\":{},\"crc\":\"00000000\"}\n");
    append_text(path, "{\"type\":\"fi");
    o.description = NULL;
    o.read_only = true;
    e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    assert_int_equal(info->n_problems, 2); /* nobody is left to finish the torn one */
    assert_non_null(strstr(info->warning, "records.jsonl"));
    assert_string_equal(info->description, "before");
    mld_experiment_info_free(info);
    mld_experiment_close(e);
    o.read_only = false;
    e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    assert_int_equal(info->n_problems, 2); /* its next owner cut it, and says so, too */
    assert_string_equal(info->description, "before");
    mld_experiment_info_free(info);
    assert_int_equal(mld_experiment_end(e, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_COMPLETED);
}

static void test_newer_format_is_refused(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    mld_experiment *e = opened(&o);
    char path[512];
    mld_experiment_end(e, MLD_COMPLETED);
    mld_experiment_close(e);
    snprintf(path, sizeof path, "%s/project/name/.mldash/format.json", root);
    assert_int_equal(unlink(path), 0);
    append_text(path, "{\"version\":2,\"id\":\"x\"}\n");
    assert_int_equal(mld_experiment_open(&e, &o), MLD_EFORMAT);
    assert_null(e);
}

static void test_bad_options_leave_nothing(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    mld_experiment *e;
    struct stat st;
    char below[512];
    snprintf(below, sizeof below, "%s/new", root);
    o.root = below;
    o.name = "../escape";
    assert_int_equal(mld_experiment_open(&e, &o), MLD_ENAME);
    o.name = "name";
    o.project = NULL;
    assert_int_equal(mld_experiment_open(&e, &o), MLD_EINVALID);
    o.project = "project";
    o.metadata_json = "{\"a\": NaN}";
    assert_int_equal(mld_experiment_open(&e, &o), MLD_EINVALID);
    o.metadata_json = "[1]";
    assert_int_equal(mld_experiment_open(&e, &o), MLD_EINVALID);
    o.metadata_json = NULL;
    o.folder = "a/../b";
    assert_int_equal(mld_experiment_open(&e, &o), MLD_ENAME);
    o.folder = NULL;
    o.read_only = true;
    assert_int_equal(mld_experiment_open(&e, &o), MLD_ENOTFOUND);
    assert_null(e);
    assert_int_equal(stat(below, &st), -1);
}

static void test_prefix_layout(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    struct mld_experiment_info *info;
    o.root = root;
    o.prefix = "/alice/vision/2026/run-1";
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    assert_string_equal(info->name, "run-1");
    assert_string_equal(info->project, "vision");
    assert_string_equal(info->prefix, "alice/vision/2026/run-1");
    mld_experiment_info_free(info);
    mld_experiment_end(e, MLD_COMPLETED);
    mld_experiment_close(e);
}

/* What a fresh reader sees of a run; free it. */
static char *error_read(const char *root)
{
    struct mld_experiment_options o = at(root);
    struct mld_experiment_info *info;
    o.read_only = true;
    mld_experiment *e = opened(&o);
    assert_int_equal(mld_experiment_info(&info, e), MLD_OK);
    char *error = info->error == NULL ? NULL : strdup(info->error);
    mld_experiment_info_free(info);
    mld_experiment_close(e);
    return error;
}

static void fail_with(const char *root, const char *reason, const char *expected)
{
    struct mld_experiment_options o = at(root);
    mld_experiment *e = opened(&o);
    char *error = error_read(root);
    assert_null(error); /* of the run before */
    assert_int_equal(mld_experiment_fail(e, reason), MLD_OK);
    assert_int_equal(mld_experiment_fail(e, "the first counts"), MLD_OK);
    mld_experiment_close(e);
    assert_int_equal(status_read(root, NULL), MLD_FAILED);
    error = error_read(root);
    if (expected == NULL)
        assert_null(error);
    else
        assert_string_equal(error, expected);
    free(error);
}

static void test_why_it_failed(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    char many[MLD_MAX_REASON_BYTES + 2], cut[MLD_MAX_REASON_BYTES + 4];
    memset(many, 'x', sizeof many);
    many[sizeof many - 1] = '\0';
    memset(cut, 'x', sizeof cut);
    memcpy(cut + MLD_MAX_REASON_BYTES, "\xE2\x80\xA6", 4);
    fail_with(root, "ValueError: no such layer", "ValueError: no such layer");
    fail_with(root, NULL, NULL);
    fail_with(root, " \n\x1b ", NULL);
    fail_with(root, " a\n\t b\x1b[31m\x7f\xC2\x9B c\xE2\x80\xA8 d\n", "a b [31m c d");
    fail_with(root, "z\xC3\xBC \xFF\xF0\x9F\x8E\x89 \xED\xA0\x80",
              "z\xC3\xBC ?\xF0\x9F\x8E\x89 ???");
    fail_with(root, many, cut);
    many[MLD_MAX_REASON_BYTES] = '\0';
    fail_with(root, many, many);
    memcpy(many + MLD_MAX_REASON_BYTES - 1, "\xC3\xBC", 3); /* not half a character */
    memcpy(cut + MLD_MAX_REASON_BYTES - 1, "\xE2\x80\xA6", 4);
    fail_with(root, many, cut);
}

static void test_why_the_first_failed(void **state)
{
    const char *root = ((const struct scratch *)*state)->path;
    struct mld_experiment_options o = at(root);
    mld_experiment *a = opened(&o);
    mld_experiment *b = opened(&o);
    assert_int_equal(mld_experiment_fail(a, "cause"), MLD_OK);
    assert_int_equal(mld_experiment_fail(b, "consequence"), MLD_OK);
    mld_experiment_close(a);
    mld_experiment_close(b);
    char *error = error_read(root);
    assert_string_equal(error, "cause");
    free(error);
    a = opened(&o);
    assert_int_equal(mld_experiment_end(a, MLD_COMPLETED), MLD_OK);
    mld_experiment_close(a);
    error = error_read(root);
    assert_null(error);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_and_end),
        TEST(test_resume_keeps_id_and_words),
        TEST(test_two_handles_are_one_writer),
        TEST(test_killed_run_is_lost_and_resumed),
        TEST(test_forked_child_writes_beside_its_parent),
        TEST(test_two_processes_take_two_slots),
        TEST(test_garbled_and_torn_lines_are_reported),
        TEST(test_newer_format_is_refused),
        TEST(test_bad_options_leave_nothing),
        TEST(test_prefix_layout),
        TEST(test_why_it_failed),
        TEST(test_why_the_first_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

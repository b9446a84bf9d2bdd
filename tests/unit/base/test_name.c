#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/name.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *repeat(char *out, size_t len)
{
    memset(out, 'x', len);
    out[len] = '\0';
    return out;
}

static void expect_message(const char *part)
{
    if (strstr(mld_error_message(), part) == NULL)
        fail_msg("'%s' is not in: %s", part, mld_error_message());
}

static const char *const good_parts[] = {
    "model.pth",
    "a",
    "...",
    ".hidden",
    "..a",
    "a..",
    "back\\slash",
    "a b",
    " ",
    "%2e%2e",
    "..\\x",
    "*?[",
    "\xC3\xA9t\xC3\xA9",
    "e\xCC\x81",
    "\xF0\x9F\x98\x80",
    "\xEF\xBC\x8E\xEF\xBC\x8E",
    "-rf",
    "~",
    "data.json",
    "a.jsonl",
    "data.x.jsonl",
    "data.1-.jsonl",
    "data..jsonl",
    "data.-1.jsonl",
    "data.1-2-3.jsonl",
    "xdata.jsonl",
    ".mldashx",
    "mldash",
    "None",
    "\xC2\xA0",
    "Metadata.json",
    "data.12x.jsonl",
    "data.1.jsonl.gz",
    "data1.jsonl",
    "a;b#c?d",
    "\xE2\x80\xAE",
};

/* Never fine, in no kind of name. */
static const char *const bad_parts[] = {
    ".",
    "..",
    "a\nb",
    "a\tb",
    "\x1B[31m",
    "\x7F",
    "\xC2\x80",
    "\xC2\x9F",
    "\x01",
    "\xC0\xAE\xC0\xAE",
    "\xC0\xAF",
    "\xE0\x80\xAE",
    "\xF0\x80\x80\xAE", /* overlong */
    "\xED\xA0\x80",
    "\xED\xBF\xBF",
    "\xF4\x90\x80\x80",
    "\xF8\x88\x80\x80\x80",
    "\x80",
    "a\xFF",
    "a\xC3",
    "\xE2\x82",
    "\xF0\x9F\x98",
    ".metadata.lock",
    ".files_metadata.json",
    ".files_metadata.lock",
    ".experiment.lock",
    ".parameters.lock",
    ".mldash",
    ".mldash.x.tmp",
    ".log_sequence",
    ".log_sequence.lock",
};

static void takes_good_file_names(void **state)
{
    char text[300];

    (void)state;
    for (size_t i = 0; i < LENGTH(good_parts); i++) {
        if (name_check_file(good_parts[i]) != MLD_OK)
            fail_msg("%s", mld_error_message());
        assert_int_equal(name_check_component("project", good_parts[i]), MLD_OK);
        assert_int_equal(name_check_series(good_parts[i]), MLD_OK);
    }
    assert_int_equal(name_check_file(repeat(text, 255)), MLD_OK);
}

static void keeps_series_names_from_folders_only(void **state)
{
    static const char *const names[] = {"data.jsonl", "data.7.jsonl", "data.12-34.jsonl",
                                        "metadata.json", "experiment.json"};

    (void)state;
    for (size_t i = 0; i < LENGTH(names); i++) {
        assert_int_equal(name_check_file(names[i]), MLD_OK);
        assert_int_equal(name_check_component("project", names[i]), MLD_ENAME);
        assert_int_equal(name_check_series(names[i]), MLD_ENAME);
    }
}

static void refuses_bad_file_names(void **state)
{
    char text[300];

    (void)state;
    for (size_t i = 0; i < LENGTH(bad_parts); i++) {
        if (name_check_file(bad_parts[i]) != MLD_ENAME)
            fail_msg("taken: %s", bad_parts[i]);
        assert_int_equal(name_check_component("project", bad_parts[i]), MLD_ENAME);
        assert_int_equal(name_check_series(bad_parts[i]), MLD_ENAME);
    }
    assert_int_equal(name_check_file(NULL), MLD_ENAME);
    assert_int_equal(name_check_file(""), MLD_ENAME);
    assert_int_equal(name_check_file("/"), MLD_ENAME);
    assert_int_equal(name_check_file("/etc"), MLD_ENAME);
    assert_int_equal(name_check_file("a/b"), MLD_ENAME);
    assert_int_equal(name_check_file("../x"), MLD_ENAME);
    assert_int_equal(name_check_file(repeat(text, 256)), MLD_ENAME);
    assert_int_equal(name_check_component("project", NULL), MLD_ENAME);
    assert_int_equal(name_check_component("project", "a/b"), MLD_ENAME);
}

static void says_what_is_wrong(void **state)
{
    char text[300];

    (void)state;
    name_check_file("a/b");
    expect_message("file name 'a/b' has a '/'");
    name_check_file("a\n\x1B[31mb\xC2\x85");
    expect_message("'a\\x0a\\x1b[31mb\\x85' has a control character at byte 1");
    name_check_file("a\xFFz");
    expect_message("'a\\xffz' is not valid UTF-8 at byte 1");
    name_check_file(".files_metadata.json");
    expect_message("keeps for itself");
    name_check_file(repeat(text, 299));
    expect_message("xxx...' has a component of 299 bytes");
    assert_true(strlen(mld_error_message()) < 200);
    name_check_component("project", "a/b");
    expect_message("project 'a/b'");
    name_check_tag("bindr", "");
    expect_message("bindr '' has 0 bytes");
}

/* A long name is cut between characters, never inside one. */
static void cuts_a_quote_between_characters(void **state)
{
    char text[300];

    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        repeat(text, shift);
        for (size_t at = shift; at + 4 < 290; at += 4)
            memcpy(text + at, "\xF0\x9F\x98\x80", 5);
        assert_int_equal(name_check_file(text), MLD_ENAME);
        assert_null(strchr(mld_error_message(), '?'));
        expect_message("\xF0\x9F\x98\x80...'");
    }
}

static void expect_prefix(const char *prefix, const char *canonical)
{
    struct buf b;

    buf_init(&b, 2000);
    enum mld_error error = name_canonical_prefix(prefix, &b);
    if (error != (canonical != NULL ? MLD_OK : MLD_ENAME))
        fail_msg("prefix '%s': %s", prefix != NULL ? prefix : "NULL", mld_error_message());
    assert_string_equal(buf_text(&b), canonical != NULL ? canonical : "");
    buf_free(&b);
}

static void brings_prefixes_into_one_form(void **state)
{
    char text[1100];

    (void)state;
    expect_prefix(NULL, "/");
    expect_prefix("", "/");
    expect_prefix("/", "/");
    expect_prefix("models", "/models");
    expect_prefix("/models", "/models");
    expect_prefix("models/", "/models");
    expect_prefix("/models/best/", "/models/best");
    expect_prefix("a b/\\", "/a b/\\");
    expect_prefix("//", NULL);
    expect_prefix("//models", NULL);
    expect_prefix("models//", NULL);
    expect_prefix("a//b", NULL);
    expect_prefix("a/./b", NULL);
    expect_prefix("./a", NULL);
    for (size_t i = 0; i < LENGTH(bad_parts); i++)
        expect_prefix(bad_parts[i], NULL);
    memset(text, 'x', sizeof(text));
    for (size_t i = 100; i < sizeof(text); i += 100)
        text[i] = '/';
    text[1024] = '\0';
    struct buf b;
    buf_init(&b, 2000);
    assert_int_equal(name_canonical_prefix(text, &b), MLD_OK);
    text[1024] = 'x';
    text[1025] = '\0';
    assert_int_equal(name_canonical_prefix(text, &b), MLD_ENAME);
    buf_free(&b);
}

static void does_not_leave_the_run_folder(void **state)
{
    static const char *const leaving[] = {"..",   "../",    "/..",   "/../",         "../a",
                                          "a/..", "a/../b", "/../a", "a/b/../../..", "../../etc"};
    struct buf b;

    (void)state;
    buf_init(&b, 2000);
    for (size_t i = 0; i < LENGTH(leaving); i++) {
        assert_int_equal(name_canonical_prefix(leaving[i], &b), MLD_ENAME);
        expect_message("leaves the run folder");
        assert_int_equal(name_canonical_folder("folder", leaving[i], &b), MLD_ENAME);
        expect_message("leaves the run folder");
    }
    assert_int_equal(name_check_series("a/../b"), MLD_ENAME);
    expect_message("leaves the run folder");
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void brings_folders_into_one_form(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 20);
    assert_int_equal(name_canonical_folder("folder", NULL, &b), MLD_OK);
    assert_int_equal(name_canonical_folder("folder", "", &b), MLD_OK);
    assert_int_equal(name_canonical_folder("folder", "/", &b), MLD_OK);
    assert_int_equal(b.len, 0);
    assert_int_equal(name_canonical_folder("folder", "/a/b/", &b), MLD_OK);
    assert_string_equal(buf_text(&b), "a/b");
    assert_int_equal(name_canonical_folder("folder", "a/.mldash", &b), MLD_ENAME);
    assert_int_equal(name_canonical_folder("folder", "much/longer/than/the/buffer", &b),
                     MLD_ETOOLARGE);
    buf_free(&b);
}

static void checks_series(void **state)
{
    char text[1100];

    (void)state;
    assert_int_equal(name_check_series("train/loss"), MLD_OK);
    assert_int_equal(name_check_series("a/b/c d/e"), MLD_OK);
    assert_int_equal(name_check_series(NULL), MLD_ENAME);
    assert_int_equal(name_check_series(""), MLD_ENAME);
    assert_int_equal(name_check_series("/a"), MLD_ENAME);
    assert_int_equal(name_check_series("a/"), MLD_ENAME);
    assert_int_equal(name_check_series("a//b"), MLD_ENAME);
    assert_int_equal(name_check_series("train/data.jsonl"), MLD_ENAME);
    assert_int_equal(name_check_series("data.3.jsonl/x"), MLD_ENAME);
    assert_int_equal(name_check_series(repeat(text, 256)), MLD_ENAME);
}

static void checks_aliases(void **state)
{
    char text[100];

    (void)state;
    assert_int_equal(name_check_alias("best"), MLD_OK);
    assert_int_equal(name_check_alias("v1.0_rc-2"), MLD_OK);
    assert_int_equal(name_check_alias("Latest"), MLD_OK);
    assert_int_equal(name_check_alias(repeat(text, 64)), MLD_OK);
    assert_int_equal(name_check_alias(repeat(text, 65)), MLD_ENAME);
    assert_int_equal(name_check_alias("latest"), MLD_ENAME);
    assert_int_equal(name_check_alias(""), MLD_ENAME);
    assert_int_equal(name_check_alias(NULL), MLD_ENAME);
    assert_int_equal(name_check_alias(".."), MLD_ENAME);
    assert_int_equal(name_check_alias("a b"), MLD_ENAME);
    assert_int_equal(name_check_alias("a/b"), MLD_ENAME);
    assert_int_equal(name_check_alias("a@b"), MLD_ENAME);
    assert_int_equal(name_check_alias("\xC3\xA9"), MLD_ENAME);
}

static void checks_tags(void **state)
{
    char text[300];

    (void)state;
    assert_int_equal(name_check_tag("tag", "a/b: c, \xC3\xA9"), MLD_OK);
    assert_int_equal(name_check_tag("tag", ".."), MLD_OK);
    assert_int_equal(name_check_tag("tag", repeat(text, 255)), MLD_OK);
    assert_int_equal(name_check_tag("tag", repeat(text, 256)), MLD_ENAME);
    assert_int_equal(name_check_tag("tag", NULL), MLD_ENAME);
    assert_int_equal(name_check_tag("tag", "a\nb"), MLD_ENAME);
    assert_int_equal(name_check_tag("tag", "\xED\xA0\x80"), MLD_ENAME);
}

static void expect_series_dir(const char *kind, const char *name, const char *path)
{
    struct buf b;

    buf_init(&b, 2000);
    name_series_dir(&b, kind, name);
    assert_string_equal(buf_text(&b), path);
    buf_free(&b);
}

static void builds_paths(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 2000);
    name_file_path(&b, "/models/best", "17", "m.pt");
    assert_string_equal(buf_text(&b), "files/models/best/17/m.pt");
    buf_clear(&b);
    name_file_path(&b, "/", "17", "m.pt");
    assert_string_equal(buf_text(&b), "files/17/m.pt");
    buf_free(&b);
    expect_series_dir("metrics", "train/loss", "metrics/train/loss");
    expect_series_dir("metrics", NULL, "metrics/None");
    expect_series_dir("tracks", "robot/pos/x", "tracks/robot_pos_x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_good_file_names),
        cmocka_unit_test(keeps_series_names_from_folders_only),
        cmocka_unit_test(refuses_bad_file_names),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(cuts_a_quote_between_characters),
        cmocka_unit_test(brings_prefixes_into_one_form),
        cmocka_unit_test(does_not_leave_the_run_folder),
        cmocka_unit_test(brings_folders_into_one_form),
        cmocka_unit_test(checks_series),
        cmocka_unit_test(checks_aliases),
        cmocka_unit_test(checks_tags),
        cmocka_unit_test(builds_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Parameters: setting, merging, reading, refusing. */
#include "series_helpers.h"

#include <sys/wait.h>

static void expect_params(mld_experiment *experiment, const char *json)
{
    char *found = NULL;

    expect_ok(mld_params_get(&found, experiment));
    assert_string_equal(found, json);
    mld_free(found);
}

static void set_one(mld_experiment *experiment, struct mld_field field)
{
    expect_ok(mld_params_set(experiment, &field, 1));
}

static void test_set_and_get(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    const struct mld_field fields[] = {
        mld_number("lr", 1e-3),  mld_text("optimizer.name", "ad\"am"),
        mld_number("clip", NAN), mld_json("layers", "[1, {\"a\": 123456789012345678901}]"),
        mld_null("none"),
    };

    expect_params(experiment, "{}");
    expect_ok(mld_params_set(experiment, NULL, 0));
    expect_ok(mld_params_set(experiment, fields, LENGTH(fields)));
    set_one(experiment, mld_integer("lr", 5));
    set_one(experiment, mld_boolean("z", true));
    const char *all = "{\"lr\":5,\"optimizer.name\":\"ad\\\"am\",\"clip\":NaN,"
                      "\"layers\":[1,{\"a\":123456789012345678901}],\"none\":null,\"z\":true}";
    expect_params(experiment, all);
    mld_experiment_close(experiment);
    experiment = open_run(*state, false);
    expect_params(experiment, all);
    mld_experiment_close(experiment);
}

static void test_nothing_is_set_by_bad_input(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    const struct mld_field bad[] = {mld_number("a", 1), mld_json("b", "{]")};
    const struct mld_field empty[] = {mld_number("a", 1), mld_number("", 1)};
    const struct mld_field unnamed[] = {mld_number("a", 1), mld_number(NULL, 1)};

    assert_int_equal(mld_params_set(experiment, bad, 2), MLD_EINVALID);
    expect_message("\"b\"");
    assert_int_equal(mld_params_set(experiment, empty, 2), MLD_EINVALID);
    expect_message("empty name");
    assert_int_equal(mld_params_set(experiment, unnamed, 2), MLD_EINVALID);
    assert_int_equal(mld_params_set(experiment, NULL, 2), MLD_EINVALID);

    size_t len = 17u << 20;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, 'x', len);
    struct mld_field large = mld_text("large", "");
    large.text = text;
    large.len = len;
    assert_int_equal(mld_params_set(experiment, &large, 1), MLD_ETOOLARGE);
    free(text);
    expect_params(experiment, "{}");
    set_one(experiment, mld_number("a", 1));
    expect_params(experiment, "{\"a\":1.0}");
    mld_experiment_close(experiment);
    experiment = open_run(*state, true);
    assert_int_equal(mld_params_set(experiment, empty, 1), MLD_ESTATE);
    expect_params(experiment, "{\"a\":1.0}");
    mld_experiment_close(experiment);
}

static void test_other_processes_set_too(void **state)
{
    mld_experiment *experiment = open_run(*state, false);
    int status = -1;

    set_one(experiment, mld_text("a", "parent"));
    set_one(experiment, mld_text("b", "parent"));
    pid_t child = fork();
    if (child == 0) {
        set_one(experiment, mld_text("b", "child"));
        set_one(experiment, mld_text("c", "child"));
        mld_experiment_close(experiment);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_params(experiment, "{\"a\":\"parent\",\"b\":\"child\",\"c\":\"child\"}");
    set_one(experiment, mld_text("c", "parent"));
    expect_params(experiment, "{\"a\":\"parent\",\"b\":\"child\",\"c\":\"parent\"}");
    mld_experiment_close(experiment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_set_and_get, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_set_by_bad_input, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_other_processes_set_too, scratch_setup,
                                        scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

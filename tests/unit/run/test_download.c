/* A name's newest version is damaged: nothing older is given in its place, but the error says what
 * there is. */
#include "run/folder_helpers.h"

static mld_experiment *open_keeping_all(const struct scratch *s)
{
    struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
    options.keep = MLD_KEEP_ALL;
    return open_with(s, false, options);
}

static enum mld_error download(mld_experiment *e, const char *alias, const char *to)
{
    struct mld_download_options options = MLD_DOWNLOAD_OPTIONS_INIT;
    options.prefix = "/models";
    options.filename = "best.pt";
    options.alias = alias;
    options.destination = to;
    return mld_file_download(NULL, e, &options);
}

static void spoil(const struct scratch *s, const char *path, const char *bytes)
{
    int fd = openat(s->fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
    close(fd);
}

static void test_a_damaged_newest_version(void **state)
{
    const struct scratch *s = *state;
    char to[512];
    snprintf(to, sizeof to, "%s/there", s->path);
    mld_experiment *e = open_keeping_all(s);
    struct saved first = save(e, "/models", "best.pt", "one");
    struct saved second = save(e, "/models", "best.pt", "two");
    struct saved third = save(e, "/models", "best.pt", "three");
    expect_ok(mld_file_set_alias(e, third.id, "best"));
    spoil(s, third.path, "THREE");
    assert_int_equal(download(e, NULL, to), MLD_ECHECKSUM);
    assert_non_null(strstr(mld_error_message(), third.id));
    assert_non_null(strstr(mld_error_message(), second.id));
    assert_int_equal(download(e, "latest", to), MLD_ECHECKSUM);
    assert_non_null(strstr(mld_error_message(), second.id));
    assert_int_equal(download(e, "best", to), MLD_ECHECKSUM); /* that one version was meant */
    assert_null(strstr(mld_error_message(), second.id));
    spoil(s, second.path, "");
    assert_int_equal(unlinkat(s->fd, third.path, 0), 0);
    assert_int_equal(download(e, NULL, to), MLD_EDAMAGED);
    assert_non_null(strstr(mld_error_message(), first.id));
    spoil(s, first.path, "");
    assert_int_equal(download(e, NULL, to), MLD_EDAMAGED);
    assert_null(strstr(mld_error_message(), "older"));
    assert_false(is_there(s, "there"));
    end_folder(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_damaged_newest_version, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

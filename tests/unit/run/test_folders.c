/* Finding run folders. */
#include "run/folder_helpers.h"

static void make(const struct scratch *s, const char *dir, const char *file)
{
    char path[256];
    snprintf(path, sizeof path, "%s", dir);
    for (char *at = path; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdirat(s->fd, path, 0777);
        *at = '/';
    }
    mkdirat(s->fd, path, 0777);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    scratch_write(s, path, "{}");
}

static void expect_paths(const struct scratch *s, const char *root, const char *const *paths,
                         size_t n)
{
    struct mld_folders *folders;
    char full[512];
    expect_ok(mld_folders_find(&folders, root));
    assert_int_equal(folders->count, n);
    for (size_t i = 0; i < n; i++) {
        snprintf(full, sizeof full, "%s%s%s", s->path, paths[i][0] == '\0' ? "" : "/", paths[i]);
        assert_string_equal(folders->paths[i], full);
    }
    mld_folders_free(folders);
}

static void test_find(void **state)
{
    const struct scratch *s = *state;
    static const char *const PATHS[] = {".ml-dash/p/a", ".ml-dash/p/b", "alice/proj/x/y"};
    char root[128];
    expect_paths(s, s->path, NULL, 0);
    make(s, ".ml-dash/p/b", "experiment.json");
    make(s, ".ml-dash/p/a", "experiment.json");
    make(s, ".ml-dash/p/b/files/inside", "experiment.json"); /* below a run folder: not looked at */
    make(s, "alice/proj/x/y/.mldash", "format.json");
    make(s, "other/deep", "parameters.json");
    scratch_symlink(s, "loop", ".");
    expect_paths(s, s->path, PATHS, 3);
    snprintf(root, sizeof root, "%s//", s->path);
    expect_paths(s, root, PATHS, 3);
    snprintf(root, sizeof root, "%s/.ml-dash", s->path);
    expect_paths(s, root, PATHS, 2);
    snprintf(root, sizeof root, "%s/.ml-dash/p/a", s->path);
    expect_paths(s, root, PATHS, 1);
}

static void test_the_root_itself(void **state)
{
    const struct scratch *s = *state;
    static const char *const PATHS[] = {""};
    scratch_write(s, "experiment.json", "{}");
    make(s, "p/a", "experiment.json");
    expect_paths(s, s->path, PATHS, 1);
}

static void test_no_such_root(void **state)
{
    const struct scratch *s = *state;
    struct mld_folders *folders;
    char root[128];
    snprintf(root, sizeof root, "%s/none", s->path);
    assert_int_equal(mld_folders_find(&folders, root), MLD_ENOTFOUND);
    assert_null(folders);
    mld_folders_free(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_find),
        T(test_the_root_itself),
        T(test_no_such_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

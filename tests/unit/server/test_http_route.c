/* Which row a path means, what its parts are, and what is refused. */
#include "server/http_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void handle(struct request *r)
{
    (void)r;
}

#define ROW(method, path) {method, path, PERMISSION_USER, handle, 1}
static const struct route routes[] = {
    ROW("GET", "/"),
    ROW("GET", "/health"),
    ROW("GET", "/experiments/{experiment}"),
    ROW("DELETE", "/experiments/{experiment}"),
    ROW("GET", "/experiments/{experiment}/files/{file}"),
    ROW("POST", "/experiments/{experiment}/files/{file}"),
    ROW("POST", "/experiments/{experiment}/files/status"),
    ROW("GET", "/experiments/latest/files/{file}"),
    ROW("GET", "/ui/{path...}"),
    ROW("GET", "/ui/special"),
    {0},
};

struct fixture {
    struct arena arena;
    struct route_match match;
};

static enum mld_error match(struct fixture *f, const char *method, const char *path)
{
    arena_free(&f->arena);
    return route_match(&f->match, &f->arena, routes, method, path);
}

static const char *param(const struct fixture *f, size_t i)
{
    assert_true(i < f->match.n_params);
    return f->match.params[i].value;
}

static void assert_row(struct fixture *f, const char *method, const char *path, size_t row)
{
    assert_int_equal(match(f, method, path), MLD_OK);
    assert_ptr_equal(f->match.route, &routes[row]);
}

static void test_finds_rows(void **state)
{
    struct fixture f = {0};
    (void)state;
    assert_row(&f, "GET", "/", 0);
    assert_row(&f, "GET", "/health", 1);
    assert_row(&f, "HEAD", "/health", 1);
    assert_row(&f, "GET", "/experiments/17", 2);
    assert_string_equal(param(&f, 0), "17");
    assert_int_equal(f.match.params[0].name_len, strlen("experiment"));
    assert_memory_equal(f.match.params[0].name, "experiment", strlen("experiment"));
    assert_row(&f, "DELETE", "/experiments/17", 3);
    assert_row(&f, "GET", "/experiments/17/files/3", 4);
    assert_string_equal(param(&f, 1), "3");
    arena_free(&f.arena);
}

static void test_prefers_literals(void **state)
{
    struct fixture f = {0};
    (void)state;
    assert_row(&f, "POST", "/experiments/17/files/status", 6);
    assert_row(&f, "GET", "/experiments/17/files/status", 4);
    assert_row(&f, "GET", "/experiments/latest/files/3", 7);
    assert_row(&f, "GET", "/ui/special", 9);
    arena_free(&f.arena);
}

static void test_rest(void **state)
{
    struct fixture f = {0};
    (void)state;
    assert_row(&f, "GET", "/ui/a%20b/c//d/", 8);
    assert_string_equal(param(&f, 0), "a b/c//d/");
    assert_int_equal(f.match.params[0].name_len, 4);
    assert_int_equal(match(&f, "GET", "/ui/"), MLD_ENOTFOUND);
    assert_int_equal(match(&f, "GET", "/ui"), MLD_ENOTFOUND);
    arena_free(&f.arena);
}

static void test_decodes_once(void **state)
{
    struct fixture f = {0};
    (void)state;
    assert_row(&f, "GET", "/experiments/%2e%2E%2fetc", 2);
    assert_string_equal(param(&f, 0), "../etc");
    assert_row(&f, "GET", "/experiments/%252e%252e", 2);
    assert_string_equal(param(&f, 0), "%2e%2e");
    assert_row(&f, "GET", "/experiments/a+b", 2);
    assert_string_equal(param(&f, 0), "a+b");
    assert_row(&f, "GET", "/%68ealth", 1);
    arena_free(&f.arena);
}

static void test_refuses(void **state)
{
    static const char *const invalid[] = {
        "/experiments/%",   "/experiments/%2",     "/experiments/%zz",      "/experiments/%00",
        "/experiments/%ff", "/experiments/%c0%af", "/experiments/%ed%a0%80"};
    static const char *const missing[] = {
        "/experiments", "/experiments/", "/experiments/1/", "/experiments//files/2",
        "//health",     "/health/",      "/Health",         "/experiments/1/2"};
    struct fixture f = {0};
    char deep[201];
    (void)state;
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
        assert_int_equal(match(&f, "GET", invalid[i]), MLD_EINVALID);
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        assert_int_equal(match(&f, "GET", missing[i]), MLD_ENOTFOUND);
    memset(deep, '/', 200);
    deep[200] = '\0';
    assert_int_equal(match(&f, "GET", deep), MLD_ENOTFOUND);
    assert_int_equal(match(&f, "PUT", "/experiments/1"), MLD_ESTATE);
    assert_string_equal(f.match.allow, "GET, HEAD, DELETE");
    assert_int_equal(match(&f, "get", "/health"), MLD_ESTATE);
    arena_free(&f.arena);
}

static void test_query(void **state)
{
    struct arena arena = {0};
    struct pair *pairs;
    size_t n;
    char many[400];
    (void)state;
    assert_int_equal(route_query(&pairs, &n, &arena, "tag=a%26b&tag=c+d&&flag&=v&e="), MLD_OK);
    assert_int_equal(n, 5);
    assert_string_equal(pairs[0].value, "a&b");
    assert_string_equal(pairs[1].value, "c d");
    assert_string_equal(pairs[2].name, "flag");
    assert_string_equal(pairs[2].value, "");
    assert_string_equal(pairs[4].value, "");
    assert_int_equal(route_query(&pairs, &n, &arena, ""), MLD_OK);
    assert_int_equal(n, 0);
    assert_int_equal(route_query(&pairs, &n, &arena, "a=%g1"), MLD_EINVALID);
    assert_int_equal(route_query(&pairs, &n, &arena, "%00=1"), MLD_EINVALID);
    for (size_t i = 0; i < 399; i++)
        many[i] = i % 2 ? '&' : 'a';
    many[399] = '\0';
    assert_int_equal(route_query(&pairs, &n, &arena, many), MLD_EINVALID);
    arena_free(&arena);
}

static void test_checks_the_table(void **state)
{
    const struct route no_permission[] = {{"GET", "/a", PERMISSION_UNSET, handle, 1}, {0}};
    const struct route no_handler[] = {{"GET", "/a", PERMISSION_USER, NULL, 1}, {0}};
    const struct route no_slash[] = {{"GET", "a", PERMISSION_USER, handle, 1}, {0}};
    const struct route early_rest[] = {{"GET", "/{a...}/b", PERMISSION_USER, handle, 1}, {0}};
    (void)state;
    assert_int_equal(route_check(routes), MLD_OK);
    assert_int_equal(route_check(no_permission), MLD_EINVALID);
    assert_non_null(strstr(mld_error_message(), "/a"));
    assert_int_equal(route_check(no_handler), MLD_EINVALID);
    assert_int_equal(route_check(no_slash), MLD_EINVALID);
    assert_int_equal(route_check(early_rest), MLD_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_rows),
        cmocka_unit_test(test_prefers_literals),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_decodes_once),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_checks_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

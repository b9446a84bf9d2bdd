/* JSON from strangers: what is refused, and that it is refused quickly. */
#include "server/http_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/http.h"

static enum mld_error read_text(const char *text, size_t len)
{
    json_t *json;
    enum mld_error error = http_json_read(&json, text, len);
    assert_int_equal(error == MLD_OK, json != NULL);
    json_decref(json);
    return error;
}

static void test_takes_objects(void **state)
{
    static const char *const fine[] = {
        "{}",
        " {\"a\":[1,2.5,-3e10,true,false,null,\"\\u00e9\"]} ",
        "{\"a\":{\"b\":{}},\"c\":\"]]]]{{{{\\\"[[\"}",
        "{\"n\":9223372036854775807}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_int_equal(read_text(fine[i], strlen(fine[i])), MLD_OK);
}

static void test_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "1",
        "\"a\"",
        "[]",
        "null",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":1,}",
        "{} {}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"b\":1}}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\\u0000\":1}",
        "{\"a\":1e999}",
        "{\"a\":-1e999}",
        "{\"a\":9223372036854775808}",
        "{\"a\":NaN}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":'b'}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_text(bad[i], strlen(bad[i])), MLD_EINVALID);
    assert_int_equal(read_text("{}\0{}", 5), MLD_EINVALID);
}

static enum mld_error nested(size_t depth, char open, char close)
{
    size_t len = depth * 2 + 6;
    char *text = malloc(len + 1);
    assert_non_null(text);
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, open, depth);
    memset(text + 5 + depth, close, depth);
    text[len - 1] = '}';
    text[len] = '\0';
    enum mld_error error = read_text(text, len);
    free(text);
    return error;
}

static void test_refuses_depth(void **state)
{
    (void)state;
    assert_int_equal(nested(HTTP_MAX_JSON_DEPTH - 1, '[', ']'), MLD_OK);
    assert_int_equal(nested(HTTP_MAX_JSON_DEPTH, '[', ']'), MLD_EINVALID);
    assert_int_equal(nested(100000, '[', ']'), MLD_EINVALID);
    assert_int_equal(nested(100000, '{', '}'), MLD_EINVALID);
    assert_non_null(strstr(mld_error_message(), "nested"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_objects),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_refuses_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

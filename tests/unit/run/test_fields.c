#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "run/fields.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define OUT_MAX_BYTES 65536

static void expect_put(enum fields_form form, const struct mld_field *fields, size_t n,
                       const char *text)
{
    struct buf out;
    struct json_doc doc;

    buf_init(&out, OUT_MAX_BYTES);
    json_doc_init(&doc);
    buf_putc(&out, '{');
    assert_int_equal(fields_put(&out, &doc, form, fields, n), MLD_OK);
    buf_putc(&out, '}');
    assert_int_equal(buf_check(&out, "fields"), MLD_OK);
    assert_string_equal(out.data, text);
    assert_int_equal(json_parse(&doc, out.data, out.len), MLD_OK);
    json_doc_free(&doc);
    buf_free(&out);
}

static void expect_refused(const struct mld_field *field, const char *part)
{
    struct buf out;
    struct json_doc doc;

    buf_init(&out, OUT_MAX_BYTES);
    json_doc_init(&doc);
    buf_putc(&out, '{');
    assert_int_equal(fields_put(&out, &doc, FIELDS_AS_GIVEN, field, 1), MLD_EINVALID);
    if (strstr(mld_error_message(), part) == NULL)
        fail_msg("'%s' is not in: %s", part, mld_error_message());
    json_doc_free(&doc);
    buf_free(&out);
}

static void test_every_kind(void **state)
{
    (void)state;
    const struct mld_field fields[] = {
        mld_null("none"),         mld_boolean("yes", true),
        mld_integer("i", -7),     mld_integer("max", INT64_MAX),
        mld_number("x", 0.1),     mld_number("whole", 2),
        mld_number("nan", NAN),   mld_number("low", -INFINITY),
        mld_text("t", "a\"b\n"),  mld_json("j", " [1, {\"a b\" : 2 }, 123456789012345678901 ] "),
        mld_text("\xC3\xA9", ""),
    };
    expect_put(FIELDS_AS_GIVEN, fields, LENGTH(fields),
               "{\"none\":null,\"yes\":true,\"i\":-7,\"max\":9223372036854775807,\"x\":0.1,"
               "\"whole\":2.0,\"nan\":NaN,\"low\":-Infinity,\"t\":\"a\\\"b\\n\","
               "\"j\":[1,{\"a b\":2},123456789012345678901],\"\xC3\xA9\":\"\"}");
    expect_put(FIELDS_AS_GIVEN, NULL, 0, "{}");
}

static void test_surrogates_in_names_and_texts(void **state)
{
    (void)state;
    struct mld_field field = mld_text("\xED\xA0\x80", "x\xED\xB0\x80");

    expect_put(FIELDS_AS_GIVEN, &field, 1, "{\"\\ud800\":\"x\\udc00\"}");
}

static void test_a_text_may_hold_nul(void **state)
{
    (void)state;
    struct mld_field field = mld_text("t", "");

    field.text = "a\0b";
    field.len = 3;
    expect_put(FIELDS_AS_GIVEN, &field, 1, "{\"t\":\"a\\u0000b\"}");
}

static void test_flattening(void **state)
{
    (void)state;
    const struct mld_field fields[] = {
        mld_number("a", 1),
        mld_json("pos", "{\"x\": 1, \"in\": {\"y\": [1, {\"z\": 2}]}, \"none\": {}, \"q\\n\": 0}"),
        mld_json("list", "[{\"a\": 1}]"),
        mld_json("empty", "{}"),
    };
    expect_put(FIELDS_FLAT, fields, LENGTH(fields),
               "{\"a\":1.0,\"pos.x\":1,\"pos.in.y\":[1,{\"z\":2}],\"pos.none\":{},\"pos.q\\n\":0,"
               "\"list\":[{\"a\":1}],\"empty\":{}}");
}

static void test_bad_names(void **state)
{
    (void)state;
    char name[FIELDS_MAX_NAME_BYTES + 2];
    struct mld_field field = mld_number(NULL, 1);

    expect_refused(&field, "no name");
    field.name = "bad\xFF";
    expect_refused(&field, "not UTF-8");
    field.name = "cut\xC3";
    expect_refused(&field, "not UTF-8");
    memset(name, 'n', sizeof(name));
    name[FIELDS_MAX_NAME_BYTES + 1] = '\0';
    field.name = name;
    expect_refused(&field, "longer than 1024");
}

static void test_bad_values(void **state)
{
    (void)state;
    struct mld_field field = mld_json("j", "{\"a\":}");

    expect_refused(&field, "\"j\"");
    field = mld_json("j", "1 2");
    expect_refused(&field, "\"j\"");
    field = mld_json("j", "");
    expect_refused(&field, "\"j\"");
    field.text = NULL;
    expect_refused(&field, "NULL");
    field = mld_null("k");
    field.kind = (enum mld_kind)77;
    expect_refused(&field, "kind 77");
}

static const char *nested(char *out, int depth)
{
    memset(out, '[', (size_t)depth);
    memset(out + depth, ']', (size_t)depth);
    out[2 * depth] = '\0';
    return out;
}

static void test_depth_leaves_room_for_the_line(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 1];
    char line[2 * JSON_MAX_DEPTH + 64];
    struct json_doc doc;
    struct mld_field field = mld_json("j", nested(text, FIELDS_MAX_DEPTH + 1));

    expect_refused(&field, "deeper than 120");
    field = mld_json("j", nested(text, FIELDS_MAX_DEPTH));
    json_doc_init(&doc);
    int len = snprintf(line, sizeof(line), "{\"data\":{\"j\":%s}}", text);
    assert_int_equal(json_parse(&doc, line, (size_t)len), MLD_OK);
    json_doc_free(&doc);
    snprintf(line, sizeof(line), "{\"j\":%s}", text);
    expect_put(FIELDS_AS_GIVEN, &field, 1, line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_surrogates_in_names_and_texts),
        cmocka_unit_test(test_a_text_may_hold_nul),
        cmocka_unit_test(test_flattening),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_depth_leaves_room_for_the_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The text is parsed from memory of exactly its size, so that a sanitizer sees reads behind it. */
struct sample {
    struct json_doc doc;
    char *text;
    enum mld_error error;
};

static struct sample sample_of_bytes(const char *text, size_t len)
{
    struct sample s;

    s.text = malloc(len > 0 ? len : 1);
    memcpy(s.text, text, len);
    json_doc_init(&s.doc);
    s.error = json_parse(&s.doc, s.text, len);
    return s;
}

static struct sample sample_of(const char *text)
{
    struct sample s = sample_of_bytes(text, strlen(text));

    if (s.error != MLD_OK)
        fail_msg("%s: %s", text, mld_error_message());
    return s;
}

static void sample_free(struct sample *s)
{
    json_doc_free(&s->doc);
    free(s->text);
}

static const struct json_node *member(const struct sample *s, const char *key)
{
    return json_get(&s->doc, json_root(&s->doc), key);
}

static void record_is_read(void **state)
{
    struct sample s = sample_of(
        " {\"type\":\"file\", \"clock\" : 1732400000000000,\"id\":\"123\",\"sizeBytes\":4096,\n"
        "\"description\":null,\"tags\":[\"a\",\"b\" ],\"bindrs\":[],\"ok\":true,\"no\":false,"
        "\"metadata\":{\"epoch\":3,\"acc\":0.5},\"last\":\"\"}\r\n\t");
    int64_t integer = 0;
    double number = 0;

    (void)state;
    assert_int_equal(json_root(&s.doc)->type, JSON_OBJECT);
    assert_int_equal(json_root(&s.doc)->count, 11);
    assert_true(json_equals(&s.doc, member(&s, "type"), "file"));
    assert_false(json_equals(&s.doc, member(&s, "type"), "fil"));
    assert_false(json_equals(&s.doc, member(&s, "type"), "files"));
    assert_true(json_equals(&s.doc, member(&s, "last"), ""));
    assert_true(json_int64(&s.doc, member(&s, "clock"), &integer));
    assert_true(integer == 1732400000000000);
    assert_int_equal(member(&s, "description")->type, JSON_NULL);
    assert_int_equal(member(&s, "ok")->type, JSON_TRUE);
    assert_int_equal(member(&s, "no")->type, JSON_FALSE);
    assert_int_equal(member(&s, "tags")->count, 2);
    assert_int_equal(member(&s, "bindrs")->count, 0);
    const struct json_node *metadata = member(&s, "metadata");
    assert_true(json_double(&s.doc, json_get(&s.doc, metadata, "acc"), &number));
    assert_true(number == 0.5);
    assert_null(member(&s, "acc")); /* not found inside another member */
    assert_null(member(&s, "epoch"));
    assert_null(member(&s, ""));
    assert_null(json_get(&s.doc, member(&s, "tags"), "a"));
    assert_null(json_get(&s.doc, NULL, "a"));
    sample_free(&s);
}

static void walk_visits_every_child(void **state)
{
    struct sample s = sample_of("{\"a\":[1,[2,3],{\"x\":4}],\"b\":{\"c\":[]},\"a\":5}");
    const struct json_node *node = NULL;
    static const char *const keys[] = {"a", "b", "a"};
    static const char *const elements[] = {"1", "[2,3]", "{\"x\":4}"};
    const struct json_node *array = NULL;
    size_t len;
    size_t n = 0;

    (void)state;
    while ((node = json_next(&s.doc, json_root(&s.doc), node)) != NULL) {
        assert_true(n < COUNT(keys));
        assert_true(json_equals(&s.doc, node, keys[n]));
        if (n++ == 0)
            array = json_value_of(&s.doc, node);
    }
    assert_int_equal(n, COUNT(keys));
    for (n = 0; (node = json_next(&s.doc, array, node)) != NULL; n++) {
        assert_true(n < COUNT(elements));
        const char *raw = json_raw(&s.doc, node, &len);
        assert_int_equal(len, strlen(elements[n]));
        assert_memory_equal(raw, elements[n], len);
    }
    assert_int_equal(n, COUNT(elements));
    assert_null(json_next(&s.doc, json_value_of(&s.doc, NULL), NULL));
    assert_null(json_next(&s.doc, json_next(&s.doc, array, NULL), NULL)); /* a number */
    assert_int_equal(member(&s, "a")->type, JSON_NUMBER);                 /* the last wins */
    sample_free(&s);
}

static void raw_text_of_each_kind(void **state)
{
    struct sample s = sample_of("[ \"q\\n\" , 1.50 , null, { \"a\" : 1 } ]");
    static const char *const raws[] = {"\"q\\n\"", "1.50", "null", "{ \"a\" : 1 }"};
    const struct json_node *node = NULL;
    size_t len = 1;

    (void)state;
    for (size_t i = 0; i < COUNT(raws); i++) {
        node = json_next(&s.doc, json_root(&s.doc), node);
        const char *raw = json_raw(&s.doc, node, &len);
        assert_int_equal(len, strlen(raws[i]));
        assert_memory_equal(raw, raws[i], len);
    }
    assert_null(json_raw(&s.doc, NULL, &len));
    assert_int_equal(len, 0);
    sample_free(&s);
}

static void valid_texts_are_accepted(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "10",
        "-1.5e-3",
        "1E5",
        "1e+5",
        "0.0",
        "0e0",
        "NaN",
        "Infinity",
        "-Infinity",
        "\"\"",
        "\"\x7f\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\"",
        "[]",
        "{}",
        "[[],{}]",
        " [ 1 , 2 ] ",
        "{\"\":1}",
        "true",
        "false",
        "null",
        "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"",
        "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
        "123456789012345678901234567890",
        "1e999",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct sample s = sample_of(texts[i]);
        assert_non_null(json_root(&s.doc));
        sample_free(&s);
    }
}

static void invalid_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:2}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "01",
        "-",
        "-a",
        "+1",
        ".5",
        "5.",
        "1.e5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "1a",
        "- 1",
        "--1",
        "nan",
        "NAN",
        "Nan",
        "NaNs",
        "inf",
        "-Inf",
        "-NaN",
        "Infinit",
        "-Infinit",
        "tru",
        "truex",
        "True",
        "nul",
        "None",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u12",
        "'a'",
        "\"\n\"",
        "\"\t\"",
        "\"\x01\"",
        "\"12345678\x1f\"",
        "1 2",
        "[] []",
        "// c",
        "[1]x",
        "\xef\xbb\xbf[]",
        "\v1",
        "\"a\"b",
        /* not UTF-8: lone bytes, overlong, surrogates, beyond the last character, cut off */
        "\"\x80\"",
        "\"\xc3\"",
        "\"\xc3(\"",
        "\"\xc0\xaf\"",
        "\"\xc1\xbf\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xff\"",
        "\"\xe2\x82\"",
        "\"\xe2\x82",
        "\"\xf0\x9f\x98",
        "\"1234567\xff\"",
        "\"1234567\x80\"",
        "\"1234567\x9f\"",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct sample s = sample_of_bytes(texts[i], strlen(texts[i]));
        if (s.error != MLD_EINVALID)
            fail_msg("%s was accepted", texts[i]);
        assert_null(json_root(&s.doc));
        sample_free(&s);
    }
    struct sample s = sample_of_bytes("\"a\0b\"", 5);
    assert_int_equal(s.error, MLD_EINVALID);
    sample_free(&s);
    s = sample_of_bytes("\"\\\0\"", 4);
    assert_int_equal(s.error, MLD_EINVALID);
    sample_free(&s);
    s = sample_of_bytes("[1,x]", 5);
    assert_string_equal(mld_error_message(), "invalid JSON: expected a value at byte 3");
    sample_free(&s);
}

/* Every proper beginning of a record is refused, wherever it is cut. */
static void torn_texts_are_refused(void **state)
{
    static const char text[] =
        "{\"a\":[1.5e3,-Infinity,NaN,\"\\u00e9\\n\xc3\xa9\"],\"b\":{\"c\":null}}";

    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        struct sample s = sample_of_bytes(text, len);
        assert_int_equal(s.error, MLD_EINVALID);
        sample_free(&s);
    }
    struct sample whole = sample_of_bytes(text, sizeof(text) - 1);
    assert_int_equal(whole.error, MLD_OK);
    sample_free(&whole);
}

static void depth_is_limited(void **state)
{
    char text[2 * JSON_MAX_DEPTH + 3];

    (void)state;
    memset(text, '[', JSON_MAX_DEPTH);
    text[JSON_MAX_DEPTH] = '1';
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH);
    struct sample s = sample_of_bytes(text, 2 * JSON_MAX_DEPTH + 1);
    assert_int_equal(s.error, MLD_OK);
    sample_free(&s);

    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    s = sample_of_bytes(text, 2 * JSON_MAX_DEPTH + 2);
    assert_int_equal(s.error, MLD_ETOOLARGE);
    sample_free(&s);
}

static void doc_may_be_used_again(void **state)
{
    struct json_doc doc;
    int64_t value;

    (void)state;
    json_doc_init(&doc);
    assert_null(json_root(&doc));
    assert_int_equal(json_parse(&doc, "[1,2,3]", 7), MLD_OK);
    assert_int_equal(json_parse(&doc, "[1,2", 4), MLD_EINVALID);
    assert_null(json_root(&doc));
    assert_int_equal(json_parse(&doc, "7", 1), MLD_OK);
    assert_true(json_int64(&doc, json_root(&doc), &value));
    assert_true(value == 7);
    assert_int_equal(doc.count, 1);

    struct buf b;
    buf_init(&b, 100000);
    buf_putc(&b, '[');
    for (int i = 0; i < 5000; i++) {
        buf_puts(&b, i > 0 ? "," : "");
        json_put_int64(&b, i);
    }
    buf_putc(&b, ']');
    assert_int_equal(json_parse(&doc, b.data, b.len), MLD_OK);
    const struct json_node *node = NULL;
    int64_t n = 0;
    while ((node = json_next(&doc, json_root(&doc), node)) != NULL) {
        assert_true(json_int64(&doc, node, &value));
        assert_true(value == n++);
    }
    assert_int_equal(n, 5000);
    buf_free(&b);
    json_doc_free(&doc);
    json_doc_free(&doc);
    json_doc_free(NULL);
}

static void numbers_are_typed(void **state)
{
    struct sample s = sample_of("[9223372036854775807,9223372036854775808,1.0,1e2,NaN,\"1\",true]");
    static const bool is_int[] = {true, false, false, false, false, false, false};
    static const bool is_double[] = {true, true, true, true, true, false, false};
    const struct json_node *node = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT(is_int); i++) {
        int64_t integer = -7;
        double number = -7;
        node = json_next(&s.doc, json_root(&s.doc), node);
        assert_int_equal(json_int64(&s.doc, node, &integer), is_int[i]);
        assert_int_equal(json_double(&s.doc, node, &number), is_double[i]);
        assert_true(is_int[i] == (integer != -7));
        assert_true(is_double[i] == (number != -7));
    }
    double number;
    assert_false(json_double(&s.doc, NULL, &number));
    sample_free(&s);

    s = sample_of("[NaN,Infinity,-Infinity]");
    node = json_next(&s.doc, json_root(&s.doc), NULL);
    assert_true(json_double(&s.doc, node, &number) && isnan(number));
    node = json_next(&s.doc, json_root(&s.doc), node);
    assert_true(json_double(&s.doc, node, &number) && number == INFINITY);
    node = json_next(&s.doc, json_root(&s.doc), node);
    assert_true(json_double(&s.doc, node, &number) && number == -INFINITY);
    sample_free(&s);
}

static void strings_are_decoded(void **state)
{
    static const struct {
        const char *json, *bytes;
        size_t len;
    } rows[] = {
        {"\"\"", "", 0},
        {"\"plain\"", "plain", 5},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e9\\u20AC!\"", "A\xc3\xa9\xe2\x82\xac!", 7},
        {"\"\\u07ff\\u0800\\uffff\"", "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 8},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4},
        {"\"\xf0\x9f\x98\x80\"", "\xf0\x9f\x98\x80", 4},
        {"\"\\ud800\"", "\xed\xa0\x80", 3},
        {"\"\\ud83dx\"", "\xed\xa0\xbdx", 4},
        {"\"\\ud83d\\u0041\"",
         "\xed\xa0\xbd"
         "A",
         4},
        {"\"\\ude00\\ud83d\"", "\xed\xb8\x80\xed\xa0\xbd", 6},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xed\xa0\xbd\xf0\x9f\x98\x80", 7},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sample s = sample_of(rows[i].json);
        struct buf b;
        buf_init(&b, 100);
        json_decoded(&s.doc, json_root(&s.doc), &b);
        assert_int_equal(b.len, rows[i].len);
        assert_memory_equal(buf_text(&b), rows[i].bytes, rows[i].len);
        char *copy = json_strdup(&s.doc, json_root(&s.doc));
        assert_memory_equal(copy, rows[i].bytes, rows[i].len + 1);
        bool has_nul = strlen(rows[i].bytes) < rows[i].len;
        assert_int_equal(json_equals(&s.doc, json_root(&s.doc), rows[i].bytes), !has_nul);
        free(copy);
        buf_free(&b);
        sample_free(&s);
    }
    struct sample s = sample_of("7");
    struct buf b;
    buf_init(&b, 10);
    json_decoded(&s.doc, json_root(&s.doc), &b);
    json_decoded(&s.doc, NULL, &b);
    assert_int_equal(b.len, 0);
    assert_null(json_strdup(&s.doc, json_root(&s.doc)));
    assert_null(json_strdup(&s.doc, NULL));
    assert_false(json_equals(&s.doc, json_root(&s.doc), "7"));
    assert_false(json_equals(&s.doc, NULL, ""));
    sample_free(&s);
}

static void escaped_keys_are_found(void **state)
{
    struct sample s = sample_of("{\"\\u0061bc\":1,\"d\\\"e\":2,\"\xc3\xa9\":3,\"abc\":4}");
    int64_t value;

    (void)state;
    assert_true(json_int64(&s.doc, member(&s, "abc"), &value) && value == 4);
    assert_true(json_int64(&s.doc, member(&s, "d\"e"), &value) && value == 2);
    assert_true(json_int64(&s.doc, member(&s, "\xc3\xa9"), &value) && value == 3);
    assert_null(member(&s, "\\u0061bc"));
    assert_null(member(&s, "d\\\"e"));
    sample_free(&s);
    s = sample_of("{\"\\u0061bc\":1}");
    assert_true(json_int64(&s.doc, member(&s, "abc"), &value) && value == 1);
    sample_free(&s);
}

static void same_is_deep_equality(void **state)
{
    static const struct {
        bool same;
        const char *x, *y;
    } rows[] = {
        {true, "{\"a\":1,\"b\":[2,{\"c\":null}]}", "{ \"b\":[2, {\"c\":null}], \"a\":1.0 }"},
        {true, "{\"a\":1,\"a\":2}", "{\"a\":2}"},
        {false, "{\"a\":1,\"a\":2}", "{\"a\":1}"},
        {true, "{\"a\":3,\"a\":2,\"b\":1}", "{\"b\":1,\"a\":2}"},
        {true, "{\"\\u0061\":1}", "{\"a\":1}"},
        {true, "\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
        {true, "[]", "[]"},
        {true, "1e2", "100"},
        {true, "-0", "0"},
        {true, "0.5", "5e-1"},
        {true, "NaN", "NaN"},
        {true, "Infinity", "Infinity"},
        {true, "123456789012345678901234567890", "123456789012345678901234567890"},
        {false, "123456789012345678901234567890", "123456789012345678901234567891"},
        {false, "9007199254740992", "9007199254740993"},
        {false, "-1", "1"},
        {false, "Infinity", "-Infinity"},
        {false, "NaN", "0"},
        {false, "{\"a\":1}", "{\"a\":1,\"b\":2}"},
        {false, "{\"a\":1,\"b\":2}", "{\"a\":1}"},
        {false, "{\"a\":1}", "{\"b\":1}"},
        {false, "[1,2]", "[2,1]"},
        {false, "[1]", "[1,1]"},
        {false, "[[1]]", "[[2]]"},
        {false, "1", "\"1\""},
        {false, "true", "false"},
        {false, "true", "1"},
        {false, "null", "{}"},
        {false, "\"a\\n\"", "\"a\""},
        {false, "\"a\"", "\"a\\n\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sample x = sample_of(rows[i].x);
        struct sample y = sample_of(rows[i].y);
        if (json_same(&x.doc, json_root(&x.doc), &y.doc, json_root(&y.doc)) != rows[i].same ||
            json_same(&y.doc, json_root(&y.doc), &x.doc, json_root(&x.doc)) != rows[i].same)
            fail_msg("%s and %s", rows[i].x, rows[i].y);
        assert_true(json_same(&x.doc, json_root(&x.doc), &x.doc, json_root(&x.doc)));
        assert_false(json_same(&x.doc, json_root(&x.doc), &y.doc, NULL));
        sample_free(&x);
        sample_free(&y);
    }
}

static void assert_written(const struct buf *b, const char *expected)
{
    assert_int_equal(buf_check(b, "it"), MLD_OK);
    assert_string_equal(buf_text(b), expected);
}

static void strings_are_written(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *json;
    } rows[] = {
        {"", 0, "\"\""},
        {"plain text, longer than a word", 30, "\"plain text, longer than a word\""},
        {"a\"b\\c/\x7f", 7, "\"a\\\"b\\\\c/\x7f\""},
        {"\b\f\n\r\t\0\x1f\x0b", 8, "\"\\b\\f\\n\\r\\t\\u0000\\u001f\\u000b\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xed\xa0\x80x\xed\xbf\xbf", 7, "\"\\ud800x\\udfff\""},
        {"\xed\x9f\xbf", 3, "\"\xed\x9f\xbf\""},
        {"a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82"
         "b",
         3,
         "\"\xef\xbf\xbd\xef\xbf\xbd"
         "b\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf b;
        buf_init(&b, 100);
        json_put_string(&b, rows[i].bytes, rows[i].len);
        assert_written(&b, rows[i].json);
        struct sample s = sample_of(b.data);
        sample_free(&s);
        buf_free(&b);
    }
}

/* Whatever a string holds, \u escapes or not, it comes back. */
static void surrogates_survive_a_round_trip(void **state)
{
    struct sample s = sample_of("\"\\ud800 \\udc00\\ud800 \\ud83d\\ude00\"");
    struct buf decoded;
    struct buf written;

    (void)state;
    buf_init(&decoded, 100);
    buf_init(&written, 100);
    json_decoded(&s.doc, json_root(&s.doc), &decoded);
    json_put_string(&written, decoded.data, decoded.len);
    assert_written(&written, "\"\\ud800 \\udc00\\ud800 \xf0\x9f\x98\x80\"");
    struct sample again = sample_of(written.data);
    assert_true(json_same(&s.doc, json_root(&s.doc), &again.doc, json_root(&again.doc)));
    sample_free(&again);
    sample_free(&s);
    buf_free(&decoded);
    buf_free(&written);
}

static void records_are_written(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    buf_putc(&b, '{');
    json_put_key(&b, "name");
    json_put_cstring(&b, "a\nb");
    json_put_key(&b, "none");
    json_put_cstring(&b, NULL);
    json_put_key(&b, "size");
    json_put_int64(&b, INT64_MIN);
    json_put_key(&b, "loss");
    json_put_double(&b, 0.1);
    json_put_key(&b, "bad");
    json_put_double(&b, NAN);
    json_put_key(&b, "list");
    buf_puts(&b, "[{");
    json_put_key(&b, "yes");
    json_put_bool(&b, true);
    json_put_key(&b, "no");
    json_put_bool(&b, false);
    buf_puts(&b, "}]}");
    assert_written(&b, "{\"name\":\"a\\nb\",\"none\":null,\"size\":-9223372036854775808,"
                       "\"loss\":0.1,\"bad\":NaN,\"list\":[{\"yes\":true,\"no\":false}]}");
    struct sample s = sample_of(b.data);
    sample_free(&s);
    buf_clear(&b);
    json_put_key(&b, "first");
    assert_written(&b, "\"first\":");
    buf_free(&b);

    buf_init(&b, 10);
    for (int i = 0; i < 5; i++)
        json_put_double(&b, 0.1); /* does not fit; writes nothing behind the end */
    assert_int_equal(buf_check(&b, "it"), MLD_ETOOLARGE);
    buf_free(&b);
}

static void compact_drops_only_space_outside_strings(void **state)
{
    static const char *const rows[][2] = {
        {" { \"a b\" :\n[ 1 ,\t2 ] ,\r\n\"c\\\" \\\\\" : \" d \" } ",
         "{\"a b\":[1,2],\"c\\\" \\\\\":\" d \"}"},
        {"NaN", "NaN"},
        {"  ", ""},
        {"\"\\\\\"  ", "\"\\\\\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf b;
        buf_init(&b, 100);
        json_put_compact(&b, rows[i][0], strlen(rows[i][0]));
        assert_written(&b, rows[i][1]);
        buf_free(&b);
    }
}

static void user_texts_are_checked(void **state)
{
    (void)state;
    assert_int_equal(json_check("metadata", NULL, true, true), MLD_OK);
    assert_int_equal(json_check("metadata", "{\"a\":[1e999]}", true, true), MLD_OK);
    assert_int_equal(json_check("metadata", "[NaN]", false, false), MLD_OK);
    assert_int_equal(json_check("metadata", "{\"a\":\"NaN\",\"y\":\"\"}", true, true), MLD_OK);
    assert_int_equal(json_check("metadata", "[]", true, false), MLD_EINVALID);
    assert_non_null(strstr(mld_error_message(), "metadata: must be a JSON object"));
    assert_int_equal(json_check("metadata", "{\"a\":[{\"b\":-Infinity}]}", true, true),
                     MLD_EINVALID);
    assert_non_null(strstr(mld_error_message(), "metadata: holds NaN or Infinity"));
    assert_int_equal(json_check("metadata", "{\"a\":NaN}", true, true), MLD_EINVALID);
    assert_int_equal(json_check("metadata", "{\"a\":}", true, false), MLD_EINVALID);
    assert_string_equal(mld_error_message(), "metadata: invalid JSON: expected a value at byte 5");
}

static void nonfinite_is_found_only_below_the_node(void **state)
{
    struct sample s = sample_of("{\"a\":[1,\"\",true],\"b\":[2,Infinity],\"c\":\"N\"}");

    (void)state;
    assert_true(json_has_nonfinite(&s.doc, json_root(&s.doc)));
    assert_true(json_has_nonfinite(&s.doc, member(&s, "b")));
    assert_false(json_has_nonfinite(&s.doc, member(&s, "a")));
    assert_false(json_has_nonfinite(&s.doc, member(&s, "c")));
    assert_false(json_has_nonfinite(&s.doc, NULL));
    sample_free(&s);
}

static void index_finds_what_get_finds(void **state)
{
    (void)state;
    struct json_doc doc;
    struct json_index index;
    struct buf text;
    char key[16];

    json_doc_init(&doc);
    buf_init(&text, 1 << 20);
    const int sizes[] = {0, 1, 18, JSON_INDEX_MEMBERS, JSON_INDEX_MEMBERS + 1, 300};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (int with_escape = 0; with_escape < 2; with_escape++) {
            buf_clear(&text);
            buf_puts(&text, with_escape ? "{\"a\\u0062\":-1" : "{\"ab\":-1");
            for (int i = 1; i < sizes[k]; i++) /* each key twice: the later one counts */
                buf_printf(&text, ",\"k%d\":%d", i / 2 * 7, i);
            buf_puts(&text, "}");
            assert_int_equal(json_parse(&doc, text.data, text.len), MLD_OK);
            json_index_init(&index, &doc, json_root(&doc));
            for (int i = 0; i < 2 * sizes[k] + 2; i++) {
                snprintf(key, sizeof key, "k%d", i);
                assert_ptr_equal(json_index_get(&index, key), json_get(&doc, json_root(&doc), key));
            }
            assert_non_null(json_index_get(&index, "ab"));
            assert_null(json_index_get(&index, ""));
        }
    }
    assert_int_equal(json_parse(&doc, "[1]", 3), MLD_OK);
    json_index_init(&index, &doc, json_root(&doc));
    assert_null(json_index_get(&index, "k0"));
    buf_free(&text);
    json_doc_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_is_read),
        cmocka_unit_test(index_finds_what_get_finds),
        cmocka_unit_test(walk_visits_every_child),
        cmocka_unit_test(raw_text_of_each_kind),
        cmocka_unit_test(valid_texts_are_accepted),
        cmocka_unit_test(invalid_texts_are_refused),
        cmocka_unit_test(torn_texts_are_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(doc_may_be_used_again),
        cmocka_unit_test(numbers_are_typed),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(escaped_keys_are_found),
        cmocka_unit_test(same_is_deep_equality),
        cmocka_unit_test(strings_are_written),
        cmocka_unit_test(surrogates_survive_a_round_trip),
        cmocka_unit_test(records_are_written),
        cmocka_unit_test(compact_drops_only_space_outside_strings),
        cmocka_unit_test(user_texts_are_checked),
        cmocka_unit_test(nonfinite_is_found_only_below_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

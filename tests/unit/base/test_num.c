#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "num_table.h"

#define TABLE_ROWS (sizeof(num_table) / sizeof(num_table[0]))

static double of_bits(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static void assert_formats(double value, const char *expected)
{
    char out[NUM_MAX_CHARS + 1];

    memset(out, '#', sizeof(out));
    size_t len = num_format_double(out, value);
    assert_int_equal(out[len], '#'); /* nothing written behind the end */
    out[len] = '\0';
    assert_string_equal(out, expected);
}

static double parsed(const char *text)
{
    double value = 0;

    if (!num_parse_double(text, strlen(text), &value))
        fail_msg("%s was refused", text);
    return value;
}

static void doubles_read_and_write_as_in_python(void **state)
{
    (void)state;
    assert_int_equal(TABLE_ROWS, 200);
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        assert_formats(of_bits(num_table[i].bits), num_table[i].text);
        assert_int_equal(bits_of(parsed(num_table[i].text)), num_table[i].bits);
    }
}

static void infinities_and_nan_have_json_names(void **state)
{
    (void)state;
    assert_formats(NAN, "NaN");
    assert_formats(-NAN, "NaN");
    assert_formats(INFINITY, "Infinity");
    assert_formats(-INFINITY, "-Infinity");
    assert_true(isnan(parsed("NaN")));
    assert_true(parsed("Infinity") == INFINITY);
    assert_true(parsed("-Infinity") == -INFINITY);
}

static void any_double_comes_back(void **state)
{
    uint64_t bits = 0x9E3779B97F4A7C15;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        char out[NUM_MAX_CHARS + 1];
        double back;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        if (!isfinite(of_bits(bits)))
            continue;
        size_t len = num_format_double(out, of_bits(bits));
        out[len] = '\0';
        assert_true(num_parse_double(out, len, &back));
        assert_int_equal(bits_of(back), bits);
        assert_int_equal(bits_of(strtod(out, NULL)), bits);
    }
}

static void out_of_range_is_infinity_or_zero(void **state)
{
    (void)state;
    assert_true(parsed("1e400") == INFINITY);
    assert_true(parsed("-1e400") == -INFINITY);
    assert_true(parsed("2e308") == INFINITY);
    assert_true(parsed("1e+99999999999999999999") == INFINITY);
    assert_true(parsed("0.0001e400") == INFINITY);
    assert_int_equal(bits_of(parsed("1e-400")), 0);
    assert_int_equal(bits_of(parsed("1e-99999999999999999999")), 0);
    assert_int_equal(bits_of(parsed("-1e-400")), bits_of(-0.0));
    assert_int_equal(bits_of(parsed("123456.7e-400")), 0);
    assert_true(parsed("0e400") == 0);

    char digits[402];
    memset(digits, '0', sizeof(digits));
    digits[0] = '1';
    double value = 0;
    assert_true(num_parse_double(digits, 400, &value));
    assert_true(value == INFINITY);
    digits[0] = '0';
    digits[1] = '.';
    digits[401] = '1';
    assert_true(num_parse_double(digits, 402, &value));
    assert_true(value == 0);
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const texts[] = {
        "",         "-",    "+1",  " 1",  "1 ",  "1e", "e5", "1x",   "inf",   "nan",       "nan(1)",
        "infinity", "-inf", "0x1", "--1", "1,5", ".",  "-.", "-NaN", "1.2.3", "Infinityx", "INF"};
    double value;
    int64_t integer;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (num_parse_double(texts[i], strlen(texts[i]), &value))
            fail_msg("%s was taken for a double", texts[i]);
        if (num_parse_int64(texts[i], strlen(texts[i]), &integer))
            fail_msg("%s was taken for an integer", texts[i]);
    }
}

static void integers(void **state)
{
    static const struct {
        int64_t value;
        const char *text;
    } rows[] = {{0, "0"},
                {7, "7"},
                {-1, "-1"},
                {1732400000000000, "1732400000000000"},
                {INT64_MAX, "9223372036854775807"},
                {INT64_MIN, "-9223372036854775808"}};
    int64_t value = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[NUM_MAX_CHARS];
        size_t len = num_format_int64(out, rows[i].value);
        assert_int_equal(len, strlen(rows[i].text));
        assert_memory_equal(out, rows[i].text, len);
        assert_true(num_parse_int64(out, len, &value));
        assert_true(value == rows[i].value);
    }
    assert_false(num_parse_int64("9223372036854775808", 19, &value));
    assert_false(num_parse_int64("-9223372036854775809", 20, &value));
    assert_false(num_parse_int64("1.0", 3, &value));
    assert_false(num_parse_int64("1e3", 3, &value));
    assert_true(num_parse_int64("123", 2, &value)); /* len counts, not the NUL */
    assert_true(value == 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_read_and_write_as_in_python),
        cmocka_unit_test(infinities_and_nan_have_json_names),
        cmocka_unit_test(any_double_comes_back),
        cmocka_unit_test(out_of_range_is_infinity_or_zero),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

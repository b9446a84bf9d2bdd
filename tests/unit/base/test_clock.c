#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static void expect_iso(int64_t us, const char *text)
{
    char out[CLOCK_ISO_LEN + 1];

    memset(out, 'x', sizeof(out));
    clock_format_iso(out, us);
    assert_string_equal(out, text);
}

static void formats_times(void **state)
{
    (void)state;
    expect_iso(0, "1970-01-01T00:00:00.000000Z");
    expect_iso(1, "1970-01-01T00:00:00.000001Z");
    expect_iso(999999, "1970-01-01T00:00:00.999999Z");
    expect_iso(1000000, "1970-01-01T00:00:01.000000Z");
    expect_iso(INT64_C(1709210096123456), "2024-02-29T12:34:56.123456Z");
    expect_iso(INT64_C(1709210096000007), "2024-02-29T12:34:56.000007Z");
    expect_iso(INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z");
    expect_iso(-1, "1970-01-01T00:00:00.000000Z");
    expect_iso(INT64_MIN, "1970-01-01T00:00:00.000000Z");
    expect_iso(INT64_MAX, "9999-12-31T23:59:59.999999Z");
}

/* What is kept of the last second must not show in another one. */
static void agrees_with_gmtime(void **state)
{
    int64_t us = 123;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char expected[64];
        time_t second = us / 1000000;
        struct tm tm;
        size_t len =
            strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &tm));
        snprintf(expected + len, sizeof(expected) - len, ".%06dZ", (int)(us % 1000000));
        expect_iso(us, expected);
        assert_int_equal(clock_parse_iso(expected, CLOCK_ISO_LEN), us);
        us += i % 3 == 0 ? 1 : INT64_C(12345678901234);
    }
}

static int64_t parse(const char *text)
{
    return clock_parse_iso(text, strlen(text));
}

static void parses_times(void **state)
{
    const int64_t second = INT64_C(1709210096000000);

    (void)state;
    assert_int_equal(parse("2024-02-29T12:34:56Z"), second);
    assert_int_equal(parse("2024-02-29T12:34:56+00:00"), second);
    assert_int_equal(parse("2024-02-29T12:34:56.5Z"), second + 500000);
    assert_int_equal(parse("2024-02-29T12:34:56.123456+00:00"), second + 123456);
    assert_int_equal(parse("2024-02-29T12:34:56.123456789Z"), second + 123456);
    assert_int_equal(parse("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parse("9999-12-31T23:59:59.999999Z"), CLOCK_MAX_US);
    assert_int_equal(clock_parse_iso("2024-02-29T12:34:56Zrest", 20), second);
}

static void refuses_what_is_no_time(void **state)
{
    static const char *const bad[] = {
        "",
        "Z",
        "2024-02-29",
        "2024-02-29T12:34:56",
        "2024-02-29T12:34:56.Z",
        "2024-02-29T12:34:56z",
        "2024-02-29 12:34:56Z",
        "2024-02-29T12:34:56+01:00",
        "2024-02-29T12:34:56+00:0",
        "2024-02-29T12:34:56Z ",
        " 2024-02-29T12:34:56Z",
        "2023-02-29T12:34:56Z",
        "2100-02-29T12:34:56Z",
        "2024-04-31T12:34:56Z",
        "2024-13-01T12:34:56Z",
        "2024-00-01T12:34:56Z",
        "2024-01-00T12:34:56Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:60:00Z",
        "2024-01-01T12:00:60Z",
        "1969-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "+024-01-01T00:00:00Z",
        "2024-1-01T00:00:00Z",
        "2024-02-29T12:34:56.-1Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i]) != -1)
            fail_msg("taken: '%s'", bad[i]);
    }
    for (size_t len = 0; len < 20; len++)
        assert_int_equal(clock_parse_iso("2024-02-29T12:34:56Z", len), -1);
}

static void tells_the_time(void **state)
{
    int64_t before = clock_monotonic_ms();
    int64_t now = clock_now_us();

    (void)state;
    assert_true(llabs(now / 1000000 - (int64_t)time(NULL)) <= 1);
    usleep(3000);
    assert_true(clock_monotonic_ms() >= before + 2);
    assert_true(clock_now_us() > now);
}

static void names_the_machine(void **state)
{
    char boot[40];
    char host[256];
    char expected[256];

    (void)state;
    memset(boot, 'x', sizeof(boot));
    clock_boot_id(boot);
    assert_int_equal(strlen(boot), 36);
    assert_int_equal(boot[8], '-');
    clock_host_name(host);
    assert_int_equal(gethostname(expected, sizeof(expected)), 0);
    assert_string_equal(host, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_times),  cmocka_unit_test(agrees_with_gmtime),
        cmocka_unit_test(parses_times),   cmocka_unit_test(refuses_what_is_no_time),
        cmocka_unit_test(tells_the_time), cmocka_unit_test(names_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

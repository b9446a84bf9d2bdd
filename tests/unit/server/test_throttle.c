#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/throttle.h"

static struct throttle t;

static int setup(void **state)
{
    (void)state;
    throttle_init(&t, 3, 1000);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    throttle_destroy(&t);
    return 0;
}

static void refuses_after_so_many(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_false(throttle_is_over(&t, "a", i));
        throttle_count(&t, "a", i);
    }
    assert_true(throttle_is_over(&t, "a", 999));
    assert_false(throttle_is_over(&t, "b", 999));
    assert_false(throttle_is_over(&t, "a", 1000)); /* the window is over */
    throttle_count(&t, "a", 1000);
    assert_false(throttle_is_over(&t, "a", 1001));
}

static void forgets_after_a_success(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        throttle_count(&t, "a", i);
    throttle_forget(&t, "never seen");
    assert_true(throttle_is_over(&t, "a", 5));
    throttle_forget(&t, "a");
    assert_false(throttle_is_over(&t, "a", 5));
}

static void takes_up_to_the_limit(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(throttle_take(&t, NULL, 0));
    assert_false(throttle_take(&t, NULL, 0));
    assert_false(throttle_take(&t, "", 0));
    assert_true(throttle_take(&t, "", 1000));
}

/* Bounded, and a flood of others pushes out the idle before the busy. */
static void keeps_the_busy_ones(void **state)
{
    char key[32];
    (void)state;
    for (int i = 0; i < 3; i++)
        throttle_count(&t, "busy", 0);
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "flood %d", i);
        throttle_count(&t, key, i / 1000);
        if (i % 500 == 0)
            throttle_count(&t, "busy", i / 1000);
    }
    assert_true(throttle_is_over(&t, "busy", 100));
}

static void sees_a_network_as_one(void **state)
{
    static const char *const pairs[][2] = {
        {"192.0.2.7", "192.0.2.7"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"2001:db8:1:2::1", "2001:0db8:0001:0002::/64"},
        {"2001:db8:1:2:ffff::1%eth0", "2001:0db8:0001:0002::/64"},
        {"::1", "0000:0000:0000:0000::/64"},
        {"unknown", "unknown"},
        {NULL, ""},
    };
    char out[THROTTLE_KEY_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        throttle_address(out, pairs[i][0]);
        assert_string_equal(out, pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refuses_after_so_many, setup, teardown),
        cmocka_unit_test_setup_teardown(forgets_after_a_success, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_up_to_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_the_busy_ones, setup, teardown),
        cmocka_unit_test(sees_a_network_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

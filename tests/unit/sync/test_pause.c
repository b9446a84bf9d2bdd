/* How long the syncer waits after a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sync/engine.h"

#define TRIES 2000

struct span {
    int64_t min, max;
};

static struct span span_of(int64_t retry_after_s, unsigned failures)
{
    struct span s = {INT64_MAX, 0};
    for (int i = 0; i < TRIES; i++) {
        int64_t ms = engine_pause_ms(retry_after_s, failures);
        s.min = ms < s.min ? ms : s.min;
        s.max = ms > s.max ? ms : s.max;
    }
    return s;
}

static void grows_to_a_limit_with_jitter(void **unused)
{
    int64_t before = 0;
    (void)unused;
    for (unsigned failures = 1; failures < 40; failures++) {
        struct span s = span_of(-1, failures);
        assert_true(s.min >= 250 && s.max <= 45000);
        assert_true(s.max > 2 * s.min); /* clients that failed together come back apart */
        assert_true(s.max >= before / 2);
        before = s.max;
    }
    assert_true(span_of(-1, 1).max <= 750);
    assert_true(span_of(-1, 4000000000u).min >= 15000);
}

static void keeps_to_what_the_server_says(void **unused)
{
    (void)unused;
    struct span s = span_of(10, 1);
    assert_true(s.min >= 10000 && s.max <= 12500);
    assert_true(s.max - s.min > 1000); /* all were told the same: they come back apart */
    /* A date that is far away, since the clock here is wrong, counts as five minutes. */
    s = span_of(10000000, 1);
    assert_true(s.min >= 300000 && s.max <= 375000);
    s = span_of(1, 20); /* what has failed for long waits for longer */
    assert_true(s.min >= 1000 && s.max >= 15000);
    s = span_of(0, 1);
    assert_true(s.min >= 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_a_limit_with_jitter),
        cmocka_unit_test(keeps_to_what_the_server_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Nobody gets all, everybody gets some, and all comes back. */
#include "server/http_share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct share share;

static size_t take_all(const char *holder, size_t amount)
{
    size_t n = 0;
    while (share_take(&share, holder, amount))
        n++;
    return n;
}

static void one_alone_leaves_a_third(void **state)
{
    (void)state;
    share_init(&share, 32);
    assert_int_equal(take_all("ada", 1), 22);
    assert_int_equal(take_all("bob", 1), 7);
    assert_int_equal(take_all("cleo", 1), 2);
    assert_int_equal(take_all("dan", 1), 1);
    share_give(&share, "bob", 7);
    share_give(&share, "cleo", 2);
    share_give(&share, "dan", 1);
    share_give(&share, "ada", 22);
    assert_int_equal(share_used(&share), 0);
    assert_int_equal(take_all("bob", 1), 22);
    share_destroy(&share);
}

/* However many hold all they can, for the next one there is something. */
static void there_is_some_for_many(void **state)
{
    (void)state;
    share_init(&share, 1000000);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "user%d", i);
        assert_true(take_all(name, 1) > 5);
    }
    share_destroy(&share);
}

static void small_ones_can_be_used_up(void **state)
{
    (void)state;
    for (size_t total = 1; total < 4; total++) {
        share_init(&share, total);
        assert_int_equal(take_all("ada", 1), total == 1 ? 1 : 2);
        share_destroy(&share);
    }
}

static void what_is_of_nobody_is_only_bounded(void **state)
{
    (void)state;
    share_init(&share, 100);
    assert_int_equal(take_all(NULL, 30), 3);
    assert_false(share_take(&share, "ada", 11));
    assert_true(share_take(&share, "ada", 10));
    assert_int_equal(share_used(&share), 100);
    share_give(&share, NULL, 90);
    share_give(&share, "ada", 10);
    assert_int_equal(share_used(&share), 0);
    share_destroy(&share);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_leaves_a_third),
        cmocka_unit_test(there_is_some_for_many),
        cmocka_unit_test(small_ones_can_be_used_up),
        cmocka_unit_test(what_is_of_nobody_is_only_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

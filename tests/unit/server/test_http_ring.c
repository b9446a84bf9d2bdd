/* Bytes through a ring: none lost, none twice, in order, at every size and place. */
#include "server/http_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_moves_what_it_can(void **state)
{
    struct ring ring = {0};
    char out[16];
    (void)state;
    assert_true(ring_open(&ring, 8));
    assert_int_equal(ring_put(&ring, "abcdefghij", 10), 8);
    assert_int_equal(ring_put(&ring, "x", 1), 0);
    assert_int_equal(ring_get(&ring, out, 3), 3);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(ring_put(&ring, "ijkl", 4), 3); /* around the end */
    assert_int_equal(ring_get(&ring, out, sizeof out), 8);
    assert_memory_equal(out, "defghijk", 8);
    assert_int_equal(ring_get(&ring, out, sizeof out), 0);
    ring_close(&ring);
    ring_close(&ring);
}

static void test_keeps_order_at_all_sizes(void **state)
{
    (void)state;
    for (size_t capacity = 1; capacity <= 17; capacity++) {
        for (size_t step = 1; step <= 19; step++) {
            struct ring ring = {0};
            unsigned char sent = 0;
            unsigned char due = 0;
            assert_true(ring_open(&ring, capacity));
            for (int round = 0; round < 100; round++) {
                unsigned char in[19];
                unsigned char out[19];
                for (size_t i = 0; i < step; i++)
                    in[i] = (unsigned char)(sent + i);
                sent = (unsigned char)(sent + ring_put(&ring, in, step));
                size_t n = ring_get(&ring, out, 1 + (size_t)round % 19);
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(out[i], due++);
            }
            assert_int_equal((unsigned char)(due + ring.used), sent);
            ring_close(&ring);
        }
    }
}

static void test_open_again_empties(void **state)
{
    struct ring ring = {0};
    char out[4];
    (void)state;
    assert_true(ring_open(&ring, 4));
    ring_put(&ring, "abc", 3);
    assert_true(ring_open(&ring, 4));
    assert_int_equal(ring_get(&ring, out, 4), 0);
    ring_close(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_what_it_can),
        cmocka_unit_test(test_keeps_order_at_all_sizes),
        cmocka_unit_test(test_open_again_empties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

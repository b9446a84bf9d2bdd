#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

/* Lets a far too large allocation fail under AddressSanitizer as it does without. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void collects_what_is_put(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    assert_string_equal(buf_text(&b), "");
    assert_null(b.data);
    buf_put(&b, "", 0);
    assert_null(b.data);
    buf_puts(&b, "one");
    buf_putc(&b, ',');
    buf_put(&b, "a\0b", 3);
    buf_printf(&b, "<%d|%s>", 42, "x");
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 13);
    assert_memory_equal(b.data, "one,a\0b<42|x>", 14);
    assert_int_equal(buf_check(&b, "it"), MLD_OK);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_text(&b), "");
    buf_puts(&b, "again");
    assert_string_equal(buf_text(&b), "again");
    buf_free(&b);
    buf_free(&b);
    buf_free(NULL);
}

static void grows_and_keeps(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100000);
    for (int i = 0; i < 100000; i++)
        buf_putc(&b, (char)('a' + i % 26));
    assert_int_equal(buf_check(&b, "it"), MLD_OK);
    assert_int_equal(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    assert_int_equal(b.data[b.len], '\0');
    assert_true(b.capacity <= b.max_bytes + 1);
    buf_free(&b);
}

static void reserve_then_advance(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    char *out = buf_reserve(&b, 100);
    assert_non_null(out);
    memset(out, 'x', 100);
    buf_advance(&b, 40);
    assert_int_equal(b.len, 40);
    assert_int_equal(strlen(buf_text(&b)), 40);
    assert_non_null(buf_reserve(&b, 60));
    assert_null(buf_reserve(&b, 61));
    assert_int_equal(b.failed, MLD_ETOOLARGE);
    buf_free(&b);
}

static void failure_sticks_until_cleared(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 8);
    buf_puts(&b, "12345678");
    assert_int_equal(buf_check(&b, "name"), MLD_OK);
    buf_putc(&b, '9');
    assert_int_equal(buf_check(&b, "name"), MLD_ETOOLARGE);
    assert_string_equal(mld_error_message(), "name: longer than 8 bytes");
    buf_clear(&b);
    buf_puts(&b, "123456789");
    buf_puts(&b, "1");
    buf_printf(&b, "%d", 1);
    assert_int_equal(b.len, 0);
    assert_null(buf_steal(&b));
    buf_clear(&b);
    buf_puts(&b, "1");
    assert_int_equal(buf_check(&b, "name"), MLD_OK);
    assert_string_equal(buf_text(&b), "1");
    buf_put(&b, "x", SIZE_MAX); /* no overflow of the sum */
    assert_int_equal(b.failed, MLD_ETOOLARGE);
    buf_free(&b);
}

static void zeroed_struct_is_safe(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_putc(&b, 'x');
    assert_int_equal(buf_check(&b, "it"), MLD_ETOOLARGE);
    buf_free(&b);
}

static void no_memory_is_a_failure(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, SIZE_MAX / 4);
    buf_puts(&b, "kept");
    assert_null(buf_reserve(&b, SIZE_MAX / 8));
    assert_int_equal(buf_check(&b, "it"), MLD_ENOMEM);
    assert_string_equal(buf_text(&b), "kept");
    buf_free(&b);
}

static void steal_hands_over(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    char *text = buf_steal(&b);
    assert_string_equal(text, "");
    free(text);
    buf_puts(&b, "abc");
    text = buf_steal(&b);
    assert_string_equal(text, "abc");
    assert_int_equal(b.len, 0);
    assert_null(b.data);
    buf_puts(&b, "next");
    assert_string_equal(text, "abc");
    assert_string_equal(buf_text(&b), "next");
    free(text);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collects_what_is_put),  cmocka_unit_test(grows_and_keeps),
        cmocka_unit_test(reserve_then_advance),  cmocka_unit_test(failure_sticks_until_cleared),
        cmocka_unit_test(zeroed_struct_is_safe), cmocka_unit_test(no_memory_is_a_failure),
        cmocka_unit_test(steal_hands_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

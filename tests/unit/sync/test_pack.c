/* Which bodies go packed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sync/pack.h"

static void packs_for_other_machines(void **unused)
{
    (void)unused;
    assert_false(pack_is_worth("http://localhost:3000"));
    assert_false(pack_is_worth("http://localhost"));
    assert_false(pack_is_worth("https://localhost/dash"));
    assert_false(pack_is_worth("http://127.0.0.1:3000"));
    assert_false(pack_is_worth("http://[::1]:3000"));
#ifdef MLDASH_HAVE_ZSTD
    assert_true(pack_is_worth("https://localhost.example.org"));
    assert_true(pack_is_worth("http://10.0.0.1:3000"));
#endif
}

static void leaves_what_does_not_get_smaller(void **unused)
{
    struct buf in, out;
    uint32_t x = 1;
    (void)unused;
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 2 * PACK_MIN_BYTES; i++) {
        x = x * 1664525u + 1013904223u;
        buf_putc(&in, (char)(x >> 24));
    }
    assert_false(pack_body(&out, &in));
    memset(in.data, 'a', in.len);
#ifdef MLDASH_HAVE_ZSTD
    assert_true(pack_body(&out, &in));
    assert_in_range(out.len, 1, 100);
#endif
    in.len = PACK_MIN_BYTES - 1;
    assert_false(pack_body(&out, &in));
    buf_free(&in);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_for_other_machines),
        cmocka_unit_test(leaves_what_does_not_get_smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

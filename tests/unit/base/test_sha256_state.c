#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256_state.h"

#define N 1000

static void fill(unsigned char *data, size_t len)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < len; i++) {
        x = x * 1103515245u + 12345u;
        data[i] = (unsigned char)(x >> 16);
    }
}

static void by_evp(const void *data, size_t len, char out[SHA256_HEX_LEN + 1])
{
    struct sha256 h = {0};
    assert_int_equal(sha256_begin(&h), MLD_OK);
    sha256_update(&h, data, len);
    assert_int_equal(sha256_end(&h, out), MLD_OK);
    sha256_free(&h);
}

static void test_same_as_evp_at_every_length(void **unused)
{
    (void)unused;
    unsigned char data[N];
    fill(data, N);
    struct sha256_state s;
    sha256_state_init(&s);
    for (size_t len = 0; len <= N; len++) {
        char ours[SHA256_HEX_LEN + 1];
        char theirs[SHA256_HEX_LEN + 1];
        sha256_state_digest(&s, ours);
        by_evp(data, len, theirs);
        assert_string_equal(ours, theirs);
        assert_int_equal(s.len, len);
        if (len < N)
            sha256_state_update(&s, data + len, 1);
    }
}

static void test_goes_on_from_text(void **unused)
{
    (void)unused;
    unsigned char data[N];
    fill(data, N);
    char whole[SHA256_HEX_LEN + 1];
    by_evp(data, N, whole);
    for (size_t cut = 0; cut <= N; cut++) {
        struct sha256_state s;
        struct sha256_state t;
        char text[SHA256_STATE_TEXT_MAX + 1];
        char hex[SHA256_HEX_LEN + 1];
        sha256_state_init(&s);
        sha256_state_update(&s, data, cut);
        size_t len = sha256_state_export(&s, text);
        assert_int_equal(len, strlen(text));
        assert_true(sha256_state_import(&t, text, len, cut));
        assert_memory_equal(&s, &t, sizeof s);
        sha256_state_update(&t, data + cut, N - cut);
        sha256_state_digest(&t, hex);
        assert_string_equal(hex, whole);
    }
}

/* The length is kept as 64 bits: a stream may be larger than 4 GiB. */
static void test_large_lengths(void **unused)
{
    (void)unused;
    static unsigned char data[1 << 20];
    fill(data, sizeof data);
    struct sha256 h = {0};
    assert_int_equal(sha256_begin(&h), MLD_OK);
    struct sha256_state s;
    sha256_state_init(&s);
    for (int i = 0; i < 600; i++) { /* past 2^32 bits */
        sha256_update(&h, data, sizeof data);
        sha256_state_update(&s, data, sizeof data);
    }
    char ours[SHA256_HEX_LEN + 1];
    char theirs[SHA256_HEX_LEN + 1];
    sha256_state_digest(&s, ours);
    assert_int_equal(sha256_end(&h, theirs), MLD_OK);
    sha256_free(&h);
    assert_string_equal(ours, theirs);
}

static void test_refuses_other_texts(void **unused)
{
    (void)unused;
    struct sha256_state s;
    char text[SHA256_STATE_TEXT_MAX + 1];
    sha256_state_init(&s);
    sha256_state_update(&s, "abc", 3);
    size_t len = sha256_state_export(&s, text);
    assert_false(sha256_state_import(&s, text, len, 4));
    assert_false(sha256_state_import(&s, text, len - 2, 3));
    text[10] = 'G';
    assert_false(sha256_state_import(&s, text, len, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_evp_at_every_length),
        cmocka_unit_test(test_goes_on_from_text),
        cmocka_unit_test(test_large_lengths),
        cmocka_unit_test(test_refuses_other_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

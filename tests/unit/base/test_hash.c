#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void sha256_known_digests(void **state)
{
    struct sha256 h = {0};
    char hex[SHA256_HEX_LEN + 1];
    char block[1000];

    (void)state;
    assert_int_equal(sha256_begin(&h), MLD_OK);
    assert_int_equal(sha256_end(&h, hex), MLD_OK);
    assert_string_equal(hex, SHA_EMPTY);

    assert_int_equal(sha256_begin(&h), MLD_OK);
    sha256_update(&h, "a", 1);
    sha256_update(&h, "", 0);
    sha256_update(&h, "bc", 2);
    assert_int_equal(sha256_end(&h, hex), MLD_OK);
    assert_string_equal(hex, SHA_ABC);

    memset(block, 'a', sizeof(block));
    assert_int_equal(sha256_begin(&h), MLD_OK);
    for (int i = 0; i < 1000; i++)
        sha256_update(&h, block, sizeof(block));
    assert_int_equal(sha256_end(&h, hex), MLD_OK);
    assert_string_equal(hex, SHA_MILLION_A);
    sha256_free(&h);
    sha256_free(&h);
    sha256_free(NULL);
}

static void sha256_begin_forgets_what_was_there(void **state)
{
    struct sha256 h = {0};
    char hex[SHA256_HEX_LEN + 1];

    (void)state;
    assert_int_equal(sha256_begin(&h), MLD_OK);
    sha256_update(&h, "half of it", 10);
    assert_int_equal(sha256_begin(&h), MLD_OK);
    sha256_update(&h, "abc", 3);
    assert_int_equal(sha256_end(&h, hex), MLD_OK);
    assert_string_equal(hex, SHA_ABC);
    sha256_free(&h);
}

static void sha256_without_begin_fails(void **state)
{
    struct sha256 h = {0};
    char hex[SHA256_HEX_LEN + 1] = "old";

    (void)state;
    sha256_update(&h, "abc", 3);
    assert_int_equal(sha256_end(&h, hex), MLD_EIO);
    assert_string_equal(hex, "");
}

static void crc32c_known_values(void **state)
{
    static const struct {
        unsigned char first, step;
        uint32_t crc;
    } rows[] = {
        {0x00, 0, 0x8A9136AA}, {0xFF, 0, 0x62A8AB43}, {0, 1, 0x46DD794E}, {31, 255, 0x113FDB5C}};
    unsigned char bytes[32];

    (void)state;
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c_by_table(0, "123456789", 9), 0xE3069283);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (unsigned char)(rows[i].first + k * rows[i].step);
        assert_int_equal(crc32c(0, bytes, sizeof(bytes)), rows[i].crc);
        assert_int_equal(crc32c_by_table(0, bytes, sizeof(bytes)), rows[i].crc);
    }
}

/* The definition, a bit at a time. */
static uint32_t crc32c_slow(const unsigned char *in, size_t len)
{
    uint32_t crc = 0xFFFFFFFF;

    for (size_t i = 0; i < len; i++) {
        crc ^= in[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

static void crc32c_any_length_place_and_split(void **state)
{
    unsigned char bytes[200];
    uint32_t seed = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(seed >> 24);
    }
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; start + len <= sizeof(bytes); len++) {
            const unsigned char *in = bytes + start;
            uint32_t expected = crc32c_slow(in, len);
            size_t half = len / 3;
            assert_int_equal(crc32c(0, in, len), expected);
            assert_int_equal(crc32c_by_table(0, in, len), expected);
            assert_int_equal(crc32c(crc32c(0, in, half), in + half, len - half), expected);
            assert_int_equal(crc32c_by_table(crc32c(0, in, half), in + half, len - half), expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_known_digests),
        cmocka_unit_test(sha256_begin_forgets_what_was_there),
        cmocka_unit_test(sha256_without_begin_fails),
        cmocka_unit_test(crc32c_known_values),
        cmocka_unit_test(crc32c_any_length_place_and_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

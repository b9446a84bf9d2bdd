#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "server/password.h"

static void knows_its_password_and_no_other(void **state)
{
    char kept[PASSWORD_TEXT_MAX], again[PASSWORD_TEXT_MAX];
    (void)state;
    assert_int_equal(password_hash(kept, "correct horse"), MLD_OK);
    assert_int_equal(password_hash(again, "correct horse"), MLD_OK);
    assert_int_equal(strncmp(kept, "$scrypt$ln=15,r=8,p=1$", 22), 0);
    assert_null(strstr(kept, "horse"));
    assert_string_not_equal(kept, again); /* salted */
    assert_true(password_matches(kept, "correct horse"));
    assert_true(password_matches(again, "correct horse"));
    assert_false(password_matches(kept, "correct horse "));
    assert_false(password_matches(kept, "correct"));
    assert_false(password_matches(kept, ""));
}

static void matches_nothing_without_a_kept_one(void **state)
{
    static const char *const broken[] = {
        "", "$scrypt$", "plain text!", "$scrypt$ln=15,r=8,p=1$00$00",
        /* a weaker one, and one with a digit missing */
        "$scrypt$ln=01,r=8,p=1$00000000000000000000000000000000$"
        "0000000000000000000000000000000000000000000000000000000000000000",
        "$scrypt$ln=15,r=8,p=1$0000000000000000000000000000000g$"
        "0000000000000000000000000000000000000000000000000000000000000000"};
    (void)state;
    assert_false(password_matches(NULL, "whatever"));
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_false(password_matches(broken[i], broken[i]));
}

static void has_lengths(void **state)
{
    char kept[PASSWORD_TEXT_MAX], password[PASSWORD_MAX_BYTES + 2];
    (void)state;
    assert_int_equal(password_hash(kept, "1234567"), MLD_EINVALID);
    assert_null(strstr(mld_error_message(), "1234567"));
    memset(password, 'x', sizeof password);
    password[PASSWORD_MAX_BYTES + 1] = '\0';
    assert_int_equal(password_hash(kept, password), MLD_EINVALID);
    password[PASSWORD_MAX_BYTES] = '\0';
    assert_int_equal(password_hash(kept, password), MLD_OK);
    assert_true(password_matches(kept, password));
    password[PASSWORD_MAX_BYTES] = 'x';
    assert_false(password_matches(kept, password));
}

static void *match(void *kept)
{
    return password_matches(kept, "correct horse") ? kept : NULL;
}

/* More at once than are hashed at a time: each gets its turn. */
static void takes_turns(void **state)
{
    char kept[PASSWORD_TEXT_MAX];
    pthread_t threads[6];
    (void)state;
    assert_int_equal(password_hash(kept, "correct horse"), MLD_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, match, kept), 0);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_password_and_no_other),
        cmocka_unit_test(matches_nothing_without_a_kept_one),
        cmocka_unit_test(has_lengths),
        cmocka_unit_test(takes_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

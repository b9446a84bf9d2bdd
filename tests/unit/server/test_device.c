#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "server/device_login.h"
#include "server/device_page.h"
#include "server/device_session.h"

static struct meta *m;
static struct arena arena;
static time_t later_s;
static const unsigned char key[32] = "0123456789abcdef0123456789abcde";

int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);
    out->tv_sec += later_s;
    return result;
}

static int setup(void **state)
{
    (void)state;
    later_s = 0;
    return meta_memory_open(&m) == MLD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    meta_close(m);
    arena_free(&arena);
    return 0;
}

static struct device_start start(void)
{
    struct device_start out;
    assert_int_equal(device_start(m, "laptop", "192.0.2.1", &out), MLD_OK);
    return out;
}

static enum device_state take(const char *device_code, const char **out_user)
{
    struct device_poll poll;
    assert_int_equal(device_take(m, &arena, device_code, &poll), MLD_OK);
    if (out_user != NULL)
        *out_user = poll.user_id;
    return poll.state;
}

static void hands_out_once_after_approval(void **state)
{
    struct device_start a = start(), b = start();
    struct device_login login;
    const char *user;
    (void)state;
    assert_string_not_equal(a.device_code, b.device_code);
    assert_string_not_equal(a.user_code, b.user_code);
    assert_int_equal(take(a.device_code, NULL), DEVICE_PENDING);
    assert_int_equal(device_find(m, &arena, a.user_code, &login), MLD_OK);
    assert_string_equal(login.client, "laptop");
    assert_string_equal(login.address, "192.0.2.1");
    assert_int_equal(device_decide(m, a.user_code, "17"), MLD_OK);
    assert_int_equal(device_decide(m, a.user_code, "18"), MLD_ENOTFOUND); /* decided */
    assert_int_equal(device_find(m, &arena, a.user_code, &login), MLD_ENOTFOUND);
    assert_int_equal(take(b.device_code, NULL), DEVICE_PENDING);
    assert_int_equal(take(a.device_code, &user), DEVICE_APPROVED);
    assert_string_equal(user, "17");
    assert_int_equal(take(a.device_code, &user), DEVICE_EXPIRED);
    assert_null(user);
    assert_int_equal(take("never made", NULL), DEVICE_EXPIRED);
    assert_int_equal(take("", NULL), DEVICE_EXPIRED);
}

static void denies(void **state)
{
    struct device_start a = start();
    (void)state;
    assert_int_equal(device_decide(m, a.user_code, NULL), MLD_OK);
    assert_int_equal(device_decide(m, a.user_code, "17"), MLD_ENOTFOUND);
    assert_int_equal(take(a.device_code, NULL), DEVICE_DENIED);
    assert_int_equal(take(a.device_code, NULL), DEVICE_DENIED);
}

static void ends_by_itself(void **state)
{
    struct device_start a = start(), b = start();
    struct device_login login;
    struct meta_docs docs = {0};
    const struct meta_range range = {.partition = "logins",
                                     .token = "login",
                                     .min_order = INT64_MIN,
                                     .max_order = INT64_MAX,
                                     .limit = 10};
    (void)state;
    assert_int_equal(device_decide(m, b.user_code, "17"), MLD_OK);
    later_s = DEVICE_LIFETIME_S + 1;
    assert_int_equal(take(a.device_code, NULL), DEVICE_EXPIRED);
    assert_int_equal(take(b.device_code, NULL), DEVICE_EXPIRED); /* approved, and too late */
    assert_int_equal(device_find(m, &arena, a.user_code, &login), MLD_ENOTFOUND);
    assert_int_equal(device_decide(m, a.user_code, "17"), MLD_ENOTFOUND);
    start(); /* which clears them away */
    assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
    assert_int_equal(docs.n, 1);
    meta_docs_free(&docs);
}

static void keeps_only_the_hash(void **state)
{
    struct device_start a = start();
    struct meta_docs docs = {0};
    char hash[SHA256_HEX_LEN + 1];
    (void)state;
    assert_int_equal(account_hash(a.device_code, hash), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "logins", hash), MLD_OK);
    assert_null(memmem(docs.docs[0].text, docs.docs[0].text_len, a.device_code, 8));
    meta_docs_free(&docs);
}

static void reads_codes_as_people_type_them(void **state)
{
    char code[DEVICE_USER_CODE_LEN + 1];
    static const char *const bad[] = {"",          "BCDF",       "BCDF-GHJ",  "BCDF-GHJKL",
                                      "BCDF-GHJA", "BCDF/GHJK",  "BCDF-GHJ1", "BCDFGHJK\xc3\xa4",
                                      "../../etc", "code:BCDFG", "----"};
    (void)state;
    static const char *const good[] = {"BCDF-GHJK", "bcdfghjk", " b c d f-g h j k ", "BCDFG-HJK"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(device_user_code(code, good[i]));
        assert_string_equal(code, "BCDF-GHJK");
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(device_user_code(code, bad[i]));
}

static void *race_take(void *code)
{
    struct arena own = {0};
    struct device_poll poll;
    bool got = device_take(m, &own, code, &poll) == MLD_OK && poll.state == DEVICE_APPROVED;
    arena_free(&own);
    return got ? code : NULL;
}

static void gives_it_to_one_of_many(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct device_start a = start();
        pthread_t threads[4];
        int got = 0;
        assert_int_equal(device_decide(m, a.user_code, "17"), MLD_OK);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, race_take, a.device_code), 0);
        for (int i = 0; i < 4; i++) {
            void *result;
            pthread_join(threads[i], &result);
            got += result != NULL;
        }
        assert_int_equal(got, 1);
    }
}

static bool read_cookie(const char *before, const char *text, int64_t now)
{
    struct device_session session;
    char header[512];
    snprintf(header, sizeof header, "%s" DEVICE_COOKIE "=%s", before, text);
    return device_session_read(&session, key, header, now);
}

static void signs_sessions(void **state)
{
    struct device_session mine, other, read;
    char header[512];
    (void)state;
    assert_int_equal(device_session_new(&mine, key, "0123456789abcdef0123456789abcdef", 1000),
                     MLD_OK);
    assert_int_equal(device_session_new(&other, key, NULL, 1000), MLD_OK);
    snprintf(header, sizeof header, "a=b; " DEVICE_COOKIE "=%s; c=d", mine.text);
    assert_true(device_session_read(&read, key, header, 1000));
    assert_string_equal(read.user_id, "0123456789abcdef0123456789abcdef");
    assert_true(device_session_owns(&read, mine.form_token));
    assert_false(device_session_owns(&read, other.form_token));
    assert_false(device_session_owns(&read, ""));
    assert_false(device_session_owns(&read, NULL));
    assert_true(read_cookie("", mine.text, 1000 + DEVICE_SESSION_S - 1));
    assert_false(read_cookie("", mine.text, 1000 + DEVICE_SESSION_S));
    assert_true(read_cookie("", other.text, 1000));
    assert_false(read_cookie("x", mine.text, 1000)); /* another cookie's name */
    for (size_t i = 0; mine.text[i] != '\0'; i++) {
        char kept = mine.text[i];
        mine.text[i] = kept == 'a' ? 'b' : 'a';
        assert_false(read_cookie("", mine.text, 1000));
        mine.text[i] = kept;
    }
    static const char *const odd[] = {"", ".", "..", "...", "a.b.c.d", "a.b.9999999999.", "x"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        assert_false(read_cookie("", odd[i], 1000));
    assert_false(device_session_read(&read, key, NULL, 1000));
    assert_false(device_session_read(
        &read, (const unsigned char *)"another key, of 32 bytes as well", header, 1000));
    assert_false(device_session_owns(&read, mine.form_token)); /* not read: owns nothing */
}

static void escapes_what_it_shows(void **state)
{
    struct buf out;
    const char *evil = "</dd><script>alert('1')</script>\"&\n";
    const struct device_page page = {evil, evil, evil, evil, evil, evil, 5};
    (void)state;
    buf_init(&out, DEVICE_PAGE_MAX_BYTES);
    page_put_sign_in(&out, &page);
    page_put_code(&out, &page);
    page_put_approve(&out, &page);
    page_put_message(&out, evil, evil);
    assert_int_equal(out.failed, MLD_OK);
    assert_null(strstr(buf_text(&out), "<script"));
    assert_null(strstr(buf_text(&out), "alert('"));
    assert_non_null(strstr(buf_text(&out), "&lt;/dd&gt;&lt;script&gt;alert(&#39;1&#39;)"));
    assert_non_null(strstr(buf_text(&out), "&quot;&amp; "));
    buf_free(&out);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(hands_out_once_after_approval),
        TEST(denies),
        TEST(ends_by_itself),
        TEST(keeps_only_the_hash),
        TEST(reads_codes_as_people_type_them),
        TEST(gives_it_to_one_of_many),
        cmocka_unit_test(signs_sessions),
        cmocka_unit_test(escapes_what_it_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

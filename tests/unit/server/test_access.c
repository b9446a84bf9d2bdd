#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "jwt_make.h"
#include "server/access.h"
#include "server/server.h"

#define SECRET "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

static struct server server;
static struct arena arena;
static struct user ada, bob, eve;
static struct space lab;
static char ada_token[64], bob_token[64], eve_token[64];
static time_t later_s; /* how much later it seems to be */

int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);
    out->tv_sec += later_s;
    return result;
}

static void make_user(const char *name, struct user *user, char token[64])
{
    char secret[ACCOUNTS_TOKEN_LEN + 1];
    struct token made;
    assert_int_equal(accounts_add_user(server.meta, &arena, name, NULL, false, user), MLD_OK);
    assert_int_equal(accounts_add_token(server.meta, &arena, user->id, "t", 0, secret, &made),
                     MLD_OK);
    snprintf(token, 64, "Bearer %s", secret);
}

/* ada owns the team "lab" with experiment 17 in it, bob reads there, eve is no member. */
static int setup(void **state)
{
    char text[200];
    (void)state;
    later_s = 0;
    assert_int_equal(meta_memory_open(&server.meta), MLD_OK);
    assert_int_equal(access_open(&server.accounts, server.meta, SECRET, 3600), MLD_OK);
    make_user("ada", &ada, ada_token);
    make_user("bob", &bob, bob_token);
    make_user("eve", &eve, eve_token);
    assert_int_equal(accounts_add_team(server.meta, &arena, "lab", ada.id, &lab), MLD_OK);
    assert_int_equal(accounts_set_role(server.meta, lab.id, bob.id, ROLE_READER), MLD_OK);
    snprintf(text, sizeof text, "{\"namespace\":\"%s\",\"project\":\"5\"}", lab.id);
    const struct meta_doc doc = {
        .partition = "experiments", .id = "17", .text = text, .text_len = strlen(text)};
    assert_int_equal(meta_insert(server.meta, &doc), MLD_OK);
    static const char project[] = "{\"name\":\"p\",\"state\":\"live\"}";
    const struct meta_doc five = {.partition = "projects",
                                  .id = "5",
                                  .revision = 1,
                                  .text = project,
                                  .text_len = sizeof project - 1};
    assert_int_equal(meta_insert(server.meta, &five), MLD_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    access_close(server.accounts);
    meta_close(server.meta);
    arena_free(&arena);
    return 0;
}

static struct caller caller;

static enum mld_error decide(enum permission permission, const char *token, const char *space,
                             const char *experiment)
{
    const struct access_question question = {permission, token, space, experiment, "192.0.2.1"};
    return access_decide(&caller, &arena, &server, &question);
}

static void knows_the_caller(void **state)
{
    (void)state;
    assert_int_equal(decide(PERMISSION_USER, ada_token, NULL, NULL), MLD_OK);
    assert_string_equal(caller.user_id, ada.id);
    assert_string_equal(caller.username, "ada");
    assert_non_null(caller.token_id);
    assert_null(caller.namespace_id);
    assert_int_equal(decide(PERMISSION_READ, bob_token, NULL, "17"), MLD_OK);
    assert_string_equal(caller.experiment_id, "17");
    assert_string_equal(caller.project_id, "5");
    assert_string_equal(caller.namespace_id, lab.id);
    assert_string_equal(caller.namespace_name, "lab");
    assert_int_equal(caller.role, ROLE_READER);
    assert_int_equal(decide(PERMISSION_PUBLIC, NULL, NULL, NULL), MLD_OK);
    assert_null(caller.user_id);
}

/* Every permission for everybody, in the namespace and in an experiment of it. */
static void decides_as_the_matrix_says(void **state)
{
    enum { OK = MLD_OK, NO = MLD_EAUTH, HID = MLD_ENOTFOUND, DENY = MLD_EACCESS };
    const struct {
        enum permission permission;
        int nobody, wrong, other, reader, owner;
    } rows[] = {
        {PERMISSION_UNSET, NO, NO, DENY, DENY, DENY}, {PERMISSION_PUBLIC, OK, OK, OK, OK, OK},
        {PERMISSION_USER, NO, NO, OK, OK, OK},        {PERMISSION_READ, NO, NO, HID, OK, OK},
        {PERMISSION_WRITE, NO, NO, HID, DENY, OK},    {PERMISSION_OWN, NO, NO, HID, DENY, OK},
        {PERMISSION_ADMIN, NO, NO, HID, HID, HID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int kind = 0; kind < 2; kind++) {
            const char *space = kind == 0 ? "lab" : NULL, *experiment = kind == 0 ? NULL : "17";
            enum permission p = rows[i].permission;
            assert_int_equal(decide(p, NULL, space, experiment), rows[i].nobody);
            assert_int_equal(decide(p, "Bearer mld_x", space, experiment), rows[i].wrong);
            assert_int_equal(decide(p, eve_token, space, experiment), rows[i].other);
            assert_int_equal(decide(p, bob_token, space, experiment), rows[i].reader);
            assert_int_equal(decide(p, ada_token, space, experiment), rows[i].owner);
        }
    }
}

static void writers_write_and_do_not_own(void **state)
{
    (void)state;
    assert_int_equal(accounts_set_role(server.meta, lab.id, bob.id, ROLE_WRITER), MLD_OK);
    assert_int_equal(decide(PERMISSION_WRITE, bob_token, "lab", NULL), MLD_OK);
    assert_int_equal(decide(PERMISSION_OWN, bob_token, "lab", NULL), MLD_EACCESS);
    assert_int_equal(accounts_set_role(server.meta, lab.id, bob.id, ROLE_NONE), MLD_OK);
    assert_int_equal(decide(PERMISSION_READ, bob_token, "lab", NULL), MLD_ENOTFOUND); /* at once */
    assert_int_equal(decide(PERMISSION_READ, bob_token, NULL, "17"), MLD_ENOTFOUND);
}

/* From one request to the next, but for what a server remembers of where an experiment is. */
static void hides_a_project_that_is_being_deleted(void **state)
{
    static const char deleting[] = "{\"name\":\"p\",\"state\":\"deleting\"}";
    const struct meta_doc five = {.partition = "projects",
                                  .id = "5",
                                  .revision = 1,
                                  .text = deleting,
                                  .text_len = sizeof deleting - 1};
    (void)state;
    assert_int_equal(decide(PERMISSION_READ, bob_token, NULL, "17"), MLD_OK);
    assert_int_equal(meta_replace(server.meta, &five), MLD_OK);
    later_s = ACCESS_REMEMBER_MS / 1000 + 1;
    assert_int_equal(decide(PERMISSION_READ, bob_token, NULL, "17"), MLD_ENOTFOUND);
    char foreign[200];
    snprintf(foreign, sizeof foreign, "%s", mld_error_message());
    assert_int_equal(decide(PERMISSION_READ, eve_token, NULL, "17"), MLD_ENOTFOUND);
    assert_string_equal(mld_error_message(), foreign);
    assert_int_equal(decide(PERMISSION_OWN, ada_token, NULL, "17"), MLD_ENOTFOUND);
    assert_int_equal(meta_delete(server.meta, "projects", "5", 0), MLD_OK);
    assert_int_equal(decide(PERMISSION_OWN, ada_token, NULL, "17"), MLD_ENOTFOUND);
}

/* Nothing tells a foreign thing from one that is not there. */
static void says_the_same_of_foreign_and_missing(void **state)
{
    char foreign[256];
    static const char *const names[] = {"nothing", "", "..", "lab/", "LAB", "ns:lab", "lab\n"};
    static const char *const ids[] = {"18", "", "../17", "017", "17 ", "experiments"};
    (void)state;
    assert_int_equal(decide(PERMISSION_READ, eve_token, "lab", NULL), MLD_ENOTFOUND);
    snprintf(foreign, sizeof foreign, "%s", mld_error_message());
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(decide(PERMISSION_READ, eve_token, names[i], NULL), MLD_ENOTFOUND);
        assert_string_equal(mld_error_message(), foreign);
    }
    for (int known = 0; known < 2; known++) { /* also when somebody else's visit is remembered */
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
            assert_int_equal(decide(PERMISSION_READ, eve_token, NULL, ids[i]), MLD_ENOTFOUND);
            assert_string_equal(mld_error_message(), foreign);
        }
        assert_int_equal(decide(PERMISSION_READ, eve_token, NULL, "17"), MLD_ENOTFOUND);
        assert_string_equal(mld_error_message(), foreign);
        assert_int_equal(decide(PERMISSION_READ, ada_token, NULL, "17"), MLD_OK);
    }
}

static void refuses_odd_headers(void **state)
{
    char text[200], huge[9000];
    (void)state;
    static const char *const odd[] = {"",        "Bearer",      "Bearer ",      "Basic YWRhOng=",
                                      "Token x", "Bearer mld_", "Bearer a.b.c", "bearer  x y"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        assert_int_equal(decide(PERMISSION_USER, odd[i], NULL, NULL), MLD_EAUTH);
    snprintf(text, sizeof text, "%s ", ada_token);
    assert_int_equal(decide(PERMISSION_USER, text, NULL, NULL), MLD_EAUTH);
    assert_int_equal(decide(PERMISSION_USER, ada_token + 7, NULL, NULL), MLD_EAUTH);
    memset(huge, 'x', sizeof huge);
    memcpy(huge, "Bearer ", 7);
    huge[sizeof huge - 1] = '\0';
    assert_int_equal(decide(PERMISSION_USER, huge, NULL, NULL), MLD_EAUTH);
    snprintf(text, sizeof text, "bEARER %s", ada_token + 7);
    assert_int_equal(decide(PERMISSION_USER, text, NULL, NULL), MLD_OK);
}

static void forgets_revoked_tokens_in_time(void **state)
{
    struct tokens tokens;
    const bool yes = true;
    const struct user_change disable = {.disabled = &yes};
    (void)state;
    assert_int_equal(decide(PERMISSION_USER, ada_token, NULL, NULL), MLD_OK);
    assert_int_equal(accounts_tokens(server.meta, &arena, ada.id, &tokens), MLD_OK);
    assert_int_equal(accounts_revoke_token(server.meta, ada.id, tokens.items[0].id), MLD_OK);
    later_s = ACCESS_REMEMBER_MS / 1000 + 1;
    assert_int_equal(decide(PERMISSION_USER, ada_token, NULL, NULL), MLD_EAUTH);
    assert_int_equal(decide(PERMISSION_USER, bob_token, NULL, NULL), MLD_OK);
    assert_int_equal(accounts_change_user(server.meta, "bob", &disable), MLD_OK);
    later_s *= 2;
    assert_int_equal(decide(PERMISSION_USER, bob_token, NULL, NULL), MLD_EAUTH);
}

static void refuses_expired_tokens(void **state)
{
    char secret[ACCOUNTS_TOKEN_LEN + 1], header[64];
    struct token made;
    (void)state;
    assert_int_equal(accounts_add_token(server.meta, &arena, eve.id, "t", 100, secret, &made),
                     MLD_OK);
    snprintf(header, sizeof header, "Bearer %s", secret);
    assert_int_equal(decide(PERMISSION_USER, header, NULL, NULL), MLD_OK);
    later_s = 101 + ACCESS_REMEMBER_MS / 1000;
    assert_int_equal(decide(PERMISSION_USER, header, NULL, NULL), MLD_EAUTH);
}

static const char *jwt(const char *claims, const char *secret)
{
    static char header[2000];
    snprintf(header, sizeof header, "Bearer %s",
             jwt_make("{\"alg\":\"HS256\"}", claims, secret, EVP_sha256()));
    return header;
}

static void takes_foreign_tokens(void **state)
{
    char claims[300];
    struct user user;
    const int64_t from = time(NULL) + 10;
    const struct user_change revoke = {.not_before_s = &from};
    (void)state;
    snprintf(claims, sizeof claims,
             "{\"sub\":\"77\",\"iss\":\"idp\",\"email\":\"grace@x.org\",\"iat\":%ld,\"exp\":%ld}",
             (long)time(NULL), (long)time(NULL) + 500);
    assert_int_equal(decide(PERMISSION_USER, jwt(claims, SECRET "x"), NULL, NULL), MLD_EAUTH);
    assert_int_equal(accounts_user_by_name(server.meta, &arena, "grace", &user), MLD_ENOTFOUND);
    assert_int_equal(decide(PERMISSION_USER, jwt(claims, SECRET), NULL, NULL), MLD_OK);
    assert_string_equal(caller.username, "grace");
    assert_null(caller.token_id);
    assert_int_equal(decide(PERMISSION_OWN, jwt(claims, SECRET), "grace", NULL), MLD_OK);
    assert_int_equal(decide(PERMISSION_READ, jwt(claims, SECRET), "lab", NULL), MLD_ENOTFOUND);
    assert_int_equal(accounts_change_user(server.meta, "grace", &revoke), MLD_OK);
    later_s = ACCESS_REMEMBER_MS / 1000 + 1;
    assert_int_equal(decide(PERMISSION_USER, jwt(claims, SECRET), NULL, NULL), MLD_EAUTH);
}

static void takes_no_foreign_tokens_without_a_good_secret(void **state)
{
    static const char *const bad[] = {"",
                                      "short",
                                      "fifteen bytes..",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                      "your-secret-key-here",
                                      "Your-256-bit-secret"};
    struct accounts *a;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(access_open(&a, server.meta, bad[i], 3600), MLD_EINVALID);
        assert_null(a);
        assert_true(bad[i][0] == '\0' || strstr(mld_error_message(), bad[i]) == NULL);
    }
    assert_int_equal(access_open(&a, server.meta, NULL, 3600), MLD_OK);
    struct server without = {.meta = server.meta, .accounts = a};
    const struct access_question question = {.permission = PERMISSION_USER,
                                             .authorization =
                                                 jwt("{\"sub\":\"1\",\"exp\":99999999999}", "")};
    assert_int_equal(access_decide(&caller, &arena, &without, &question), MLD_EAUTH);
    access_close(a);
}

static void slows_down_who_guesses(void **state)
{
    char guess[64];
    struct access_question question = {
        .permission = PERMISSION_USER, .authorization = guess, .client = "203.0.113.5"};
    (void)state;
    assert_int_equal(decide(PERMISSION_USER, ada_token, NULL, NULL), MLD_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(guess, sizeof guess, "Bearer mld_%043d", i);
        enum mld_error wanted = i < ACCESS_MAX_FAILURES ? MLD_EAUTH : MLD_EBUSY;
        assert_int_equal(access_decide(&caller, &arena, &server, &question), wanted);
        assert_null(strstr(mld_error_message(), "mld_"));
    }
    /* Others are not hit, nor good tokens of the same address, nor is it for ever. */
    assert_int_equal(decide(PERMISSION_USER, bob_token, NULL, NULL), MLD_OK);
    question.authorization = eve_token;
    assert_int_equal(access_decide(&caller, &arena, &server, &question), MLD_OK);
    question.authorization = guess;
    assert_int_equal(access_decide(&caller, &arena, &server, &question), MLD_EBUSY);
    later_s = ACCESS_FAILURES_MS / 1000 + 1;
    assert_int_equal(access_decide(&caller, &arena, &server, &question), MLD_EAUTH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(knows_the_caller),
        TEST(decides_as_the_matrix_says),
        TEST(writers_write_and_do_not_own),
        TEST(hides_a_project_that_is_being_deleted),
        TEST(says_the_same_of_foreign_and_missing),
        TEST(refuses_odd_headers),
        TEST(forgets_revoked_tokens_in_time),
        TEST(refuses_expired_tokens),
        TEST(takes_foreign_tokens),
        TEST(takes_no_foreign_tokens_without_a_good_secret),
        TEST(slows_down_who_guesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

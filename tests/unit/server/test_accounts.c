#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "faulty.h"
#include "server/accounts.h"

static struct meta *m;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    return meta_memory_open(&m) == MLD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    meta_close(m);
    arena_free(&arena);
    return 0;
}

static struct user add(const char *name)
{
    struct user user;
    assert_int_equal(accounts_add_user(m, &arena, name, NULL, false, &user), MLD_OK);
    return user;
}

static enum role role_in(const char *namespace_id, const char *user_id)
{
    enum role role;
    assert_int_equal(accounts_role(m, namespace_id, user_id, &role), MLD_OK);
    return role;
}

static void makes_a_user_with_a_namespace(void **state)
{
    struct user user, found;
    struct space space;
    struct members members;
    (void)state;
    assert_int_equal(accounts_add_user(m, &arena, "ada", "correct horse", true, &user), MLD_OK);
    assert_int_equal(accounts_user_by_name(m, &arena, "ada", &found), MLD_OK);
    assert_string_equal(found.id, user.id);
    assert_true(found.admin && !found.disabled && found.created_us > 0);
    assert_int_equal(strncmp(found.password, "$scrypt$", 8), 0);
    assert_int_equal(accounts_space_by_name(m, &arena, "ada", &space), MLD_OK);
    assert_false(space.team);
    assert_int_equal(accounts_members(m, &arena, NULL, user.id, &members), MLD_OK);
    assert_int_equal(members.n, 1);
    assert_int_equal(members.items[0].role, ROLE_OWNER);
    assert_string_equal(members.items[0].namespace_id, space.id);
    assert_int_equal(accounts_add_user(m, &arena, "ada", NULL, false, &found), MLD_EEXISTS);
    assert_int_equal(accounts_user_by_name(m, &arena, "bob", &found), MLD_ENOTFOUND);
    assert_non_null(strstr(mld_error_message(), "bob"));
}

static void checks_names(void **state)
{
    static const char *const good[] = {"a", "A.b-c_9", "0", "api2", "x.y."};
    static const char *const bad[] = {"",    ".a",  "-a",  "_",  "a b",    "a/b",   "../x", "ä",
                                      "a\n", "api", "API", "me", "device", "admin", "a%41", "a:b"};
    char longest[ACCOUNTS_NAME_MAX + 2];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(accounts_check_name("the name", good[i]), MLD_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(accounts_check_name("the name", bad[i]), MLD_ENAME);
    memset(longest, 'n', sizeof longest);
    longest[ACCOUNTS_NAME_MAX + 1] = '\0';
    assert_int_equal(accounts_check_name("the name", longest), MLD_ENAME);
    assert_int_equal(accounts_check_name("the name", longest + 1), MLD_OK);
}

static void shares_names_between_users_and_teams(void **state)
{
    struct user ada = add("ada"), other;
    struct space team;
    (void)state;
    assert_int_equal(accounts_add_team(m, &arena, "lab", ada.id, &team), MLD_OK);
    assert_true(team.team);
    assert_int_equal(role_in(team.id, ada.id), ROLE_OWNER);
    assert_int_equal(accounts_add_team(m, &arena, "lab", ada.id, &team), MLD_OK); /* again */
    assert_int_equal(accounts_add_team(m, &arena, "ada", ada.id, &team), MLD_EEXISTS);
    assert_int_equal(accounts_add_user(m, &arena, "lab", NULL, false, &other), MLD_EEXISTS);
    assert_int_equal(accounts_add_team(m, &arena, "api", ada.id, &team), MLD_ENAME);
}

static void keeps_the_last_owner(void **state)
{
    struct user ada = add("ada"), bob = add("bob");
    struct space team;
    (void)state;
    assert_int_equal(accounts_add_team(m, &arena, "lab", ada.id, &team), MLD_OK);
    assert_int_equal(accounts_set_role(m, team.id, bob.id, ROLE_WRITER), MLD_OK);
    assert_int_equal(role_in(team.id, bob.id), ROLE_WRITER);
    assert_int_equal(accounts_set_role(m, team.id, ada.id, ROLE_NONE), MLD_ESTATE);
    assert_int_equal(accounts_set_role(m, team.id, ada.id, ROLE_READER), MLD_ESTATE);
    assert_int_equal(accounts_set_role(m, team.id, bob.id, ROLE_OWNER), MLD_OK);
    assert_int_equal(accounts_set_role(m, team.id, ada.id, ROLE_NONE), MLD_OK);
    assert_int_equal(role_in(team.id, ada.id), ROLE_NONE);
    assert_int_equal(accounts_set_role(m, team.id, ada.id, ROLE_NONE), MLD_OK);
    /* A personal namespace may have guests, and stays its user's. */
    assert_int_equal(accounts_set_role(m, ada.id, bob.id, ROLE_OWNER), MLD_OK);
    assert_int_equal(accounts_set_role(m, ada.id, ada.id, ROLE_NONE), MLD_ESTATE);
    assert_int_equal(role_in(ada.id, ada.id), ROLE_OWNER);
}

/* A user's creation that is cut off at each of its writes is gone on with by the next call. */
static struct space lab;

struct remover {
    pthread_barrier_t *begin;
    const char *other; /* whom it takes the ownership from */
    enum role role;
    enum mld_error result;
};

static void *remove_other(void *payload)
{
    struct remover *r = payload;
    pthread_barrier_wait(r->begin);
    r->result = accounts_set_role(m, lab.id, r->other, r->role);
    return NULL;
}

/* Three owners, each of whom puts out the next: one stays, whatever the order. */
static void keeps_one_of_owners_who_remove_each_other(void **state)
{
    enum { N = 3, ROUNDS = 300 };
    struct user owners[N];
    (void)state;
    for (int i = 0; i < N; i++)
        owners[i] = add((const char *[]){"ada", "bob", "cleo"}[i]);
    assert_int_equal(accounts_add_team(m, &arena, "lab", owners[0].id, &lab), MLD_OK);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[N];
        pthread_barrier_t begin;
        struct remover removers[N];
        int left = 0;
        int failed = 0;
        assert_int_equal(pthread_barrier_init(&begin, NULL, N), 0);
        for (int i = 0; i < N; i++) {
            assert_int_equal(accounts_set_role(m, lab.id, owners[i].id, ROLE_OWNER), MLD_OK);
            removers[i] = (struct remover){&begin, owners[(i + 1) % N].id,
                                           round % 2 ? ROLE_NONE : ROLE_READER, MLD_OK};
        }
        for (int i = 0; i < N; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, remove_other, &removers[i]), 0);
        for (int i = 0; i < N; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < N; i++) {
            left += role_in(lab.id, owners[i].id) == ROLE_OWNER;
            failed += removers[i].result == MLD_ESTATE;
        }
        assert_int_equal(left, 1);
        assert_int_equal(failed, 1);
        pthread_barrier_destroy(&begin);
    }
}

/* An owner's leaving that was cut off anywhere is finished, or was never begun; and who is made an
 * owner again afterwards stays one. */
static void recovers_from_a_crash_while_an_owner_leaves(void **state)
{
    struct user ada;
    struct user bob;
    (void)state;
    ada = add("ada");
    bob = add("bob");
    assert_int_equal(accounts_add_team(m, &arena, "lab", ada.id, &lab), MLD_OK);
    for (int cut = 0; cut < 4; cut++) {
        struct faulty faulty;
        assert_int_equal(accounts_set_role(m, lab.id, ada.id, ROLE_OWNER), MLD_OK);
        assert_int_equal(accounts_set_role(m, lab.id, bob.id, ROLE_OWNER), MLD_OK);
        struct meta *f = faulty_begin(&faulty, m, cut);
        enum mld_error error = accounts_set_role(f, lab.id, ada.id, ROLE_NONE);
        assert_int_equal(error, cut < 3 ? MLD_EUNAVAILABLE : MLD_OK);
        /* bob may go only if ada did not. */
        error = accounts_set_role(m, lab.id, bob.id, ROLE_NONE);
        assert_int_equal(error, cut == 0 ? MLD_OK : MLD_ESTATE);
        assert_int_equal(role_in(lab.id, ada.id), cut == 0 ? ROLE_OWNER : ROLE_NONE);
        assert_int_equal(role_in(lab.id, bob.id), cut == 0 ? ROLE_NONE : ROLE_OWNER);
    }
}

static void recovers_from_a_crash_between_any_two_writes(void **state)
{
    (void)state;
    for (int cut = 0;; cut++) {
        struct faulty faulty;
        struct user user;
        struct space space;
        struct users users;
        setup(NULL);
        struct meta *f = faulty_begin(&faulty, m, cut);
        enum mld_error error = accounts_add_user(f, &arena, "ada", NULL, false, &user);
        if (error == MLD_OK) {
            assert_true(cut >= 5);
            meta_close(m);
            break;
        }
        assert_int_equal(error, MLD_EUNAVAILABLE);
        assert_int_equal(accounts_user_by_name(m, &arena, "ada", &user), MLD_ENOTFOUND);
        user = add("ada");
        assert_int_equal(accounts_space_by_name(m, &arena, "ada", &space), MLD_OK);
        assert_string_equal(space.id, user.id);
        assert_int_equal(role_in(space.id, user.id), ROLE_OWNER);
        assert_int_equal(accounts_users(m, &arena, &users), MLD_OK);
        assert_int_equal(users.n, 1);
        meta_close(m);
    }
    setup(NULL);
}

static void recovers_a_teams_creation(void **state)
{
    (void)state;
    for (int cut = 0;; cut++) {
        struct faulty faulty;
        struct space team;
        setup(NULL);
        struct user ada = add("ada"), bob = add("bob");
        struct meta *f = faulty_begin(&faulty, m, cut);
        if (accounts_add_team(f, &arena, "lab", ada.id, &team) == MLD_OK) {
            assert_true(cut >= 3);
            meta_close(m);
            break;
        }
        /* With its document it is ada's; before, whoever comes next. */
        enum mld_error error = accounts_add_team(m, &arena, "lab", bob.id, &team);
        assert_int_equal(error, cut < 2 ? MLD_OK : MLD_EEXISTS);
        error = accounts_add_team(m, &arena, "lab", ada.id, &team);
        assert_int_equal(error, cut < 2 ? MLD_EEXISTS : MLD_OK);
        assert_int_equal(accounts_space_by_name(m, &arena, "lab", &team), MLD_OK);
        assert_int_equal(role_in(team.id, ada.id), cut < 2 ? ROLE_NONE : ROLE_OWNER);
        assert_int_equal(role_in(team.id, bob.id), cut < 2 ? ROLE_OWNER : ROLE_NONE);
        meta_close(m);
    }
    setup(NULL);
}

static void makes_foreign_users_once(void **state)
{
    struct user a, b, ada = add("ada");
    (void)state;
    assert_int_equal(accounts_foreign_user(m, &arena, "idp", "1", "grace", &a), MLD_OK);
    assert_string_equal(a.username, "grace");
    assert_null(a.password);
    assert_false(a.admin);
    assert_int_equal(accounts_foreign_user(m, &arena, "idp", "1", "ada", &b), MLD_OK);
    assert_string_equal(a.id, b.id); /* by (iss, sub), whatever it calls itself now */
    assert_string_equal(b.username, "grace");
    assert_int_equal(accounts_foreign_user(m, &arena, "other", "1", "grace", &b), MLD_OK);
    assert_string_not_equal(a.id, b.id);
    assert_string_equal(b.username, "grace-2");
    assert_int_equal(accounts_foreign_user(m, &arena, "idp", "2", "ada", &b), MLD_OK);
    assert_string_not_equal(b.id, ada.id); /* never a local user's account */
    assert_string_equal(b.username, "ada-2");
    assert_int_equal(accounts_foreign_user(m, &arena, "a\nb", "c", "x", &b), MLD_EINVALID);
}

static void cleans_the_names_of_foreign_users(void **state)
{
    static const char *const pairs[][2] = {
        {"ada@example.com", "ada"},
        {"Ada Lovelace", "Ada-Lovelace"},
        {"../../etc", "etc"},
        {"admin", "user"},
        {"", "user-2"},
        {"\xc3\xa4\xc3\xb6", "user-3"},
        {"<script>", "script"},
    };
    char sub[8], longest[200];
    struct user user;
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        snprintf(sub, sizeof sub, "%zu", i);
        assert_int_equal(accounts_foreign_user(m, &arena, "", sub, pairs[i][0], &user), MLD_OK);
        assert_string_equal(user.username, pairs[i][1]);
    }
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (int i = 0; i < 15; i++) { /* past the numbers, too */
        snprintf(sub, sizeof sub, "l%d", i);
        assert_int_equal(accounts_foreign_user(m, &arena, "", sub, longest, &user), MLD_OK);
        assert_true(strlen(user.username) <= ACCOUNTS_NAME_MAX);
    }
}

/* A foreign user's creation that was cut off, and a local user of the same name after it: two
 * accounts. */
static void never_gives_a_foreign_identity_a_local_account(void **state)
{
    (void)state;
    for (int cut = 0;; cut++) {
        struct faulty faulty;
        struct user local = {0}, foreign;
        setup(NULL);
        struct meta *f = faulty_begin(&faulty, m, cut);
        bool whole = accounts_foreign_user(f, &arena, "idp", "1", "ada", &foreign) == MLD_OK;
        enum mld_error error = accounts_add_user(m, &arena, "ada", NULL, true, &local);
        assert_true(error == MLD_OK || error == MLD_EEXISTS);
        assert_int_equal(accounts_foreign_user(m, &arena, "idp", "1", "ada", &foreign), MLD_OK);
        assert_false(foreign.admin);
        assert_true(local.id == NULL || strcmp(local.id, foreign.id) != 0);
        meta_close(m);
        if (whole)
            break;
    }
    setup(NULL);
}

static void changes_users(void **state)
{
    const bool yes = true;
    const int64_t when = 1700000000;
    const struct user_change change = {"another password", &yes, &yes, &when};
    const struct user_change none = {0};
    struct user user = add("ada");
    (void)state;
    assert_int_equal(accounts_change_user(m, "ada", &change), MLD_OK);
    assert_int_equal(accounts_change_user(m, "ada", &none), MLD_OK);
    assert_int_equal(accounts_user_by_id(m, &arena, user.id, &user), MLD_OK);
    assert_true(user.admin && user.disabled && user.password != NULL);
    assert_int_equal(user.not_before_s, when);
    assert_string_equal(user.username, "ada");
    assert_int_equal(accounts_change_user(m, "bob", &change), MLD_ENOTFOUND);
}

static void makes_and_revokes_tokens(void **state)
{
    struct user ada = add("ada"), bob = add("bob");
    struct token token, found;
    struct tokens tokens;
    char secret[ACCOUNTS_TOKEN_LEN + 1], other[ACCOUNTS_TOKEN_LEN + 1];
    (void)state;
    assert_int_equal(accounts_add_token(m, &arena, ada.id, "laptop", 0, secret, &token), MLD_OK);
    assert_int_equal(strlen(secret), ACCOUNTS_TOKEN_LEN);
    assert_int_equal(strncmp(secret, "mld_", 4), 0);
    assert_int_equal(accounts_add_token(m, &arena, ada.id, "", 60, other, &found), MLD_OK);
    assert_string_not_equal(secret, other);
    assert_int_equal(accounts_token_of(m, &arena, secret, &found), MLD_OK);
    assert_string_equal(found.user_id, ada.id);
    assert_string_equal(found.id, token.id);
    assert_int_equal(accounts_tokens(m, &arena, ada.id, &tokens), MLD_OK);
    assert_int_equal(tokens.n, 2);
    assert_true(tokens.items[0].last_used_us > 0); /* noted */
    assert_int_equal(tokens.items[0].expires_us, 0);
    assert_int_equal(tokens.items[1].last_used_us, 0);
    assert_true(tokens.items[1].expires_us > tokens.items[1].created_us);
    assert_int_equal(accounts_revoke_token(m, bob.id, token.id), MLD_ENOTFOUND);
    assert_int_equal(accounts_revoke_token(m, ada.id, token.id), MLD_OK);
    assert_int_equal(accounts_revoke_token(m, NULL, token.id), MLD_ENOTFOUND);
    assert_int_equal(accounts_token_of(m, &arena, secret, &found), MLD_EAUTH);
    secret[10] ^= 1;
    assert_int_equal(accounts_token_of(m, &arena, secret, &found), MLD_EAUTH);
    assert_int_equal(accounts_token_of(m, &arena, "mld_short", &found), MLD_EAUTH);
    assert_int_equal(accounts_add_token(m, &arena, ada.id, "", -1, secret, &found), MLD_EINVALID);
}

/* What is kept of a token does not tell it. */
static void keeps_no_secret(void **state)
{
    struct user ada = add("ada");
    struct token token;
    struct meta_docs docs = {0};
    char secret[ACCOUNTS_TOKEN_LEN + 1], key[64];
    (void)state;
    assert_int_equal(accounts_add_token(m, &arena, ada.id, "x", 0, secret, &token), MLD_OK);
    snprintf(key, sizeof key, "user:%s", ada.id);
    const struct meta_range range = {.partition = "tokens",
                                     .token = key,
                                     .min_order = INT64_MIN,
                                     .max_order = INT64_MAX,
                                     .limit = 10};
    assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
    assert_int_equal(docs.n, 1);
    assert_int_equal(strspn(docs.docs[0].id, "0123456789abcdef"), 64);
    assert_null(memmem(docs.docs[0].text, docs.docs[0].text_len, secret + 4, 10));
    assert_null(memmem(docs.docs[0].text, docs.docs[0].text_len, "mld_", 4));
    meta_docs_free(&docs);
}

struct race {
    const char *name;
    char sub[8];
    enum mld_error error;
    char id[ID_RANDOM_LEN + 1];
};

static void *race_local(void *payload)
{
    struct race *race = payload;
    struct arena own = {0};
    struct user user;
    race->error = accounts_add_user(m, &own, race->name, NULL, false, &user);
    arena_free(&own);
    return NULL;
}

static void *race_foreign(void *payload)
{
    struct race *race = payload;
    struct arena own = {0};
    struct user user;
    race->error = accounts_foreign_user(m, &own, "idp", race->sub, race->name, &user);
    if (race->error == MLD_OK)
        snprintf(race->id, sizeof race->id, "%s", user.id);
    arena_free(&own);
    return NULL;
}

static void gives_a_name_once_when_many_want_it(void **state)
{
    struct race races[8] = {0};
    pthread_t threads[8];
    struct users users;
    int made = 0;
    (void)state;
    for (int i = 0; i < 8; i++) {
        races[i].name = "ada";
        snprintf(races[i].sub, sizeof races[i].sub, "%d", i / 4); /* two identities */
        assert_int_equal(
            pthread_create(&threads[i], NULL, i % 2 == 0 ? race_local : race_foreign, &races[i]),
            0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i += 2)
        made += races[i].error == MLD_OK;
    assert_true(made <= 1);
    for (int i = 1; i < 8; i += 2)
        assert_int_equal(races[i].error, MLD_OK);
    assert_string_equal(races[1].id, races[3].id);
    assert_string_equal(races[5].id, races[7].id);
    assert_string_not_equal(races[1].id, races[5].id);
    assert_int_equal(accounts_users(m, &arena, &users), MLD_OK);
    assert_int_equal(users.n, made + 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(makes_a_user_with_a_namespace),
        TEST(checks_names),
        TEST(shares_names_between_users_and_teams),
        TEST(keeps_the_last_owner),
        TEST(keeps_one_of_owners_who_remove_each_other),
        TEST(recovers_from_a_crash_while_an_owner_leaves),
        cmocka_unit_test_teardown(recovers_from_a_crash_between_any_two_writes, teardown),
        cmocka_unit_test_teardown(recovers_a_teams_creation, teardown),
        TEST(makes_foreign_users_once),
        TEST(cleans_the_names_of_foreign_users),
        cmocka_unit_test_teardown(never_gives_a_foreign_identity_a_local_account, teardown),
        TEST(changes_users),
        TEST(makes_and_revokes_tokens),
        TEST(keeps_no_secret),
        TEST(gives_a_name_once_when_many_want_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

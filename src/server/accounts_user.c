/* accounts_user.c: users, each with a personal namespace of the same id and name. The user's
 * document is written last: until it is there the user does not exist. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "server/account_doc.h"
#include "server/password.h"

#define FOREIGN_NAME_MAX 48 /* leaves room for what makes it another */
#define FOREIGN_NAME_NUMBERS 9

/* Words that the server's own paths and roles use. */
static const char *const reserved[] = {"api",    "health", "metrics", "device", "me",     "admin",
                                       "static", "login",  "logout",  "tokens", "public", "root",
                                       "system", "help",   "about",   "new",    "graphql"};

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

enum mld_error accounts_check_name(const char *what, const char *name)
{
    size_t len = strlen(name);
    bool good = len >= 1 && len <= ACCOUNTS_NAME_MAX && strchr("-_.", name[0]) == NULL;
    for (size_t i = 0; good && i < len; i++)
        good = is_name_char(name[i]);
    if (!good)
        return error_set(MLD_ENAME,
                         "%s '%.80s' must be 1 to %d letters, digits, '-', '_' or '.', and begin "
                         "with a letter or digit",
                         what, name, ACCOUNTS_NAME_MAX);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcasecmp(name, reserved[i]) == 0)
            return error_set(MLD_ENAME, "%s '%s' is a word of the server's own", what, name);
    }
    return MLD_OK;
}

static enum mld_error take_user(struct arena *arena, const char *id, json_t *object,
                                struct user *out)
{
    const char *password = account_text(arena, object, "password");
    *out = (struct user){.id = arena_strdup(arena, id),
                         .username = account_text(arena, object, "username"),
                         .admin = json_is_true(json_object_get(object, "admin")),
                         .disabled = json_is_true(json_object_get(object, "disabled")),
                         .not_before_s = account_int(object, "not_before"),
                         .created_us = account_int(object, "created")};
    if (out->id == NULL || out->username == NULL || password == NULL)
        return account_no_memory();
    out->password = password[0] == '\0' ? NULL : password;
    return MLD_OK;
}

/* The namespace, its owner last. Each step may have been done before. */
static enum mld_error make_space(struct meta *m, struct arena *arena, const char *id,
                                 const char *username, bool foreign)
{
    const struct account_name name = {"ns", username, id, "namespaces", foreign};
    const char *reserved_id;
    static const char *const tokens[] = {"namespace"};
    int64_t now = clock_now_us();
    enum mld_error error = account_reserve(m, arena, &name, &reserved_id);
    if (error != MLD_OK && error != MLD_EEXISTS)
        return error;
    if (reserved_id == NULL || strcmp(reserved_id, id) != 0)
        return error_set(MLD_EEXISTS, "the name '%s' is taken", username);
    json_t *space = json_pack("{s:s,s:s,s:s,s:I}", "name", username, "kind", "personal", "owner",
                              id, "created", (json_int_t)now);
    error = space == NULL ? account_no_memory()
                          : account_insert(m, "namespaces", id, space, now, tokens, 1);
    json_decref(space);
    if (error != MLD_OK && error != MLD_EEXISTS)
        return error;
    return accounts_set_role(m, id, id, ROLE_OWNER);
}

struct new_user {
    const char *username;
    const char *password; /* NULL: none */
    bool admin;
    bool foreign;
};

/* The user's document, which makes the user exist. */
static enum mld_error insert_user(struct meta *m, struct arena *arena, const char *id,
                                  const struct new_user *wanted, const char *kept, struct user *out)
{
    static const char *const tokens[] = {"user"};
    int64_t now = clock_now_us();
    json_t *user = json_pack("{s:s,s:s,s:b,s:b,s:i,s:I}", "username", wanted->username, "password",
                             kept, "admin", wanted->admin, "disabled", 0, "not_before", 0,
                             "created", (json_int_t)now);
    enum mld_error error =
        user == NULL ? account_no_memory() : account_insert(m, "users", id, user, now, tokens, 1);
    if (error == MLD_EEXISTS)
        error = error_set(error, "the name '%s' is taken", wanted->username);
    if (error == MLD_OK)
        error = take_user(arena, id, user, out);
    json_decref(user);
    return error;
}

/* Makes a user with this id, or that of an unfinished creation of the same name. */
static enum mld_error make_user(struct meta *m, struct arena *arena, const char *id,
                                const struct new_user *wanted, struct user *out)
{
    char kept[PASSWORD_TEXT_MAX] = "";
    const char *used_id;
    const struct account_name name = {"user", wanted->username, id, "users", wanted->foreign};
    enum mld_error error = accounts_check_name("the name", wanted->username);
    if (error == MLD_OK && wanted->password != NULL)
        error = password_hash(kept, wanted->password);
    if (error == MLD_OK)
        error = account_reserve(m, arena, &name, &used_id);
    if (error == MLD_OK)
        error = make_space(m, arena, used_id, wanted->username, wanted->foreign);
    if (error == MLD_OK)
        error = insert_user(m, arena, used_id, wanted, kept, out);
    OPENSSL_cleanse(kept, sizeof kept);
    return error;
}

enum mld_error accounts_add_user(struct meta *m, struct arena *arena, const char *username,
                                 const char *password, bool admin, struct user *out)
{
    char id[ID_RANDOM_LEN + 1];
    const struct new_user wanted = {username, password, admin, false};
    enum mld_error error = id_random(id);
    return error == MLD_OK ? make_user(m, arena, id, &wanted, out) : error;
}

enum mld_error accounts_user_by_id(struct meta *m, struct arena *arena, const char *id,
                                   struct user *out)
{
    json_t *object;
    enum mld_error error = account_get(m, "users", id, &object, NULL);
    if (error == MLD_OK)
        error = take_user(arena, id, object, out);
    json_decref(object);
    return error;
}

static enum mld_error no_user(const char *username)
{
    return error_set(MLD_ENOTFOUND, "there is no user '%.80s'", username);
}

enum mld_error accounts_user_by_name(struct meta *m, struct arena *arena, const char *username,
                                     struct user *out)
{
    const char *id;
    enum mld_error error = account_name_get(m, arena, "user", username, &id);
    if (error == MLD_OK)
        error = accounts_user_by_id(m, arena, id, out);
    return error == MLD_ENOTFOUND ? no_user(username) : error;
}

enum mld_error accounts_users(struct meta *m, struct arena *arena, struct users *out)
{
    struct meta_docs docs = {0};
    *out = (struct users){.items = NULL};
    enum mld_error error = account_find(m, "users", "user", &docs);
    out->more = docs.more;
    if (error == MLD_OK &&
        (out->items = arena_alloc(arena, (docs.n + 1) * sizeof *out->items)) == NULL)
        error = account_no_memory();
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++) {
        json_t *object;
        error = account_parse(&docs.docs[i], &object);
        if (error == MLD_OK)
            error = take_user(arena, docs.docs[i].id, object, &out->items[out->n++]);
        json_decref(object);
    }
    meta_docs_free(&docs);
    return error;
}

static int apply_change(json_t *object, const struct user_change *change, const char *kept)
{
    int failed = 0;
    if (change->password != NULL)
        failed |= json_object_set_new(object, "password", json_string(kept));
    if (change->admin != NULL)
        failed |= json_object_set_new(object, "admin", json_boolean(*change->admin));
    if (change->disabled != NULL)
        failed |= json_object_set_new(object, "disabled", json_boolean(*change->disabled));
    if (change->not_before_s != NULL)
        failed |= json_object_set_new(object, "not_before", json_integer(*change->not_before_s));
    return failed;
}

enum mld_error accounts_change_user(struct meta *m, const char *username,
                                    const struct user_change *change)
{
    struct arena arena = {0};
    char kept[PASSWORD_TEXT_MAX] = "";
    const char *id = NULL;
    enum mld_error error = account_name_get(m, &arena, "user", username, &id);
    if (error == MLD_OK && change->password != NULL)
        error = password_hash(kept, change->password);
    bool again = error == MLD_OK;
    while (again) {
        struct meta_docs docs = {0};
        json_t *object;
        error = account_get(m, "users", id, &object, &docs);
        if (error == MLD_OK && apply_change(object, change, kept) != 0)
            error = account_no_memory();
        if (error == MLD_OK)
            error = account_replace(m, &docs, object);
        json_decref(object);
        meta_docs_free(&docs);
        again = error == MLD_ECONFLICT;
    }
    arena_free(&arena);
    return error == MLD_ENOTFOUND ? no_user(username) : error;
}

/* A name that could be one, made of what a foreign identity calls itself. */
static void clean_name(char out[ACCOUNTS_NAME_MAX + 1], const char *wanted)
{
    size_t n = 0;
    for (const char *p = wanted; *p != '\0' && *p != '@' && n < FOREIGN_NAME_MAX; p++) {
        bool fits = is_name_char(*p) && (n > 0 || strchr("-_.", *p) == NULL);
        if (fits)
            out[n++] = *p;
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-')
        n--;
    out[n] = '\0';
    if (n == 0 || accounts_check_name("the name", out) != MLD_OK)
        memcpy(out, "user", sizeof "user");
}

/* The identity's user under the first free name: itself, with a number, with part of its id. */
static enum mld_error make_foreign(struct meta *m, struct arena *arena, const char *id,
                                   const char *wanted, struct user *out)
{
    char name[ACCOUNTS_NAME_MAX + 1], tried[ACCOUNTS_NAME_MAX + 1];
    const struct new_user user = {tried, NULL, false, true};
    enum mld_error error = MLD_EEXISTS;
    clean_name(name, wanted);
    for (int i = 1; error == MLD_EEXISTS && i <= FOREIGN_NAME_NUMBERS + 1; i++) {
        if (i == 1)
            snprintf(tried, sizeof tried, "%.*s", FOREIGN_NAME_MAX, name);
        else if (i <= FOREIGN_NAME_NUMBERS)
            snprintf(tried, sizeof tried, "%.*s-%d", FOREIGN_NAME_MAX, name, i);
        else
            snprintf(tried, sizeof tried, "%.*s-%.12s", FOREIGN_NAME_MAX, name, id);
        error = make_user(m, arena, id, &user, out);
        if (error == MLD_EEXISTS && accounts_user_by_id(m, arena, id, out) == MLD_OK)
            error = MLD_OK; /* another request made this very user */
    }
    return error;
}

/* The user id of an identity, made up at its first use. */
static enum mld_error identity_user(struct meta *m, struct arena *arena, const char *key,
                                    const char **out_id)
{
    char fresh[ID_RANDOM_LEN + 1];
    json_t *there = NULL;
    enum mld_error error = account_get(m, "identities", key, &there, NULL);
    if (error == MLD_ENOTFOUND) {
        error = id_random(fresh);
        json_t *identity = json_pack("{s:s}", "user", fresh);
        if (error == MLD_OK)
            error = identity == NULL ? account_no_memory()
                                     : account_insert(m, "identities", key, identity, 0, NULL, 0);
        json_decref(identity);
        if (error == MLD_OK || error == MLD_EEXISTS)
            error = account_get(m, "identities", key, &there, NULL);
    }
    *out_id = error == MLD_OK ? account_text(arena, there, "user") : NULL;
    json_decref(there);
    if (error == MLD_OK && *out_id == NULL)
        error = account_no_memory();
    return error;
}

enum mld_error accounts_foreign_user(struct meta *m, struct arena *arena, const char *iss,
                                     const char *sub, const char *wanted, struct user *out)
{
    char key[META_MAX_NAME_BYTES];
    const char *id;
    int len = snprintf(key, sizeof key, "%s\n%s", iss, sub);
    if (len >= (int)sizeof key || strchr(iss, '\n') != NULL)
        return error_set(MLD_EINVALID, "iss and sub are no identity: too long, or with a line end");
    enum mld_error error = identity_user(m, arena, key, &id);
    if (error == MLD_OK)
        error = accounts_user_by_id(m, arena, id, out);
    return error == MLD_ENOTFOUND ? make_foreign(m, arena, id, wanted, out) : error;
}

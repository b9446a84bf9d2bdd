/* accounts_user.c: users, each with a personal namespace of the same id and name. The user's
 * document is written last: until it is there the user does not exist. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "server/account_doc.h"
#include "server/password.h"

#define FOREIGN_NAME_TRIES 50

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
        if (strcmp(name, reserved[i]) == 0)
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

/* The personal namespace: it has the user's id, so that its name is the user's own reservation. */
static enum mld_error make_space(struct meta *m, struct arena *arena, const char *id,
                                 const char *username)
{
    const char *reserved_id;
    char token[64], key[2 * ID_RANDOM_LEN + 2];
    int64_t now = clock_now_us();
    enum mld_error error =
        account_reserve(m, arena, "ns", username, id, "namespaces", &reserved_id);
    if (error != MLD_OK && (error != MLD_EEXISTS || reserved_id == NULL))
        return error;
    if (strcmp(reserved_id, id) != 0)
        return error_set(MLD_EEXISTS, "the name '%s' is taken", username);
    const char *tokens[] = {"namespace", token};
    json_t *space = json_pack("{s:s,s:s,s:s,s:I}", "name", username, "kind", "personal", "owner",
                              id, "created", (json_int_t)now);
    error = account_insert(m, "namespaces", id, space, now, tokens, 1);
    json_decref(space);
    if (error != MLD_OK && error != MLD_EEXISTS)
        return error;
    char user_token[64];
    snprintf(key, sizeof key, "%s/%s", id, id);
    snprintf(token, sizeof token, "ns:%s", id);
    snprintf(user_token, sizeof user_token, "user:%s", id);
    tokens[0] = user_token;
    json_t *member = json_pack("{s:s}", "role", role_name(ROLE_OWNER));
    error = account_insert(m, "members", key, member, now, tokens, 2);
    json_decref(member);
    return error == MLD_EEXISTS ? MLD_OK : error;
}

/* A user of this id, which no other user has. */
static enum mld_error make_user(struct meta *m, struct arena *arena, const char *id,
                                const char *username, const char *password, bool admin,
                                struct user *out)
{
    char kept[PASSWORD_TEXT_MAX] = "";
    const char *reserved_id;
    static const char *const tokens[] = {"user"};
    int64_t now = clock_now_us();
    enum mld_error error = accounts_check_name("the name", username);
    if (error == MLD_OK && password != NULL)
        error = password_hash(kept, password);
    if (error == MLD_OK)
        error = account_reserve(m, arena, "user", username, id, "users", &reserved_id);
    if (error == MLD_OK && strcmp(reserved_id, id) != 0)
        error = error_set(MLD_EEXISTS, "the name '%s' is being taken", username);
    if (error == MLD_OK)
        error = make_space(m, arena, id, username);
    if (error != MLD_OK)
        return error;
    json_t *user =
        json_pack("{s:s,s:s,s:b,s:b,s:i,s:I}", "username", username, "password", kept, "admin",
                  admin, "disabled", 0, "not_before", 0, "created", (json_int_t)now);
    error = account_insert(m, "users", id, user, now, tokens, 1);
    if (error == MLD_OK)
        error = take_user(arena, id, user, out);
    json_decref(user);
    return error;
}

/* The id that an unfinished creation of this name had, or a new one. */
static enum mld_error id_for_name(struct meta *m, const char *username, char id[ID_RANDOM_LEN + 1])
{
    char key[ACCOUNTS_NAME_MAX + 8];
    json_t *there;
    snprintf(key, sizeof key, "user:%s", username);
    enum mld_error error = account_get(m, "names", key, &there, NULL);
    if (error == MLD_ENOTFOUND)
        return id_random(id);
    if (error == MLD_OK)
        snprintf(id, ID_RANDOM_LEN + 1, "%s", json_string_value(json_object_get(there, "id")));
    json_decref(there);
    return error;
}

enum mld_error accounts_add_user(struct meta *m, struct arena *arena, const char *username,
                                 const char *password, bool admin, struct user *out)
{
    char id[ID_RANDOM_LEN + 1];
    enum mld_error error = accounts_check_name("the name", username);
    if (error == MLD_OK)
        error = id_for_name(m, username, id);
    return error == MLD_OK ? make_user(m, arena, id, username, password, admin, out) : error;
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

/* The document of a user, and its id. */
static enum mld_error find_user(struct meta *m, struct arena *arena, const char *username,
                                const char **out_id)
{
    char key[ACCOUNTS_NAME_MAX + 8];
    json_t *there;
    if (strlen(username) > ACCOUNTS_NAME_MAX)
        return error_set(MLD_ENOTFOUND, "there is no user '%.80s'", username);
    snprintf(key, sizeof key, "user:%s", username);
    enum mld_error error = account_get(m, "names", key, &there, NULL);
    if (error == MLD_OK) {
        *out_id = account_text(arena, there, "id");
        error = *out_id == NULL ? account_no_memory() : MLD_OK;
    }
    json_decref(there);
    if (error == MLD_ENOTFOUND)
        error_set(error, "there is no user '%.80s'", username);
    return error;
}

enum mld_error accounts_user_by_name(struct meta *m, struct arena *arena, const char *username,
                                     struct user *out)
{
    const char *id;
    enum mld_error error = find_user(m, arena, username, &id);
    if (error == MLD_OK)
        error = accounts_user_by_id(m, arena, id, out);
    if (error == MLD_ENOTFOUND)
        error_set(error, "there is no user '%.80s'", username);
    return error;
}

enum mld_error accounts_users(struct meta *m, struct arena *arena, struct users *out)
{
    struct meta_docs docs = {0};
    *out = (struct users){NULL, 0};
    enum mld_error error = account_find(m, "users", "user", &docs);
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
    enum mld_error error = find_user(m, &arena, username, &id);
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
    return error;
}

/* A name that could be one, made of what a foreign identity calls itself. */
static void clean_name(char out[ACCOUNTS_NAME_MAX + 1], const char *wanted)
{
    size_t n = 0;
    for (const char *p = wanted; *p != '\0' && *p != '@' && n < ACCOUNTS_NAME_MAX - 8; p++) {
        bool fits = is_name_char(*p) && (n > 0 || strchr("-_.", *p) == NULL);
        if (fits)
            out[n++] = *p;
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    out[n] = '\0';
    if (n == 0 || accounts_check_name("the name", out) != MLD_OK)
        snprintf(out, ACCOUNTS_NAME_MAX + 1, "user");
}

static enum mld_error make_foreign(struct meta *m, struct arena *arena, const char *id,
                                   const char *wanted, struct user *out)
{
    char name[ACCOUNTS_NAME_MAX + 1], tried[ACCOUNTS_NAME_MAX + 8];
    enum mld_error error = MLD_EEXISTS;
    clean_name(name, wanted);
    for (int i = 1; error == MLD_EEXISTS && i <= FOREIGN_NAME_TRIES; i++) {
        if (i == 1)
            snprintf(tried, sizeof tried, "%s", name);
        else /* after a few numbers, part of the id, which is free for sure */
            snprintf(tried, sizeof tried, i < 10 ? "%s-%.0s%d" : "%s-%.6s", name, id, i);
        error = make_user(m, arena, id, tried, NULL, false, out);
        if (error == MLD_EEXISTS && accounts_user_by_id(m, arena, id, out) == MLD_OK)
            error = MLD_OK; /* another request made this very user */
    }
    return error;
}

enum mld_error accounts_foreign_user(struct meta *m, struct arena *arena, const char *iss,
                                     const char *sub, const char *wanted, struct user *out)
{
    struct buf key;
    char id[ID_RANDOM_LEN + 1];
    json_t *there = NULL;
    buf_init(&key, META_MAX_NAME_BYTES);
    buf_printf(&key, "%s\n%s", iss, sub);
    enum mld_error error = buf_check(&key, "an identity");
    if (error == MLD_OK)
        error = account_get(m, "identities", buf_text(&key), &there, NULL);
    if (error == MLD_ENOTFOUND) {
        error = id_random(id);
        json_t *identity = json_pack("{s:s}", "user", id);
        if (error == MLD_OK)
            error = account_insert(m, "identities", buf_text(&key), identity, 0, NULL, 0);
        json_decref(identity);
        if (error == MLD_OK || error == MLD_EEXISTS)
            error = account_get(m, "identities", buf_text(&key), &there, NULL);
    }
    if (error == MLD_OK)
        snprintf(id, sizeof id, "%s", json_string_value(json_object_get(there, "user")));
    if (error == MLD_OK)
        error = accounts_user_by_id(m, arena, id, out);
    if (error == MLD_ENOTFOUND)
        error = make_foreign(m, arena, id, wanted, out);
    json_decref(there);
    buf_free(&key);
    return error;
}

#include "server/resource_accounts.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/clock.h"
#include "server/access.h"
#include "server/server.h"

#define MAX_KEY_BYTES 255

static struct meta *store(struct request *r)
{
    return request_server(r)->meta;
}

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for an answer");
}

/* Answers with the body, which is taken over, or with the error. */
static void answer(struct request *r, enum mld_error error, json_t *body, const char *field)
{
    if (error == MLD_OK && body == NULL)
        error = no_memory();
    if (error == MLD_OK) {
        respond_json(r, 200, body);
        return;
    }
    json_decref(body);
    respond_error(r, error, field);
}

/* Appends a new object, which is taken over. */
static enum mld_error append(json_t *list, json_t *object)
{
    return json_array_append_new(list, object) == 0 ? MLD_OK : no_memory();
}

static json_t *time_json(int64_t us)
{
    char iso[CLOCK_ISO_LEN + 1];
    if (us == 0)
        return json_null();
    clock_format_iso(iso, us);
    return json_string(iso);
}

/* A member of the request's body that must be a text, or may be missing (`otherwise`). */
static enum mld_error body_text(struct request *r, const char *key, const char *otherwise,
                                const char **out)
{
    json_t *body;
    enum mld_error error = request_json(r, &body);
    if (error != MLD_OK)
        return error;
    json_t *value = json_object_get(body, key);
    *out = value == NULL ? otherwise : json_string_value(value);
    return *out == NULL ? error_blame(error_set(MLD_EINVALID, "%s must be a text", key), key)
                        : MLD_OK;
}

/* [{"name","role"}] of those that the caller is a member of. */
static enum mld_error list_spaces(struct request *r, json_t *list)
{
    struct arena *arena = request_arena(r);
    struct members members;
    struct space space;
    enum mld_error error =
        accounts_members(store(r), arena, NULL, request_caller(r)->user_id, &members);
    for (size_t i = 0; error == MLD_OK && i < members.n; i++) {
        error = accounts_space_by_id(store(r), arena, members.items[i].namespace_id, &space);
        if (error == MLD_OK)
            error = append(list, json_pack("{s:s, s:s, s:s}", "name", space.name, "kind",
                                           space.team ? "team" : "personal", "role",
                                           role_name(members.items[i].role)));
        else if (error == MLD_ENOTFOUND)
            error = MLD_OK; /* it is being made */
    }
    return error;
}

void get_me(struct request *r)
{
    const struct caller *caller = request_caller(r);
    json_t *list = json_array();
    enum mld_error error = list == NULL ? no_memory() : list_spaces(r, list);
    json_t *body = json_pack("{s:{s:s, s:s}, s:b, s:s?, s:o}", "user", "id", caller->user_id,
                             "username", caller->username, "admin", caller->admin, "token_id",
                             caller->token_id, "namespaces", list);
    answer(r, error, body, NULL);
}

void get_namespaces(struct request *r)
{
    json_t *list = json_array();
    enum mld_error error = list == NULL ? no_memory() : list_spaces(r, list);
    answer(r, error, json_pack("{s:o}", "namespaces", list), NULL);
}

void post_namespace(struct request *r)
{
    const char *name;
    struct space space;
    json_t *body = NULL;
    enum mld_error error = body_text(r, "name", NULL, &name);
    if (error == MLD_OK)
        error =
            accounts_add_team(store(r), request_arena(r), name, request_caller(r)->user_id, &space);
    if (error == MLD_OK)
        body = json_pack("{s:s, s:s, s:s}", "name", space.name, "kind", "team", "role",
                         role_name(ROLE_OWNER));
    answer(r, error, body, "name");
}

/* `secret` NULL: without it. */
static json_t *token_json(const struct token *token, const char *secret)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:s*}", "id", token->id, "name", token->name,
                     "created", time_json(token->created_us), "expires",
                     time_json(token->expires_us), "last_used", time_json(token->last_used_us),
                     "token", secret);
}

void get_tokens(struct request *r)
{
    struct tokens tokens;
    json_t *list = json_array();
    enum mld_error error =
        accounts_tokens(store(r), request_arena(r), request_caller(r)->user_id, &tokens);
    for (size_t i = 0; error == MLD_OK && i < tokens.n; i++)
        error = append(list, token_json(&tokens.items[i], NULL));
    answer(r, error, json_pack("{s:o}", "tokens", list), NULL);
}

static enum mld_error lifetime(struct request *r, int64_t *out_s)
{
    json_t *body;
    enum mld_error error = request_json(r, &body);
    json_t *value = error == MLD_OK ? json_object_get(body, "expires_in_s") : NULL;
    *out_s = 0;
    if (value == NULL || json_is_null(value))
        return error;
    *out_s = json_integer_value(value);
    return json_is_integer(value) && *out_s > 0
               ? MLD_OK
               : error_blame(
                     error_set(MLD_EINVALID, "expires_in_s must be seconds, more than none"),
                     "expires_in_s");
}

/* What the secret is made of when the request may be sent again: the caller's own token and this
 * server's secret, neither of which is kept where the other is, and the key. */
static enum mld_error seed_of(const struct request *r, const char *key, unsigned char out[32])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const char *token = request_header(r, "Authorization");
    struct buf text;
    if (key[0] == '\0' || strlen(key) > MAX_KEY_BYTES)
        return error_blame(
            error_set(MLD_EINVALID, "Idempotency-Key has 1 to %d bytes", MAX_KEY_BYTES),
            "Idempotency-Key");
    buf_init(&text, (size_t)64 << 10);
    buf_printf(&text, "token:%s\n%s\n%s", request_caller(r)->user_id, token ? token : "", key);
    enum mld_error error = buf_check(&text, "the request");
    if (error == MLD_OK && HMAC(EVP_sha256(), request_server(r)->secret, 32,
                                (const unsigned char *)text.data, text.len, mac, &len) == NULL)
        error = no_memory();
    if (error == MLD_OK)
        memcpy(out, mac, 32);
    if (text.data != NULL)
        explicit_bzero(text.data, text.len);
    buf_free(&text);
    return error;
}

static enum mld_error make_token(struct request *r, const char *name, int64_t lifetime_s,
                                 char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out)
{
    const char *key = request_header(r, "Idempotency-Key");
    const char *user = request_caller(r)->user_id;
    unsigned char seed[32];
    if (key == NULL)
        return accounts_add_token(store(r), request_arena(r), user, name, lifetime_s, secret, out);
    enum mld_error error = seed_of(r, key, seed);
    if (error == MLD_OK)
        error = accounts_add_token_once(store(r), request_arena(r), user, name, lifetime_s, seed,
                                        secret, out);
    if (error == MLD_ECONFLICT || error == MLD_ESTATE)
        error_blame(error, "Idempotency-Key");
    explicit_bzero(seed, sizeof seed);
    return error;
}

void post_token(struct request *r)
{
    const char *name = NULL;
    char secret[ACCOUNTS_TOKEN_LEN + 1] = "";
    int64_t lifetime_s = 0;
    struct token token;
    json_t *body = NULL;
    enum mld_error error = body_text(r, "name", "", &name);
    if (error == MLD_OK)
        error = lifetime(r, &lifetime_s);
    if (error == MLD_OK)
        error = make_token(r, name, lifetime_s, secret, &token);
    if (error == MLD_OK)
        body = token_json(&token, secret);
    explicit_bzero(secret, sizeof secret);
    answer(r, error, body, NULL);
}

void delete_token(struct request *r)
{
    const char *id = request_param(r, "token");
    enum mld_error error = accounts_revoke_token(store(r), request_caller(r)->user_id, id);
    if (error == MLD_OK)
        access_forget_token(request_server(r)->accounts, id);
    answer(r, error, error == MLD_OK ? json_object() : NULL, NULL);
}

void get_members(struct request *r)
{
    struct arena *arena = request_arena(r);
    struct members members;
    struct user user;
    json_t *list = json_array();
    enum mld_error error =
        accounts_members(store(r), arena, request_caller(r)->namespace_id, NULL, &members);
    for (size_t i = 0; error == MLD_OK && i < members.n; i++) {
        error = accounts_user_by_id(store(r), arena, members.items[i].user_id, &user);
        if (error == MLD_OK)
            error = append(list, json_pack("{s:s, s:s}", "username", user.username, "role",
                                           role_name(members.items[i].role)));
        else if (error == MLD_ENOTFOUND)
            error = MLD_OK; /* being made */
    }
    answer(r, error, json_pack("{s:o}", "members", list), NULL);
}

static json_t *member_json(const struct user *user, enum role role)
{
    return json_pack("{s:s, s:s}", "username", user->username, "role", role_name(role));
}

void get_member(struct request *r)
{
    struct user user;
    enum role role = ROLE_NONE;
    enum mld_error error =
        accounts_user_by_name(store(r), request_arena(r), request_param(r, "username"), &user);
    if (error == MLD_OK)
        error = accounts_role(store(r), request_caller(r)->namespace_id, user.id, &role);
    if (error == MLD_ENOTFOUND || (error == MLD_OK && role == ROLE_NONE))
        error = error_set(MLD_ENOTFOUND, "there is no such member");
    answer(r, error, error == MLD_OK ? member_json(&user, role) : NULL, NULL);
}

static void set_role(struct request *r, enum role role)
{
    struct user user;
    enum mld_error error =
        accounts_user_by_name(store(r), request_arena(r), request_param(r, "username"), &user);
    if (error == MLD_OK)
        error = accounts_set_role(store(r), request_caller(r)->namespace_id, user.id, role);
    answer(r, error, error == MLD_OK ? member_json(&user, role) : NULL, NULL);
}

void put_member(struct request *r)
{
    const char *name;
    enum mld_error error = body_text(r, "role", NULL, &name);
    enum role role = error == MLD_OK ? role_of_name(name) : ROLE_NONE;
    if (error == MLD_OK && role == ROLE_NONE)
        error =
            error_blame(error_set(MLD_EINVALID, "role must be reader, writer or owner"), "role");
    if (error == MLD_OK)
        set_role(r, role);
    else
        respond_error(r, error, NULL);
}

void delete_member(struct request *r)
{
    set_role(r, ROLE_NONE);
}

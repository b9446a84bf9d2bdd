/* accounts_token.c: opaque tokens. Only their SHA-256 is kept: who reads the database can use none.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/account_doc.h"

#define US_PER_S INT64_C(1000000)
#define NOTE_USE_EVERY_US (INT64_C(3600) * US_PER_S)
#define SECRET_BYTES 32
#define MAX_TOKEN_NAME_BYTES 255
#define MAX_LIFETIME_S (INT64_C(100) * 366 * 86400)
#define TOKEN_ID_LEN 16

enum mld_error account_hash(const char *secret, char out[SHA256_HEX_LEN + 1])
{
    struct sha256 h = {0};
    enum mld_error error = sha256_begin(&h);
    if (error == MLD_OK) {
        sha256_update(&h, secret, strlen(secret));
        error = sha256_end(&h, out);
    }
    sha256_free(&h);
    return error;
}

/* `prefix` and base64url of the bytes. */
static void secret_of(const char *prefix, const unsigned char bytes[SECRET_BYTES], char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *end = stpcpy(out, prefix);
    for (unsigned bit = 0; bit < 8 * SECRET_BYTES; bit += 6) {
        unsigned next = bit / 8 + 1 < SECRET_BYTES ? bytes[bit / 8 + 1] : 0;
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | next;
        *end++ = digits[pair >> (10 - bit % 8) & 63];
    }
    *end = '\0';
}

enum mld_error account_secret(const char *prefix, char *out)
{
    unsigned char bytes[SECRET_BYTES];
    if (RAND_bytes(bytes, SECRET_BYTES) != 1)
        return error_set(MLD_EIO, "the system gives no random bytes");
    secret_of(prefix, bytes, out);
    explicit_bzero(bytes, sizeof bytes);
    return MLD_OK;
}

static enum mld_error take_token(struct arena *arena, json_t *object, struct token *out)
{
    *out = (struct token){.id = account_text(arena, object, "id"),
                          .user_id = account_text(arena, object, "user"),
                          .name = account_text(arena, object, "name"),
                          .created_us = account_int(object, "created"),
                          .expires_us = account_int(object, "expires"),
                          .last_used_us = account_int(object, "last_used")};
    return out->id == NULL || out->user_id == NULL || out->name == NULL ? account_no_memory()
                                                                        : MLD_OK;
}

/* Removes the expired ones, so that they do not pile up, and makes sure of a place for one more. */
static enum mld_error make_room(struct meta *m, const char *user_token, int64_t now)
{
    struct meta_docs docs = {0};
    size_t left = 0;
    enum mld_error error = account_find(m, "tokens", user_token, &docs);
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++) {
        json_t *object;
        error = account_parse(&docs.docs[i], &object);
        int64_t expires = account_int(object, "expires");
        json_decref(object);
        if (error == MLD_OK && expires != 0 && expires <= now)
            error = meta_delete(m, "tokens", docs.docs[i].id, 0);
        else
            left++;
    }
    meta_docs_free(&docs);
    if (error == MLD_OK && left >= ACCOUNTS_MAX_LIST)
        error = error_set(MLD_ETOOLARGE, "the user has %d tokens; revoke some first",
                          ACCOUNTS_MAX_LIST);
    return error;
}

/* What a token is made of. */
struct new_token {
    const char *user_id;
    const char *name;
    int64_t lifetime_s;
    bool once; /* its secret follows from a request that may come again */
};

static enum mld_error insert_token(struct meta *m, struct arena *arena, const char *hash,
                                   const struct new_token *new, struct token *out)
{
    char id[ID_RANDOM_LEN + 1], user[ID_RANDOM_LEN + 8], public[ID_RANDOM_LEN + 8];
    const char *const tokens[] = {user, public};
    int64_t now = clock_now_us();
    snprintf(user, sizeof user, "user:%s", new->user_id);
    enum mld_error error = make_room(m, user, now);
    if (error == MLD_OK)
        error = id_random(id);
    if (error != MLD_OK)
        return error;
    id[TOKEN_ID_LEN] = '\0'; /* public: people type it */
    snprintf(public, sizeof public, "id:%s", id);
    int64_t expires = new->lifetime_s == 0 ? 0 : now + new->lifetime_s *US_PER_S;
    json_t *object =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:i}", "id", id, "user", new->user_id, "name", new->name,
                  "created", (json_int_t)now, "expires", (json_int_t)expires, "last_used", 0);
    if (object == NULL ||
        (new->once &&json_object_set_new(object, "once", json_integer(new->lifetime_s)) != 0))
        error = account_no_memory();
    if (error == MLD_OK)
        error = take_token(arena, object, out);
    if (error == MLD_OK)
        error = account_insert(m, "tokens", hash, object, now, tokens, 2);
    json_decref(object);
    return error;
}

static enum mld_error check_new(const struct new_token *new)
{
    if (strlen(new->name) <= MAX_TOKEN_NAME_BYTES && new->lifetime_s >= 0 &&
        new->lifetime_s <= MAX_LIFETIME_S)
        return MLD_OK;
    return error_blame(error_set(MLD_EINVALID,
                                 "a token has a name of at most %d bytes, and a lifetime of "
                                 "0 (no end) to 100 years",
                                 MAX_TOKEN_NAME_BYTES),
                       strlen(new->name) > MAX_TOKEN_NAME_BYTES ? "name" : "expires_in_s");
}

enum mld_error accounts_add_token(struct meta *m, struct arena *arena, const char *user_id,
                                  const char *name, int64_t lifetime_s,
                                  char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out)
{
    char hash[SHA256_HEX_LEN + 1];
    const struct new_token new = {user_id, name, lifetime_s, false};
    enum mld_error error = check_new(&new);
    if (error == MLD_OK)
        error = account_secret("mld_", secret);
    if (error == MLD_OK)
        error = account_hash(secret, hash);
    return error == MLD_OK ? insert_token(m, arena, hash, &new, out) : error;
}

static bool is_revoked(json_t *object)
{
    return json_is_true(json_object_get(object, "revoked"));
}

/* The token that the request made before. MLD_ENOTFOUND: none. */
static enum mld_error find_made(struct meta *m, struct arena *arena, const char *hash,
                                const struct new_token *new, struct token *out)
{
    json_t *object;
    enum mld_error error = account_get(m, "tokens", hash, &object, NULL);
    if (error == MLD_OK && is_revoked(object))
        error = error_set(MLD_ESTATE, "the token of that request was revoked");
    if (error == MLD_OK)
        error = take_token(arena, object, out);
    if (error == MLD_OK &&
        (strcmp(out->name, new->name) != 0 || account_int(object, "once") != new->lifetime_s))
        error = error_set(MLD_ECONFLICT, "another request had that Idempotency-Key");
    json_decref(object);
    return error;
}

enum mld_error accounts_add_token_once(struct meta *m, struct arena *arena, const char *user_id,
                                       const char *name, int64_t lifetime_s,
                                       const unsigned char seed[32],
                                       char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out)
{
    char hash[SHA256_HEX_LEN + 1];
    const struct new_token new = {user_id, name, lifetime_s, true};
    enum mld_error error = check_new(&new);
    secret_of("mld_", seed, secret);
    if (error == MLD_OK)
        error = account_hash(secret, hash);
    if (error == MLD_OK)
        error = find_made(m, arena, hash, &new, out);
    if (error == MLD_ENOTFOUND)
        error = insert_token(m, arena, hash, &new, out);
    if (error == MLD_EEXISTS)
        error = find_made(m, arena, hash, &new, out);
    return error;
}

enum mld_error accounts_tokens(struct meta *m, struct arena *arena, const char *user_id,
                               struct tokens *out)
{
    struct meta_docs docs = {0};
    char token[ID_RANDOM_LEN + 8];
    *out = (struct tokens){NULL, 0};
    snprintf(token, sizeof token, "user:%s", user_id);
    enum mld_error error = account_find(m, "tokens", token, &docs);
    if (error == MLD_OK &&
        (out->items = arena_alloc(arena, (docs.n + 1) * sizeof *out->items)) == NULL)
        error = account_no_memory();
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++) {
        json_t *object;
        error = account_parse(&docs.docs[i], &object);
        if (error == MLD_OK && !is_revoked(object))
            error = take_token(arena, object, &out->items[out->n++]);
        json_decref(object);
    }
    meta_docs_free(&docs);
    return error;
}

/* Of one whose request may come again something stays for a while, or that would make it anew. */
static enum mld_error revoke(struct meta *m, const struct meta_docs *docs, json_t *object)
{
    int64_t until = clock_now_us() + ACCOUNTS_REPEAT_S * US_PER_S;
    if (json_object_get(object, "once") == NULL)
        return meta_delete(m, "tokens", docs->docs[0].id, 0);
    if (json_object_set_new(object, "revoked", json_true()) != 0 ||
        json_object_set_new(object, "expires", json_integer(until)) != 0)
        return account_no_memory();
    return account_replace(m, docs, object);
}

enum mld_error accounts_revoke_token(struct meta *m, const char *user_id, const char *token_id)
{
    struct meta_docs docs = {0};
    struct arena arena = {0};
    struct token token;
    json_t *object = NULL;
    char key[META_MAX_NAME_BYTES];
    snprintf(key, sizeof key, "id:%.64s", token_id);
    enum mld_error error = account_find(m, "tokens", key, &docs);
    if (error == MLD_OK && docs.n == 0)
        error = MLD_ENOTFOUND;
    if (error == MLD_OK)
        error = account_parse(&docs.docs[0], &object);
    if (error == MLD_OK)
        error = take_token(&arena, object, &token);
    if (error == MLD_OK &&
        (is_revoked(object) || (user_id != NULL && strcmp(token.user_id, user_id) != 0)))
        error = MLD_ENOTFOUND;
    if (error == MLD_ENOTFOUND)
        error_set(error, "there is no token '%.64s'", token_id);
    if (error == MLD_OK)
        error = revoke(m, &docs, object);
    json_decref(object);
    arena_free(&arena);
    meta_docs_free(&docs);
    return error;
}

enum mld_error accounts_revoke_all(struct meta *m, const char *user_id)
{
    char token[ID_RANDOM_LEN + 8];
    enum mld_error error = MLD_OK;
    bool more = true;
    snprintf(token, sizeof token, "user:%s", user_id);
    while (error == MLD_OK && more) {
        struct meta_docs docs = {0};
        error = account_find(m, "tokens", token, &docs);
        for (size_t i = 0; error == MLD_OK && i < docs.n; i++)
            error = meta_delete(m, "tokens", docs.docs[i].id, 0);
        more = docs.more;
        meta_docs_free(&docs);
    }
    return error;
}

/* Best effort: another server may be noting the same. */
static void note_use(struct meta *m, const struct meta_docs *docs, json_t *object, int64_t now)
{
    if (account_int(object, "last_used") > now - NOTE_USE_EVERY_US)
        return;
    if (json_object_set_new(object, "last_used", json_integer(now)) == 0)
        account_replace(m, docs, object);
}

enum mld_error accounts_token_of(struct meta *m, struct arena *arena, const char *secret,
                                 struct token *out)
{
    struct meta_docs docs = {0};
    char hash[SHA256_HEX_LEN + 1];
    json_t *object = NULL;
    int64_t now = clock_now_us();
    if (strlen(secret) != ACCOUNTS_TOKEN_LEN)
        return error_set(MLD_EAUTH, "that is no token");
    enum mld_error error = account_hash(secret, hash);
    if (error == MLD_OK)
        error = account_get(m, "tokens", hash, &object, &docs);
    if (error == MLD_OK)
        error = take_token(arena, object, out);
    if (error == MLD_OK && is_revoked(object))
        error = error_set(MLD_EAUTH, "the token was revoked");
    if (error == MLD_OK && out->expires_us != 0 && out->expires_us <= now)
        error = error_set(MLD_EAUTH, "the token has expired");
    if (error == MLD_OK)
        note_use(m, &docs, object, now);
    json_decref(object);
    meta_docs_free(&docs);
    return error == MLD_ENOTFOUND ? error_set(MLD_EAUTH, "there is no such token") : error;
}

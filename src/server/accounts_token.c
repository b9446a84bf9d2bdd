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

enum mld_error account_secret(const char *prefix, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[SECRET_BYTES + 1] = {0};
    if (RAND_bytes(bytes, SECRET_BYTES) != 1)
        return error_set(MLD_EIO, "the system gives no random bytes");
    char *end = stpcpy(out, prefix);
    for (unsigned bit = 0; bit < 8 * SECRET_BYTES; bit += 6) {
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        *end++ = digits[pair >> (10 - bit % 8) & 63];
    }
    *end = '\0';
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

static enum mld_error insert_token(struct meta *m, struct arena *arena, const char *hash,
                                   const char *user_token, json_t *object, struct token *out)
{
    char public[ID_RANDOM_LEN + 8];
    const char *const tokens[] = {user_token, public};
    enum mld_error error = object == NULL ? account_no_memory() : take_token(arena, object, out);
    if (error != MLD_OK)
        return error;
    snprintf(public, sizeof public, "id:%s", out->id);
    return account_insert(m, "tokens", hash, object, out->created_us, tokens, 2);
}

enum mld_error accounts_add_token(struct meta *m, struct arena *arena, const char *user_id,
                                  const char *name, int64_t lifetime_s,
                                  char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out)
{
    char id[ID_RANDOM_LEN + 1], hash[SHA256_HEX_LEN + 1], user[ID_RANDOM_LEN + 8];
    int64_t now = clock_now_us();
    if (strlen(name) > MAX_TOKEN_NAME_BYTES || lifetime_s < 0 || lifetime_s > MAX_LIFETIME_S)
        return error_set(MLD_EINVALID,
                         "a token has a name of at most %d bytes, and a lifetime of "
                         "0 (no end) to 100 years",
                         MAX_TOKEN_NAME_BYTES);
    snprintf(user, sizeof user, "user:%s", user_id);
    enum mld_error error = make_room(m, user, now);
    if (error == MLD_OK)
        error = account_secret("mld_", secret);
    if (error == MLD_OK)
        error = account_hash(secret, hash);
    if (error == MLD_OK)
        error = id_random(id);
    if (error != MLD_OK)
        return error;
    id[TOKEN_ID_LEN] = '\0'; /* public: people type it */
    int64_t expires = lifetime_s == 0 ? 0 : now + lifetime_s * US_PER_S;
    json_t *token =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:i}", "id", id, "user", user_id, "name", name, "created",
                  (json_int_t)now, "expires", (json_int_t)expires, "last_used", 0);
    error = insert_token(m, arena, hash, user, token, out);
    json_decref(token);
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
        if (error == MLD_OK)
            error = take_token(arena, object, &out->items[out->n++]);
        json_decref(object);
    }
    meta_docs_free(&docs);
    return error;
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
    if (error == MLD_OK && user_id != NULL && strcmp(token.user_id, user_id) != 0)
        error = MLD_ENOTFOUND;
    if (error == MLD_ENOTFOUND)
        error_set(error, "there is no token '%.64s'", token_id);
    if (error == MLD_OK)
        error = meta_delete(m, "tokens", docs.docs[0].id, 0);
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
    if (error == MLD_OK && out->expires_us != 0 && out->expires_us <= now)
        error = error_set(MLD_EAUTH, "the token has expired");
    if (error == MLD_OK)
        note_use(m, &docs, object, now);
    json_decref(object);
    meta_docs_free(&docs);
    return error == MLD_ENOTFOUND ? error_set(MLD_EAUTH, "there is no such token") : error;
}

#include "server/device_login.h"

#include <ctype.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define US_PER_S INT64_C(1000000)
#define PARTITION "logins"
#define PRUNE_AT_ONCE 100

/* No vowels, so that no words come out; nothing that is read as something else. 20^8 codes. */
static const char letters[] = "BCDFGHJKLMNPQRSTVWXZ";
#define N_LETTERS 20
#define N_TYPED 8

bool device_user_code(char out[DEVICE_USER_CODE_LEN + 1], const char *typed)
{
    size_t n = 0;
    for (; *typed != '\0'; typed++) {
        char c = (char)toupper((unsigned char)*typed);
        if (c == '-' || c == ' ')
            continue;
        if (strchr(letters, c) == NULL || n == N_TYPED)
            return false;
        out[n < N_TYPED / 2 ? n : n + 1] = c;
        n++;
    }
    out[N_TYPED / 2] = '-';
    out[DEVICE_USER_CODE_LEN] = '\0';
    return n == N_TYPED;
}

static enum mld_error make_user_code(char out[DEVICE_USER_CODE_LEN + 1])
{
    char typed[N_TYPED + 1];
    for (size_t n = 0; n < N_TYPED;) {
        unsigned char byte;
        if (RAND_bytes(&byte, 1) != 1)
            return error_set(MLD_EIO, "the system gives no random bytes");
        if (byte < 256 / N_LETTERS * N_LETTERS) /* each letter as likely */
            typed[n++] = letters[byte % N_LETTERS];
    }
    typed[N_TYPED] = '\0';
    device_user_code(out, typed);
    return MLD_OK;
}

static void code_token(char out[32], const char *user_code)
{
    snprintf(out, 32, "code:%s", user_code);
}

/* Logins are ordered by when they end. */
static enum mld_error prune(struct meta *m, int64_t now)
{
    struct meta_docs docs = {0};
    uint64_t pending = 0;
    struct meta_range range = {.partition = PARTITION,
                               .token = "login",
                               .min_order = INT64_MIN,
                               .max_order = now,
                               .limit = PRUNE_AT_ONCE};
    enum mld_error error = meta_find(m, &docs, &range);
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++)
        error = meta_delete(m, PARTITION, docs.docs[i].id, 0);
    meta_docs_free(&docs);
    range.min_order = now;
    range.max_order = INT64_MAX;
    if (error == MLD_OK)
        error = meta_count(m, &pending, &range, DEVICE_MAX_PENDING);
    if (error == MLD_OK && pending >= DEVICE_MAX_PENDING)
        error = error_set(MLD_EBUSY, "too many logins are pending; try again in a few minutes");
    return error;
}

enum mld_error device_start(struct meta *m, const char *client, const char *address,
                            struct device_start *out)
{
    char hash[SHA256_HEX_LEN + 1], code[32];
    const char *const tokens[] = {"login", code};
    int64_t now = clock_now_us(), expires = now + DEVICE_LIFETIME_S * US_PER_S;
    if (strlen(client) > DEVICE_MAX_CLIENT_BYTES)
        return error_set(MLD_EINVALID, "client has at most %d bytes", DEVICE_MAX_CLIENT_BYTES);
    enum mld_error error = prune(m, now);
    if (error == MLD_OK)
        error = account_secret("", out->device_code);
    if (error == MLD_OK)
        error = account_hash(out->device_code, hash);
    if (error == MLD_OK)
        error = make_user_code(out->user_code);
    if (error != MLD_OK)
        return error;
    code_token(code, out->user_code);
    json_t *login = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "user_code", out->user_code,
                              "state", "pending", "client", client, "address", address, "created",
                              (json_int_t)now, "expires", (json_int_t)expires);
    error = login == NULL ? account_no_memory()
                          : account_insert(m, PARTITION, hash, login, expires, tokens, 2);
    json_decref(login);
    return error;
}

static bool is_over(json_t *login)
{
    return account_int(login, "expires") <= clock_now_us();
}

static bool state_is(json_t *login, const char *state)
{
    const char *is = json_string_value(json_object_get(login, "state"));
    return is != NULL && strcmp(is, state) == 0;
}

/* It is approved: whoever removes the document has it. */
static enum mld_error hand_out(struct meta *m, struct arena *arena, const struct meta_docs *docs,
                               json_t *login, struct device_poll *out)
{
    const struct meta_doc *doc = &docs->docs[0];
    enum mld_error error = meta_delete(m, PARTITION, doc->id, doc->revision);
    if (error == MLD_ECONFLICT || error == MLD_ENOTFOUND)
        return MLD_OK; /* another call was first: expired for this one */
    if (error != MLD_OK)
        return error;
    out->user_id = account_text(arena, login, "user");
    out->client = account_text(arena, login, "client");
    if (out->user_id == NULL || out->client == NULL)
        return account_no_memory();
    out->state = DEVICE_APPROVED;
    return MLD_OK;
}

enum mld_error device_take(struct meta *m, struct arena *arena, const char *device_code,
                           struct device_poll *out)
{
    struct meta_docs docs = {0};
    char hash[SHA256_HEX_LEN + 1];
    json_t *login = NULL;
    *out = (struct device_poll){.state = DEVICE_EXPIRED};
    enum mld_error error = account_hash(device_code, hash);
    if (error == MLD_OK)
        error = account_get(m, PARTITION, hash, &login, &docs);
    if (error == MLD_OK && !is_over(login)) {
        if (state_is(login, "pending"))
            out->state = DEVICE_PENDING;
        else if (state_is(login, "denied"))
            out->state = DEVICE_DENIED;
        else if (state_is(login, "approved"))
            error = hand_out(m, arena, &docs, login, out);
    }
    json_decref(login);
    meta_docs_free(&docs);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

static enum mld_error no_login(void)
{
    return error_set(MLD_ENOTFOUND, "there is no login with this code, or it is over");
}

/* The one pending login of a code; two of the same code are none. */
static enum mld_error find_pending(struct meta *m, const char *typed, struct meta_docs *docs,
                                   json_t **out)
{
    char user_code[DEVICE_USER_CODE_LEN + 1], token[32];
    *out = NULL;
    if (!device_user_code(user_code, typed))
        return no_login();
    code_token(token, user_code);
    enum mld_error error = account_find(m, PARTITION, token, docs);
    if (error == MLD_OK && docs->n != 1)
        error = no_login();
    if (error == MLD_OK)
        error = account_parse(&docs->docs[0], out);
    if (error == MLD_OK && (is_over(*out) || !state_is(*out, "pending")))
        error = no_login();
    return error;
}

enum mld_error device_find(struct meta *m, struct arena *arena, const char *user_code,
                           struct device_login *out)
{
    struct meta_docs docs = {0};
    json_t *login;
    enum mld_error error = find_pending(m, user_code, &docs, &login);
    if (error == MLD_OK) {
        *out = (struct device_login){.client = account_text(arena, login, "client"),
                                     .address = account_text(arena, login, "address"),
                                     .created_us = account_int(login, "created")};
        error = out->client == NULL || out->address == NULL ? account_no_memory() : MLD_OK;
    }
    json_decref(login);
    meta_docs_free(&docs);
    return error;
}

enum mld_error device_decide(struct meta *m, const char *user_code, const char *user_id)
{
    struct meta_docs docs = {0};
    json_t *login;
    enum mld_error error = find_pending(m, user_code, &docs, &login);
    if (error == MLD_OK) {
        const char *state = user_id == NULL ? "denied" : "approved";
        int failed = json_object_set_new(login, "state", json_string(state));
        if (user_id != NULL)
            failed |= json_object_set_new(login, "user", json_string(user_id));
        error = failed ? account_no_memory() : account_replace(m, &docs, login);
    }
    json_decref(login);
    meta_docs_free(&docs);
    return error == MLD_ECONFLICT ? no_login() : error;
}

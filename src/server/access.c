#include "server/access.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/account_doc.h"
#include "server/jwt.h"
#include "server/server.h"
#include "server/throttle.h"

#define US_PER_S 1000000
#define N_REMEMBERED 1024 /* slots; a key has one place, and the newest stays */

/* Who a token stands for. */
struct known {
    char key[SHA256_HEX_LEN + 1]; /* SHA-256 of the token; "" when empty */
    int64_t until_ms;
    char user_id[ID_RANDOM_LEN + 1];
    char username[ACCOUNTS_NAME_MAX + 1];
    char token_id[ID_RANDOM_LEN + 1]; /* "" for a JWT */
    bool admin;
};

/* Where an experiment is, which never changes; that its project is being deleted is seen when
 * `until_ms` is over. */
struct place {
    char experiment_id[ID_RANDOM_LEN + 1]; /* "" when empty */
    int64_t until_ms;
    char project_id[ID_RANDOM_LEN + 1];
    char namespace_id[ID_RANDOM_LEN + 1];
    char namespace_name[ACCOUNTS_NAME_MAX + 1];
};

struct accounts {
    struct meta *meta;
    char *jwt_secret;
    int64_t jwt_max_age_s;
    struct throttle throttles[ACCESS_COUNTED];
    pthread_mutex_t lock; /* guards all below */
    struct known known[N_REMEMBERED];
    struct place places[N_REMEMBERED];
};

/* How many of each within ACCESS_FAILURES_MS. */
static const int most_of[ACCESS_COUNTED] = {
    [ACCESS_BAD_TOKENS] = ACCESS_MAX_FAILURES,
    [ACCESS_ADDRESS_SIGN_INS] = 10,
    [ACCESS_ACCOUNT_SIGN_INS] = 5,
    [ACCESS_DEVICE_STARTS] = 20,
    [ACCESS_DEVICE_POLLS] = 60,
};

/* Secrets that everybody knows from examples; only those that are long enough need to be here. */
static const char *const known_secrets[] = {
    "your-secret-key-here",
    "your-256-bit-secret",
    "your-super-secret-jwt-key",
    "your-secret-key-change-in-production",
    "your-secret-key-change-this-in-production",
    "your-super-secret-jwt-key-change-in-production",
    "a-string-secret-at-least-256-bits-long",
    "change-me-in-production",
    "changemechangeme",
    "secretsecretsecret",
};

/* A weak secret lets anybody sign tokens, for anybody. */
static enum mld_error check_secret(const char *secret)
{
    size_t len = strlen(secret);
    bool same = true;
    if (len < ACCESS_MIN_SECRET_BYTES)
        return error_set(MLD_EINVALID,
                         "JWT_SECRET has %zu bytes, and needs %d; make one with: openssl rand -hex "
                         "32",
                         len, ACCESS_MIN_SECRET_BYTES);
    for (size_t i = 1; same && i < len; i++)
        same = secret[i] == secret[0];
    for (size_t i = 0; !same && i < sizeof known_secrets / sizeof known_secrets[0]; i++)
        same = strcasecmp(secret, known_secrets[i]) == 0;
    return same ? error_set(MLD_EINVALID, "JWT_SECRET is an example that everybody knows; make one "
                                          "with: openssl rand -hex 32")
                : MLD_OK;
}

enum mld_error access_open(struct accounts **out, struct meta *meta, const char *jwt_secret,
                           int64_t jwt_max_age_s)
{
    *out = NULL;
    enum mld_error error = jwt_secret == NULL ? MLD_OK : check_secret(jwt_secret);
    if (error != MLD_OK)
        return error;
    struct accounts *a = calloc(1, sizeof *a);
    if (a != NULL && jwt_secret != NULL)
        a->jwt_secret = strdup(jwt_secret);
    if (a == NULL || (jwt_secret != NULL && a->jwt_secret == NULL)) {
        free(a);
        return error_set(MLD_ENOMEM, "no memory for accounts");
    }
    a->meta = meta;
    a->jwt_max_age_s = jwt_max_age_s;
    pthread_mutex_init(&a->lock, NULL);
    for (int i = 0; i < ACCESS_COUNTED; i++)
        throttle_init(&a->throttles[i], most_of[i], ACCESS_FAILURES_MS);
    *out = a;
    return MLD_OK;
}

void access_close(struct accounts *a)
{
    if (a == NULL)
        return;
    pthread_mutex_destroy(&a->lock);
    for (int i = 0; i < ACCESS_COUNTED; i++)
        throttle_destroy(&a->throttles[i]);
    if (a->jwt_secret != NULL)
        OPENSSL_cleanse(a->jwt_secret, strlen(a->jwt_secret));
    free(a->jwt_secret);
    free(a);
}

struct throttle *access_throttle(struct accounts *a, enum access_counted which)
{
    return &a->throttles[which];
}

static size_t slot_of(const char *key, size_t slots)
{
    return crc32c(0, key, strlen(key)) % slots;
}

/* Copies a text that is known to fit, or cuts it: a cut key is found by nobody. */
static void keep(char *out, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

static bool recall(struct accounts *a, const char *key, struct known *out)
{
    struct known *known = &a->known[slot_of(key, N_REMEMBERED)];
    pthread_mutex_lock(&a->lock);
    bool found = strcmp(known->key, key) == 0 && known->until_ms > clock_monotonic_ms();
    if (found)
        *out = *known;
    pthread_mutex_unlock(&a->lock);
    return found;
}

static void remember(struct accounts *a, const struct known *known)
{
    pthread_mutex_lock(&a->lock);
    a->known[slot_of(known->key, N_REMEMBERED)] = *known;
    pthread_mutex_unlock(&a->lock);
}

void access_forget_token(struct accounts *a, const char *token_id)
{
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < N_REMEMBERED; i++) {
        if (a->known[i].token_id[0] != '\0' && strcmp(a->known[i].token_id, token_id) == 0)
            a->known[i].until_ms = 0;
    }
    pthread_mutex_unlock(&a->lock);
}

static enum mld_error take_user(struct known *out, const struct user *user)
{
    if (user->disabled)
        return error_set(MLD_EAUTH, "the user '%s' is disabled", user->username);
    keep(out->user_id, sizeof out->user_id, user->id);
    keep(out->username, sizeof out->username, user->username);
    out->admin = user->admin;
    return MLD_OK;
}

static const char *claim(json_t *claims, const char *name)
{
    const char *text = json_string_value(json_object_get(claims, name));
    return text == NULL || text[0] == '\0' ? NULL : text;
}

static enum mld_error user_of_jwt(struct accounts *a, struct arena *arena, const char *token,
                                  struct known *out)
{
    struct user user;
    json_t *claims;
    int64_t now = clock_now_us() / US_PER_S;
    if (a->jwt_secret == NULL)
        return error_set(MLD_EAUTH, "JWTs are not accepted here");
    enum mld_error error = jwt_verify(&claims, token, a->jwt_secret, now, a->jwt_max_age_s);
    if (error != MLD_OK)
        return error;
    const char *iss = claim(claims, "iss"), *sub = claim(claims, "sub");
    const char *wanted = claim(claims, "username");
    if (wanted == NULL)
        wanted = claim(claims, "email");
    if (wanted == NULL)
        wanted = claim(claims, "name");
    error = accounts_foreign_user(a->meta, arena, iss == NULL ? "" : iss, sub,
                                  wanted == NULL ? sub : wanted, &user);
    json_int_t issued = json_integer_value(json_object_get(claims, "iat"));
    if (error == MLD_OK && user.not_before_s > 0 && issued < user.not_before_s)
        error = error_set(MLD_EAUTH, "JWTs of this user from that time were revoked");
    json_decref(claims);
    return error == MLD_OK ? take_user(out, &user) : error;
}

static enum mld_error user_of_token(struct accounts *a, struct arena *arena, const char *secret,
                                    struct known *out)
{
    struct token token;
    struct user user;
    enum mld_error error = accounts_token_of(a->meta, arena, secret, &token);
    if (error == MLD_OK)
        error = accounts_user_by_id(a->meta, arena, token.user_id, &user);
    if (error == MLD_ENOTFOUND)
        error = error_set(MLD_EAUTH, "the token's user is gone");
    if (error != MLD_OK)
        return error;
    keep(out->token_id, sizeof out->token_id, token.id);
    return take_user(out, &user);
}

static const char *bearer(const char *authorization)
{
    if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    const char *token = authorization + 7 + strspn(authorization + 7, " ");
    return token[0] == '\0' || strlen(token) > JWT_MAX_BYTES ? NULL : token;
}

static enum mld_error identify(struct accounts *a, struct arena *arena,
                               const struct access_question *q, struct known *out)
{
    const char *token = bearer(q->authorization);
    struct throttle *throttle = &a->throttles[ACCESS_BAD_TOKENS];
    char client[THROTTLE_KEY_MAX];
    struct sha256 h = {0};
    *out = (struct known){.key = ""};
    if (token == NULL)
        return error_set(MLD_EAUTH, "there is no bearer token");
    enum mld_error error = sha256_begin(&h);
    if (error == MLD_OK) {
        sha256_update(&h, token, strlen(token));
        error = sha256_end(&h, out->key);
    }
    sha256_free(&h);
    throttle_address(client, q->client);
    if (error != MLD_OK || recall(a, out->key, out))
        return error;
    error = strchr(token, '.') == NULL ? user_of_token(a, arena, token, out)
                                       : user_of_jwt(a, arena, token, out);
    /* A good token is good from anywhere: behind a proxy all clients have one address, and one who
     * guesses must not lock out the others. */
    if (error == MLD_EAUTH && throttle_is_over(throttle, client, clock_monotonic_ms()))
        return error_set(MLD_EBUSY, "too many wrong tokens from %.60s; wait a minute", client);
    if (error == MLD_EAUTH)
        throttle_count(throttle, client, clock_monotonic_ms());
    if (error == MLD_OK) {
        out->until_ms = clock_monotonic_ms() + ACCESS_REMEMBER_MS;
        remember(a, out);
    }
    return error;
}

/* MLD_ENOTFOUND: it is being deleted, and nothing in it is there for anybody. */
static enum mld_error check_project(struct accounts *a, const char *id)
{
    json_t *object;
    enum mld_error error = account_get(a->meta, "projects", id, &object, NULL);
    const char *state = claim(object, "state");
    if (error == MLD_OK && state != NULL && strcmp(state, "live") != 0)
        error = error_set(MLD_ENOTFOUND, "project '%s' is being deleted", id);
    json_decref(object);
    return error;
}

static enum mld_error read_place(struct accounts *a, struct arena *arena, const char *id,
                                 struct place *out)
{
    json_t *object;
    struct space space;
    enum mld_error error = account_get(a->meta, "experiments", id, &object, NULL);
    const char *project = claim(object, "project"), *space_id = claim(object, "namespace");
    if (error == MLD_OK && (project == NULL || space_id == NULL))
        error = error_set(MLD_EDAMAGED, "experiment '%s' has no project or namespace", id);
    if (error == MLD_OK)
        error = check_project(a, project);
    if (error == MLD_OK)
        error = accounts_space_by_id(a->meta, arena, space_id, &space);
    if (error == MLD_OK) {
        out->until_ms = clock_monotonic_ms() + ACCESS_REMEMBER_MS;
        keep(out->experiment_id, sizeof out->experiment_id, id);
        keep(out->project_id, sizeof out->project_id, project);
        keep(out->namespace_id, sizeof out->namespace_id, space_id);
        keep(out->namespace_name, sizeof out->namespace_name, space.name);
    }
    json_decref(object);
    return error;
}

static enum mld_error find_place(struct accounts *a, struct arena *arena, const char *id,
                                 struct place *out)
{
    struct place *slot = &a->places[slot_of(id, N_REMEMBERED)];
    if (strlen(id) > ID_RANDOM_LEN || id[0] == '\0')
        return MLD_ENOTFOUND;
    pthread_mutex_lock(&a->lock);
    *out = *slot;
    pthread_mutex_unlock(&a->lock);
    if (strcmp(out->experiment_id, id) == 0 && out->until_ms > clock_monotonic_ms())
        return MLD_OK;
    enum mld_error error = read_place(a, arena, id, out);
    if (error == MLD_OK) {
        pthread_mutex_lock(&a->lock);
        *slot = *out;
        pthread_mutex_unlock(&a->lock);
    }
    return error;
}

/* What the route is about: ids and names, before it is known whether the caller may see it. */
static enum mld_error resolve(struct accounts *a, struct arena *arena,
                              const struct access_question *q, struct caller *out)
{
    struct place place;
    struct space space;
    enum mld_error error = MLD_OK;
    if (q->experiment_id != NULL) {
        error = find_place(a, arena, q->experiment_id, &place);
        if (error != MLD_OK)
            return error;
        out->experiment_id = arena_strdup(arena, place.experiment_id);
        out->project_id = arena_strdup(arena, place.project_id);
        out->namespace_id = arena_strdup(arena, place.namespace_id);
        out->namespace_name = arena_strdup(arena, place.namespace_name);
        return out->experiment_id == NULL || out->project_id == NULL || out->namespace_id == NULL ||
                       out->namespace_name == NULL
                   ? account_no_memory()
                   : MLD_OK;
    }
    error = accounts_space_by_name(a->meta, arena, q->namespace_name, &space);
    if (error == MLD_OK) {
        out->namespace_id = space.id;
        out->namespace_name = space.name;
    }
    return error;
}

static enum mld_error not_found(void)
{
    return error_set(MLD_ENOTFOUND, "there is no such thing, or you may not see it");
}

static enum mld_error need_role(struct accounts *a, struct arena *arena,
                                const struct access_question *q, struct caller *out,
                                enum role needed)
{
    if (q->experiment_id == NULL && q->namespace_name == NULL)
        return error_set(MLD_EACCESS, "the route names nothing that a role could be in");
    enum mld_error error = resolve(a, arena, q, out);
    if (error == MLD_OK)
        error = accounts_role(a->meta, out->namespace_id, out->user_id, &out->role);
    if (error == MLD_ENOTFOUND || (error == MLD_OK && out->role == ROLE_NONE))
        return not_found();
    if (error == MLD_OK && out->role < needed)
        return error_set(MLD_EACCESS, "that needs the role %s in '%s'; you are %s there",
                         role_name(needed), out->namespace_name, role_name(out->role));
    return error;
}

static enum mld_error decide(struct accounts *a, struct arena *arena,
                             const struct access_question *q, struct caller *out)
{
    switch (q->permission) {
    case PERMISSION_USER:
        return MLD_OK;
    case PERMISSION_READ:
        return need_role(a, arena, q, out, ROLE_READER);
    case PERMISSION_WRITE:
        return need_role(a, arena, q, out, ROLE_WRITER);
    case PERMISSION_OWN:
        return need_role(a, arena, q, out, ROLE_OWNER);
    case PERMISSION_ADMIN:
        return out->admin ? MLD_OK : not_found();
    case PERMISSION_PUBLIC: /* decided before */
    case PERMISSION_UNSET:
        break;
    }
    return error_set(MLD_EACCESS, "the route has no permission");
}

enum mld_error access_decide(struct caller *out, struct arena *arena, struct server *server,
                             const struct access_question *q)
{
    struct accounts *a = server->accounts;
    struct known known;
    *out = (struct caller){.role = ROLE_NONE};
    if (q->permission == PERMISSION_PUBLIC)
        return MLD_OK;
    enum mld_error error = identify(a, arena, q, &known);
    if (error != MLD_OK)
        return error;
    out->user_id = arena_strdup(arena, known.user_id);
    out->username = arena_strdup(arena, known.username);
    out->token_id = known.token_id[0] == '\0' ? NULL : arena_strdup(arena, known.token_id);
    out->admin = known.admin;
    if (out->user_id == NULL || out->username == NULL)
        return account_no_memory();
    return decide(a, arena, q, out);
}

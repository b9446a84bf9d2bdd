#include "server/resource_device.h"

#include <string.h>

#include "base/clock.h"
#include "server/access.h"
#include "server/device_login.h"
#include "server/server.h"
#include "server/throttle.h"

#define US_PER_S INT64_C(1000000)

static enum mld_error text_of(struct request *r, const char *key, const char *otherwise,
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

static enum mld_error check_start(struct request *r)
{
    char address[THROTTLE_KEY_MAX];
    throttle_address(address, request_client(r));
    if (throttle_take(access_throttle(request_server(r)->accounts, ACCESS_DEVICE_STARTS), address,
                      clock_monotonic_ms()))
        return MLD_OK;
    return error_set(MLD_EBUSY, "too many logins were begun from your address; wait a minute");
}

void post_device_start(struct request *r)
{
    struct server *server = request_server(r);
    struct device_start start;
    const char *client;
    const char *url = server->public_url == NULL ? "" : server->public_url;
    size_t url_len = strlen(url);
    enum mld_error error = text_of(r, "client", "a device", &client);
    if (error == MLD_OK)
        error = check_start(r);
    if (error == MLD_OK)
        error = device_start(server->meta, client, request_client(r), &start);
    if (error != MLD_OK) {
        respond_error(r, error, error == MLD_EINVALID ? "client" : NULL);
        return;
    }
    while (url_len > 0 && url[url_len - 1] == '/')
        url_len--;
    const char *page = arena_strndup(request_arena(r), url, url_len);
    respond_json(r, 200,
                 json_pack("{s:s, s:s, s:s+, s:s++, s:i, s:i}", "device_code", start.device_code,
                           "user_code", start.user_code, "verification_uri", page, "/device",
                           "verification_uri_complete", page, "/device?code=", start.user_code,
                           "expires_in", DEVICE_LIFETIME_S, "interval", DEVICE_INTERVAL_S));
    explicit_bzero(&start, sizeof start);
}

/* A token for who approved, named after the device. */
static void give_token(struct request *r, const struct device_poll *poll)
{
    struct server *server = request_server(r);
    struct arena *arena = request_arena(r);
    struct user user;
    struct token token;
    char secret[ACCOUNTS_TOKEN_LEN + 1];
    enum mld_error error = accounts_user_by_id(server->meta, arena, poll->user_id, &user);
    if (error == MLD_ENOTFOUND || (error == MLD_OK && user.disabled)) {
        respond_problem(r, 400, "access_denied", "the login was refused", NULL);
        return;
    }
    if (error == MLD_OK)
        error = accounts_add_token(server->meta, arena, user.id, poll->client, 0, secret, &token);
    if (error == MLD_OK)
        respond_json(r, 200, json_pack("{s:s, s:s}", "token", secret, "username", user.username));
    else
        respond_error(r, error, NULL);
    explicit_bzero(secret, sizeof secret);
}

void post_device_poll(struct request *r)
{
    static const struct {
        const char *error, *message;
    } words[] = {
        [DEVICE_PENDING] = {"authorization_pending", "nobody has decided yet"},
        [DEVICE_DENIED] = {"access_denied", "the login was refused"},
        [DEVICE_EXPIRED] = {"expired_token", "the login is over; begin another"},
    };
    struct server *server = request_server(r);
    struct device_poll poll;
    const char *code;
    enum mld_error error = text_of(r, "device_code", NULL, &code);
    if (error == MLD_OK && !throttle_take(access_throttle(server->accounts, ACCESS_DEVICE_POLLS),
                                          code, clock_monotonic_ms())) {
        respond_problem(r, 400, "slow_down", "ask less often", NULL);
        return;
    }
    if (error == MLD_OK)
        error = device_take(server->meta, request_arena(r), code, &poll);
    if (error != MLD_OK)
        respond_error(r, error, error == MLD_EINVALID ? "device_code" : NULL);
    else if (poll.state == DEVICE_APPROVED)
        give_token(r, &poll);
    else
        respond_problem(r, 400, words[poll.state].error, words[poll.state].message, NULL);
}

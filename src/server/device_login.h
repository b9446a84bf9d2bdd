/* device_login.h: logins that begin on one device and are approved in a browser (RFC 8628), as
 * documents of `logins` (docs/server-data.md). The device has a secret device code, of which only
 * the hash is kept; people type the short user code.
 *
 *   pending --approve--> approved --take, once--> gone
 *      '----deny-----> denied          (and all end DEVICE_LIFETIME_S after the start)
 *
 * Each step is a compare-and-set, so that of two at once one loses. */
#ifndef SERVER_DEVICE_LOGIN_H
#define SERVER_DEVICE_LOGIN_H

#include "server/account_doc.h"

#define DEVICE_LIFETIME_S 600
#define DEVICE_INTERVAL_S 2
#define DEVICE_MAX_PENDING 10000 /* of all servers that share a store */
#define DEVICE_USER_CODE_LEN 9   /* "BCDF-GHJK" */
#define DEVICE_MAX_CLIENT_BYTES 200

struct device_start {
    char device_code[ACCOUNT_SECRET_LEN + 1];
    char user_code[DEVICE_USER_CODE_LEN + 1];
};
/* Begins one. `client`: what the device calls itself; `address`: where it asked from; both are
 * shown to who approves. Removes some of those that are over. MLD_EBUSY: too many are pending;
 * MLD_EINVALID: `client` is too long. */
enum mld_error device_start(struct meta *m, const char *client, const char *address,
                            struct device_start *out);

enum device_state {
    DEVICE_PENDING,
    DEVICE_APPROVED,
    DEVICE_DENIED,
    DEVICE_EXPIRED /* or never there, or handed out */
};
/* What the device asks. When it is approved, this call takes it: out->user is whom the token shall
 * be for, and no other call will get it. Texts live in `arena`. */
struct device_poll {
    enum device_state state;
    const char *user_id;
    const char *client;
};
enum mld_error device_take(struct meta *m, struct arena *arena, const char *device_code,
                           struct device_poll *out);

/* What a pending login says of itself. */
struct device_login {
    const char *client;
    const char *address;
    int64_t created_us;
};
/* The pending login of a user code, as people type it: any case, with or without the dash.
 * MLD_ENOTFOUND: none, or over. */
enum mld_error device_find(struct meta *m, struct arena *arena, const char *user_code,
                           struct device_login *out);
/* Approves it for a user, or denies it (`user_id` NULL). MLD_ENOTFOUND: none, over, or decided. */
enum mld_error device_decide(struct meta *m, const char *user_code, const char *user_id);
/* The form of a code for people, from whatever was typed; false when it can be none. */
bool device_user_code(char out[DEVICE_USER_CODE_LEN + 1], const char *typed);

#endif

/* device_session.h: the cookie of the login page and the token against forged forms, both signed
 * with the server's secret; nothing is kept of them.
 *
 * A session begins without a user, when the page is first shown, and begins anew at sign-in. It
 * ends by itself after DEVICE_SESSION_S. */
#ifndef SERVER_DEVICE_SESSION_H
#define SERVER_DEVICE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/id.h"

#define DEVICE_SESSION_S 600
#define DEVICE_COOKIE "ml_dash_login"
#define DEVICE_SESSION_MAX 192 /* of its text, with its NUL */

struct device_session {
    char text[DEVICE_SESSION_MAX];       /* of the cookie: "{nonce}.{user id}.{until}.{mac}" */
    char user_id[ID_RANDOM_LEN + 1];     /* "": nobody yet */
    char form_token[SHA256_HEX_LEN + 1]; /* what its forms must carry */
};

/* A new session; `user_id` NULL: nobody's. */
enum mld_error device_session_new(struct device_session *out, const unsigned char secret[32],
                                  const char *user_id, int64_t now_s);
/* The session out of a Cookie header (NULL: none). False: none, not signed by us, or over. */
bool device_session_read(struct device_session *out, const unsigned char secret[32],
                         const char *cookie_header, int64_t now_s);
/* Whether a form came with its session's token; constant time. `token` may be NULL. */
bool device_session_owns(const struct device_session *session, const char *token);

#endif

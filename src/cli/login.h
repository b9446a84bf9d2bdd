/* login.h: what login, logout and whoami share: one server, and requests to it as whoever the
 * credentials say. */
#ifndef CLI_LOGIN_H
#define CLI_LOGIN_H

#include "base/json.h"
#include "cli/cli.h"
#include "sync/credentials.h"
#include "sync/http_client.h"

struct login {
    struct credentials credentials;
    struct http_server server;
    struct http_client *client;
    struct http_reply reply; /* of the last call ... */
    struct json_doc doc;     /* ... parsed */
};

/* Begins with a zeroed struct; login_close in any case. `url`, `token`: NULL for what is known
 * from before (credentials.h). MLD_EINVALID: there is no URL, or it is none. */
enum mld_error login_open(struct login *a, const char *url, const char *token);
void login_close(struct login *a);
/* From now on with this token (borrowed; NULL: none). */
enum mld_error login_use_token(struct login *a, const char *token);

/* One request with a JSON body (NULL: none). MLD_OK: there is an answer in a->reply and a->doc, of
 * status 200 or 400; others are errors as http_reply_check says. `what` is for the message. */
enum mld_error login_call(struct login *a, const char *method, const char *path,
                          const struct buf *body, const char *what);
/* A text of the answer's object, in own memory; NULL when there is none. The caller frees it. */
char *login_text(const struct login *a, const char *key);
/* GET /api/v1/me: the answer is in a->doc; *out_username is the caller's to free. MLD_EAUTH: the
 * token is not valid. */
enum mld_error login_me(struct login *a, char **out_username);

#endif

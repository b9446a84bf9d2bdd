/* access.h: the one place that decides who may do what. http.c asks it for each request, before the
 * handler; nothing is allowed that it did not allow.
 *
 * A token is one of ours (opaque, kept hashed) or a JWT signed with JWT_SECRET (HS256). No token, a
 * wrong, an expired or a revoked one: MLD_EAUTH, always with the same words. A namespace or
 * experiment that is not there and one that the caller may not see: the same MLD_ENOTFOUND. One
 * that the caller may see but not change so: MLD_EACCESS. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include "server/http.h"

/* Fills *out (texts live in `arena`). `authorization`: that header, or NULL. `cookie`: the session
 * cookie of the login page, looked at for PERMISSION_PUBLIC pages only by themselves. Names are the
 * route's {namespace} and {experiment}, NULL when it has none. Blocks on the metadata store. */
struct access_question {
    enum permission permission;
    const char *authorization;
    const char *namespace_name;
    const char *experiment_id;
    const char *client; /* address: failed tries are counted and slowed down */
};
enum mld_error access_decide(struct caller *out, struct arena *arena, struct server *server,
                             const struct access_question *question);

#endif

/* access.h: the one place that decides who may do what. http.c asks it for each request, before the
 * handler; nothing is allowed that it did not allow.
 *
 * A token is one of ours (opaque, kept hashed) or a JWT signed with JWT_SECRET (HS256). No token, a
 * wrong, an expired or a revoked one: MLD_EAUTH, always with the same words. A namespace or
 * experiment that is not there and one that the caller may not see: the same MLD_ENOTFOUND. One
 * that the caller may see but not change so: MLD_EACCESS. A further wrong token of an address with
 * many: MLD_EBUSY.
 *
 * What a token says is remembered for ACCESS_REMEMBER_MS, so a revoked one works that much longer
 * at most, on every server; so is where an experiment is, and so one whose project is being deleted
 * is missing that much later at most. Roles are read each time. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include "server/http.h"

#define ACCESS_REMEMBER_MS 15000
#define ACCESS_MAX_FAILURES 30 /* of one address within ACCESS_FAILURES_MS */
#define ACCESS_FAILURES_MS 60000
#define ACCESS_MIN_SECRET_BYTES 16

/* Fills *out (texts live in `arena`). `authorization`: that header, or NULL. Names are the route's
 * {namespace} and {experiment}, NULL when it has none. Blocks on the metadata store. */
struct access_question {
    enum permission permission;
    const char *authorization;
    const char *namespace_name;
    const char *experiment_id;
    const char *client; /* address: failed tries are counted and slowed down */
};
enum mld_error access_decide(struct caller *out, struct arena *arena, struct server *server,
                             const struct access_question *question);

struct meta;
/* What access_decide remembers and how it verifies: server->accounts. `jwt_secret` NULL: foreign
 * JWTs are refused; one without `exp` is valid for `jwt_max_age_s`. The store is borrowed.
 * MLD_EINVALID: the secret is shorter than ACCESS_MIN_SECRET_BYTES, or one out of a manual. */
struct accounts;
enum mld_error access_open(struct accounts **out, struct meta *meta, const char *jwt_secret,
                           int64_t jwt_max_age_s);
void access_close(struct accounts *a); /* NULL is fine */

/* A token was revoked here, by its public id: this server forgets it at once, others in time. */
void access_forget_token(struct accounts *a, const char *token_id);

/* What is counted, per minute, and refused beyond. */
enum access_counted {
    ACCESS_BAD_TOKENS,       /* of an address */
    ACCESS_ADDRESS_SIGN_INS, /* failed with a password or code, of an address */
    ACCESS_ACCOUNT_SIGN_INS, /* the same, of a user's name, whether there is such a user or not */
    ACCESS_DEVICE_STARTS,    /* logins begun, of an address */
    ACCESS_DEVICE_POLLS,     /* of one login */
    ACCESS_COUNTED
};
struct throttle *access_throttle(struct accounts *a, enum access_counted which); /* borrowed */

#endif

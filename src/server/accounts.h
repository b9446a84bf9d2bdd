/* accounts.h: users, namespaces, members and tokens, over the metadata store (docs/server-data.md,
 * "Accounts"). Used by the server's handlers and by the administrator's commands. Every function
 * may be called from any thread, and blocks on the store.
 *
 * Creating something with a name is: reserve the name, then write the documents. A crash between
 * the two leaves a reservation that the same call, made again, goes on from. */
#ifndef SERVER_ACCOUNTS_H
#define SERVER_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/id.h"
#include "meta/meta.h"

#define ACCOUNTS_NAME_MAX 64
#define ACCOUNTS_TOKEN_LEN 47 /* "mld_" and 43 characters */
#define ACCOUNTS_MAX_LIST 1000

enum role { ROLE_NONE, ROLE_READER, ROLE_WRITER, ROLE_OWNER };
const char *role_name(enum role role);    /* "reader" and so on; "none" */
enum role role_of_name(const char *name); /* ROLE_NONE for all else */

struct user {
    const char *id;
    const char *username;
    const char *password; /* kept form; NULL: none, sign in by token only */
    bool admin;
    bool disabled;
    int64_t not_before_s; /* foreign JWTs issued before are refused */
    int64_t created_us;
};
struct users {
    struct user *items;
    size_t n;
    bool more; /* than ACCOUNTS_MAX_LIST */
};

/* 1 to 64 of letters, digits, "-_.", beginning with a letter or digit, and not a word that the
 * server's own paths begin with. MLD_ENAME. */
enum mld_error accounts_check_name(const char *what, const char *name);

/* Makes a user with a personal namespace of the same name. `password` NULL: none. MLD_EEXISTS: the
 * name is taken, by a user or a team. Results live in `arena`, here and below. */
enum mld_error accounts_add_user(struct meta *m, struct arena *arena, const char *username,
                                 const char *password, bool admin, struct user *out);
/* MLD_ENOTFOUND. */
enum mld_error accounts_user_by_name(struct meta *m, struct arena *arena, const char *username,
                                     struct user *out);
enum mld_error accounts_user_by_id(struct meta *m, struct arena *arena, const char *id,
                                   struct user *out);
/* All users, ACCOUNTS_MAX_LIST at most, by age. */
enum mld_error accounts_users(struct meta *m, struct arena *arena, struct users *out);

/* Changes what is not NULL. */
struct user_change {
    const char *password;
    const bool *admin;
    const bool *disabled;
    const int64_t *not_before_s;
};
enum mld_error accounts_change_user(struct meta *m, const char *username,
                                    const struct user_change *change);

/* The user of a foreign identity, made at its first use. `wanted`: a name to begin with; when it is
 * taken, or cannot be one, another is made from it. */
enum mld_error accounts_foreign_user(struct meta *m, struct arena *arena, const char *iss,
                                     const char *sub, const char *wanted, struct user *out);

struct space { /* a namespace ("namespace" is a word of C++) */
    const char *id;
    const char *name;
    bool team;
    int64_t created_us;
};
struct member {
    const char *namespace_id;
    const char *user_id;
    enum role role;
};
struct members {
    struct member *items;
    size_t n;
};
/* Made by this owner already, and still owned: MLD_OK, so that it can be asked twice. MLD_EEXISTS:
 * the name is taken, by a user or another's team. */
enum mld_error accounts_add_team(struct meta *m, struct arena *arena, const char *name,
                                 const char *owner_id, struct space *out);
enum mld_error accounts_space_by_name(struct meta *m, struct arena *arena, const char *name,
                                      struct space *out);
enum mld_error accounts_space_by_id(struct meta *m, struct arena *arena, const char *id,
                                    struct space *out);
/* Members of a namespace, or memberships of a user (the other NULL). */
enum mld_error accounts_members(struct meta *m, struct arena *arena, const char *namespace_id,
                                const char *user_id, struct members *out);
/* *out is ROLE_NONE when the user is no member. */
enum mld_error accounts_role(struct meta *m, const char *namespace_id, const char *user_id,
                             enum role *out);
/* ROLE_NONE takes the membership away. MLD_ESTATE: the last owner cannot go, nor a user from the
 * personal namespace; of two owners who remove each other at the same moment, one stays.
 * MLD_ETOOLARGE: ACCOUNTS_MAX_LIST memberships. MLD_ECONFLICT: others change it all the time. */
enum mld_error accounts_set_role(struct meta *m, const char *namespace_id, const char *user_id,
                                 enum role role);

struct token {
    const char *id; /* public: for lists and revoking */
    const char *user_id;
    const char *name; /* what it is for; may be "" */
    int64_t created_us;
    int64_t expires_us;   /* 0: never */
    int64_t last_used_us; /* 0: never; exact to an hour */
};
struct tokens {
    struct token *items;
    size_t n;
};
/* Makes a token. `secret` is the only copy there will ever be. `lifetime_s` 0: no end. Expired ones
 * of the user are removed. MLD_ETOOLARGE: the user has ACCOUNTS_MAX_LIST tokens. */
enum mld_error accounts_add_token(struct meta *m, struct arena *arena, const char *user_id,
                                  const char *name, int64_t lifetime_s,
                                  char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out);
/* The same for a request that may be sent again: its secret is made of `seed` (32 bytes that nobody
 * can know beforehand), so the second time it is found and given again. MLD_ECONFLICT: it was made
 * with another name or lifetime. MLD_ESTATE: it was revoked within ACCOUNTS_REPEAT_S. */
#define ACCOUNTS_REPEAT_S 86400
enum mld_error accounts_add_token_once(struct meta *m, struct arena *arena, const char *user_id,
                                       const char *name, int64_t lifetime_s,
                                       const unsigned char seed[32],
                                       char secret[ACCOUNTS_TOKEN_LEN + 1], struct token *out);
enum mld_error accounts_tokens(struct meta *m, struct arena *arena, const char *user_id,
                               struct tokens *out);
/* Revokes all tokens of the user. Foreign JWTs: see user_change.not_before_s. */
enum mld_error accounts_revoke_all(struct meta *m, const char *user_id);
/* MLD_ENOTFOUND: this user has no token of that public id. `user_id` NULL: anybody's. */
enum mld_error accounts_revoke_token(struct meta *m, const char *user_id, const char *token_id);
/* The token with that secret, neither expired nor revoked; its use is noted. MLD_EAUTH. */
enum mld_error accounts_token_of(struct meta *m, struct arena *arena, const char *secret,
                                 struct token *out);

#endif

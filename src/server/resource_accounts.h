/* resource_accounts.h: handlers about who one is: oneself, tokens, namespaces and their members
 * (docs/protocol.md, "Logging in"). */
#ifndef SERVER_RESOURCE_ACCOUNTS_H
#define SERVER_RESOURCE_ACCOUNTS_H

#include "server/http.h"

handler get_me;         /* GET /api/v1/me */
handler get_tokens;     /* GET /api/v1/tokens */
handler post_token;     /* POST /api/v1/tokens */
handler delete_token;   /* DELETE /api/v1/tokens/{token} */
handler get_namespaces; /* GET /api/v1/namespaces */
handler post_namespace; /* POST /api/v1/namespaces */
handler get_members;    /* GET /api/v1/namespaces/{namespace}/members */
handler get_member;     /* GET /api/v1/namespaces/{namespace}/members/{username} */
handler put_member;     /* PUT the same */
handler delete_member;  /* DELETE the same */

#endif

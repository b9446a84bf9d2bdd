/* jwt.h: JSON Web Tokens of others, signed with a secret that we share (JWT_SECRET). One function
 * decides: HS256 and nothing else, in constant time; whatever is odd about a token makes it none.
 */
#ifndef SERVER_JWT_H
#define SERVER_JWT_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

#define JWT_MAX_BYTES 8192
#define JWT_LEEWAY_S 60 /* clocks may differ by this much */

/* Checks the token as of `now_s` (seconds since the epoch) and gives its claims; the caller frees
 * them with json_decref. `sub` is a text of 1 to 255 bytes, `iss` a text or missing, both without
 * control characters. A token without `exp` needs an `iat`, and is valid for `max_age_s`.
 * MLD_EAUTH: it is not valid; the message says why, for the log only. */
enum mld_error jwt_verify(json_t **out_claims, const char *token, const char *secret, int64_t now_s,
                          int64_t max_age_s);

#endif

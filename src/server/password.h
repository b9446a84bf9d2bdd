/* password.h: passwords, kept as scrypt only. At most two are hashed at a time in a process, since
 * each takes 32 MB and a tenth of a second on purpose. */
#ifndef SERVER_PASSWORD_H
#define SERVER_PASSWORD_H

#include <stdbool.h>

#include "base/error.h"

#define PASSWORD_TEXT_MAX 160 /* of the kept form, with its NUL */
#define PASSWORD_MIN_BYTES 8
#define PASSWORD_MAX_BYTES 1024
#define PASSWORD_MAX_WAITING 4 /* hashes under way and waiting; see password_is_busy */

/* The form to keep, "$scrypt$ln=15,r=8,p=1$salt$hash". MLD_EINVALID: too short or too long. Blocks.
 */
enum mld_error password_hash(char out[PASSWORD_TEXT_MAX], const char *password);
/* Whether it is the password. `kept` NULL, for a user without one or none at all: false after the
 * same work, so that the time tells nothing. Blocks. */
bool password_matches(const char *kept, const char *password);
/* Whether so many are waiting that a server should refuse further ones rather than let all its
 * threads wait here. */
bool password_is_busy(void);

#endif

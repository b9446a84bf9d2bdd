/* glob.h: shell patterns over "/"-joined names. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <stdbool.h>

/* `*` and `?` and `[a-z]` `[!a-z]` do not match "/"; a component of just `**` matches any number of components, none too. Matching is linear in
 * practice and bounded: no exponential backtracking. Bytes, not characters, except that `?` takes one UTF-8 character. */
bool glob_match(const char *pattern, const char *text);
bool glob_has_magic(const char *pattern);

#endif

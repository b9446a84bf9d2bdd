/* glob.h: shell patterns over "/"-joined names. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <stdbool.h>

/* `*`, `?`, `[a-z]` and `[!a-z]` do not match "/"; a component of just `**` matches any number of
 * components, none too. `?` and a set take one UTF-8 character, or one byte that is none. There is
 * no escape character: `[*]` is a star. A `[` without its `]` is itself. The work is at most the
 * product of the two lengths: no exponential backtracking. */
bool glob_match(const char *pattern, const char *text);
/* True when the pattern is not just a name. */
bool glob_has_magic(const char *pattern);

#endif

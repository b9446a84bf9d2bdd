/* http_problem.h: the body of an error. (Apart from the rest, because the names of base/json.h and
 * jansson.h clash.) */
#ifndef SERVER_HTTP_PROBLEM_H
#define SERVER_HTTP_PROBLEM_H

#include "base/buf.h"

/* Starts `out` with {"error":...,"message":...,"field":...}; `field` may be NULL. Bytes that are no
 * UTF-8 become U+FFFD. */
void problem_put(struct buf *out, const char *error, const char *message, const char *field);

#endif

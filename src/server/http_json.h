/* http_json.h: JSON from strangers. */
#ifndef SERVER_HTTP_JSON_H
#define SERVER_HTTP_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* Reads an object; *out is a new reference. MLD_EINVALID: it is none, is nested deeper than
 * HTTP_MAX_JSON_DEPTH, has a key twice, NUL in a string, no UTF-8, or a number that is out of
 * range.
 */
enum mld_error http_json_read(json_t **out, const char *text, size_t len);

#endif

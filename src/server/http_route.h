/* http_route.h: which row of the table a request's target means, and its parts decoded. Pure: no
 * request, no connection. */
#ifndef SERVER_HTTP_ROUTE_H
#define SERVER_HTTP_ROUTE_H

#include "base/arena.h"
#include "server/http.h"

#define HTTP_MAX_QUERY 100 /* names in a query */
#define HTTP_MAX_SEGMENTS 32

/* A name (which may lie in the middle of a text) and its decoded value. */
struct pair {
    const char *name;
    size_t name_len;
    const char *value;
};

struct route_match {
    const struct route *route; /* NULL: none */
    struct pair params[HTTP_MAX_PARAMS];
    size_t n_params;
    char allow[64]; /* methods that the path has, when it has not this one: "GET, HEAD" */
};

/* MLD_EINVALID: a row has no method, path, permission or handler, no "/" in front, a parameter
 * twice, or too many. The message names the row. */
enum mld_error route_check(const struct route *routes);
/* Finds the row for method and path (percent-encoded, without query). Of several, the one that is
 * literal where the others have a parameter. HEAD is GET where there is no row for it. Values live
 * in `arena`. MLD_ENOTFOUND: no row has this path; MLD_ESTATE: one has, but not with this method
 * (out->allow); MLD_EINVALID: broken encoding; MLD_ENOMEM. */
enum mld_error route_match(struct route_match *out, struct arena *arena, const struct route *routes,
                           const char *method, const char *path);

/* Decodes %XX once; `plus`: "+" is a blank (in a query). MLD_EINVALID: a broken escape, NUL, or no
 * UTF-8; MLD_ENOMEM. */
enum mld_error route_decode(const char **out, struct arena *arena, const char *text, size_t len,
                            bool plus);
/* Splits and decodes a query ("a=1&b="); *out and *out_n live in `arena`. MLD_EINVALID: broken
 * encoding or more than HTTP_MAX_QUERY names. */
enum mld_error route_query(struct pair **out, size_t *out_n, struct arena *arena,
                           const char *query);

#endif

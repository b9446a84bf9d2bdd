/* resource.h: what the handlers of experiments, streams and files share. */
#ifndef SERVER_RESOURCE_H
#define SERVER_RESOURCE_H

#include "server/files.h"
#include "server/http.h"
#include "server/limits.h"

#define RESOURCE_ANSWER_BYTES ((size_t)64 << 20) /* of one answer at most */

/* Texts of a request's JSON, borrowed from it. Missing or null: NULL. MLD_EINVALID, naming the
 * member, when it is of another type (or, with `needed`, missing). */
enum mld_error member_text(const json_t *object, const char *key, bool needed, const char **out);
/* An integer of at least 0; missing: `otherwise`, or MLD_EINVALID when that is negative. */
enum mld_error member_uint(const json_t *object, const char *key, int64_t otherwise, uint64_t *out);
enum mld_error member_bool(const json_t *object, const char *key, bool *out);
/* An array of at most `max` elements. */
enum mld_error member_array(const json_t *object, const char *key, size_t max, json_t **out);

/* Where the files of the route's experiment are; texts live in `arena` or the request. */
enum mld_error resource_place(struct request *r, struct arena *arena, struct files_place *out);

/* A page of the query: `limit` (1 to 1000, 100 unless told) and `after`. */
enum mld_error resource_page(const struct request *r, const char *query, struct arena *arena,
                             size_t *out_limit, struct meta_cursor *out_after);
/* Writes "next", null when `more` is false. */
void resource_next(struct buf *out, const char *query, bool more, int64_t order, const char *id);

/* Answers 200 with what was written, or with the error. Frees `body`. */
void resource_answer(struct request *r, enum mld_error error, struct buf *body);

/* The body of a request that is a line of JSON and then bytes: the object (to be freed with
 * json_decref) and what follows it. MLD_EINVALID. */
enum mld_error resource_split(const char *body, size_t len, json_t **out, const char **out_rest,
                              size_t *out_rest_len);

#endif

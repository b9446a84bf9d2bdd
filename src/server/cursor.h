/* cursor.h: where a page ended, as the opaque text of the protocol's `next` and `after`. It is only
 * good for the query that it came from: `query` is any text that is the same for the pages of one
 * and other for others. */
#ifndef SERVER_CURSOR_H
#define SERVER_CURSOR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "meta/meta.h"

/* Writes it; `id` is a document's. MLD_ENOMEM. */
enum mld_error cursor_write(struct buf *out, const char *query, int64_t order, const char *id);
/* Reads it: `text` NULL or "" begins at the start. MLD_EINVALID: it is none, or of another query.
 */
enum mld_error cursor_read(struct meta_cursor *out, struct arena *arena, const char *query,
                           const char *text);

#endif

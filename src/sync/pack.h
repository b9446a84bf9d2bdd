/* pack.h: zstd for lines on their way: they become a fifth to a fortieth. */
#ifndef SYNC_PACK_H
#define SYNC_PACK_H

#include <stdbool.h>

#include "base/buf.h"

#define PACK_MIN_BYTES 4096 /* less than that is not worth it */

/* Whether bodies for this server are to be packed: not when it is this machine, where packing takes
 * longer than sending; and not when the library was built without zstd. */
bool pack_is_worth(const char *url);
/* Packs `in` into `out`; false: it is not smaller then, or there is no memory, and goes as it is.
 */
bool pack_body(struct buf *out, const struct buf *in);

#endif

/* zpack.h: zstd for what the server keeps of streams. Thread-safe. */
#ifndef SERVER_ZPACK_H
#define SERVER_ZPACK_H

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

/* So many bytes at most come of `len`, whatever they are. */
#define ZPACK_BOUND(len) ((len) + (len) / 256 + 64)
/* Appends data, compressed, to `out`, which needs room for ZPACK_BOUND(len) of them. Errors of the
 * buffer, MLD_ENOMEM. */
enum mld_error zpack_compress(struct buf *out, const void *data, size_t len);
/* Appends what was compressed to `out`, whose maximum bounds it (MLD_ETOOLARGE). MLD_EINVALID: it
 * is no zstd frame, or ends early. */
enum mld_error zpack_decompress(struct buf *out, const void *data, size_t len);

#endif

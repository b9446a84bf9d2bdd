#include "server/zpack.h"

#include <assert.h>
#include <zstd.h>

#define LEVEL 1
#define PIECE_BYTES ((size_t)256 << 10)

enum mld_error zpack_compress(struct buf *out, const void *data, size_t len)
{
    size_t bound = ZSTD_compressBound(len);
    assert(bound <= ZPACK_BOUND(len));
    char *to = buf_reserve(out, bound);
    if (to == NULL)
        return buf_check(out, "compressed bytes");
    size_t n = ZSTD_compress(to, bound, data, len, LEVEL);
    if (ZSTD_isError(n))
        return error_set(MLD_ENOMEM, "cannot compress %zu bytes: %s", len, ZSTD_getErrorName(n));
    buf_advance(out, n);
    return MLD_OK;
}

/* Room for the next piece, no more than the buffer's maximum allows. */
static char *next_piece(struct buf *out, size_t *room)
{
    *room = out->max_bytes - out->len < PIECE_BYTES ? out->max_bytes - out->len : PIECE_BYTES;
    return *room == 0 ? NULL : buf_reserve(out, *room);
}

static enum mld_error decompress(ZSTD_DStream *stream, struct buf *out, ZSTD_inBuffer *in)
{
    size_t left = 1;
    for (;;) {
        size_t room;
        char *to = next_piece(out, &room);
        char over[1];
        if (to == NULL && out->failed != MLD_OK)
            return buf_check(out, "decompressed bytes");
        ZSTD_outBuffer piece = {to == NULL ? over : to, to == NULL ? sizeof over : room, 0};
        left = ZSTD_decompressStream(stream, &piece, in);
        if (ZSTD_isError(left))
            return error_set(MLD_EINVALID, "no zstd frame: %s", ZSTD_getErrorName(left));
        if (to == NULL && piece.pos > 0)
            return error_set(MLD_ETOOLARGE, "more than %zu bytes when decompressed",
                             out->max_bytes);
        if (to != NULL)
            buf_advance(out, piece.pos);
        if (in->pos == in->size && (left == 0 || piece.pos < piece.size))
            break;
    }
    return left == 0 ? MLD_OK : error_set(MLD_EINVALID, "the zstd frame ends early");
}

enum mld_error zpack_decompress(struct buf *out, const void *data, size_t len)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {data, len, 0};
    if (stream == NULL)
        return error_set(MLD_ENOMEM, "out of memory for decompressing");
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 24);
    enum mld_error error = decompress(stream, out, &in);
    ZSTD_freeDStream(stream);
    return error;
}

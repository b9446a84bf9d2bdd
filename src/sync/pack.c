#include "sync/pack.h"

#include <string.h>

#ifdef MLDASH_HAVE_ZSTD

#include <zstd.h>

#define LEVEL 1

bool pack_is_worth(const char *url)
{
    static const char *const near[] = {"localhost:", "localhost/", "127.", "[::1]"};
    const char *host = strstr(url, "://");
    host = host == NULL ? url : host + 3;
    for (size_t i = 0; i < sizeof near / sizeof near[0]; i++) {
        if (strncmp(host, near[i], strlen(near[i])) == 0)
            return false;
    }
    return strcmp(host, "localhost") != 0;
}

bool pack_body(struct buf *out, const struct buf *in)
{
    size_t room = ZSTD_compressBound(in->len);
    char *to = in->len < PACK_MIN_BYTES ? NULL : buf_reserve(out, room);
    if (to == NULL)
        return false;
    size_t n = ZSTD_compress(to, room, in->data, in->len, LEVEL);
    if (ZSTD_isError(n) || n >= in->len)
        return false;
    buf_advance(out, n);
    return true;
}

#else

bool pack_is_worth(const char *url)
{
    (void)url;
    return false;
}

bool pack_body(struct buf *out, const struct buf *in)
{
    (void)out, (void)in;
    return false;
}

#endif

#include "run/reason.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "mldash/experiment.h"

#define ELLIPSIS "\xE2\x80\xA6"

/* Control characters (also U+0080 to U+009F), spaces, and the line separators U+2028 and U+2029. */
static bool is_space(const unsigned char *in, size_t width)
{
    if (width == 1)
        return in[0] <= ' ' || in[0] == 0x7F;
    if (width == 2)
        return in[0] == 0xC2 && in[1] <= 0x9F;
    return width == 3 && in[0] == 0xE2 && in[1] == 0x80 && (in[2] == 0xA8 || in[2] == 0xA9);
}

/* Appends characters until the next does not fit; true when all did. */
static bool put_clean(struct buf *out, const unsigned char *in, size_t left)
{
    bool pending = false; /* a space, should anything follow */
    while (left > 0) {
        size_t width = utf8_sequence(in, left);
        size_t used = width == 0 ? 1 : width;
        if (is_space(in, width)) {
            pending = out->len > 0;
        } else {
            if (out->len + pending + used > MLD_MAX_REASON_BYTES)
                return false;
            if (pending)
                buf_putc(out, ' ');
            if (width == 0)
                buf_putc(out, '?');
            else
                buf_put(out, (const char *)in, width);
            pending = false;
        }
        in += used;
        left -= used;
    }
    return true;
}

char *reason_clean(const char *text)
{
    struct buf out;
    char *clean = NULL;
    buf_init(&out, MLD_MAX_REASON_BYTES + 2 * sizeof ELLIPSIS);
    if (!put_clean(&out, (const unsigned char *)text, strlen(text)))
        buf_puts(&out, ELLIPSIS);
    if (out.len > 0)
        clean = buf_steal(&out);
    buf_free(&out);
    return clean;
}

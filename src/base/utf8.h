/* utf8.h: the one check of UTF-8 sequences; inline because parsers call it per character. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True when in[0..n) holds continuation bytes only. */
static inline bool utf8_continues(const unsigned char *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((in[i] & 0xC0) != 0x80)
            return false;
    }
    return true;
}

/* Bytes (1 to 4) of the well-formed UTF-8 sequence at `in`, 0 when there is none within `left`
 * bytes. Overlong forms, surrogates and values beyond U+10FFFF are not well-formed. */
static inline size_t utf8_sequence(const unsigned char *in, size_t left)
{
    if (left == 0)
        return 0;
    unsigned char c = in[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    size_t width = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (left < width || !utf8_continues(in + 1, width - 1))
        return 0;
    if ((c == 0xE0 && in[1] < 0xA0) || (c == 0xED && in[1] > 0x9F) || (c == 0xF0 && in[1] < 0x90) ||
        (c == 0xF4 && in[1] > 0x8F))
        return 0;
    return width;
}

/* True when `in` begins with a surrogate in its three-byte form (WTF-8), which is no UTF-8. */
static inline bool utf8_is_surrogate(const unsigned char *in, size_t left)
{
    return left >= 3 && in[0] == 0xED && in[1] >= 0xA0 && in[1] <= 0xBF && (in[2] & 0xC0) == 0x80;
}

/* True when all of text[0..len) is UTF-8. */
static inline bool utf8_is_valid(const char *text, size_t len)
{
    const unsigned char *in = (const unsigned char *)text;
    while (len > 0) {
        size_t width = utf8_sequence(in, len);
        if (width == 0)
            return false;
        in += width;
        len -= width;
    }
    return true;
}

#endif

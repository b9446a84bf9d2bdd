#include <string.h>

#include "base/json.h"
#include "base/json_internal.h"
#include "base/num.h"
#include "base/utf8.h"

/* The letter of a two-character escape, or 0. */
static char short_escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void put_unicode_escape(struct buf *b, unsigned code)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\',
                    'u',
                    digits[code >> 12 & 15],
                    digits[code >> 8 & 15],
                    digits[code >> 4 & 15],
                    digits[code & 15]};

    buf_put(b, text, sizeof(text));
}

/* Writes the character at `in`, which is not plain; returns how many bytes it took. */
static size_t put_special(struct buf *b, const unsigned char *in, size_t left)
{
    char letter = short_escape(in[0]);

    if (letter != 0) {
        buf_put(b, (char[]){'\\', letter}, 2);
        return 1;
    }
    if (in[0] < 0x20) {
        put_unicode_escape(b, in[0]);
        return 1;
    }
    if (utf8_is_surrogate(in, left)) {
        put_unicode_escape(b, 0xD000u | (in[1] & 0x3Fu) << 6 | (in[2] & 0x3Fu));
        return 3;
    }

    size_t width = utf8_sequence(in, left);
    if (width == 0) {
        buf_puts(b, "\xEF\xBF\xBD"); /* U+FFFD */
        return 1;
    }
    buf_put(b, in, width);
    return width;
}

void json_put_string(struct buf *b, const char *text, size_t len)
{
    const char *end = text + len;

    buf_putc(b, '"');
    while (text < end) {
        const char *special = json_skip_plain(text, end);
        buf_put(b, text, (size_t)(special - text));
        text = special;
        if (text < end)
            text += put_special(b, (const unsigned char *)text, (size_t)(end - text));
    }
    buf_putc(b, '"');
}

void json_put_cstring(struct buf *b, const char *text)
{
    if (text == NULL)
        buf_puts(b, "null");
    else
        json_put_string(b, text, strlen(text));
}

void json_put_double(struct buf *b, double value)
{
    char *out = buf_reserve(b, NUM_MAX_CHARS);

    if (out != NULL)
        buf_advance(b, num_format_double(out, value));
}

void json_put_int64(struct buf *b, int64_t value)
{
    char *out = buf_reserve(b, NUM_MAX_CHARS);

    if (out != NULL)
        buf_advance(b, num_format_int64(out, value));
}

void json_put_bool(struct buf *b, bool value)
{
    buf_puts(b, value ? "true" : "false");
}

void json_put_key(struct buf *b, const char *key)
{
    char last = b->len > 0 ? b->data[b->len - 1] : '{';

    if (last != '{' && last != '[')
        buf_putc(b, ',');
    buf_putc(b, '"');
    buf_puts(b, key);
    buf_puts(b, "\":");
}

/* The end of the string that begins at `p`, behind its closing quote. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\' && end - p > 1)
            p++;
    }
    return p < end ? p + 1 : end;
}

void json_put_compact(struct buf *b, const char *json, size_t len)
{
    const char *end = json + len;

    while (json < end) {
        const char *stop = json;
        while (stop < end && !json_is_space(*stop))
            stop = *stop == '"' ? string_end(stop, end) : stop + 1;
        buf_put(b, json, (size_t)(stop - json));
        for (json = stop; json < end && json_is_space(*json); json++)
            ;
    }
}

#include "cli/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/utf8.h"

static uint32_t decode(const unsigned char *in, size_t width)
{
    static const unsigned char first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t character = in[0] & first_bits[width];
    for (size_t i = 1; i < width; i++)
        character = character << 6 | (in[i] & 0x3Fu);
    return character;
}

struct range {
    uint32_t first, last;
};

static bool in_ranges(uint32_t character, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    }
    return false;
}

/* Control characters, and those that change the direction of what follows or start a line. */
static bool is_unsafe(uint32_t character)
{
    static const struct range ranges[] = {
        {0x00, 0x1F},     {0x7F, 0x9F},     {0x061C, 0x061C}, {0x200B, 0x200F},
        {0x2028, 0x202E}, {0x2060, 0x2069}, {0xFEFF, 0xFEFF}, {0xE0000, 0xE0FFF},
    };
    return in_ranges(character, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

static void put_escape(struct buf *out, uint32_t character)
{
    switch (character) {
    case '\n':
        buf_puts(out, "\\n");
        break;
    case '\r':
        buf_puts(out, "\\r");
        break;
    case '\t':
        buf_puts(out, "\\t");
        break;
    default:
        buf_printf(out, character < 0x80 ? "\\x%02" PRIx32 : "\\u{%" PRIx32 "}", character);
    }
}

void text_put_bytes(struct buf *out, const char *text, size_t len)
{
    const unsigned char *in = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t width = utf8_sequence(in + i, len - i);
        uint32_t character = width ? decode(in + i, width) : 0;
        if (!width)
            buf_printf(out, "\\x%02x", in[i]);
        else if (is_unsafe(character))
            put_escape(out, character);
        else
            buf_put(out, text + i, width);
        i += width ? width : 1;
    }
}

void text_put(struct buf *out, const char *text)
{
    text_put_bytes(out, text, strlen(text));
}

static size_t character_width(uint32_t character)
{
    static const struct range zero[] = {
        {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x064B, 0x065F}, {0x1AB0, 0x1AFF},
        {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F},
    };
    static const struct range two[] = {
        {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},
        {0xF900, 0xFAFF},   {0xFE30, 0xFE4F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
        {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD},
    };
    if (character < 0x300)
        return 1;
    if (in_ranges(character, zero, sizeof(zero) / sizeof(zero[0])))
        return 0;
    return in_ranges(character, two, sizeof(two) / sizeof(two[0])) ? 2 : 1;
}

size_t text_width(const char *text)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t left = strlen(text), columns = 0;
    while (left) {
        size_t width = utf8_sequence(in, left);
        columns += width ? character_width(decode(in, width)) : 1;
        in += width ? width : 1;
        left -= width ? width : 1;
    }
    return columns;
}

void text_put_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) {
        buf_printf(out, "%" PRIu64 " B", bytes);
        return;
    }
    double value = (double)bytes / 1000;
    size_t unit = 0;
    while (value >= 999.5 && unit < 5) {
        value /= 1000;
        unit++;
    }
    buf_printf(out, value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void text_put_count(struct buf *out, uint64_t count)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf_putc(out, ',');
        buf_putc(out, digits[i]);
    }
}

void text_put_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "Infinity" : "-Infinity");
    else if (fabs(value) < 1e15 && value == floor(value))
        buf_printf(out, "%.0f", value);
    else
        buf_printf(out, "%.6g", value);
}

void text_put_duration(struct buf *out, double seconds)
{
    if (seconds < 59.5) {
        buf_printf(out, seconds < 9.95 ? "%.1f s" : "%.0f s", seconds > 0 ? seconds : 0);
        return;
    }
    uint64_t whole = (uint64_t)(seconds + 0.5);
    if (whole < 3600)
        buf_printf(out, "%" PRIu64 " m %02" PRIu64 " s", whole / 60, whole % 60);
    else if (whole < UINT64_C(86400))
        buf_printf(out, "%" PRIu64 " h %02" PRIu64 " m", whole / 3600, whole / 60 % 60);
    else
        buf_printf(out, "%" PRIu64 " d %02" PRIu64 " h", whole / 86400, whole / 3600 % 24);
}

void text_put_time(struct buf *out, const char *iso, bool with_seconds)
{
    int64_t us = iso ? clock_parse_iso(iso, strlen(iso)) : -1;
    struct tm local;
    time_t seconds = (time_t)(us / 1000000);
    char text[32];
    if (us < 0 || !localtime_r(&seconds, &local)) {
        text_put(out, iso ? iso : "");
        return;
    }
    strftime(text, sizeof(text), with_seconds ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M", &local);
    buf_puts(out, text);
}

void text_put_sparkline(struct buf *out, const double *values, size_t count)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i])) {
            low = fmin(low, values[i]);
            high = fmax(high, values[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            buf_puts(out, "·");
            continue;
        }
        /* Halves keep the difference of the two largest doubles finite. */
        double span = high / 2 - low / 2;
        double share = span > 0 ? (values[i] / 2 - low / 2) / span : 0;
        buf_puts(out, blocks[(size_t)(share * 7 + 0.5)]);
    }
}

void text_put_style(struct buf *out, bool colour, enum text_style style, const char *text)
{
    static const char *const codes[] = {"",         "\033[1m",  "\033[2m", "\033[32m",
                                        "\033[33m", "\033[31m", "\033[36m"};
    bool styled = colour && style != TEXT_PLAIN && *text;
    if (styled)
        buf_puts(out, codes[style]);
    buf_puts(out, text);
    if (styled)
        buf_puts(out, "\033[0m");
}

#include "base/num.h"

#include <charconv>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <system_error>

static size_t put_word(char *out, const char *word)
{
    size_t len = strlen(word);
    memcpy(out, word, len);
    return len;
}

size_t num_format_double(char *out, double value)
{
    if (std::isnan(value))
        return put_word(out, "NaN");
    if (std::isinf(value))
        return put_word(out, value < 0 ? "-Infinity" : "Infinity");

    double size = std::fabs(value);
    bool fixed = size == 0 || (size >= 1e-4 && size < 1e16); /* the range in which repr() does so */
    auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
    size_t len = (size_t)(std::to_chars(out, out + NUM_MAX_CHARS, value, format).ptr - out);
    if (fixed && memchr(out, '.', len) == nullptr) {
        out[len++] = '.';
        out[len++] = '0';
    }
    return len;
}

size_t num_format_int64(char *out, int64_t value)
{
    return (size_t)(std::to_chars(out, out + NUM_MAX_CHARS, value).ptr - out);
}

/* What a literal beyond the range of doubles stands for: from_chars does not say whether it is too
 * large or too small, so that the place of its first digit that is not 0 decides. */
static double beyond_range(const char *text, const char *end)
{
    double sign = *text == '-' ? -1.0 : 1.0;
    const char *mantissa_end = text;
    while (mantissa_end < end && *mantissa_end != 'e' && *mantissa_end != 'E')
        mantissa_end++;

    const char *point = (const char *)memchr(text, '.', (size_t)(mantissa_end - text));
    const char *first = text;
    while (first < mantissa_end && (*first < '1' || *first > '9'))
        first++;
    int64_t place = (point != nullptr ? point : mantissa_end) - first;

    if (mantissa_end < end) {
        const char *digits = mantissa_end + 1 + (mantissa_end + 1 < end && mantissa_end[1] == '+');
        int exponent = 0;
        if (std::from_chars(digits, end, exponent).ec != std::errc())
            exponent = *digits == '-' ? INT_MIN : INT_MAX;
        place += exponent;
    }
    return sign * (place > 0 ? std::numeric_limits<double>::infinity() : 0.0);
}

static bool parse_word(const char *text, size_t len, double *out)
{
    if (len == 3 && memcmp(text, "NaN", 3) == 0)
        *out = std::numeric_limits<double>::quiet_NaN();
    else if (len == 8 && memcmp(text, "Infinity", 8) == 0)
        *out = std::numeric_limits<double>::infinity();
    else if (len == 9 && memcmp(text, "-Infinity", 9) == 0)
        *out = -std::numeric_limits<double>::infinity();
    else
        return false;
    return true;
}

bool num_parse_double(const char *text, size_t len, double *out)
{
    *out = 0;
    size_t sign = len > 0 && text[0] == '-';
    if (len <= sign || ((text[sign] < '0' || text[sign] > '9') && text[sign] != '.'))
        return parse_word(text, len, out); /* from_chars would also take "inf" and "nan(1)" */

    auto result = std::from_chars(text, text + len, *out);
    if (result.ptr != text + len)
        return false;
    if (result.ec == std::errc::result_out_of_range)
        *out = beyond_range(text, text + len);
    return result.ec == std::errc() || result.ec == std::errc::result_out_of_range;
}

bool num_parse_int64(const char *text, size_t len, int64_t *out)
{
    *out = 0;
    auto result = std::from_chars(text, text + len, *out);
    return result.ec == std::errc() && result.ptr == text + len && len > 0;
}

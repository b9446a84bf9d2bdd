/* json_internal.h: what the parts of json.h share among themselves. */
#ifndef BASE_JSON_INTERNAL_H
#define BASE_JSON_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* True for a byte that a JSON string holds as it is and that is a character of its own. */
static inline bool json_is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* True when all eight bytes of `word` are plain. A byte below 0x20 sets its top bit in the first
 * term, a quote and a backslash in the term of their own, and a byte of 0x80 and above in at least
 * one of those two. */
static inline bool json_word_is_plain(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t tops = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"');
    uint64_t backslash = word ^ (ones * '\\');

    return (((word - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) == 0;
}

/* The first byte at or behind `p` that is not plain; `end` when all are. */
static inline const char *json_skip_plain(const char *p, const char *end)
{
    uint64_t word;

    while (end - p >= 8) {
        memcpy(&word, p, sizeof(word));
        if (!json_word_is_plain(word))
            break;
        p += 8;
    }
    while (p < end && json_is_plain((unsigned char)*p))
        p++;
    return p;
}

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

#endif

#include "base/glob.h"

#include <stddef.h>
#include <string.h>

#include "base/utf8.h"

struct span {
    const char *at;
    const char *end;
};

/* The character at the front and its width. A byte that is no UTF-8 counts as a character of its
 * own, above all real ones. */
static unsigned next_char(struct span text, size_t *out_width)
{
    static const unsigned char first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *in = (const unsigned char *)text.at;
    size_t width = utf8_sequence(in, (size_t)(text.end - text.at));

    *out_width = width > 0 ? width : 1;
    if (width == 0)
        return 0x110000u + in[0];
    unsigned c = in[0] & first_bits[width];
    for (size_t i = 1; i < width; i++)
        c = c << 6 | (in[i] & 0x3Fu);
    return c;
}

/* The "]" that closes the set at the front, NULL when none does. A "]" in first place is a member.
 */
static const char *set_end(struct span pattern)
{
    const char *first = pattern.at + 1;

    if (first < pattern.end && *first == '!')
        first++;
    if (first >= pattern.end)
        return NULL;
    return memchr(first + 1, ']', (size_t)(pattern.end - first - 1));
}

/* Is `c` in the set between the brackets? */
static bool set_has(struct span set, unsigned c)
{
    bool inverted = set.at < set.end && *set.at == '!';
    bool found = false;
    size_t width;

    set.at += inverted;
    while (set.at < set.end) {
        unsigned low = next_char(set, &width);
        unsigned high = low;
        set.at += width;
        if (set.end - set.at >= 2 && *set.at == '-') {
            set.at++;
            high = next_char(set, &width);
            set.at += width;
        }
        found = found || (low <= c && c <= high);
    }
    return found != inverted;
}

/* Takes one pattern element that is not "*" and one character off the fronts, if they match. */
static bool match_one(struct span *pattern, struct span *text)
{
    const char *close = *pattern->at == '[' ? set_end(*pattern) : NULL;
    const char *after;
    bool matches;
    size_t width;

    if (text->at == text->end)
        return false;
    unsigned c = next_char(*text, &width);
    if (close != NULL) {
        matches = set_has((struct span){pattern->at + 1, close}, c);
        after = close + 1;
    } else if (*pattern->at == '?') {
        matches = true;
        after = pattern->at + 1;
    } else {
        size_t pattern_width;
        matches = next_char(*pattern, &pattern_width) == c;
        after = pattern->at + pattern_width;
    }
    if (!matches)
        return false;
    pattern->at = after;
    text->at += width;
    return true;
}

/* One component. After a mismatch only the last "*" takes one character more: what the earlier ones
 * took is the least that works, so trying more for them cannot help. */
static bool match_component(struct span pattern, struct span text)
{
    struct span star = {NULL, NULL};
    struct span resume = text;
    size_t width;

    while (text.at < text.end || pattern.at < pattern.end) {
        if (pattern.at < pattern.end && *pattern.at == '*') {
            pattern.at++;
            star = pattern;
            resume = text;
        } else if (pattern.at < pattern.end && match_one(&pattern, &text)) {
            continue;
        } else if (star.at != NULL && resume.at < resume.end) {
            next_char(resume, &width);
            resume.at += width;
            pattern = star;
            text = resume;
        } else {
            return false;
        }
    }
    return true;
}

/* The component at the front; `rest` begins after its "/", or is NULL after the last. */
static struct span take_component(const char *from, const char **rest)
{
    const char *end = from + strcspn(from, "/");

    *rest = *end == '/' ? end + 1 : NULL;
    return (struct span){from, end};
}

/* The same over components, with "**" for "*". */
bool glob_match(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *resume = NULL;
    bool starred = false;

    while (text != NULL || pattern != NULL) {
        const char *pattern_rest = NULL;
        const char *text_rest = NULL;
        struct span want = {NULL, NULL};
        struct span have = {NULL, NULL};

        if (pattern != NULL)
            want = take_component(pattern, &pattern_rest);
        if (text != NULL)
            have = take_component(text, &text_rest);
        if (pattern != NULL && want.end - want.at == 2 && memcmp(want.at, "**", 2) == 0) {
            pattern = pattern_rest;
            star = pattern;
            resume = text;
            starred = true;
        } else if (pattern != NULL && text != NULL && match_component(want, have)) {
            pattern = pattern_rest;
            text = text_rest;
        } else if (starred && resume != NULL) {
            take_component(resume, &resume);
            pattern = star;
            text = resume;
        } else {
            return false;
        }
    }
    return true;
}

bool glob_has_magic(const char *pattern)
{
    return strpbrk(pattern, "*?[") != NULL;
}

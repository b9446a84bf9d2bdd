/* Any two texts as a pattern and a name, apart by a NUL. The answer must be that of the plain
 * rules, written down here a second time as a table over all pairs of rests. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/utf8.h"

#define MAX_TEXT_BYTES 48

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t character(const char *at, size_t *width)
{
    const unsigned char *in = (const unsigned char *)at;
    uint32_t c;

    *width = utf8_sequence(in, strlen(at));
    switch (*width) {
    case 1:
        return in[0];
    case 2:
        c = in[0] & 0x1Fu;
        break;
    case 3:
        c = in[0] & 0x0Fu;
        break;
    case 4:
        c = in[0] & 0x07u;
        break;
    default:
        *width = 1;
        return 0x110000u + in[0];
    }
    for (size_t i = 1; i < *width; i++)
        c = (c << 6) + (in[i] & 0x3Fu);
    return c;
}

/* The length of the set at `pattern` with its brackets, 0 when it is none. */
static size_t set_length(const char *pattern)
{
    size_t at = pattern[1] == '!' ? 2 : 1;

    if (pattern[0] != '[' || pattern[at] == '\0' || pattern[at] == '/')
        return 0;
    for (at++; pattern[at] != ']'; at++) {
        if (pattern[at] == '\0' || pattern[at] == '/')
            return 0;
    }
    return at + 1;
}

static bool in_set(const char *set, size_t len, uint32_t c)
{
    bool inverted = set[1] == '!';
    const char *at = set + 1 + inverted;
    const char *end = set + len - 1;
    size_t width;

    while (at < end) {
        uint32_t low = character(at, &width);
        uint32_t high = low;
        at += width;
        if (at + 1 < end && *at == '-') {
            high = character(at + 1, &width);
            at += 1 + width;
        }
        if (low <= c && c <= high)
            return !inverted;
    }
    return inverted;
}

/* known[i][j]: 0 not asked yet, 1 no, 2 yes. i == pattern length + 1 is the end behind the last
 * component. */
struct rule {
    const char *pattern;
    const char *text;
    uint8_t known[MAX_TEXT_BYTES + 2][MAX_TEXT_BYTES + 2];
};

static bool matches(struct rule *rule, size_t i, size_t j);

/* "**" as a whole component: nothing, or one component of the text and again. Index length + 1
 * stands for no components left. */
static bool matches_stars(struct rule *rule, size_t i, size_t j)
{
    size_t text_len = strlen(rule->text);
    size_t next = i + 2 + (rule->pattern[i + 2] == '/');
    size_t pattern_next = rule->pattern[i + 2] == '/' ? next : strlen(rule->pattern) + 1;

    if (matches(rule, pattern_next, j))
        return true;
    if (j > text_len)
        return false;
    j += strcspn(rule->text + j, "/");
    return matches(rule, i, rule->text[j] == '/' ? j + 1 : text_len + 1);
}

static bool matches_here(struct rule *rule, size_t i, size_t j)
{
    const char *p = rule->pattern + i;
    const char *t = rule->text + j;
    bool pattern_over = i > strlen(rule->pattern);
    bool text_over = j > strlen(rule->text);
    size_t width;
    size_t own_width;

    if (pattern_over)
        return text_over;
    bool at_start = i == 0 || p[-1] == '/';
    if (at_start && strncmp(p, "**", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
        return matches_stars(rule, i, j);
    if (text_over)
        return false;
    bool more = *t != '\0' && *t != '/';
    if (*p == '\0' || *p == '/')
        return !more && matches(rule, i + 1, j + 1);
    uint32_t c = character(t, &width);
    if (*p == '*')
        return matches(rule, i + 1, j) || (more && matches(rule, i, j + width));
    if (!more)
        return false;
    size_t set = set_length(p);
    if (set > 0)
        return in_set(p, set, c) && matches(rule, i + set, j + width);
    if (*p == '?')
        return matches(rule, i + 1, j + width);
    return character(p, &own_width) == c && matches(rule, i + own_width, j + width);
}

static bool matches(struct rule *rule, size_t i, size_t j)
{
    if (rule->known[i][j] == 0)
        rule->known[i][j] = matches_here(rule, i, j) ? 2 : 1;
    return rule->known[i][j] == 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rule rule;
    char pattern[MAX_TEXT_BYTES + 1];
    char text[MAX_TEXT_BYTES + 1];
    const uint8_t *middle = size > 0 ? memchr(data, 0, size) : NULL;

    if (middle == NULL)
        return 0;
    size_t pattern_len = (size_t)(middle - data);
    size_t text_len = size - pattern_len - 1;
    if (pattern_len > MAX_TEXT_BYTES || text_len > MAX_TEXT_BYTES)
        return 0;
    memcpy(pattern, data, pattern_len + 1);
    if (text_len > 0)
        memcpy(text, middle + 1, text_len);
    text[text_len] = '\0';

    memset(&rule, 0, sizeof(rule));
    rule.pattern = pattern;
    rule.text = text;
    require(glob_match(pattern, text) == matches(&rule, 0, 0));
    if (!glob_has_magic(pattern))
        require(glob_match(pattern, text) == (strcmp(pattern, text) == 0));
    return 0;
}

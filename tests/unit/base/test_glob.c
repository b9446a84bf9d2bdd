#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/glob.h"

struct row {
    const char *pattern;
    const char *text;
    bool matches;
};

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (glob_match(rows[i].pattern, rows[i].text) != rows[i].matches)
            fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].text);
    }
}

static void matches_within_a_component(void **state)
{
    static const struct row rows[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"?", "", false},
        {"model.pt", "model.pt", true},
        {"model.pt", "model.pth", false},
        {"*.pt", "model.pt", true},
        {"*.pt", ".pt", true},
        {"*.pt", "model.pth", false},
        {"*", ".hidden", true},
        {"*model*", "best_model_3.pt", true},
        {"a*b*c", "axbxc", true},
        {"a*b*c", "axbxb", false},
        {"a**c", "abc", true},
        {"*a", "aaa", true},
        {"*ab", "aab", true},
        {"*abc*abd", "abcabcabd", true},
        {"???", "abc", true},
        {"???", "ab", false},
        {"?", "\xC3\xA9", true},
        {"??", "\xF0\x9F\x98\x80x", true},
        {"??", "\xF0\x9F\x98\x80", false},
        {"?", "\xFF", true},
        {"\\*", "*", false},
        {"\\*", "\\x", true},
    };

    (void)state;
    check(rows, sizeof(rows) / sizeof(rows[0]));
}

static void matches_sets(void **state)
{
    static const struct row rows[] = {
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[abc]", "", false},
        {"[a-c]x", "bx", true},
        {"[a-c]", "d", false},
        {"[c-a]", "b", false},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[]]", "]", true},
        {"[!]]", "a", true},
        {"[!]]", "]", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[*]", "*", true},
        {"[*]", "a", false},
        {"[?]", "x", false},
        {"[[]", "[", true},
        {"[\xC3\xA0-\xC3\xBF]", "\xC3\xA9", true},
        {"[\xC3\xA9]", "\xC3\xA8", false},
        {"[!a]", "\xF0\x9F\x98\x80", true},
        {"[abc", "[abc", true},
        {"[abc", "a", false},
        {"[", "[", true},
        {"[]", "[]", true},
        {"[!", "[!", true},
        {"[!]", "[!]", true},
        {"*[0-9].pt", "epoch12.pt", true},
    };

    (void)state;
    check(rows, sizeof(rows) / sizeof(rows[0]));
}

static void matches_components(void **state)
{
    static const struct row rows[] = {
        {"*", "a/b", false},
        {"?", "/", false},
        {"a?b", "a/b", false},
        {"a[/]b", "a/b", false},
        {"a[!x]b", "a/b", false},
        {"*/*", "a/b", true},
        {"*/*", "a/b/c", false},
        {"a/b", "a/b", true},
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a/", "a", false},
        {"a/", "a/", true},
        {"/a", "/a", true},
        {"a//b", "a/b", false},
        {"**", "", true},
        {"**", "a/b/c", true},
        {"**/a", "a", true},
        {"**/a", "x/y/a", true},
        {"**/a", "x/ya", false},
        {"**/*model*", "models/v1/best_model.pt", true},
        {"**/*model*", "model.pth", true},
        {"**/*model*", "models/x", false},
        {"a/**", "a", true},
        {"a/**", "a/b/c", true},
        {"a/**", "ab", false},
        {"a/**/b", "a/b", true},
        {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "a/x/y/c", false},
        {"a/**/b/**/c", "a/b/b/x/c", true},
        {"**/b/*/c", "b/x/d/b/y/c", true},
        {"**/**", "a", true},
        {"**/**/a", "b/a", true},
        {"a**/b", "ax/y/b", false},
    };

    (void)state;
    check(rows, sizeof(rows) / sizeof(rows[0]));
}

/* Patterns that take a backtracking matcher ages. */
static void takes_no_exponential_time(void **state)
{
    char text[2001];
    char pattern[2001];

    (void)state;
    memset(text, 'a', 2000);
    text[2000] = '\0';
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(pattern + i, "a*", 3);
    pattern[1999] = 'b';
    int64_t before = clock_monotonic_ms();
    assert_false(glob_match(pattern, text));
    for (size_t i = 0; i < 1998; i += 3)
        memcpy(pattern + i, "**/", 4);
    for (size_t i = 1; i < 2000; i += 2)
        text[i] = '/';
    memcpy(pattern + 1998, "b", 2);
    assert_false(glob_match(pattern, text));
    assert_true(clock_monotonic_ms() - before < 5000);
}

static void knows_magic(void **state)
{
    (void)state;
    assert_true(glob_has_magic("a*"));
    assert_true(glob_has_magic("a?"));
    assert_true(glob_has_magic("[a]"));
    assert_false(glob_has_magic("a/b.pt"));
    assert_false(glob_has_magic(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_within_a_component),
        cmocka_unit_test(matches_sets),
        cmocka_unit_test(matches_components),
        cmocka_unit_test(takes_no_exponential_time),
        cmocka_unit_test(knows_magic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

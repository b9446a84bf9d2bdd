/* Reading lines of a growing file: across reads, torn ends, lines that are too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "run/lines.h"
#include "scratch.h"

/* Adds `len` times `c`, then `end`. */
static void add_bytes(const struct scratch *scratch, char c, size_t len, const char *end)
{
    char piece[4096];
    int fd = openat(scratch->fd, "file", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    assert_true(fd >= 0);
    memset(piece, c, sizeof(piece));
    while (len > 0) {
        size_t n = len < sizeof(piece) ? len : sizeof(piece);
        assert_int_equal(write(fd, piece, n), n);
        len -= n;
    }
    assert_int_equal(write(fd, end, strlen(end)), strlen(end));
    close(fd);
}

static void expect_line(struct line_reader *reader, char c, size_t len, off_t offset)
{
    struct line line;

    assert_int_equal(lines_next(reader, &line), MLD_OK);
    assert_non_null(line.text);
    assert_int_equal(line.len, len);
    assert_int_equal(line.offset, offset);
    for (size_t i = 0; i < len; i++)
        if (line.text[i] != c)
            fail_msg("byte %zu is %d", i, line.text[i]);
}

static void expect_end(struct line_reader *reader)
{
    struct line line;

    assert_int_equal(lines_next(reader, &line), MLD_OK);
    assert_null(line.text);
}

static void test_lines_of_many_lengths(void **state)
{
    static const size_t lengths[] = {0,  1,       7, LINES_FIRST_READ - 10, LINES_FIRST_READ, 0,
                                     11, 200000,  3, LINES_MAX_READ - 1,    LINES_MAX_READ,   5,
                                     0,  3000000, 1};
    const struct scratch *scratch = *state;
    struct line_reader reader;
    off_t offset = 0;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        add_bytes(scratch, (char)('a' + i), lengths[i], "\n");
    assert_int_equal(lines_open(&reader, scratch->fd, "file", 0), MLD_OK);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        expect_line(&reader, (char)('a' + i), lengths[i], offset);
        offset += (off_t)lengths[i] + 1;
        assert_int_equal(reader.offset, offset);
    }
    expect_end(&reader);
    expect_end(&reader);
    lines_close(&reader);
    assert_int_equal(lines_open(&reader, scratch->fd, "file", 3), MLD_OK); /* in the third line */
    expect_line(&reader, 'c', 7, 3);
    lines_close(&reader);
}

static void test_a_torn_end_is_no_line_yet(void **state)
{
    const struct scratch *scratch = *state;
    struct line_reader reader;

    add_bytes(scratch, 'a', 3, "\n");
    add_bytes(scratch, 'b', 5, "");
    assert_int_equal(lines_open(&reader, scratch->fd, "file", 0), MLD_OK);
    expect_line(&reader, 'a', 3, 0);
    expect_end(&reader);
    assert_int_equal(reader.offset, 4);
    add_bytes(scratch, 'b', 100000, "\n");
    expect_line(&reader, 'b', 100005, 4);
    expect_end(&reader);
    lines_close(&reader);
}

static void test_a_line_that_is_too_long(void **state)
{
    const struct scratch *scratch = *state;
    struct line_reader reader;

    add_bytes(scratch, 'a', 2, "\n");
    add_bytes(scratch, 'x', LINES_MAX_BYTES + 5000000, "\n");
    add_bytes(scratch, 'b', 4, "\n");
    assert_int_equal(lines_open(&reader, scratch->fd, "file", 0), MLD_OK);
    expect_line(&reader, 'a', 2, 0);
    expect_line(&reader, 'x', 0, 3);
    expect_line(&reader, 'b', 4, 3 + (off_t)LINES_MAX_BYTES + 5000001);
    expect_end(&reader);
    lines_close(&reader);
}

static void test_a_missing_file(void **state)
{
    const struct scratch *scratch = *state;
    struct line_reader reader;

    assert_int_equal(lines_open(&reader, scratch->fd, "file", 0), MLD_ENOTFOUND);
    lines_close(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_of_many_lengths, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_torn_end_is_no_line_yet, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_line_that_is_too_long, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_missing_file, scratch_setup, scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

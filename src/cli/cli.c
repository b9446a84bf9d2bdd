#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/text.h"

static void put_message(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

static void put_message(const char *format, va_list arguments)
{
    char raw[CLI_MAX_MESSAGE_BYTES];
    vsnprintf(raw, sizeof(raw), format, arguments);
    struct buf line;
    buf_init(&line, 8 * CLI_MAX_MESSAGE_BYTES);
    text_put(&line, raw);
    fprintf(stderr, "ml-dash: %s\n", buf_text(&line));
    buf_free(&line);
}

void cli_message(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_message(format, arguments);
    va_end(arguments);
}

enum cli_exit cli_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_message(format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

enum cli_exit cli_fail(enum mld_error error)
{
    const char *message = mld_error_message();
    cli_message("%s", *message ? message : mld_error_words(error));
    switch (error) {
    case MLD_ECHECKSUM:
    case MLD_EDAMAGED:
        return CLI_PROBLEMS;
    case MLD_EINTERRUPTED:
        return CLI_INTERRUPTED;
    default:
        return CLI_FAILURE;
    }
}

enum cli_exit cli_worse(enum cli_exit a, enum cli_exit b)
{
    return a > b ? a : b;
}

enum cli_exit cli_print(struct buf *out)
{
    enum mld_error error = buf_check(out, "the output");
    if (error != MLD_OK)
        return cli_fail(error);
    size_t done = fwrite(buf_text(out), 1, out->len, stdout);
    if (done != out->len || fflush(stdout) != 0) {
        cli_message("cannot write the output: %s", strerror(errno));
        return CLI_FAILURE;
    }
    buf_clear(out);
    return CLI_OK;
}

bool cli_colour(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    if (no_colour && *no_colour)
        return false;
    return isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
}

#define NEAREST_MAX_LETTERS 96

/* Letters to insert, remove or replace to make `b` of `a`; both are short. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NEAREST_MAX_LETTERS + 1];
    size_t len_b = strlen(b);
    for (size_t j = 0; j <= len_b; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[len_b];
}

const char *cli_nearest(const char *word, const char *const *first, size_t count, size_t stride)
{
    const char *nearest = NULL;
    size_t len = strlen(word);
    size_t best = len < 6 ? 3 : len / 3 + 1; /* must be below */
    if (len > NEAREST_MAX_LETTERS)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const char *const *name = (const char *const *)((const char *)first + i * stride);
        size_t name_len = strlen(*name);
        if (name_len > NEAREST_MAX_LETTERS || name_len + best <= len || len + best <= name_len)
            continue; /* nothing that long or short can be near enough */
        size_t distance = edit_distance(word, *name);
        if (distance < best) {
            best = distance;
            nearest = *name;
        }
    }
    return nearest;
}

/* options.h: a command's table of options: what is parsed and what --help prints are one thing. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/cli.h"

enum cli_option_kind {
    CLI_FLAG,  /* into: bool */
    CLI_TEXT,  /* into: const char * */
    CLI_TEXTS, /* into: struct cli_texts; may be given several times */
    CLI_NUMBER /* into: size_t */
};

/* Borrowed words of the command line. */
struct cli_texts {
    const char **items;
    size_t count;
};

struct cli_option {
    const char *name; /* without dashes; NULL ends the table */
    char letter;      /* 0: none */
    enum cli_option_kind kind;
    const char *argument; /* its name in the help; NULL for a flag */
    const char *help;     /* NULL: not told, for tests */
    void *into;
};

struct cli_usage {
    const char *synopsis; /* "list [OPTIONS] [ROOT|DIR]" */
    const char *about;    /* ends with a line break */
    const struct cli_option *options;
    size_t min_operands, max_operands;
};

/* Fills what the options point to, and the operands. False: the command is over (help was printed,
 * or the usage is wrong) and *out_exit is its exit code. The caller frees every cli_texts with
 * cli_texts_free in either case. */
bool cli_parse(enum cli_exit *out_exit, struct cli_texts *operands, const struct cli_usage *usage,
               int argc, char **argv);
void cli_texts_free(struct cli_texts *texts);

#endif

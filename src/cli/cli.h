/* cli.h: what the command ml-dash and its parts share: exit codes, the form of a command, messages
 * and output.
 *
 * A command is a row of the table in main.c and a file cmd_NAME.c with its options, its help and
 * its entry point. It collects what it prints in a buffer and ends with cli_print. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "mldash/mldash.h"

/* Exit codes. When several things went wrong, the highest counts. */
enum cli_exit {
    CLI_OK = 0,
    CLI_PROBLEMS = 1,     /* the work was done, and data was found lost or changed */
    CLI_USAGE = 2,        /* the command line is wrong; nothing was done */
    CLI_FAILURE = 3,      /* something could not be done */
    CLI_INTERRUPTED = 130 /* by SIGINT or SIGTERM; nothing unfinished was left behind */
};

#define CLI_MAX_OUTPUT_BYTES ((size_t)1 << 30)
#define CLI_MAX_MESSAGE_BYTES 4096

struct cli_command {
    const char *name;
    const char *summary;
    enum cli_exit (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

enum cli_exit cmd_list(int argc, char **argv);
enum cli_exit cmd_show(int argc, char **argv);
enum cli_exit cmd_download(int argc, char **argv);
enum cli_exit cmd_verify(int argc, char **argv);
enum cli_exit cmd_gc(int argc, char **argv);
enum cli_exit cmd_serve(int argc, char **argv);
enum cli_exit cmd_version(int argc, char **argv);
enum cli_exit cmd_sync(int argc, char **argv);
enum cli_exit cmd_login(int argc, char **argv);
enum cli_exit cmd_logout(int argc, char **argv);
enum cli_exit cmd_whoami(int argc, char **argv);
/* With MLDASH_HAVE_SERVER. */
enum cli_exit cmd_user(int argc, char **argv);
enum cli_exit cmd_token(int argc, char **argv);
enum cli_exit cmd_namespace(int argc, char **argv);

/* Prints `ml-dash: message` to stderr, one line, control characters escaped. */
void cli_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; returns CLI_USAGE. */
enum cli_exit cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the message of this thread's failed call; returns the exit code that goes with it. */
enum cli_exit cli_fail(enum mld_error error);
enum cli_exit cli_worse(enum cli_exit a, enum cli_exit b);

/* Writes the buffer to stdout and empties it. A full disk or a failed buffer is reported. */
enum cli_exit cli_print(struct buf *out);

/* Whether colours are wanted on stdout: a terminal that is not dumb, and NO_COLOR unset or empty.
 */
bool cli_colour(void);

/* The word most like `word` (at most a third of its letters differ), NULL when none is. `stride`:
 * bytes from one name pointer to the next. */
const char *cli_nearest(const char *word, const char *const *first, size_t count, size_t stride);

#endif

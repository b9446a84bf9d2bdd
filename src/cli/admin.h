/* admin.h: what the administrator's commands (user, token, namespace) share. They work on the
 * server's own database, also while the server runs: who may read the data directory is the
 * administrator. */
#ifndef CLI_ADMIN_H
#define CLI_ADMIN_H

#include "cli/cli.h"
#include "cli/options.h"
#include "meta/meta.h"
#include "server/accounts.h"

struct admin {
    const char *data; /* --data; NULL: $ML_DASH_DATA, else ./ml-dash-data */
    bool json;
    struct meta *meta;
    struct arena arena;
    struct buf out;
    struct cli_texts operands;
};

/* One word of a command, as `create` of `user create NAME`. Its operands follow the word. */
struct admin_action {
    const char *name;
    size_t min_operands, max_operands;
    enum mld_error (*run)(struct admin *a);
};

#define ADMIN_OPTIONS(a)                                         \
    {"data",                                                     \
     0,                                                          \
     CLI_TEXT,                                                   \
     "DIR",                                                      \
     "the server's data directory (default $ML_DASH_DATA, else " \
     "ml-dash-data)",                                            \
     &(a)->data},                                                \
    {                                                            \
        "json", 0, CLI_FLAG, NULL, "print JSON", &(a)->json      \
    }
#define ADMIN_DEFAULT_DATA "ml-dash-data"

/* Parses, opens the database, runs the action, prints, closes. `actions` ends with a row without
 * name. */
enum cli_exit admin_main(struct admin *a, const struct admin_action *actions,
                         const struct cli_usage *usage, int argc, char **argv);
/* Operand i behind the action's word; NULL when there are fewer. */
const char *admin_operand(const struct admin *a, size_t i);
/* Reads a password from the terminal without showing it, or, when `from_stdin`, one line of stdin.
 * Into the arena. */
enum mld_error admin_password(struct admin *a, bool from_stdin, const char **out);
/* "30d", "12h", "90m", "45s" or plain seconds. MLD_EINVALID. */
enum mld_error admin_duration(const char *text, int64_t *out_s);
void admin_put_time(struct buf *out, int64_t us); /* a time for people; "never" for 0 */

#endif

/* target.h: which experiments a word of the command line means. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>

#include "cli/cli.h"

/* What a word may be: a path to a root or to an experiment's folder, or an experiment's name
 * ("project/name", or its last part) below .ml-dash or .dash. NULL: that root. */
#define TARGET_HELP                                                                         \
    "DIR is an experiment's folder, or its name below .ml-dash (or .dash) in the working\n" \
    "directory: \"project/name\", or just \"name\".\n"

struct target {
    struct mld_folders *folders; /* at least one, by path */
    const char *root;            /* what was searched; borrowed from the caller or constant */
    bool is_experiment;          /* `root` is an experiment's folder itself */
    const char *only;            /* the folder meant when a name meant one of several, else NULL */
};

/* Finds them; target_free in either case. Anything but CLI_OK: the message was printed. */
enum cli_exit target_find(struct target *out, const char *word);
void target_free(struct target *target);
/* The one folder that the target is, else CLI_USAGE with a message that names some. Borrowed. */
enum cli_exit target_one(const char **out_dir, const struct target *target);

/* Opens a folder to read, and prints its warning, if any, to stderr. *out_info (NULL: not wanted)
 * is to be freed with mld_experiment_info_free. */
enum mld_error target_open(mld_experiment **out, struct mld_experiment_info **out_info,
                           const char *dir);
/* Prints the warning, if any. */
void target_warn(const struct mld_experiment_info *info);
/* target_find, target_one and target_open in one. */
enum cli_exit target_open_one(mld_experiment **out, struct mld_experiment_info **out_info,
                              const char *word);

/* "folder/project/name", or the prefix, or the directory when there is no name. As it is. */
void target_put_name(struct buf *out, const struct mld_experiment_info *info);

#endif

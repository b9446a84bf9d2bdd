/* target.h: which experiments a word of the command line means. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>

#include "cli/cli.h"

/* What a word may be: a path to a root or to an experiment's folder; or, below .ml-dash and .dash,
 * an experiment's name ("project/name", or its last part), or a folder with experiments
 * ("project"). NULL: those two roots. */
#define TARGET_HELP                                                                       \
    "DIR is an experiment's folder, or its name below .ml-dash or .dash in the working\n" \
    "directory: \"project/name\", or just \"name\".\n"
#define TARGET_MAX_ROOTS 2

struct target_root {
    const char *path; /* borrowed from the caller, or constant */
    struct mld_folders *folders;
    size_t first, count; /* those of the target's paths that are below it */
};
struct target {
    const char **paths; /* at least one, in order; borrowed from the roots' folders */
    size_t count;
    bool is_experiment; /* the one path was meant: the word is its folder or its name */
    struct target_root roots[TARGET_MAX_ROOTS];
    size_t n_roots;
    size_t n_all; /* experiments below the roots */
};

/* What "digits" means first, where that is both a project and an experiment of another one. */
enum target_kind { TARGET_ONE, TARGET_MANY };
/* Finds them; target_free in either case. Anything but CLI_OK: the message was printed. */
enum cli_exit target_find(struct target *out, const char *word, enum target_kind kind);
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

/* choice.h: which files the words of `download` mean, and where each goes. */
#ifndef CLI_CHOICE_H
#define CLI_CHOICE_H

#include <stdbool.h>

#include "cli/cli.h"
#include "cli/options.h"

struct chosen {
    char *id;
    char *path, *filename;
    char *alias;    /* NULL: none */
    bool by_id;     /* exactly this version; else the newest of the name, or of the alias */
    bool keep_path; /* goes below its prefix in the destination */
    uint64_t size_bytes;
};
struct choice {
    struct chosen *files;
    size_t count, capacity;
};

/* A word is an id, a glob, a path ("models/best.pt"), a name that occurs once, or one of the latter
 * two and "@ALIAS". `all`: every newest file. Anything but CLI_OK: the message was printed. Free
 * with choice_free in either case. */
enum cli_exit choice_make(struct choice *out, mld_experiment *experiment,
                          const struct cli_texts *words, bool all);
void choice_free(struct choice *choice);

/* Appends where the file goes below the destination folder: "models/best.pt" or "best.pt". */
void choice_put_target(struct buf *out, const struct chosen *file);

#endif

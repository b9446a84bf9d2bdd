/* tree.h: everything that lies below files/, and what it is. */
#ifndef RUN_TREE_H
#define RUN_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "run/run.h"

enum tree_kind {
    TREE_FILE,    /* bytes of a file with a record */
    TREE_ORPHAN,  /* in a directory with an id of ours, but without a record */
    TREE_TEMP,    /* a temporary file of this library */
    TREE_EMPTY,   /* a directory with nothing in it */
    TREE_VIEW,    /* the published clients' list of files, or their lock */
    TREE_FOREIGN, /* does not belong here */
};
struct tree_item {
    const char *path;   /* below the run folder: "files/models/17/best.pt" */
    unsigned char type; /* DT_* */
    enum tree_kind kind;
    struct file_entry *file; /* TREE_FILE: borrowed from the state */
    unsigned slot;           /* TREE_ORPHAN, and TREE_EMPTY when `own_id`: of its writer */
    bool own_id;             /* the directory's name is an id of ours */
    int64_t made_ms;         /* since the epoch, from the id */
};
struct tree {
    struct arena arena;
    struct tree_item *items;
    size_t count, capacity;
};

/* Lists the tree, without the run's lock. A zeroed struct is empty. */
enum mld_error tree_read(struct tree *tree, int dir_fd);
/* Tells what each item is; with the lock, and all records read. */
void tree_classify(struct tree *tree, const struct run *run);
void tree_free(struct tree *tree);

/* True when `name` is that of a temporary file that only a killed process leaves. */
bool tree_is_temporary(const char *name);

#endif

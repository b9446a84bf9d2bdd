/* gc_plan.h: what gc may remove now. verify asks for the same, to say how much that would be. */
#ifndef RUN_GC_PLAN_H
#define RUN_GC_PLAN_H

#include "run/tree.h"

enum gc_reason {
    GC_DELETED, /* deleted by a user */
    GC_EXCESS,  /* an older version than `keep` lets stay */
    GC_RETIRED, /* retired or removed already; whoever did it was killed before the unlink */
    GC_ORPHAN,
    GC_TEMP,
};
struct gc_item {
    enum gc_reason reason;
    const char *path;               /* below the run folder */
    struct file_entry *file;        /* NULL: orphans and temporary files */
    const struct tree_item *orphan; /* borrowed; NULL: none */
    uint64_t bytes;                 /* that its removal frees */
    bool dropped;                   /* it stays after all */
};
struct gc_plan {
    struct gc_item *items;
    size_t count, capacity;
    struct arena arena;
    signed char life[SLOT_MAX]; /* enum slot_life + 1; 0: not asked yet */
};
struct gc_rules {
    bool offline;
    int64_t orphan_age_s;
};

/* With the run's lock, all records read and the tree classified. A zeroed plan is empty. */
enum mld_error gc_plan_make(struct gc_plan *plan, struct run *run, const struct tree *tree,
                            const struct gc_rules *rules);
void gc_plan_free(struct gc_plan *plan);
/* True when a directory or bytes of this age and slot were left by a writer that is gone. */
bool gc_plan_is_left(struct gc_plan *plan, struct run *run, const struct tree_item *item,
                     const struct gc_rules *rules);

#endif

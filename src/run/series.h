/* series.h: metrics and tracks that this process appends to. */
#ifndef RUN_SERIES_H
#define RUN_SERIES_H

#include "mldash/series.h"
#include "run/run.h"

struct series_writer; /* what a run has open for one series */

/* A handle lives in the memory of the run in which it was made. That memory stays as long as the
 * experiment is open; also in a forked child, whose experiment has got a run of its own: then
 * `run` is another than the experiment's, and the writer is looked up again by name. */
struct mld_series {
    mld_experiment *experiment;
    enum mld_series_kind kind;
    const char *name; /* NULL: the unnamed metric */
    const char *description;
    struct string_list tags;
    const char *metadata;
    bool tells;                   /* one of the three was given */
    struct run *run;              /* to which `writer` belongs */
    struct series_writer *writer; /* NULL: nothing appended yet */
    bool told;                    /* the three are recorded, or were by an earlier call */
};

/* Makes the series ready for a line in the run, which is locked: its shard open, its record
 * written. *out is not broken. */
enum mld_error series_ready(struct stream **out, struct run *run, mld_series *series);

/* Frees all handles, writers and readers of a run; before its state. */
void series_free(struct run *run);

#endif

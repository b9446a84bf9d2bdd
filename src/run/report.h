/* report.h: collecting what verify and gc find. */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include "base/arena.h"
#include "mldash/folder.h"

struct report {
    struct mld_report public; /* first, so that its address is ours */
    struct arena arena;
    struct mld_finding *findings;
    size_t capacity;
};

/* Free with mld_report_free(&r->public). */
enum mld_error report_new(struct report **out);
/* Copies the strings. */
enum mld_error report_add(struct report *r, const struct mld_finding *finding);

#endif

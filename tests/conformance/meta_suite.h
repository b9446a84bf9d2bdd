/* meta_suite.h: what every metadata store must do, sentence by sentence of src/meta/meta.h. A main
 * for each store calls meta_suite_run. */
#ifndef TESTS_META_SUITE_H
#define TESTS_META_SUITE_H

#include "meta/meta.h"

struct meta_suite {
    const char *name;
    /* An empty store. */
    struct meta *(*open_empty)(void);
    /* The store of the last open_empty, after meta_close, with what it held; NULL: it keeps
     * nothing.
     */
    struct meta *(*open_again)(void);
};

/* Runs all cases; the value for main. */
int meta_suite_run(const struct meta_suite *suite);

#endif

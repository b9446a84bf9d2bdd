/* meta_cases.h: what the files of the metadata suite share. Include cmocka.h first. */
#ifndef TESTS_META_CASES_H
#define TESTS_META_CASES_H

#include "meta_suite.h"

/* Each case begins with an empty store of the suite that runs. */
int meta_suite_setup(void **state);
int meta_suite_teardown(void **state);

#define META_FIND_CASES 9
extern const struct CMUnitTest meta_find_cases[META_FIND_CASES];

#endif

/* scratch.h: a directory of a test's own, removed afterwards. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

/* Set-up and tear-down for cmocka: *state becomes a struct scratch. */
struct scratch {
    char path[64];
    int fd; /* the directory, open for reading */
};

int scratch_setup(void **state);
int scratch_teardown(void **state);

/* Plain helpers that fail the test when the system refuses. */
void scratch_write(const struct scratch *scratch, const char *path, const char *text);
void scratch_mkdir(const struct scratch *scratch, const char *path);
void scratch_symlink(const struct scratch *scratch, const char *path, const char *target);
/* Fails the test unless the file holds just `text`. */
void scratch_expect(const struct scratch *scratch, const char *path, const char *text);
/* How many entries the directory has; -1 when there is none. */
int scratch_count(const struct scratch *scratch, const char *path);

/* Says why a test cannot run here; the test returns then. (cmocka's skip() reads as a failure in
 * TAP.) */
void scratch_left_out(const char *why);

#endif

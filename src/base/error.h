/* error.h: how internal code reports failure. A message is set once, where the failure is seen, and
 * gets context in front on the way up; it is never overwritten. Thread-local; a background job
 * copies its error out. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

#include "mldash/error.h"

#define ERROR_MESSAGE_MAX 1024
#define ERROR_FIELD_MAX 128

/* An error that outlives its thread, e.g. that of the background fsync. */
struct error_copy {
    enum mld_error code;
    char message[ERROR_MESSAGE_MAX];
    char field[ERROR_FIELD_MAX];
};

/* Sets this thread's message (one line; control characters in arguments are replaced) and returns
 * `code`. */
enum mld_error error_set(enum mld_error code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Like error_set, with the code chosen from an errno value (ENOENT: MLD_ENOTFOUND; EEXIST:
 * MLD_EEXISTS; EACCES, EPERM, EROFS: MLD_EACCESS; ENOSPC, EDQUOT: MLD_ENOSPACE; EFBIG:
 * MLD_ETOOLARGE; ENOMEM: MLD_ENOMEM; ENAMETOOLONG: MLD_ENAME; others: MLD_EIO) and ": " plus the
 * system's words appended. */
enum mld_error error_set_errno(int errno_value, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "text: " in front of the message that is there; returns `code` unchanged. */
enum mld_error error_prefix(enum mld_error code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Says which part of what was asked the message is about: a member ("sha256"), a header, a
 * parameter. A longer name is cut. Returns `code`. error_set forgets it. */
enum mld_error error_blame(enum mld_error code, const char *field);
/* Says which element of a list it was: "sha256" becomes "files[3].sha256". Returns `code`. */
enum mld_error error_blame_element(enum mld_error code, const char *list, size_t index);
/* What was blamed; "": nothing. Borrowed, until this thread's next failure. */
const char *error_field(void);

void error_clear(void);

/* Copies this thread's message out, or sets it from a copy (returning its code). */
void error_save(enum mld_error code, struct error_copy *out);
enum mld_error error_restore(const struct error_copy *copy);

#endif

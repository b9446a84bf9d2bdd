/* mldash/error.h: error codes and messages.
 *
 * Each fallible function returns `enum mld_error`: MLD_OK (0) or one code of the table below. What
 * exactly went wrong, with which name, and what to do about it, is one line of text kept per
 * thread: mld_error_message().
 */
#ifndef MLDASH_ERROR_H
#define MLDASH_ERROR_H

#if defined(__GNUC__)
#define MLD_API __attribute__((visibility("default")))
#else
#define MLD_API
#endif

/* Begins an options struct: its version, and zero for all else. */
#ifdef __cplusplus
#define MLD_INIT(version_number) {version_number}
#else
#define MLD_INIT(version_number) {.version = (version_number)}
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* code, words, HTTP status, Python exception (a class of ml_dash.exceptions) */
#define MLD_ERRORS(X)                                                                \
    X(MLD_EINVALID, "invalid argument", 400, InvalidInputError)                      \
    X(MLD_ENAME, "invalid name", 400, InvalidNameError)                              \
    X(MLD_ETOOLARGE, "too large", 413, TooLargeError)                                \
    X(MLD_ENOTFOUND, "not found", 404, NotFoundError)                                \
    X(MLD_ESUPERSEDED, "superseded by a newer version", 404, SupersededError)        \
    X(MLD_EEXISTS, "exists already", 409, ExistsError)                               \
    X(MLD_ESTATE, "not possible in this state", 409, ExperimentError)                \
    X(MLD_ECHECKSUM, "stored bytes do not match their checksum", 500, ChecksumError) \
    X(MLD_EDAMAGED, "damaged data", 500, DamagedError)                               \
    X(MLD_ECHANGED, "source changed while it was read", 409, SourceChangedError)     \
    X(MLD_EFORMAT, "unknown format or version", 500, FormatError)                    \
    X(MLD_EACCESS, "permission denied", 403, AccessError)                            \
    X(MLD_ENOSPACE, "no space left", 507, NoSpaceError)                              \
    X(MLD_EIO, "input or output failed", 500, StorageError)                          \
    X(MLD_ETIMEOUT, "took too long", 504, TimedOutError)                             \
    X(MLD_EINTERRUPTED, "interrupted", 499, InterruptedByUserError)                  \
    X(MLD_ENOMEM, "out of memory", 503, OutOfMemoryError)                            \
    X(MLD_ECONFLICT, "changed by another meanwhile", 409, ConflictError)             \
    X(MLD_EAUTH, "not logged in", 401, AuthenticationError)                          \
    X(MLD_EUNAVAILABLE, "cannot be reached now", 503, RemoteUnavailable)             \
    X(MLD_EBUSY, "too much at once", 429, BusyError)

enum mld_error {
    MLD_OK = 0,
#define MLD_ERROR_ENUM(code, words, status, exception) code,
    MLD_ERRORS(MLD_ERROR_ENUM)
#undef MLD_ERROR_ENUM
};

/* The message of this thread's last failed call: one line, UTF-8. Borrowed, valid until the
 * thread's next failing call; "" when there was none. Never NULL, never blocks. */
MLD_API const char *mld_error_message(void);

/* The general words for a code, a constant string: "not found" for MLD_ENOTFOUND. */
MLD_API const char *mld_error_words(enum mld_error code);

/* The code's own name, a constant string: "MLD_ENOTFOUND". */
MLD_API const char *mld_error_name(enum mld_error code);

#ifdef __cplusplus
}
#endif
#endif

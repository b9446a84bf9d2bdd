/* What the analyzer cannot see from one file at a time: an error that was set is not MLD_OK, and is
 * the one that was given. scripts/tidy_one.sh includes this before each source. */
#include "base/error.h"

#define error_set(code, ...) (error_set(code, __VA_ARGS__), (code))
#define error_prefix(code, ...) (error_prefix(code, __VA_ARGS__), (code))
#define error_set_errno(value, ...) (error_set_errno(value, __VA_ARGS__), MLD_EIO)

/* id.h: identifiers. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdint.h>

#include "base/error.h"

#define ID_RANDOM_LEN 32 /* 128 bits in hex */
#define ID_FILE_MAX 20   /* decimal digits of a 64-bit number */

/* 32 hex digits and NUL from getrandom(2). */
enum mld_error id_random(char out[ID_RANDOM_LEN + 1]);

/* File ids: (ms since 2024-01-01 << 22) | slot << 12 | sequence. Unique in an experiment by the
 * slot; ms never goes back within a process; at 4096 ids a millisecond the clock runs ahead.
 * Thread-safe; the state is process-wide (last ms and sequence). */
uint64_t id_file(unsigned slot);
/* Another id for a file whose own (`id`) a second machine has used: the `n`th, from 0, made of the
 * records stream that names the file and the id, so that whoever makes it comes upon the same. */
void id_file_other(char out[ID_FILE_MAX + 1], const char *stream, const char *id, unsigned n);
/* The wall clock milliseconds (since the epoch) in a file id. */
int64_t id_file_ms(uint64_t id);

#endif

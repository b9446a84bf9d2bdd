/* buf.h: a growing byte buffer with a stated maximum and a sticky failure, so that writers need no
 * check per call: write everything, then ask buf_check() once. Not thread-safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct buf {
    char *data; /* NUL-terminated when len > 0; NULL when nothing was ever written */
    size_t len;
    size_t capacity;
    size_t max_bytes;
    enum mld_error failed; /* MLD_OK, MLD_ENOMEM or MLD_ETOOLARGE; later writes do nothing */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_free(struct buf *b);  /* safe on a zeroed struct, and twice */
void buf_clear(struct buf *b); /* len = 0, failure forgotten, memory kept */
void buf_put(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for `len` more bytes; returns where to write them, NULL when that failed. Commit with
 * buf_advance. */
char *buf_reserve(struct buf *b, size_t len);
void buf_advance(struct buf *b, size_t len);
/* The first failure as an error with a message naming `what`, or MLD_OK. */
enum mld_error buf_check(const struct buf *b, const char *what);
/* The contents as an own string (malloc; caller frees); the buffer is empty afterwards. NULL when
 * failed. */
char *buf_steal(struct buf *b);
const char *buf_text(const struct buf *b); /* "" when empty */

#endif

/* lines.h: reading a file of lines that may be growing: metrics, tracks and logs. Big reads, no
 * allocation per line. */
#ifndef RUN_LINES_H
#define RUN_LINES_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define LINES_MAX_BYTES (64u << 20) /* of one line, as for those that we write */
#define LINES_FIRST_READ (32u << 10)
#define LINES_MAX_READ (1u << 20)

struct line {
    const char *text; /* without its newline, not NUL-terminated; NULL: no more whole lines */
    size_t len;
    off_t offset; /* in the file */
};

struct line_reader {
    int fd;
    const char *file; /* borrowed */
    char *data;
    size_t capacity;
    size_t begin, end; /* data[begin, end) was read and not given out yet */
    size_t searched;   /* so many bytes from `begin` on are no newline */
    size_t next_read;  /* bytes; doubles, so that a look at a few lines stays cheap */
    off_t offset;      /* of data[begin] in the file */
    size_t dropped;    /* bytes of an overlong line before `offset` */
};

/* `file` is relative to dir_fd and must outlive the reader. lines_close it, also after a failure.
 * MLD_ENOTFOUND: there is none. */
enum mld_error lines_open(struct line_reader *r, int dir_fd, const char *file, off_t offset);
/* The next whole line, valid until the next call. An unterminated rest at the end is no line (yet).
 * One longer than LINES_MAX_BYTES comes as an empty line. */
enum mld_error lines_next(struct line_reader *r, struct line *out);
void lines_close(struct line_reader *r);

#endif

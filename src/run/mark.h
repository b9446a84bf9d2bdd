/* mark.h: the file that says how far each stream of a slot is durable (docs/run-folder.md, "The
 * mark"). */
#ifndef RUN_MARK_H
#define RUN_MARK_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "run/slot.h"

struct mark_stream {
    const char *stream; /* id */
    const char *file;
    uint64_t length;
    uint32_t crc;
};
struct mark {
    const char *writer;
    const char *boot;
    const struct mark_stream *streams;
    size_t count;
};

/* Replaces the slot's mark file. */
enum mld_error mark_write(int dir_fd, unsigned slot, const struct mark *mark);
/* Reads it into the arena. MLD_ENOTFOUND: there is none, or it is unreadable: nothing is marked. */
enum mld_error mark_read(struct mark *out, struct arena *arena, int dir_fd, unsigned slot);
/* The slots that have a mark file, be it readable or not. */
enum mld_error mark_list(int dir_fd, bool out[SLOT_MAX]);

#endif

/* shard_index.h: where the lines of one growing file are. What was indexed once is not read again:
 * the next look goes on at the last newline. Needs the run's lock. */
#ifndef RUN_SHARD_INDEX_H
#define RUN_SHARD_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "run/lines.h"
#include "run/run.h"

#define SHARD_INDEX_STEP 1024 /* every so many good lines, an offset is kept */

struct shard_index {
    const char *file; /* relative to the run folder; borrowed from the state */
    off_t offset;     /* of the first byte not indexed: all before it are whole lines */
    int64_t count;    /* good lines */
    off_t *marks;     /* offsets of good lines 0, STEP, 2 STEP ... */
    size_t n_marks, capacity;
    ino_t inode;
    int64_t changed_us; /* when the file was last written */
};

/* Looks at one parsed line; *out_good false: it is not what belongs into this file. An error stops
 * the indexing. */
typedef enum mld_error shard_check(const struct json_doc *doc, const struct line *line,
                                   void *payload, bool *out_good);

/* Indexes what is new. A line that does not parse or is not good becomes a problem of the state,
 * once. A missing file is an empty one. *out_replaced: the file is not the one indexed before, or
 * was cut; the index is empty again and the caller forgets, too, then calls again. */
enum mld_error shard_index_update(struct shard_index *index, struct run *run, shard_check *check,
                                  void *payload, bool *out_replaced);
/* Opens a reader at a good line at or shortly before line `n`, which is below `count`; *out_at is
 * its number. lines_close the reader, also after a failure. */
enum mld_error shard_index_seek(const struct shard_index *index, const struct run *run, int64_t n,
                                struct line_reader *reader, int64_t *out_at);
void shard_index_free(struct shard_index *index);

#endif

/* verify_streams.h: checking the lines of records, metrics, tracks and logs, and the marks. */
#ifndef RUN_VERIFY_STREAMS_H
#define RUN_VERIFY_STREAMS_H

#include "run/report.h"
#include "run/run.h"
#include "run/stream_check.h"

struct listed_stream {
    enum stream_kind kind;
    const char *file;
    const char *id;   /* NULL: no record names it */
    bool writer_gone; /* an unterminated last line will never be finished */
    bool replaced;    /* a records shard that gc may remove at any time */
};
struct stream_list {
    struct arena arena;
    struct listed_stream *items;
    size_t count, capacity;
};

/* Which streams there are; with the run's lock, all records read and series discovered. */
enum mld_error verify_note_streams(struct stream_list *list, struct run *run);
/* Reads them all, without any lock. */
enum mld_error verify_streams(struct report *report, const struct stream_list *list, int dir_fd);
void verify_streams_free(struct stream_list *list);

#endif

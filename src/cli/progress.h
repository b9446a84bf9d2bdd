/* progress.h: a bar on stderr for long work, and stopping it with Ctrl-C. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label; /* borrowed */
    bool shown;        /* stderr is a terminal, and nobody asked for quiet */
    bool drawn;
    int64_t begun_ms, drawn_ms;
};

/* From now on SIGINT and SIGTERM only set a flag; progress_update then stops the library's call. */
void progress_catch_signals(void);
bool progress_stopped(void);

void progress_begin(struct progress *progress, const char *label, bool quiet);
/* An mld_progress; the payload is a struct progress. */
bool progress_update(uint64_t done_bytes, uint64_t total_bytes, void *payload);
/* Wipes the bar. */
void progress_end(struct progress *progress);

#endif

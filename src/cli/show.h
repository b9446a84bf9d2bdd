/* show.h: what the command `show` has read of an experiment, and its two forms. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "cli/cli.h"
#include "run/metric.h"

struct show {
    mld_experiment *experiment;
    struct mld_experiment_info *info;
    struct mld_series_list *metrics, *tracks;
    struct metric *summaries; /* of the metrics, in their order */
    size_t n_summaries;
    struct mld_file_list *files;
    struct mld_log_lines *older, *logs; /* the last two pieces of the log */
    char *parameters;
    size_t n_logs, n_files; /* to be shown */
    struct buf out;
    bool colour;
};

/* The i-th of the last lines of the log, NULL behind the last; *out_count of them are there. */
const struct mld_log_line *show_log_line(const struct show *s, size_t i, size_t *out_count);

/* Append all to s->out. */
enum mld_error show_put_text(struct show *s);
void show_put_json(struct show *s);

#endif

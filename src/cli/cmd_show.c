/* cmd_show.c: one experiment, all of it at a glance. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/show.h"
#include "cli/target.h"

#define LINES_AT_ONCE 100000

/* Reads the log piece by piece; the last two pieces hold its tail. */
static enum mld_error read_logs(struct show *s)
{
    bool more = s->n_logs > 0;
    size_t piece = s->n_logs > LINES_AT_ONCE ? s->n_logs : LINES_AT_ONCE;
    for (int64_t start = 0; more; start += (int64_t)piece) {
        struct mld_log_lines *lines = NULL;
        enum mld_error error = mld_log_read(&lines, s->experiment, NULL, start, piece);
        if (error != MLD_OK)
            return error;
        mld_log_lines_free(s->older);
        s->older = s->logs;
        s->logs = lines;
        more = lines->has_more;
    }
    return MLD_OK;
}

static enum mld_error read_metrics(struct show *s)
{
    enum mld_error error = mld_series_list(&s->metrics, s->experiment, MLD_METRIC);
    if (error != MLD_OK)
        return error;
    s->summaries = calloc(s->metrics->count + 1, sizeof(*s->summaries));
    if (!s->summaries)
        return MLD_ENOMEM;
    for (size_t i = 0; i < s->metrics->count && error == MLD_OK; i++) {
        error = metric_read(&s->summaries[i], s->experiment, &s->metrics->series[i]);
        s->n_summaries++;
    }
    return error;
}

/* Reading the streams may have met damage that opening did not see. */
static enum mld_error read_info(struct show *s)
{
    struct mld_experiment_info *info = NULL;
    enum mld_error error = mld_experiment_info(&info, s->experiment);
    if (error != MLD_OK)
        return error;
    if (info->n_problems > s->info->n_problems)
        target_warn(info);
    mld_experiment_info_free(s->info);
    s->info = info;
    return MLD_OK;
}

static enum mld_error read_all(struct show *s)
{
    enum mld_error error = mld_params_get(&s->parameters, s->experiment);
    if (error == MLD_OK)
        error = read_metrics(s);
    if (error == MLD_OK)
        error = mld_series_list(&s->tracks, s->experiment, MLD_TRACK);
    if (error == MLD_OK)
        error = mld_file_list(&s->files, s->experiment, NULL);
    if (error == MLD_OK)
        error = read_logs(s);
    if (error == MLD_OK)
        error = read_info(s);
    return error;
}

const struct mld_log_line *show_log_line(const struct show *s, size_t i, size_t *out_count)
{
    size_t n_new = s->logs ? s->logs->count : 0;
    size_t n_old = s->older ? s->older->count : 0;
    *out_count = n_new + n_old < s->n_logs ? n_new + n_old : s->n_logs;
    size_t at = n_new + n_old - *out_count + i;
    if (i >= *out_count)
        return NULL;
    if (at < n_old)
        return &s->older->lines[at];
    return s->logs ? &s->logs->lines[at - n_old] : NULL;
}

static enum cli_exit show(struct show *s, const char *word, bool json)
{
    enum cli_exit code = target_open_one(&s->experiment, &s->info, word);
    if (code != CLI_OK)
        return code;
    enum mld_error error = read_all(s);
    if (error == MLD_OK && json)
        show_put_json(s);
    else if (error == MLD_OK)
        error = show_put_text(s);
    return error == MLD_OK ? cli_print(&s->out) : cli_fail(error);
}

enum cli_exit cmd_show(int argc, char **argv)
{
    bool json = false;
    struct show s = {.n_logs = 10, .n_files = 20};
    const struct cli_option options[] = {
        {"logs", 'l', CLI_NUMBER, "N", "show the last N log lines, 10 unless told", &s.n_logs},
        {"files", 'f', CLI_NUMBER, "N", "show the last N files, 20 unless told", &s.n_files},
        {"json", 0, CLI_FLAG, NULL, "print JSON, with all files", &json},
        {0},
    };
    const struct cli_usage usage = {
        "show [OPTIONS] [DIR]",
        "Shows one experiment: status, parameters, metrics, tracks, the end of the log, files.\n"
        "Without DIR, the only experiment below .ml-dash and .dash.\n" TARGET_HELP,
        options,
        0,
        1,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    buf_init(&s.out, CLI_MAX_OUTPUT_BYTES);
    if (cli_parse(&code, &operands, &usage, argc, argv)) {
        s.colour = !json && cli_colour();
        code = show(&s, operands.count ? operands.items[0] : NULL, json);
    }
    for (size_t i = 0; i < s.n_summaries; i++)
        metric_free(&s.summaries[i]);
    free(s.summaries);
    mld_log_lines_free(s.older);
    mld_log_lines_free(s.logs);
    mld_file_list_free(s.files);
    mld_series_list_free(s.metrics);
    mld_series_list_free(s.tracks);
    mld_free(s.parameters);
    mld_experiment_info_free(s.info);
    mld_experiment_close(s.experiment);
    buf_free(&s.out);
    cli_texts_free(&operands);
    return code;
}

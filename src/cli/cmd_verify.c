/* cmd_verify.c: is everything still there, and unchanged? */
#include <inttypes.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/target.h"

struct verify {
    bool json, quick;
    size_t n_experiments, n_lost; /* checked; with losses */
    struct buf out;
};

static void put_summary(struct verify *v, const char *name, const struct mld_report *report)
{
    bool colour = cli_colour();
    bool ok = report->n_losses == 0;
    text_put_style(&v->out, colour, ok ? TEXT_GREEN : TEXT_RED, ok ? "ok  " : "LOST");
    buf_puts(&v->out, "  ");
    text_put(&v->out, name);
    buf_puts(&v->out, ": ");
    text_put_count(&v->out, report->files_checked);
    buf_puts(&v->out, report->files_checked == 1 ? " file (" : " files (");
    text_put_size(&v->out, report->bytes_checked);
    buf_puts(&v->out, v->quick ? ", sizes only), " : "), ");
    text_put_count(&v->out, report->lines_checked);
    buf_puts(&v->out, " lines");
    if (report->n_losses)
        buf_printf(&v->out, "; %zu lost or changed", report->n_losses);
    buf_putc(&v->out, '\n');
    report_put_findings(&v->out, report, colour);
    if (report->bytes_reclaimable) {
        buf_puts(&v->out, "      gc would free ");
        text_put_size(&v->out, report->bytes_reclaimable);
        buf_putc(&v->out, '\n');
    }
}

static void put_json(struct verify *v, const struct mld_experiment_info *info,
                     const struct mld_report *report)
{
    if (v->n_experiments > 1)
        buf_putc(&v->out, ',');
    buf_putc(&v->out, '{');
    json_put_key(&v->out, "experiment");
    records_put_experiment(&v->out, info);
    report_put_number(&v->out, "losses", report->n_losses);
    report_put_number(&v->out, "filesChecked", report->files_checked);
    report_put_number(&v->out, "bytesChecked", report->bytes_checked);
    report_put_number(&v->out, "linesChecked", report->lines_checked);
    report_put_number(&v->out, "bytesReclaimable", report->bytes_reclaimable);
    report_put_json(&v->out, report);
    buf_putc(&v->out, '}');
}

static enum cli_exit verify_one(struct verify *v, const char *dir)
{
    mld_experiment *experiment = NULL;
    struct mld_experiment_info *info = NULL;
    struct mld_report *report = NULL;
    struct progress progress;
    struct buf name;
    enum cli_exit code = CLI_OK;
    enum mld_error error = target_open(&experiment, &info, dir);
    if (error != MLD_OK)
        return cli_fail(error);
    buf_init(&name, CLI_MAX_OUTPUT_BYTES);
    target_put_name(&name, info);
    progress_begin(&progress, buf_text(&name), v->json);
    error = mld_verify(&report, experiment, v->quick, progress_update, &progress);
    progress_end(&progress);
    if (error != MLD_OK) {
        code = cli_fail(error);
        goto out;
    }
    v->n_experiments++;
    if (report->n_losses) {
        v->n_lost++;
        code = CLI_PROBLEMS;
    }
    if (v->json)
        put_json(v, info, report);
    else
        put_summary(v, buf_text(&name), report);
out:
    mld_report_free(report);
    mld_experiment_info_free(info);
    mld_experiment_close(experiment);
    buf_free(&name);
    return code;
}

static enum cli_exit verify_target(struct verify *v, const char *word)
{
    struct target target;
    enum cli_exit code = target_find(&target, word, TARGET_MANY);
    bool found = code == CLI_OK;
    for (size_t i = 0; i < target.count && found; i++) {
        code = cli_worse(code, verify_one(v, target.paths[i]));
        if (!v->json)
            code = cli_worse(code, cli_print(&v->out)); /* as it goes */
    }
    target_free(&target);
    return code;
}

static enum cli_exit verify(struct verify *v, const struct cli_texts *operands)
{
    enum cli_exit code = CLI_OK;
    if (v->json)
        buf_puts(&v->out, "{\"experiments\":[");
    if (operands->count == 0)
        code = verify_target(v, NULL);
    for (size_t i = 0; i < operands->count; i++)
        code = cli_worse(code, verify_target(v, operands->items[i]));
    if (v->json)
        buf_puts(&v->out, "]}\n");
    else if (v->n_experiments > 1)
        buf_printf(&v->out, "%zu experiments, %zu with losses\n", v->n_experiments, v->n_lost);
    return cli_worse(code, cli_print(&v->out));
}

enum cli_exit cmd_verify(int argc, char **argv)
{
    struct verify v = {0};
    const struct cli_option options[] = {
        {"quick", 'q', CLI_FLAG, NULL, "compare sizes only, read no file", &v.quick},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &v.json},
        {0},
    };
    const struct cli_usage usage = {
        "verify [OPTIONS] [DIR...]",
        "Checks every record, line and stored byte against its checksum, and changes nothing.\n"
        "A root or project stands for all its experiments. The exit code is 1 when anything is "
        "lost\n"
        "or changed.\n" TARGET_HELP,
        options,
        0,
        SIZE_MAX,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    buf_init(&v.out, CLI_MAX_OUTPUT_BYTES);
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = verify(&v, &operands);
    cli_texts_free(&operands);
    buf_free(&v.out);
    return code;
}

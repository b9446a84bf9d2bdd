/* cmd_gc.c: free the bytes of deleted and replaced files. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/target.h"

struct gc {
    bool json, dry_run, offline;
    size_t n_experiments;
    uint64_t files, bytes;
    struct buf out;
};

static void put_freed(struct gc *gc, uint64_t files, uint64_t bytes)
{
    buf_puts(&gc->out, gc->dry_run ? "would free " : "freed ");
    text_put_size(&gc->out, bytes);
    buf_puts(&gc->out, " in ");
    text_put_count(&gc->out, files);
    buf_puts(&gc->out, files == 1 ? " file\n" : " files\n");
}

static void put_report(struct gc *gc, const struct mld_experiment_info *info,
                       const struct mld_report *report)
{
    struct buf name;
    if (gc->json) {
        buf_puts(&gc->out, gc->n_experiments > 1 ? ",{" : "{");
        json_put_key(&gc->out, "experiment");
        records_put_experiment(&gc->out, info);
        json_put_key(&gc->out, "dryRun");
        json_put_bool(&gc->out, gc->dry_run);
        report_put_number(&gc->out, "filesRemoved", report->files_removed);
        report_put_number(&gc->out, "bytesFreed", report->bytes_freed);
        report_put_json(&gc->out, report);
        buf_putc(&gc->out, '}');
        return;
    }
    buf_init(&name, CLI_MAX_OUTPUT_BYTES);
    target_put_name(&name, info);
    text_put(&gc->out, buf_text(&name));
    buf_puts(&gc->out, ": ");
    put_freed(gc, report->files_removed, report->bytes_freed);
    report_put_findings(&gc->out, report, cli_colour());
    buf_free(&name);
}

static enum cli_exit gc_one(struct gc *gc, const char *dir)
{
    struct mld_gc_options options = MLD_GC_OPTIONS_INIT;
    mld_experiment *experiment = NULL;
    struct mld_experiment_info *info = NULL;
    struct mld_report *report = NULL;
    enum cli_exit code = CLI_OK;
    enum mld_error error = target_open(&experiment, &info, dir);
    if (error != MLD_OK)
        return cli_fail(error);
    options.offline = gc->offline;
    options.dry_run = gc->dry_run;
    error = mld_gc(&report, experiment, &options);
    if (error != MLD_OK) {
        code = cli_fail(error);
    } else {
        gc->n_experiments++;
        gc->files += report->files_removed;
        gc->bytes += report->bytes_freed;
        put_report(gc, info, report);
    }
    mld_report_free(report);
    mld_experiment_info_free(info);
    mld_experiment_close(experiment);
    return code;
}

static enum cli_exit gc_target(struct gc *gc, const char *word)
{
    struct target target;
    enum cli_exit code = target_find(&target, word, TARGET_MANY);
    bool found = code == CLI_OK;
    for (size_t i = 0; i < target.count && found; i++)
        code = cli_worse(code, gc_one(gc, target.paths[i]));
    target_free(&target);
    return code;
}

static enum cli_exit gc_all(struct gc *gc, const struct cli_texts *operands)
{
    enum cli_exit code = CLI_OK;
    if (gc->json)
        buf_puts(&gc->out, "{\"experiments\":[");
    if (operands->count == 0)
        code = gc_target(gc, NULL);
    for (size_t i = 0; i < operands->count; i++)
        code = cli_worse(code, gc_target(gc, operands->items[i]));
    if (gc->json) {
        buf_puts(&gc->out, "]}\n");
    } else if (gc->n_experiments > 1) {
        buf_puts(&gc->out, "in all: ");
        put_freed(gc, gc->files, gc->bytes);
    }
    return cli_worse(code, cli_print(&gc->out));
}

enum cli_exit cmd_gc(int argc, char **argv)
{
    struct gc gc = {0};
    const struct cli_option options[] = {
        {"dry-run", 'n', CLI_FLAG, NULL, "only say what would be freed", &gc.dry_run},
        {"offline", 0, CLI_FLAG, NULL,
         "nobody writes, on no machine: free what an unknown writer left, too", &gc.offline},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &gc.json},
        {0},
    };
    const struct cli_usage usage = {
        "gc [OPTIONS] [DIR...]",
        "Frees the bytes of deleted files, of versions that were replaced, and of saves that were\n"
        "never finished. Experiments that are being written may be named, too.\n"
        "A root or project stands for all its experiments.\n" TARGET_HELP,
        options,
        0,
        SIZE_MAX,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    buf_init(&gc.out, CLI_MAX_OUTPUT_BYTES);
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = gc_all(&gc, &operands);
    cli_texts_free(&operands);
    buf_free(&gc.out);
    return code;
}

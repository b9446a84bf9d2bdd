/* cmd_list.c: experiments below a root, or the files of one. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/records.h"
#include "cli/target.h"

struct list_options {
    bool json, files, versions, deleted;
    const char *prefix, *glob;
    struct cli_texts any_tags, all_tags, metadata;
};

static bool wants_files(const struct list_options *o)
{
    return o->files || o->versions || o->deleted || o->prefix || o->glob || o->any_tags.count ||
           o->all_tags.count || o->metadata.count;
}

/* Makes {"k":v, ...} of words "k=v". v is JSON where it parses as such, else text. */
static enum cli_exit put_metadata(struct buf *out, const struct cli_texts *words)
{
    struct json_doc doc;
    enum cli_exit code = CLI_OK;
    json_doc_init(&doc);
    buf_putc(out, '{');
    for (size_t i = 0; i < words->count && code == CLI_OK; i++) {
        const char *word = words->items[i];
        size_t len = strcspn(word, "=");
        if (len == 0 || !word[len]) {
            code = cli_usage("--meta needs KEY=VALUE, not '%s'", word);
            break;
        }
        if (i)
            buf_putc(out, ',');
        json_put_string(out, word, len);
        buf_putc(out, ':');
        const char *value = word + len + 1;
        if (json_parse(&doc, value, strlen(value)) == MLD_OK)
            json_put_compact(out, value, strlen(value));
        else
            json_put_cstring(out, value);
    }
    buf_putc(out, '}');
    json_doc_free(&doc);
    return code;
}

static enum cli_exit read_files(struct mld_file_list **out, mld_experiment *experiment,
                                const struct list_options *o)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct buf metadata;
    buf_init(&metadata, CLI_MAX_OUTPUT_BYTES);
    enum cli_exit code = put_metadata(&metadata, &o->metadata);
    if (code == CLI_OK) {
        options.prefix = o->prefix;
        options.glob = o->glob;
        options.any_tags = o->any_tags.items;
        options.n_any_tags = o->any_tags.count;
        options.all_tags = o->all_tags.items;
        options.n_all_tags = o->all_tags.count;
        options.metadata_json = o->metadata.count ? buf_text(&metadata) : NULL;
        options.all_versions = o->versions;
        options.deleted = o->deleted;
        enum mld_error error = mld_file_list(out, experiment, &options);
        if (error != MLD_OK)
            code = cli_fail(error);
    }
    buf_free(&metadata);
    return code;
}

static void put_files(struct buf *out, const struct mld_file_list *list, bool colour)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->count; i++)
        bytes += list->files[i].size_bytes;
    if (list->count) {
        records_put_table(out, list, 0, "", colour);
        buf_putc(out, '\n');
    }
    text_put_count(out, list->count);
    buf_puts(out, list->count == 1 ? " file, " : " files, ");
    text_put_size(out, bytes);
    buf_putc(out, '\n');
}

static enum cli_exit list_files(struct buf *out, const struct target *target,
                                const struct list_options *o)
{
    mld_experiment *experiment = NULL;
    struct mld_experiment_info *info = NULL;
    struct mld_file_list *list = NULL;
    const char *dir;
    enum cli_exit code = target_one(&dir, target);
    if (code != CLI_OK)
        return code;
    enum mld_error error = target_open(&experiment, &info, dir);
    if (error != MLD_OK)
        return cli_fail(error);
    code = read_files(&list, experiment, o);
    if (code != CLI_OK)
        goto out;
    if (o->json) {
        buf_putc(out, '{');
        json_put_key(out, "experiment");
        records_put_experiment(out, info);
        records_put_files(out, "files", list);
        buf_puts(out, "}\n");
    } else {
        put_files(out, list, cli_colour());
    }
out:
    mld_file_list_free(list);
    mld_experiment_info_free(info);
    mld_experiment_close(experiment);
    return code;
}

static void add_experiment(struct text_table *table, struct buf *cell,
                           const struct mld_experiment_info *info)
{
    struct buf name;
    enum text_style style;
    double seconds = records_seconds(info);
    buf_init(&name, CLI_MAX_OUTPUT_BYTES);
    target_put_name(&name, info);
    text_put(cell, buf_text(&name));
    text_table_add(table, cell, TEXT_BOLD);
    buf_puts(cell, records_status(info, &style));
    text_table_add(table, cell, style);
    text_put_time(cell, info->started_at ? info->started_at : info->created_at, false);
    text_table_add(table, cell, TEXT_PLAIN);
    if (seconds >= 0)
        text_put_duration(cell, seconds);
    text_table_add(table, cell, TEXT_PLAIN);
    text_put_count(cell, info->n_metrics);
    text_table_add(table, cell, TEXT_PLAIN);
    text_put_count(cell, info->n_files);
    text_table_add(table, cell, TEXT_PLAIN);
    text_put_size(cell, info->file_bytes);
    text_table_add(table, cell, TEXT_PLAIN);
    records_put_names(cell, info->tags, info->n_tags);
    text_table_add(table, cell, TEXT_CYAN);
    buf_free(&name);
}

/* A folder that cannot be opened is reported, and the others are listed. */
static enum cli_exit list_json(struct buf *out, const struct target *target)
{
    enum cli_exit code = CLI_OK;
    bool first = true;
    buf_puts(out, "{\"experiments\":[");
    for (size_t i = 0; i < target->count; i++) {
        mld_experiment *experiment = NULL;
        struct mld_experiment_info *info = NULL;
        enum mld_error error = target_open(&experiment, &info, target->paths[i]);
        if (error != MLD_OK) {
            code = cli_worse(code, cli_fail(error));
            continue;
        }
        if (!first)
            buf_putc(out, ',');
        first = false;
        records_put_experiment(out, info);
        mld_experiment_info_free(info);
        mld_experiment_close(experiment);
    }
    buf_puts(out, "]}\n");
    return code;
}

static enum cli_exit list_table(struct buf *out, const char *const *paths, size_t count)
{
    static const char *const headers[] = {"EXPERIMENT", "STATUS", "STARTED", ">TOOK",
                                          ">METRICS",   ">FILES", ">SIZE",   "TAGS"};
    struct text_table table;
    struct buf cell;
    enum cli_exit code = CLI_OK;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, headers, sizeof(headers) / sizeof(headers[0]));
    for (size_t i = 0; i < count; i++) {
        mld_experiment *experiment = NULL;
        struct mld_experiment_info *info = NULL;
        enum mld_error error = target_open(&experiment, &info, paths[i]);
        if (error != MLD_OK) {
            code = cli_worse(code, cli_fail(error));
            continue;
        }
        add_experiment(&table, &cell, info);
        mld_experiment_info_free(info);
        mld_experiment_close(experiment);
    }
    if (table.count)
        text_table_put(out, &table, "", cli_colour());
    text_table_free(&table);
    buf_free(&cell);
    return code;
}

/* A table for each root, under its name when there are two. */
static enum cli_exit list_tables(struct buf *out, const struct target *target)
{
    enum cli_exit code = CLI_OK;
    for (size_t i = 0; i < target->n_roots; i++) {
        const struct target_root *root = &target->roots[i];
        if (root->count == 0)
            continue;
        if (root->count < target->count) {
            buf_puts(out, out->len ? "\n" : "");
            text_put_style(out, cli_colour(), TEXT_BOLD, root->path);
            buf_puts(out, ":\n");
        }
        code = cli_worse(code, list_table(out, target->paths + root->first, root->count));
    }
    return code;
}

static enum cli_exit list(const struct cli_texts *operands, const struct list_options *o)
{
    struct target target;
    struct buf out;
    buf_init(&out, CLI_MAX_OUTPUT_BYTES);
    const char *word = operands->count ? operands->items[0] : NULL;
    enum cli_exit code = target_find(&target, word, TARGET_MANY);
    if (code == CLI_OK) {
        if (target.is_experiment || wants_files(o))
            code = list_files(&out, &target, o);
        else
            code = o->json ? list_json(&out, &target) : list_tables(&out, &target);
        code = cli_worse(code, cli_print(&out));
    }
    target_free(&target);
    buf_free(&out);
    return code;
}

enum cli_exit cmd_list(int argc, char **argv)
{
    struct list_options o = {0};
    const struct cli_option options[] = {
        {"files", 'f', CLI_FLAG, NULL, "list files, also for a root with one experiment", &o.files},
        {"prefix", 'p', CLI_TEXT, "PREFIX", "files in this prefix or below it", &o.prefix},
        {"glob", 'g', CLI_TEXT, "GLOB", "files whose name matches; `**` spans levels", &o.glob},
        {"tag", 't', CLI_TEXTS, "TAG", "files with this tag; several: any of them", &o.any_tags},
        {"all-tags", 0, CLI_TEXTS, "TAG", "files with this tag; several: all of them", &o.all_tags},
        {"meta", 'm', CLI_TEXTS, "KEY=VALUE", "files whose metadata has this", &o.metadata},
        {"versions", 0, CLI_FLAG, NULL, "older versions, too", &o.versions},
        {"deleted", 0, CLI_FLAG, NULL, "deleted files, too", &o.deleted},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &o.json},
        {0},
    };
    const struct cli_usage usage = {
        "list [OPTIONS] [ROOT|PROJECT|DIR]",
        "Lists the experiments below ROOT or of PROJECT (or any folder of them), or the files of\n"
        "one experiment: of DIR, or whenever an option that chooses files is given. Without an\n"
        "argument, all that is below .ml-dash and .dash.\n" TARGET_HELP,
        options,
        0,
        1,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = list(&operands, &o);
    cli_texts_free(&o.any_tags);
    cli_texts_free(&o.all_tags);
    cli_texts_free(&o.metadata);
    cli_texts_free(&operands);
    return code;
}

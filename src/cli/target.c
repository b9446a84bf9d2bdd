#include "cli/target.h"

#define SHOWN_NAMES 5

enum cli_exit target_one(const char **out_dir, const struct target *target)
{
    *out_dir = target->paths[0];
    if (target->count == 1)
        return CLI_OK;
    struct buf names;
    buf_init(&names, CLI_MAX_OUTPUT_BYTES);
    for (size_t i = 0; i < target->count && i < SHOWN_NAMES; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", target->paths[i]);
    cli_message("there are %zu experiments here: name one of them (%s%s)", target->count,
                buf_text(&names), target->count > SHOWN_NAMES ? ", ..." : "");
    buf_free(&names);
    return CLI_USAGE;
}

void target_warn(const struct mld_experiment_info *info)
{
    if (info->warning)
        cli_message("warning: %s", info->warning);
}

enum mld_error target_open(mld_experiment **out, struct mld_experiment_info **out_info,
                           const char *dir)
{
    struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
    struct mld_experiment_info *info = NULL;
    options.directory = dir;
    options.read_only = true;
    if (out_info)
        *out_info = NULL;
    enum mld_error error = mld_experiment_open(out, &options);
    if (error != MLD_OK)
        return error;
    error = mld_experiment_info(&info, *out);
    if (error != MLD_OK) {
        mld_experiment_close(*out);
        *out = NULL;
        return error;
    }
    target_warn(info);
    if (out_info)
        *out_info = info;
    else
        mld_experiment_info_free(info);
    return MLD_OK;
}

enum cli_exit target_open_one(mld_experiment **out, struct mld_experiment_info **out_info,
                              const char *word)
{
    struct target target;
    const char *dir;
    *out = NULL;
    enum cli_exit code = target_find(&target, word, TARGET_ONE);
    if (code == CLI_OK)
        code = target_one(&dir, &target);
    if (code == CLI_OK) {
        enum mld_error error = target_open(out, out_info, dir);
        if (error != MLD_OK)
            code = cli_fail(error);
    }
    target_free(&target);
    return code;
}

void target_put_name(struct buf *out, const struct mld_experiment_info *info)
{
    if (info->prefix && *info->prefix) {
        buf_puts(out, info->prefix + (info->prefix[0] == '/'));
        return;
    }
    if (!info->name || !*info->name) {
        buf_puts(out, info->directory);
        return;
    }
    if (info->folder && *info->folder)
        buf_printf(out, "%s/", info->folder);
    if (info->project && *info->project)
        buf_printf(out, "%s/", info->project);
    buf_puts(out, info->name);
}

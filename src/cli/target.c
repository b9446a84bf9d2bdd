#include "cli/target.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PATH_BYTES 4096
#define SHOWN_NAMES 5

static const char *const roots[] = {".ml-dash", ".dash"};
#define N_ROOTS (sizeof(roots) / sizeof(roots[0]))

static bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool same_place(const char *a, const char *b)
{
    struct stat st_a, st_b;
    return stat(a, &st_a) == 0 && stat(b, &st_b) == 0 && st_a.st_dev == st_b.st_dev &&
           st_a.st_ino == st_b.st_ino;
}

/* Experiments at or below a path that exists. */
static enum cli_exit find_at(struct target *out, const char *path)
{
    out->root = path;
    enum mld_error error = mld_folders_find(&out->folders, path);
    if (error != MLD_OK)
        return cli_fail(error);
    if (out->folders->count == 0) {
        cli_message("there is no experiment in '%s' or below it", path);
        return CLI_FAILURE;
    }
    out->is_experiment = same_place(out->folders->paths[0], path);
    return CLI_OK;
}

/* True when the path's last components are `name`. */
static bool ends_with_name(const char *path, const char *name)
{
    size_t len = strlen(path), name_len = strlen(name);
    return len > name_len && path[len - name_len - 1] == '/' &&
           strcmp(path + len - name_len, name) == 0;
}

/* Of the experiments below a root, the one of this name: its whole path below the root, or the end
 * of it when no other ends so. */
static enum cli_exit pick_name(struct target *target, const char *name)
{
    char whole[MAX_PATH_BYTES];
    size_t found = 0;
    if (snprintf(whole, sizeof(whole), "%s/%s", target->root, name) >= (int)sizeof(whole))
        return cli_usage("the name is too long: '%.100s...'", name);
    for (size_t i = 0; i < target->folders->count; i++) {
        const char *path = target->folders->paths[i];
        if (!ends_with_name(path, name))
            continue;
        if (same_place(path, whole)) {
            target->only = path;
            return CLI_OK;
        }
        target->only = path;
        found++;
    }
    if (found == 1)
        return CLI_OK;
    if (found)
        return cli_usage("%zu experiments below %s are named '%s': name one with its project",
                         found, target->root, name);
    cli_message("there is no folder '%s', and no experiment of this name below %s", name,
                target->root);
    return CLI_FAILURE;
}

enum cli_exit target_find(struct target *out, const char *word)
{
    memset(out, 0, sizeof(*out));
    if (word && path_exists(word))
        return find_at(out, word);
    for (size_t i = 0; i < N_ROOTS; i++) {
        if (!path_exists(roots[i]))
            continue;
        enum cli_exit code = find_at(out, roots[i]);
        return code == CLI_OK && word ? pick_name(out, word) : code;
    }
    if (word)
        cli_message("there is no folder '%s', and no .ml-dash here to look in", word);
    else
        cli_message("there is no .ml-dash or .dash in the working directory: name a folder");
    return CLI_FAILURE;
}

void target_free(struct target *target)
{
    mld_folders_free(target->folders);
    memset(target, 0, sizeof(*target));
}

enum cli_exit target_one(const char **out_dir, const struct target *target)
{
    const struct mld_folders *folders = target->folders;
    *out_dir = target->only ? target->only : folders->paths[0];
    if (target->only || folders->count == 1)
        return CLI_OK;
    struct buf names;
    buf_init(&names, CLI_MAX_OUTPUT_BYTES);
    for (size_t i = 0; i < folders->count && i < SHOWN_NAMES; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", folders->paths[i]);
    cli_message("there are %zu experiments below '%s': name one of them (%s%s)", folders->count,
                target->root, buf_text(&names), folders->count > SHOWN_NAMES ? ", ..." : "");
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
    enum cli_exit code = target_find(&target, word);
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

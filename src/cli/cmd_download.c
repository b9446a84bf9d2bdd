/* cmd_download.c: copy files out. Each appears whole and checked, or not at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/choice.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/records.h"
#include "cli/target.h"

struct download {
    bool json, all, quiet, no_clobber;
    const char *destination; /* NULL: the working directory; "-": stdout */
    mld_experiment *experiment;
    struct choice choice;
    size_t n_done;
    struct buf out;
};

/* Makes the folders on the way to `path`. *out_made is the length of the first one's path that was
 * not there, 0 when all were. */
static enum cli_exit make_parents(size_t *out_made, char *path)
{
    *out_made = 0;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0777);
        int error = errno;
        if (failed && error != EEXIST && error != EISDIR) {
            cli_message("cannot make the folder '%s': %s", path, strerror(error));
            *slash = '/';
            return CLI_FAILURE;
        }
        if (!failed && *out_made == 0)
            *out_made = (size_t)(slash - path);
        *slash = '/';
    }
    return CLI_OK;
}

/* Takes folders away that were made for a file that did not come. */
static void remove_parents(char *path, size_t made)
{
    while (made && strlen(path) >= made) {
        char *slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
        if (strlen(path) < made || (*path && rmdir(path) != 0))
            return;
    }
}

/* A name from a damaged or hostile folder must not lead out of the destination. */
static bool leaves_destination(const char *path)
{
    if (path[0] == '/')
        return true;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0'))
            return true;
    }
    return false;
}

/* Where the file goes: several files, or one with its prefix, go below a folder; else the library
 * decides between a path and a folder. */
static enum cli_exit make_destination(char **out, const struct download *d,
                                      const struct chosen *file)
{
    struct buf path, below;
    enum cli_exit code = CLI_OK;
    buf_init(&path, CLI_MAX_OUTPUT_BYTES);
    buf_init(&below, CLI_MAX_OUTPUT_BYTES);
    choice_put_target(&below, file);
    if (d->choice.count > 1 || file->keep_path) {
        const char *folder = d->destination ? d->destination : ".";
        size_t len = strlen(folder);
        buf_printf(&path, "%s%s%s", folder, len && folder[len - 1] == '/' ? "" : "/",
                   buf_text(&below));
    } else {
        buf_puts(&path, d->destination ? d->destination : "./");
    }
    if (leaves_destination(buf_text(&below))) {
        cli_message("the file's name leads out of the destination: '%s'", buf_text(&below));
        code = CLI_FAILURE;
    }
    *out = code == CLI_OK ? buf_steal(&path) : NULL;
    if (code == CLI_OK && !*out)
        code = cli_fail(MLD_ENOMEM);
    buf_free(&below);
    buf_free(&path);
    return code;
}

static void choose(struct mld_download_options *options, const struct chosen *file)
{
    if (file->by_id) {
        options->id = file->id;
        return;
    }
    options->prefix = file->path;
    options->filename = file->filename;
    options->alias = file->alias;
}

static void put_done(struct download *d, const struct chosen *file, const char *path)
{
    if (d->json) {
        buf_puts(&d->out, d->n_done ? ",{" : "{");
        json_put_key(&d->out, "id");
        json_put_cstring(&d->out, file->id);
        json_put_key(&d->out, "path");
        json_put_cstring(&d->out, file->path);
        json_put_key(&d->out, "filename");
        json_put_cstring(&d->out, file->filename);
        json_put_key(&d->out, "sizeBytes");
        json_put_int64(&d->out, (int64_t)file->size_bytes);
        json_put_key(&d->out, "destination");
        json_put_cstring(&d->out, path);
        buf_putc(&d->out, '}');
    } else if (!d->quiet) {
        text_put(&d->out, path);
        buf_puts(&d->out, "  ");
        text_put_size(&d->out, file->size_bytes);
        buf_puts(&d->out, ", checked\n");
    }
    d->n_done++;
}

static enum cli_exit download_one(struct download *d, const struct chosen *file)
{
    struct mld_download_options options = MLD_DOWNLOAD_OPTIONS_INIT;
    struct progress progress;
    char *destination = NULL, *path = NULL;
    size_t made = 0;
    enum cli_exit code = make_destination(&destination, d, file);
    if (code == CLI_OK)
        code = make_parents(&made, destination);
    if (code != CLI_OK)
        goto out;
    progress_begin(&progress, file->filename, d->quiet || d->json);
    choose(&options, file);
    options.destination = destination;
    options.refuse_existing = d->no_clobber;
    options.progress = progress_update;
    options.payload = &progress;
    enum mld_error error = mld_file_download(&path, d->experiment, &options);
    progress_end(&progress);
    if (error == MLD_OK)
        put_done(d, file, path);
    else
        code = cli_fail(error);
out:
    if (code != CLI_OK && destination)
        remove_parents(destination, made);
    mld_free(path);
    free(destination);
    return code;
}

/* One that fails does not keep the others from coming. */
static enum cli_exit download_all(struct download *d)
{
    enum cli_exit code = CLI_OK;
    if (d->json)
        buf_puts(&d->out, "{\"files\":[");
    for (size_t i = 0; i < d->choice.count && !progress_stopped(); i++) {
        code = cli_worse(code, download_one(d, &d->choice.files[i]));
        if (!d->json)
            code = cli_worse(code, cli_print(&d->out)); /* as it goes */
    }
    if (progress_stopped() && code != CLI_INTERRUPTED) {
        cli_message("interrupted after %zu of %zu files", d->n_done, d->choice.count);
        code = CLI_INTERRUPTED;
    }
    if (d->json)
        buf_puts(&d->out, "]}\n");
    return cli_worse(code, cli_print(&d->out));
}

static bool write_out(const void *data, size_t len, void *payload)
{
    bool *failed = payload;
    *failed = fwrite(data, 1, len, stdout) != len;
    return !*failed && !progress_stopped();
}

static enum cli_exit stream_one(struct download *d)
{
    bool failed = false;
    if (d->choice.count != 1)
        return cli_usage("only one file can go to stdout, not %zu", d->choice.count);
    enum mld_error error = mld_file_read(d->experiment, d->choice.files[0].id, write_out, &failed);
    if (failed || fflush(stdout) != 0) {
        cli_message("cannot write to stdout: %s", strerror(errno));
        return CLI_FAILURE;
    }
    return error == MLD_OK ? CLI_OK : cli_fail(error);
}

static enum cli_exit download(struct download *d, struct cli_texts *operands)
{
    struct cli_texts words = {operands->items + 1, operands->count - 1};
    if (!words.count && !d->all)
        return cli_usage("name the files to download, or say --all");
    progress_catch_signals();
    enum cli_exit code = target_open_one(&d->experiment, NULL, operands->items[0]);
    if (code == CLI_OK)
        code = choice_make(&d->choice, d->experiment, &words, d->all);
    if (code != CLI_OK)
        return code;
    if (d->destination && strcmp(d->destination, "-") == 0)
        return stream_one(d);
    return download_all(d);
}

enum cli_exit cmd_download(int argc, char **argv)
{
    struct download d = {0};
    const struct cli_option options[] = {
        {"output", 'o', CLI_TEXT, "DEST", "a path or a folder; `-` is stdout", &d.destination},
        {"all", 'a', CLI_FLAG, NULL, "all files, in folders like their prefixes", &d.all},
        {"no-clobber", 'n', CLI_FLAG, NULL, "refuse to replace a file", &d.no_clobber},
        {"quiet", 'q', CLI_FLAG, NULL, "print only what goes wrong", &d.quiet},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &d.json},
        {0},
    };
    const struct cli_usage usage = {
        "download [OPTIONS] DIR NAME|ID|GLOB...",
        "Copies files out of an experiment. Each appears whole, after its SHA-256 was checked, or\n"
        "not at all. NAME is \"models/best.pt\", or \"best.pt\" when there is only one; NAME@ALIAS "
        "is\n"
        "the version with that alias. What a GLOB matches keeps its prefix as folders in "
        "DEST.\n" TARGET_HELP,
        options,
        1,
        SIZE_MAX,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    buf_init(&d.out, CLI_MAX_OUTPUT_BYTES);
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = download(&d, &operands);
    choice_free(&d.choice);
    mld_experiment_close(d.experiment);
    cli_texts_free(&operands);
    buf_free(&d.out);
    return code;
}

/* cmd_sync.c: send run folders to a server. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/sync_watch.h"
#include "cli/target.h"
#include "cli/text.h"
#include "mldash/sync.h"

#define DRAW_EVERY_MS 200
#define WATCH_PAUSE_MS 250
#define LOOK_EVERY_TURNS 4
#define WATCH_INTERVAL_MS 1000 /* somebody looks on: lines need not gather */

struct sync_command {
    const char *url, *namespace_name;
    bool watch, json, quiet;
    size_t patience_s;
    size_t n_folders;
    bool hopeless; /* for further folders, too */
    struct sync_watch *watching;
    bool terminal;
    bool drawn;
    struct timespec drawn_at;
    const char *folder; /* on its way */
    struct buf out;
};

static void wipe(struct sync_command *c)
{
    if (c->drawn)
        fputs("\r\033[K", stderr);
    c->drawn = false;
}

static void draw(struct sync_command *c, const struct mld_sync_status *s)
{
    struct buf line;
    buf_init(&line, CLI_MAX_MESSAGE_BYTES);
    buf_puts(&line, "\r\033[K");
    text_put(&line, s->place[0] == '\0' ? c->folder : s->place);
    buf_puts(&line, ": ");
    text_put_count(&line, s->files_sent + s->files_there);
    buf_puts(&line, " of ");
    text_put_count(&line, s->files_sent + s->files_there + s->files_left);
    buf_puts(&line, " files, ");
    text_put_size(&line, s->bytes_sent + s->lines_bytes_sent);
    buf_puts(&line, " sent");
    if (s->bytes_left + s->lines_bytes_left > 0) {
        buf_puts(&line, ", ");
        text_put_size(&line, s->bytes_left + s->lines_bytes_left);
        buf_puts(&line, " left");
    }
    fputs(buf_text(&line), stderr);
    fflush(stderr);
    buf_free(&line);
    c->drawn = true;
}

static bool on_progress(const struct mld_sync_status *status, const char *problem, void *payload)
{
    struct sync_command *c = payload;
    struct timespec now;
    if (problem != NULL && !c->quiet) {
        wipe(c);
        cli_message("%s", problem);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t since_ms =
        (now.tv_sec - c->drawn_at.tv_sec) * 1000 + (now.tv_nsec - c->drawn_at.tv_nsec) / 1000000;
    if (c->terminal && problem == NULL && since_ms >= DRAW_EVERY_MS) {
        draw(c, status);
        c->drawn_at = now;
    }
    return !progress_stopped();
}

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    json_put_key(out, key);
    json_put_int64(out, (int64_t)value);
}

static void put_json(struct sync_command *c, const struct mld_sync_status *s, enum mld_error error)
{
    buf_puts(&c->out, c->n_folders > 1 ? ",{" : "{");
    json_put_key(&c->out, "folder");
    json_put_cstring(&c->out, c->folder);
    json_put_key(&c->out, "place");
    json_put_cstring(&c->out, s->place);
    json_put_key(&c->out, "experiment");
    json_put_cstring(&c->out, s->experiment);
    put_number(&c->out, "filesSent", s->files_sent);
    put_number(&c->out, "filesThere", s->files_there);
    put_number(&c->out, "filesLeft", s->files_left);
    put_number(&c->out, "filesFailed", s->files_failed);
    put_number(&c->out, "bytesSent", s->bytes_sent);
    put_number(&c->out, "linesBytesSent", s->lines_bytes_sent);
    put_number(&c->out, "linesBytesLeft", s->lines_bytes_left);
    put_number(&c->out, "requests", s->requests);
    json_put_key(&c->out, "error");
    json_put_cstring(&c->out, error == MLD_OK ? NULL : mld_error_message());
    buf_putc(&c->out, '}');
}

static void put_text(struct sync_command *c, const struct mld_sync_status *s, enum mld_error error)
{
    struct buf *out = &c->out;
    text_put(out, s->place[0] == '\0' ? c->folder : s->place);
    buf_puts(out, ": ");
    if (error != MLD_OK && s->experiment[0] == '\0') {
        buf_puts(out, "nothing was sent\n");
        return;
    }
    if (error == MLD_OK && s->files_sent == 0 && s->lines_bytes_sent == 0) {
        buf_puts(out, s->experiment[0] == '\0' ? "nothing is written there yet\n"
                                               : "everything is there already\n");
        return;
    }
    buf_puts(out, "sent ");
    text_put_count(out, s->files_sent);
    buf_puts(out, s->files_sent == 1 ? " file (" : " files (");
    text_put_size(out, s->bytes_sent);
    buf_puts(out, ") and ");
    text_put_size(out, s->lines_bytes_sent);
    buf_puts(out, " of records, metrics and logs");
    if (s->files_left > 0 || s->lines_bytes_left > 0) {
        buf_puts(out, "; left: ");
        text_put_count(out, s->files_left);
        buf_puts(out, " files, ");
        text_put_size(out, s->lines_bytes_left);
        buf_puts(out, " of lines; run the command again");
    }
    if (s->files_failed > 0) {
        buf_puts(out, "; not sent: ");
        text_put_count(out, s->files_failed);
        buf_puts(out, " files, see above");
    }
    buf_putc(out, '\n');
}

static void put_result(struct sync_command *c, const struct mld_sync_status *s,
                       enum mld_error error)
{
    c->n_folders++;
    if (c->json)
        put_json(c, s, error);
    else
        put_text(c, s, error);
}

static void fill_options(struct sync_command *c, struct mld_sync_options *options)
{
    options->url = c->url;
    options->namespace_name = c->namespace_name;
    options->payload = c;
}

static enum cli_exit sync_one(struct sync_command *c, const char *folder)
{
    struct mld_sync_options options = MLD_SYNC_OPTIONS_INIT;
    struct mld_sync_status status;
    fill_options(c, &options);
    options.progress = on_progress;
    c->folder = folder;
    enum mld_error error =
        mld_sync_folder(&status, folder, &options, (uint64_t)c->patience_s * 1000);
    wipe(c);
    put_result(c, &status, error);
    if (error == MLD_OK)
        return CLI_OK;
    cli_fail(error);
    /* Whom the server does not know, or who cannot reach it, need not try each folder. */
    c->hopeless = error == MLD_EAUTH || error == MLD_EUNAVAILABLE || error == MLD_EINTERRUPTED;
    if (error == MLD_EINTERRUPTED)
        return CLI_INTERRUPTED;
    return error == MLD_EDAMAGED ? CLI_PROBLEMS : CLI_FAILURE;
}

/* Calls `visit` with each folder that the words mean. */
static enum cli_exit each_folder(struct sync_command *c, const struct cli_texts *operands,
                                 enum cli_exit (*visit)(struct sync_command *c, const char *folder))
{
    enum cli_exit code = CLI_OK;
    size_t n = operands->count == 0 ? 1 : operands->count, missed = 0;
    for (size_t i = 0; i < n; i++) {
        struct target target;
        const char *word = operands->count == 0 ? NULL : operands->items[i];
        enum cli_exit found = target_find(&target, word, TARGET_MANY);
        code = cli_worse(code, found);
        for (size_t k = 0; found == CLI_OK && k < target.count; k++) {
            if (c->hopeless)
                missed++;
            else
                code = cli_worse(code, visit(c, target.paths[k]));
        }
        target_free(&target);
    }
    if (missed > 0)
        cli_message("%zu more folders were not tried", missed);
    return code;
}

static bool on_watch(const struct mld_sync_status *status, const char *problem, void *payload)
{
    const struct sync_command *c = payload;
    if (problem != NULL && !c->quiet)
        cli_message("%s: %s", status->place, problem);
    return !progress_stopped();
}

static void on_rest(const char *folder, const struct mld_sync_status *status, void *payload)
{
    struct sync_command *c = payload;
    c->folder = folder;
    if (status->files_sent == 0 && status->lines_bytes_sent == 0 && !status->failed)
        return;
    wipe(c);
    put_result(c, status, MLD_OK);
    if (!c->json)
        cli_print(&c->out);
}

static enum cli_exit watch_one(struct sync_command *c, const char *folder)
{
    sync_watch_look(c->watching, folder, true);
    return CLI_OK;
}

/* What cannot be done now may be done later: it ends with Ctrl-C. */
static enum cli_exit watch(struct sync_command *c, const struct cli_texts *operands)
{
    struct mld_sync_options options = MLD_SYNC_OPTIONS_INIT;
    struct mld_sync_status sum;
    char live_words[64];
    size_t live;
    fill_options(c, &options);
    options.progress = on_watch;
    options.interval_ms = WATCH_INTERVAL_MS;
    c->watching = sync_watch_new(&options, on_rest, c);
    if (c->watching == NULL)
        return cli_fail(MLD_ENOMEM);
    for (unsigned turn = 0; !progress_stopped(); turn++) {
        struct timespec pause = {0, WATCH_PAUSE_MS * 1000000L};
        if (turn % LOOK_EVERY_TURNS == 0)
            each_folder(c, operands, watch_one);
        sync_watch_turn(c->watching, &sum, &live);
        snprintf(live_words, sizeof live_words, "%zu live", live);
        c->folder = live_words;
        if (c->terminal)
            draw(c, &sum);
        nanosleep(&pause, NULL);
    }
    wipe(c);
    sync_watch_free(c->watching);
    c->folder = NULL;
    return CLI_OK;
}

static enum cli_exit sync_all(struct sync_command *c, const struct cli_texts *operands)
{
    if (c->json)
        buf_puts(&c->out, "{\"folders\":[");
    enum cli_exit code = each_folder(c, operands, sync_one);
    if (c->watch && code != CLI_USAGE && !progress_stopped()) {
        if (!c->json)
            cli_print(&c->out);
        c->hopeless = false;
        code = watch(c, operands);
    }
    if (c->json)
        buf_puts(&c->out, "]}\n");
    return cli_worse(code, cli_print(&c->out));
}

enum cli_exit cmd_sync(int argc, char **argv)
{
    struct sync_command c = {.patience_s = 30};
    const struct cli_option options[] = {
        {"url", 'u', CLI_TEXT, "URL",
         "the server (default: $ML_DASH_URL, else where you logged in)", &c.url},
        {"namespace", 'n', CLI_TEXT, "NAME", "whose: yours unless told", &c.namespace_name},
        {"watch", 'w', CLI_FLAG, NULL, "go on until Ctrl-C, with what is written meanwhile",
         &c.watch},
        {"patience", 0, CLI_NUMBER, "SECONDS",
         "how long to try again while nothing arrives (default 30)", &c.patience_s},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &c.json},
        {"quiet", 'q', CLI_FLAG, NULL, "no progress, no notes on single files", &c.quiet},
        {0},
    };
    const struct cli_usage usage = {
        "sync [OPTIONS] [DIR...]",
        "Sends experiments to a server: files, records, metrics, logs; also those that are being\n"
        "written now. May be repeated at any time, from any machine: only what is not there yet "
        "is\n"
        "sent. A root stands for all experiments below it. The token is that of ml-dash login, or\n"
        "$ML_DASH_TOKEN.\n" TARGET_HELP,
        options,
        0,
        SIZE_MAX,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    buf_init(&c.out, CLI_MAX_OUTPUT_BYTES);
    c.terminal = isatty(STDERR_FILENO);
    if (cli_parse(&code, &operands, &usage, argc, argv)) {
        c.terminal = c.terminal && !c.quiet;
        progress_catch_signals();
        code = sync_all(&c, &operands);
    }
    cli_texts_free(&operands);
    buf_free(&c.out);
    return code;
}

#include "cli/progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/text.h"

#define FIRST_AFTER_MS 300 /* quick work shows no bar */
#define REDRAW_AFTER_MS 100
#define BAR_CELLS 24

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

void progress_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool progress_stopped(void)
{
    return stopped != 0;
}

void progress_begin(struct progress *progress, const char *label, bool quiet)
{
    memset(progress, 0, sizeof(*progress));
    progress->label = label;
    progress->shown = !quiet && isatty(STDERR_FILENO);
    progress->begun_ms = clock_monotonic_ms();
}

static void draw(const struct progress *progress, uint64_t done, uint64_t total, int64_t now)
{
    struct buf line;
    double share = total ? (double)done / (double)total : 0;
    double seconds = (double)(now - progress->begun_ms) / 1000;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    buf_init(&line, CLI_MAX_MESSAGE_BYTES);
    share = share > 1 ? 1 : share;
    buf_puts(&line, "\r\033[K");
    text_put(&line, progress->label);
    buf_puts(&line, "  ");
    for (int i = 0; i < BAR_CELLS; i++)
        buf_puts(&line, i < (int)(share * BAR_CELLS) ? "█" : "░");
    buf_printf(&line, " %3.0f %%  ", share * 100);
    text_put_size(&line, (uint64_t)rate);
    buf_puts(&line, "/s");
    if (rate > 0 && total > done) {
        buf_puts(&line, "  ");
        text_put_duration(&line, (double)(total - done) / rate);
        buf_puts(&line, " left");
    }
    fputs(buf_text(&line), stderr);
    buf_free(&line);
}

bool progress_update(uint64_t done_bytes, uint64_t total_bytes, void *payload)
{
    struct progress *progress = payload;
    int64_t now = clock_monotonic_ms();
    int64_t since = progress->drawn ? progress->drawn_ms : progress->begun_ms;
    int64_t pause = progress->drawn ? REDRAW_AFTER_MS : FIRST_AFTER_MS;
    if (progress->shown && now - since >= pause) {
        draw(progress, done_bytes, total_bytes, now);
        progress->drawn = true;
        progress->drawn_ms = now;
    }
    return !stopped;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

/* http_log.c: lines in a queue, and the thread that writes them. */
#include "server/http_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"

#define MAX_LINE_BYTES 8192

struct log {
    pthread_mutex_t lock;
    pthread_cond_t queued;
    struct buf queue;   /* lines to come */
    struct buf writing; /* the thread's own */
    uint64_t dropped;
    uint64_t dropped_said;
    int fd;
    bool own_fd;
    bool closing;
    pthread_t thread;
};

/* Lines that stand for others which were dropped come first. */
static void put_dropped_locked(struct log *log)
{
    uint64_t n = log->dropped - log->dropped_said;
    char time[CLOCK_ISO_LEN + 1];
    if (n == 0)
        return;
    clock_format_iso(time, clock_now_us());
    buf_printf(&log->queue,
               "{\"time\":\"%s\",\"level\":\"warning\",\"message\":\"%" PRIu64
               " log lines were dropped: they came faster than they could be written\"}\n",
               time, n);
    if (buf_check(&log->queue, "log") == MLD_OK)
        log->dropped_said = log->dropped;
}

/* What cannot be written is lost to the log, and there is no other place to say so. */
static void write_out(struct log *log)
{
    if (log->writing.len > 0)
        (void)fs_write_all(log->fd, log->writing.data, log->writing.len, "the log");
    buf_clear(&log->writing);
}

static void *run(void *payload)
{
    struct log *log = payload;
    pthread_mutex_lock(&log->lock);
    while (!log->closing || log->queue.len > 0) {
        while (log->queue.len == 0 && !log->closing)
            pthread_cond_wait(&log->queued, &log->lock);
        struct buf full = log->queue;
        log->queue = log->writing;
        log->writing = full;
        pthread_mutex_unlock(&log->lock);
        write_out(log);
        pthread_mutex_lock(&log->lock);
        put_dropped_locked(log);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

static enum mld_error open_file(int *out_fd, const char *path)
{
    *out_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (*out_fd < 0)
        return error_set_errno(errno, "could not open the log %s", path);
    return MLD_OK;
}

enum mld_error log_open(struct log **out, const char *path)
{
    *out = NULL;
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    log->fd = STDERR_FILENO;
    log->own_fd = path != NULL;
    if (path && open_file(&log->fd, path) != MLD_OK) {
        free(log);
        return MLD_EIO;
    }
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->queued, NULL);
    buf_init(&log->queue, LOG_QUEUE_BYTES);
    buf_init(&log->writing, LOG_QUEUE_BYTES);
    if (pthread_create(&log->thread, NULL, run, log) != 0) {
        if (log->own_fd)
            close(log->fd);
        free(log);
        return error_set(MLD_ENOMEM, "could not start the log's thread");
    }
    *out = log;
    return MLD_OK;
}

void log_close(struct log *log)
{
    if (log == NULL)
        return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->queued);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    if (log->own_fd)
        close(log->fd);
    buf_free(&log->queue);
    buf_free(&log->writing);
    pthread_cond_destroy(&log->queued);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

/* Queues a whole line or nothing. */
static void queue_line(struct log *log, struct buf *line)
{
    bool fits = buf_check(line, "a log line") == MLD_OK;
    pthread_mutex_lock(&log->lock);
    if (fits && log->queue.len + line->len < LOG_QUEUE_BYTES / 4 * 3) {
        buf_put(&log->queue, line->data, line->len);
        pthread_cond_signal(&log->queued);
    } else {
        log->dropped++;
    }
    pthread_mutex_unlock(&log->lock);
    buf_free(line);
}

static void put_text(struct buf *line, const char *key, const char *text)
{
    if (text == NULL)
        return;
    json_put_key(line, key);
    json_put_cstring(line, text);
}

static void put_number(struct buf *line, const char *key, uint64_t number)
{
    json_put_key(line, key);
    json_put_int64(line, (int64_t)number);
}

static void begin(struct buf *line, int64_t time_us)
{
    char time[CLOCK_ISO_LEN + 1];
    clock_format_iso(time, time_us);
    buf_init(line, MAX_LINE_BYTES);
    buf_putc(line, '{');
    put_text(line, "time", time);
}

void log_request(struct log *log, const struct log_request *request)
{
    struct buf line;
    begin(&line, request->time_us);
    put_text(&line, "method", request->method);
    put_text(&line, "route", request->route);
    put_number(&line, "status", request->status);
    put_number(&line, "bytes_in", request->bytes_in);
    put_number(&line, "bytes_out", request->bytes_out);
    put_number(&line, "ms", (uint64_t)request->ms);
    put_text(&line, "client", request->client);
    put_text(&line, "user", request->user);
    put_text(&line, "id", request->id);
    put_text(&line, "note", request->note);
    buf_puts(&line, "}\n");
    queue_line(log, &line);
}

void log_event(struct log *log, const char *level, const char *id, const char *message)
{
    struct buf line;
    begin(&line, clock_now_us());
    put_text(&line, "level", level);
    put_text(&line, "message", message);
    put_text(&line, "id", id);
    buf_puts(&line, "}\n");
    queue_line(log, &line);
}

uint64_t log_dropped(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    uint64_t n = log->dropped;
    pthread_mutex_unlock(&log->lock);
    return n;
}

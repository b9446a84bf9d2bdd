/* Many points at once: encoded when they are added, written together. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "run/lines.h"
#include "run/series.h"
#include "run/series_line.h"

#define BATCH_MAX_BYTES (1u << 30)
/* Whole lines by one write(2); more if one line has more. Pieces that stay in the processor's cache
 * until the kernel has copied them are twice as fast as those of some megabytes. */
#define PIECE_MAX_BYTES (256u << 10)
#define LINE_EXTRA_BYTES 128 /* around a metric's data, at most */

struct mld_batch {
    mld_series *series;
    struct buf data; /* one line each: a metric's data, a track's entry */
    struct json_doc doc;
    int64_t count;
};

enum mld_error mld_batch_new(mld_batch **out, mld_series *series)
{
    mld_batch *batch = calloc(1, sizeof(*batch));

    *out = batch;
    if (batch == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a batch");
    batch->series = series;
    buf_init(&batch->data, BATCH_MAX_BYTES);
    json_doc_init(&batch->doc);
    return MLD_OK;
}

void mld_batch_free(mld_batch *batch)
{
    if (batch == NULL)
        return;
    buf_free(&batch->data);
    json_doc_free(&batch->doc);
    free(batch);
}

enum mld_error mld_batch_add(mld_batch *batch, const struct mld_field *fields, size_t n_fields,
                             double time_s)
{
    struct buf *data = &batch->data;
    enum mld_series_kind kind = batch->series->kind;
    size_t before = data->len;

    enum mld_error error = series_line_put_data(data, &batch->doc, kind, fields, n_fields, time_s);
    if (kind == MLD_METRIC)
        buf_putc(data, '\n');
    if (error == MLD_OK)
        error = buf_check(data, "a batch; commit it in parts");
    if (error == MLD_OK && data->len - before > LINES_MAX_BYTES - LINE_EXTRA_BYTES)
        error = error_set(MLD_ETOOLARGE, "a point of %zu bytes; at most %u are allowed",
                          data->len - before, LINES_MAX_BYTES - LINE_EXTRA_BYTES);
    if (error != MLD_OK) { /* what was added before stays */
        data->len = before;
        data->failed = MLD_OK;
        return error;
    }
    batch->count++;
    return MLD_OK;
}

/* One commit: the stream as it was, and the lines collected for the next write. */
struct commit {
    struct run *run;
    struct stream *stream;
    off_t length;
    int64_t lines;
    uint32_t crc;
    struct buf piece;
    int64_t piece_lines;
};

static enum mld_error write_piece(struct commit *c)
{
    enum mld_error error = buf_check(&c->piece, "a batch");

    if (error == MLD_OK && c->piece_lines > 0)
        error =
            stream_append(&c->run->streams, c->stream, c->piece.data, c->piece.len, c->piece_lines);
    buf_clear(&c->piece);
    c->piece_lines = 0;
    return error;
}

static enum mld_error write_lines(struct commit *c, const mld_batch *batch)
{
    char created[CLOCK_ISO_LEN + 1];
    bool metric = batch->series->kind == MLD_METRIC;
    const char *at = buf_text(&batch->data);
    const char *end = at + batch->data.len;
    enum mld_error error = MLD_OK;

    clock_format_iso(created, clock_now_us());
    for (int64_t index = c->lines; at < end && error == MLD_OK; index++) {
        size_t len = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at);
        if (c->piece.len + len + LINE_EXTRA_BYTES > PIECE_MAX_BYTES)
            error = write_piece(c);
        if (metric)
            series_line_begin(&c->piece, index);
        buf_put(&c->piece, at, metric ? len : len + 1);
        if (metric)
            series_line_end(&c->piece, created);
        c->piece_lines++;
        at += len + 1;
    }
    return error == MLD_OK ? write_piece(c) : error;
}

/* Cuts what earlier pieces have written. When that fails, nothing may follow. */
static void take_back(struct commit *c)
{
    struct stream *s = c->stream;
    struct error_copy first;

    if (s->length == c->length)
        return;
    error_save(MLD_EIO, &first);
    if (s->fd < 0 || fs_truncate(s->fd, c->length, s->path) != MLD_OK) {
        s->broken = true;
        run_stream_written(c->run, s);
    } else {
        s->length = c->length;
        s->lines = c->lines;
        s->crc = c->crc;
    }
    error_restore(&first);
}

static enum mld_error commit_to(struct run *run, struct stream *stream, const mld_batch *batch)
{
    struct commit c = {.run = run,
                       .stream = stream,
                       .length = stream->length,
                       .lines = stream->lines,
                       .crc = stream->crc};

    buf_init(&c.piece, LINES_MAX_BYTES + PIECE_MAX_BYTES);
    enum mld_error error = write_lines(&c, batch);
    if (error == MLD_OK)
        run_stream_written(run, stream);
    else
        take_back(&c);
    buf_free(&c.piece);
    return error;
}

enum mld_error mld_batch_commit(mld_batch *batch, int64_t *out_first, int64_t *out_last)
{
    struct run *run;
    struct stream *stream;
    int64_t first = -1;

    *out_first = -1;
    *out_last = -1;
    enum mld_error error = run_enter(&run, batch->series->experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    if (batch->count > 0) {
        error = series_ready(&stream, run, batch->series);
        if (error == MLD_OK) {
            first = stream->lines;
            error = commit_to(run, stream, batch);
        }
    }
    run_leave(run);
    if (error != MLD_OK || batch->count == 0)
        return error;
    *out_first = first;
    *out_last = first + batch->count - 1;
    batch->count = 0;
    buf_clear(&batch->data);
    return MLD_OK;
}

#include "server/resource_streams.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/lane.h"
#include "server/resource.h"
#include "server/server.h"
#include "server/zpack.h"

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for streams");
}

static enum mld_error bad_kind(void)
{
    return error_blame(error_set(MLD_EINVALID, "kind is records, metric, track or log"), "kind");
}

static void put_head(struct buf *out, const char *stream, uint64_t offset, const char *sha256)
{
    buf_putc(out, '{');
    doc_put_text(out, "stream", stream);
    doc_put_int(out, "offset", (int64_t)offset);
    if (sha256 != NULL)
        doc_put_text(out, "sha256", sha256);
    buf_putc(out, '}');
}

void post_heads(struct request *r)
{
    struct arena arena = {0};
    struct lane_head *heads = NULL;
    struct buf out;
    json_t *body;
    json_t *list = NULL;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = request_json(r, &body);
    if (error == MLD_OK)
        error = member_array(body, "streams", LANE_MAX_STREAMS, &list);
    size_t n = json_array_size(list);
    if (error == MLD_OK && (heads = arena_alloc(&arena, (n + 1) * sizeof *heads)) == NULL)
        error = no_memory();
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        heads[i].stream = json_string_value(json_array_get(list, i));
        if (!doc_is_hex(heads[i].stream, ID_RANDOM_LEN))
            error = error_blame_element(error_set(MLD_EINVALID, "a stream's id is 32 hex digits"),
                                        "streams", i);
    }
    if (error == MLD_OK)
        error = lane_heads(request_server(r)->lanes, request_caller(r)->experiment_id, heads, n);
    buf_puts(&out, "{\"streams\":[");
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (i > 0)
            buf_putc(&out, ',');
        put_head(&out, heads[i].stream, heads[i].offset, heads[i].sha256);
    }
    buf_puts(&out, "]}");
    resource_answer(r, error, &out);
    arena_free(&arena);
}

static enum mld_error read_append(const json_t *object, struct lane_append *out, uint64_t *out_len)
{
    const char *kind = NULL;
    uint64_t slot = 0;
    enum mld_error error = member_text(object, "stream", true, &out->stream);
    if (error == MLD_OK)
        error = member_text(object, "kind", true, &kind);
    if (error == MLD_OK && !stream_kind_parse(kind, &out->kind))
        error = bad_kind();
    if (error == MLD_OK)
        error = member_uint(object, "slot", 0, &slot);
    if (error == MLD_OK && slot > LANE_MAX_SLOT)
        error = error_blame(error_set(MLD_EINVALID, "slot is 0 to %d", LANE_MAX_SLOT), "slot");
    out->slot = (unsigned)slot;
    if (error == MLD_OK)
        error = member_text(object, "file", true, &out->file);
    if (error == MLD_OK)
        error = member_uint(object, "offset", -1, &out->offset);
    if (error == MLD_OK)
        error = member_text(object, "sha256", true, &out->sha256);
    if (error == MLD_OK)
        error = member_uint(object, "length", -1, out_len);
    return error;
}

/* Which bytes are whose. */
static enum mld_error read_appends(const json_t *list, const char *bytes, size_t len,
                                   struct lane_append *appends)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint64_t length = 0;
        enum mld_error error = read_append(json_array_get(list, i), &appends[i], &length);
        if (error == MLD_OK && length > len)
            error = error_blame(
                error_set(MLD_EINVALID, "the body has fewer bytes than length says"), "length");
        if (error != MLD_OK)
            return error_blame_element(error, "streams", i);
        appends[i].data = bytes;
        appends[i].len = (size_t)length;
        bytes += length;
        len -= length;
    }
    return len == 0
               ? MLD_OK
               : error_blame(error_set(MLD_EINVALID, "the body has more bytes than length says"),
                             "length");
}

/* The body as it was meant: unpacked when it is packed. */
static enum mld_error plain_body(const struct request *r, struct buf *unpacked, const char **out,
                                 size_t *out_len)
{
    const char *encoding = request_header(r, "Content-Encoding");
    *out = request_body(r, out_len);
    if (encoding == NULL || strcmp(encoding, "identity") == 0)
        return MLD_OK;
    if (strcmp(encoding, "zstd") != 0)
        return error_blame(error_set(MLD_EINVALID, "Content-Encoding is zstd or none"),
                           "Content-Encoding");
    enum mld_error error = zpack_decompress(unpacked, *out, *out_len);
    if (error != MLD_OK)
        error_blame(error, "body");
    *out = buf_text(unpacked);
    *out_len = unpacked->len;
    return error;
}

static void put_outcomes(struct buf *out, const struct lane_append *appends, size_t n,
                         enum lane_outcome outcome)
{
    bool first = true;
    doc_put_key(out, "streams");
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (appends[i].outcome != outcome)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        put_head(out, appends[i].stream, appends[i].out_offset,
                 outcome == LANE_DONE ? NULL : appends[i].out_sha256);
    }
    buf_putc(out, ']');
}

/* Nothing was appended: 409, naming the streams that are to blame. */
static void answer_conflict(struct request *r, const struct lane_append *appends, size_t n)
{
    bool diverged = false;
    struct buf out;
    assert(n > 0 && appends != NULL);
    for (size_t i = 0; i < n; i++)
        diverged = diverged || appends[i].outcome == LANE_DIVERGED;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    buf_putc(&out, '{');
    doc_put_text(&out, "error", diverged ? "diverged" : "offset");
    doc_put_text(&out, "message",
                 diverged ? "the server has other bytes: this is a copy of the run folder that was "
                            "written to as well, or bytes were lost"
                          : "the server has less than that: go on where it tells");
    put_outcomes(&out, appends, n, diverged ? LANE_DIVERGED : LANE_OFFSET);
    buf_putc(&out, '}');
    if (buf_check(&out, "answer") == MLD_OK)
        respond_bytes(r, 409, "application/json", &out);
    else
        respond_error(r, MLD_ENOMEM, NULL);
    buf_free(&out);
}

void post_streams(struct request *r)
{
    struct arena arena = {0};
    struct buf unpacked;
    struct buf out;
    const char *body = NULL;
    const char *bytes = NULL;
    size_t len = 0;
    json_t *head = NULL;
    json_t *list = NULL;
    struct lane_append *appends = NULL;
    buf_init(&unpacked, LIMIT_BATCH_BYTES);
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = plain_body(r, &unpacked, &body, &len);
    if (error == MLD_OK)
        error = resource_split(body, len, &head, &bytes, &len);
    if (error == MLD_OK)
        error = member_array(head, "streams", LANE_MAX_STREAMS, &list);
    size_t n = json_array_size(list);
    if (error == MLD_OK && (appends = arena_alloc(&arena, (n + 1) * sizeof *appends)) == NULL)
        error = no_memory();
    if (error == MLD_OK)
        error = read_appends(list, bytes, len, appends);
    if (error == MLD_OK)
        error = lane_append(request_server(r)->lanes, request_caller(r)->experiment_id, appends, n);
    if (error == MLD_ECONFLICT && appends != NULL) {
        answer_conflict(r, appends, n);
        buf_free(&out);
    } else {
        buf_putc(&out, '{');
        if (error == MLD_OK)
            put_outcomes(&out, appends, n, LANE_DONE);
        buf_putc(&out, '}');
        resource_answer(r, error, &out);
    }
    json_decref(head);
    buf_free(&unpacked);
    arena_free(&arena);
}

static void put_infos(struct buf *out, const struct lane_infos *infos)
{
    buf_puts(out, "{\"streams\":[");
    for (size_t i = 0; i < infos->n; i++) {
        const struct lane_info *info = &infos->items[i];
        buf_puts(out, i > 0 ? ",{" : "{");
        doc_put_text(out, "stream", info->stream);
        doc_put_text(out, "kind", stream_kind_name(info->kind));
        doc_put_int(out, "slot", info->slot);
        doc_put_text(out, "file", info->file);
        doc_put_int(out, "offset", (int64_t)info->offset);
        doc_put_int(out, "lines", (int64_t)info->lines);
        doc_put_int(out, "garbled", (int64_t)info->garbled);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

void list_streams(struct request *r)
{
    struct arena arena = {0};
    struct lane_infos infos = {0};
    struct meta_cursor after;
    struct buf out;
    size_t limit = 0;
    enum stream_kind kind = STREAM_RECORDS;
    const char *wanted = request_query(r, "kind");
    const char *query = wanted == NULL ? "streams" : wanted;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = resource_page(r, query, &arena, &limit, &after);
    if (error == MLD_OK && wanted != NULL && !stream_kind_parse(wanted, &kind))
        error = bad_kind();
    if (error == MLD_OK)
        error = lane_list(request_server(r)->lanes, request_caller(r)->experiment_id,
                          wanted == NULL ? -1 : (int)kind, after.id, limit, &infos);
    if (error == MLD_OK) {
        put_infos(&out, &infos);
        resource_next(&out, query, infos.more, 0,
                      infos.n > 0 ? infos.items[infos.n - 1].stream : "");
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    arena_free(&infos.arena);
    arena_free(&arena);
}

static void send_stream(struct request *r, struct lane_reader *reader, uint64_t end)
{
    char number[32];
    snprintf(number, sizeof number, "%" PRIu64, end);
    response_header(r, "X-Stream-Offset", number);
    enum mld_error error = respond_begin(r, 200, "application/jsonl", lane_reader_len(reader));
    while (error == MLD_OK) {
        const void *data;
        size_t len;
        error = lane_reader_next(reader, &data, &len);
        if (error != MLD_OK || len == 0)
            break; /* a short answer closes the connection */
        error = respond_write(r, data, len);
    }
}

void get_stream(struct request *r)
{
    struct lane_reader *reader = NULL;
    int64_t from = 0;
    int64_t to = 0;
    uint64_t end = 0;
    const char *stream = request_param(r, "stream");
    enum mld_error error = request_query_int(r, "from", 0, 0, INT64_MAX, &from);
    if (error == MLD_OK)
        error = request_query_int(r, "to", -1, 0, INT64_MAX, &to);
    if (error == MLD_OK && !doc_is_hex(stream, ID_RANDOM_LEN))
        error = error_set(MLD_ENOTFOUND, "no such stream");
    if (error == MLD_OK)
        error =
            lane_reader_open(&reader, request_server(r)->lanes, request_caller(r)->experiment_id,
                             stream, (uint64_t)from, to < 0 ? UINT64_MAX : (uint64_t)to, &end);
    if (error == MLD_OK)
        send_stream(r, reader, end);
    else
        respond_error(r, error, NULL);
    lane_reader_close(reader);
}

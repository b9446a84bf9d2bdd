/* engine_streams.c: records, metrics, tracks and logs: appended at the server as they grow here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "sync/engine.h"

#define HASH_BYTES (1u << 20)
#define HEADER_BYTES_EACH 512

static bool is_unsent(const struct sync_stream *s)
{
    return !s->vanished && !s->stuck && s->known && s->safe > s->sent;
}

/* The hash of a stream's first `length` bytes here, or of what there is of them (out->len). */
static enum mld_error hash_prefix(const struct engine *e, const struct sync_stream *s,
                                  uint64_t length, struct sha256_state *out)
{
    char *data = malloc(HASH_BYTES);
    enum mld_error error = data == NULL ? error_set(MLD_ENOMEM, "no memory to hash") : MLD_OK;
    uint64_t at = 0;
    sha256_state_init(out);
    while (error == MLD_OK && at < length) {
        size_t got = 0, len = length - at < HASH_BYTES ? (size_t)(length - at) : HASH_BYTES;
        error = sync_folder_check_stop(e->folder);
        if (error == MLD_OK)
            error = sync_folder_read(e->folder, s, at, data, len, &got);
        if (error != MLD_OK || got == 0)
            break;
        sha256_state_update(out, data, got);
        at += got;
    }
    free(data);
    return error;
}

/* Two copies of this folder were both resumed, or a disk lost what it held: this one becomes an
 * experiment of its own. A third copy differs from that one, too, and goes on in turn. */
static enum mld_error diverge(struct engine *e, const struct sync_stream *s)
{
    char line[256];
    if (e->copies == ENGINE_MAX_COPIES)
        return error_set(MLD_EDAMAGED,
                         "%s differs from what the server has of it, also in all %u copies",
                         s->file, e->copies);
    snprintf(line, sizeof line,
             "%.100s differs from what the server has: the folder was copied and both copies "
             "were resumed; this one is sent as another experiment",
             s->file);
    if (e->copies++ == 0)
        engine_say(e, line);
    memcpy(e->from, e->remote.experiment, sizeof e->from);
    e->diverging = true;
    e->remote.experiment[0] = '\0';
    engine_forget_files(e); /* what is there is the other's */
    sync_folder_restart(e->folder);
    return error_set(MLD_ECONFLICT, "%s", line);
}

/* Takes what the server has of a stream as sent. */
static enum mld_error take_head(struct engine *e, struct sync_stream *s,
                                const struct remote_head *head)
{
    char own[SHA256_HEX_LEN + 1], theirs[SHA256_HEX_LEN + 1];
    enum mld_error error = hash_prefix(e, s, head->offset, &s->hash);
    if (error != MLD_OK)
        return error;
    sha256_state_digest(&s->hash, own);
    memcpy(theirs, head->sha256, sizeof theirs);
    /* Shorter here: an older copy of the folder has nothing to send, and is no other history. */
    if (s->hash.len < head->offset)
        error = remote_stream_hash(&e->remote, s->id, s->hash.len, theirs);
    if (error != MLD_OK)
        return error;
    if (strcmp(own, theirs) != 0)
        return diverge(e, s);
    s->sent = s->hash.len;
    s->known = true;
    /* What the server has, this disk may have lost the mark of. */
    if (s->safe < s->sent)
        s->safe = s->sent;
    return MLD_OK;
}

static enum mld_error ask_heads(struct engine *e)
{
    struct remote_head *heads = calloc(REMOTE_MAX_HEADS, sizeof *heads);
    struct sync_stream **asked = calloc(REMOTE_MAX_HEADS, sizeof *asked);
    enum mld_error error = MLD_OK;
    size_t n = 1;
    if (heads == NULL || asked == NULL)
        error = error_set(MLD_ENOMEM, "no memory to ask for streams");
    while (error == MLD_OK && n > 0) {
        n = 0;
        for (struct sync_stream *s = e->folder->streams; s != NULL && n < REMOTE_MAX_HEADS;
             s = s->next) {
            if (!s->known && !s->vanished && s->safe > 0) {
                asked[n] = s;
                heads[n++] = (struct remote_head){.stream = s->id};
            }
        }
        if (n > 0)
            error = remote_heads(&e->remote, heads, n);
        for (size_t i = 0; error == MLD_OK && i < n; i++)
            error = take_head(e, asked[i], &heads[i]);
    }
    free(heads);
    free(asked);
    return error;
}

/* One request on its way: which streams, and how much of each. */
struct piece {
    struct sync_stream *stream;
    size_t len;
    struct sha256_state hash; /* with these bytes */
};
struct batch {
    struct buf header, bytes;
    struct piece *pieces;
    size_t n, capacity;
};

static void put_piece(struct buf *b, const struct sync_stream *s, size_t len)
{
    char before[SHA256_HEX_LEN + 1];
    sha256_state_digest(&s->hash, before);
    buf_puts(b, b->data[b->len - 1] == '[' ? "{" : ",{");
    json_put_key(b, "stream");
    json_put_cstring(b, s->id);
    json_put_key(b, "kind");
    json_put_cstring(b, s->kind);
    json_put_key(b, "slot");
    json_put_int64(b, s->slot);
    json_put_key(b, "file");
    json_put_cstring(b, s->file);
    json_put_key(b, "offset");
    json_put_int64(b, (int64_t)s->sent);
    json_put_key(b, "sha256");
    json_put_cstring(b, before);
    json_put_key(b, "length");
    json_put_int64(b, (int64_t)len);
    buf_putc(b, '}');
}

static enum mld_error add_to_batch(struct batch *b, struct sync_stream *s, size_t len)
{
    if (b->n == b->capacity) {
        size_t capacity = b->capacity == 0 ? 64 : 2 * b->capacity;
        struct piece *pieces = realloc(b->pieces, capacity * sizeof *pieces);
        if (pieces == NULL)
            return error_set(MLD_ENOMEM, "no memory for a request");
        b->pieces = pieces;
        b->capacity = capacity;
    }
    struct piece *p = &b->pieces[b->n++];
    *p = (struct piece){.stream = s, .len = len, .hash = s->hash};
    sha256_state_update(&p->hash, b->bytes.data + b->bytes.len - len, len);
    put_piece(&b->header, s, len);
    return MLD_OK;
}

/* What a request has besides the bytes of this stream. A byte of a name may become six in JSON. */
static size_t used_bytes(const struct batch *b, const struct sync_stream *s)
{
    return b->bytes.len + b->header.len + HEADER_BYTES_EACH + 6 * strlen(s->file);
}

/* One line that is longer than what is sent at once, as long as a request may be. */
static enum mld_error take_long_line(struct engine *e, struct batch *b, struct sync_stream *s)
{
    uint64_t left = s->safe - s->sent, room = REMOTE_MAX_BODY_BYTES - used_bytes(b, s);
    size_t len = (size_t)(left < room ? left : room), got = 0;
    char *place = buf_reserve(&b->bytes, len);
    if (place == NULL)
        return buf_check(&b->bytes, "a request");
    enum mld_error error = sync_folder_read(e->folder, s, s->sent, place, len, &got);
    const char *end = error == MLD_OK ? memchr(place, '\n', got) : NULL;
    if (error != MLD_OK)
        return error;
    if (end == NULL) {
        engine_stream_failed(e, s, "the line there is longer than a request may be");
        return MLD_OK;
    }
    len = (size_t)(end - place) + 1;
    buf_advance(&b->bytes, len);
    return add_to_batch(b, s, len);
}

/* Whole lines of a stream, as many as fit; none when not even one does. */
static enum mld_error take_lines(struct engine *e, struct batch *b, struct sync_stream *s,
                                 size_t room)
{
    uint64_t left = s->safe - s->sent;
    size_t len = left < room ? (size_t)left : room, got = 0;
    char *place = buf_reserve(&b->bytes, len);
    if (place == NULL)
        return buf_check(&b->bytes, "a request");
    enum mld_error error = sync_folder_read(e->folder, s, s->sent, place, len, &got);
    if (error != MLD_OK)
        return error;
    if (got == 0) {
        s->vanished = true;
        return MLD_OK;
    }
    const char *end = memrchr(place, '\n', got);
    if (end == NULL)
        return b->n == 0 ? take_long_line(e, b, s) : MLD_OK;
    len = (size_t)(end - place) + 1;
    buf_advance(&b->bytes, len);
    return add_to_batch(b, s, len);
}

static bool is_records(const struct sync_stream *s)
{
    return strcmp(s->kind, "records") == 0;
}

/* Lines of the streams that are records, or of all others; with `only`, of that stream alone. */
static enum mld_error add_streams(struct engine *e, struct batch *b, struct sync_stream *only,
                                  bool records)
{
    enum mld_error error = MLD_OK;
    for (struct sync_stream *s = e->folder->streams; error == MLD_OK && s != NULL; s = s->next) {
        size_t used = used_bytes(b, s);
        if (used >= e->body_bytes || b->n == REMOTE_MAX_HEADS)
            break;
        if (is_records(s) == records && is_unsent(s) && (only == NULL || s == only))
            error = take_lines(e, b, s, e->body_bytes - used);
    }
    return error;
}

/* Records first: a resumed copy begins with a line of its own there, so that of two copies one has
 * the experiment before either adds anything else to it. */
static enum mld_error fill_batch(struct engine *e, struct batch *b, struct sync_stream *only)
{
    buf_puts(&b->header, "{\"streams\":[");
    enum mld_error error = add_streams(e, b, only, true);
    if (error == MLD_OK)
        error = add_streams(e, b, only, false);
    buf_puts(&b->header, "]}\n");
    return error == MLD_OK ? buf_check(&b->header, "a request") : error;
}

/* Somebody else sent some of it, or it is another history: the heads tell. */
static enum mld_error resolve_conflict(struct engine *e, const struct batch *b)
{
    uint64_t before = 0, now = 0;
    for (size_t i = 0; i < b->n; i++) {
        before += b->pieces[i].stream->sent;
        b->pieces[i].stream->known = false;
    }
    enum mld_error error = ask_heads(e);
    for (size_t i = 0; i < b->n; i++)
        now += b->pieces[i].stream->sent;
    return error == MLD_OK && now == before
               ? error_set(MLD_ECONFLICT, "the server refuses lines that fit what it has")
               : error;
}

static enum mld_error send_batch(struct engine *e, struct batch *b)
{
    struct buf *body = &b->header;
    buf_put(body, b->bytes.data, b->bytes.len);
    enum mld_error error = buf_check(body, "a request");
    if (error == MLD_OK)
        error = remote_append(&e->remote, body);
    if (error == MLD_ECONFLICT)
        return resolve_conflict(e, b);
    for (size_t i = 0; error == MLD_OK && i < b->n; i++) {
        struct sync_stream *s = b->pieces[i].stream;
        s->sent += b->pieces[i].len;
        s->hash = b->pieces[i].hash;
        s->waiting_since_ms = s->safe > s->sent ? clock_monotonic_ms() : 0;
        engine_count(e, &e->status.lines_bytes_sent, b->pieces[i].len);
    }
    return error;
}

/* Whether enough is unsent, or something is unsent for long enough. */
static bool is_due(const struct engine *e)
{
    uint64_t unsent = 0;
    int64_t now = clock_monotonic_ms();
    for (const struct sync_stream *s = e->folder->streams; s != NULL; s = s->next) {
        if (!is_unsent(s))
            continue;
        unsent += s->safe - s->sent;
        if (s->waiting_since_ms != 0 && now - s->waiting_since_ms >= (int64_t)e->interval_ms)
            return true;
    }
    return unsent >= ENGINE_LINES_AT_ONCE;
}

/* One request; *out_n is the number of streams in it. */
static enum mld_error send_once(struct engine *e, struct sync_stream *only, size_t *out_n)
{
    struct batch b = {.n = 0};
    buf_init(&b.header, 2 * REMOTE_MAX_BODY_BYTES);
    buf_init(&b.bytes, REMOTE_MAX_BODY_BYTES);
    enum mld_error error = fill_batch(e, &b, only);
    if (error == MLD_OK && b.n > 0)
        error = send_batch(e, &b);
    *out_n = b.n;
    buf_free(&b.header);
    buf_free(&b.bytes);
    free(b.pieces);
    return error;
}

bool engine_send_less(struct engine *e)
{
    if (e->body_bytes <= ENGINE_MIN_BODY_BYTES)
        return false;
    e->body_bytes /= 2;
    return true;
}

/* The server refuses what was sent together: each alone tells which of them it is. */
static enum mld_error send_each(struct engine *e)
{
    enum mld_error error = MLD_OK;
    size_t n;
    for (struct sync_stream *s = e->folder->streams; error == MLD_OK && s != NULL; s = s->next) {
        if (!is_unsent(s))
            continue;
        do
            error = send_once(e, s, &n);
        while (error == MLD_ETOOLARGE && engine_send_less(e));
        if (error == MLD_EINVALID || error == MLD_ETOOLARGE) {
            engine_stream_failed(e, s, mld_error_message());
            error = MLD_OK;
        }
    }
    return error;
}

enum mld_error engine_send_streams(struct engine *e, bool all)
{
    enum mld_error error = ask_heads(e);
    if (error == MLD_OK && !all && !is_due(e))
        return MLD_OK;
    for (size_t n = 1; error == MLD_OK && n > 0;) {
        error = send_once(e, NULL, &n);
        if (error == MLD_ETOOLARGE && engine_send_less(e))
            error = MLD_OK;
        if (error == MLD_EINVALID || error == MLD_ETOOLARGE)
            error = send_each(e);
        if (n > 0)
            engine_report(e);
        if (atomic_load(&e->stop))
            error = error_set(MLD_EINTERRUPTED, "syncing was stopped");
    }
    return error;
}

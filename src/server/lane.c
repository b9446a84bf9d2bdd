/* The cache of lanes, and appending. An append is checked against the cached state, inserted as the
 * batch after it, checked against what was sealed meanwhile, applied, and answered. When another
 * server was first, the insertion fails, what it wrote is read, and all begins again. */
#include "server/lane.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/doc.h"
#include "server/lane_internal.h"
#include "server/work.h"
#include "server/zpack.h"

#define SEEN_EVERY_MS 60000
#define ENTRY_MAX_BYTES 352 /* of a stream in a batch's text, without its file's name */

/* Every append that a request of docs/protocol.md can carry is one document: its bytes and names
 * are in the request, and the rest has bounds. */
static_assert(ZPACK_BOUND(LANE_MAX_REQUEST_BYTES) + LANE_MAX_STREAMS * ENTRY_MAX_BYTES + 64 <=
                  META_MAX_BODY_BYTES,
              "an append must fit a document");
static_assert(ENTRY_MAX_BYTES >=
                  ID_RANDOM_LEN + SHA256_STATE_TEXT_MAX + ID_RANDOM_LEN + 20 + 3 * 10 + 7 + 4 + 30,
              "id, state, writer, offset, three counts, kind, slot, and what is between them");

enum mld_error lanes_open(struct lanes **out, struct meta *meta, struct blob *blob,
                          const struct lanes_options *options)
{
    struct lanes *lanes = calloc(1, sizeof *lanes);
    *out = lanes;
    if (lanes == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the streams of experiments");
    lanes->meta = meta;
    lanes->blob = blob;
    if (options != NULL)
        lanes->options = *options;
    struct lanes_options *o = &lanes->options;
    o->max_lanes = o->max_lanes == 0 ? 256 : o->max_lanes;
    o->seal_lines = o->seal_lines == 0 ? 10000 : o->seal_lines;
    o->seal_bytes = o->seal_bytes == 0 ? 4 << 20 : o->seal_bytes;
    o->seal_batches = o->seal_batches == 0 ? 1000 : o->seal_batches;
    pthread_mutex_init(&lanes->lock, NULL);
    return MLD_OK;
}

void lanes_on_due(struct lanes *lanes, void (*due)(const char *experiment, void *payload),
                  void *payload)
{
    pthread_mutex_lock(&lanes->lock);
    lanes->options.due = due;
    lanes->options.payload = payload;
    pthread_mutex_unlock(&lanes->lock);
}

static void free_lane(struct lane *lane)
{
    lane_state_free(&lane->state);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

void lanes_close(struct lanes *lanes)
{
    if (lanes == NULL)
        return;
    for (size_t i = 0; i < LANE_BUCKETS; i++) {
        while (lanes->buckets[i] != NULL) {
            struct lane *lane = lanes->buckets[i];
            lanes->buckets[i] = lane->next;
            free_lane(lane);
        }
    }
    pthread_mutex_destroy(&lanes->lock);
    free(lanes);
}

static struct lane **bucket_of(struct lanes *lanes, const char *experiment)
{
    uint32_t hash = 2166136261u;
    for (const char *c = experiment; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return &lanes->buckets[hash % LANE_BUCKETS];
}

static void unlink_unused(struct lane *lane)
{
    struct lanes *lanes = lane->lanes;
    *(lane->newer != NULL ? &lane->newer->older : &lanes->newest) = lane->older;
    *(lane->older != NULL ? &lane->older->newer : &lanes->oldest) = lane->newer;
    lane->newer = lane->older = NULL;
    lanes->n_unused--;
}

static void link_unused(struct lane *lane)
{
    struct lanes *lanes = lane->lanes;
    lane->older = lanes->newest;
    *(lanes->newest != NULL ? &lanes->newest->newer : &lanes->oldest) = lane;
    lanes->newest = lane;
    lanes->n_unused++;
}

static void evict(struct lane *lane)
{
    struct lane **at = bucket_of(lane->lanes, lane->experiment);
    unlink_unused(lane);
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    free_lane(lane);
}

static void evict_oldest(struct lanes *lanes)
{
    struct lane *lane = lanes->oldest;
    while (lane != NULL && lanes->n_unused > lanes->options.max_lanes) {
        struct lane *newer = lane->newer;
        evict(lane);
        lane = newer;
    }
}

enum mld_error lane_take(struct lane **out, struct lanes *lanes, const char *experiment)
{
    pthread_mutex_lock(&lanes->lock);
    struct lane **bucket = bucket_of(lanes, experiment);
    struct lane *lane = *bucket;
    while (lane != NULL && strcmp(lane->experiment, experiment) != 0)
        lane = lane->next;
    if (lane == NULL) {
        lane = calloc(1, sizeof *lane);
        if (lane != NULL) {
            snprintf(lane->experiment, sizeof lane->experiment, "%s", experiment);
            lane->lanes = lanes;
            pthread_mutex_init(&lane->lock, NULL);
            lane->next = *bucket;
            *bucket = lane;
        }
    } else if (lane->users == 0) {
        unlink_unused(lane);
    }
    if (lane != NULL)
        lane->users++;
    pthread_mutex_unlock(&lanes->lock);
    *out = lane;
    if (lane == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the streams of an experiment");
    pthread_mutex_lock(&lane->lock);
    return MLD_OK;
}

void lane_give(struct lane *lane)
{
    struct lanes *lanes = lane->lanes;
    pthread_mutex_unlock(&lane->lock);
    pthread_mutex_lock(&lanes->lock);
    if (--lane->users == 0) {
        link_unused(lane);
        if (!lane->loaded)
            evict(lane);
        else
            evict_oldest(lanes);
    }
    pthread_mutex_unlock(&lanes->lock);
}

static int by_id(const void *a, const void *b)
{
    const struct lane_append *const *x = a;
    const struct lane_append *const *y = b;
    return strcmp((*x)->stream, (*y)->stream);
}

static enum mld_error check_append(const struct lane_append *a)
{
    if (!doc_is_hex(a->stream, ID_RANDOM_LEN))
        return error_blame(error_set(MLD_EINVALID, "a stream's id is 32 hex digits"), "stream");
    if (!doc_is_hex(a->sha256, SHA256_HEX_LEN))
        return error_blame(error_set(MLD_EINVALID, "stream %s: sha256 is 64 hex digits", a->stream),
                           "sha256");
    if (a->slot > LANE_MAX_SLOT)
        return error_blame(
            error_set(MLD_EINVALID, "stream %s: slot is 0 to %d", a->stream, LANE_MAX_SLOT),
            "slot");
    if (!doc_is_plain(a->file, LANE_MAX_FILE_BYTES))
        return error_blame(error_set(MLD_EINVALID, "stream %s: file is no name", a->stream),
                           "file");
    if (a->offset > INT64_MAX - a->len)
        return error_blame(error_set(MLD_EINVALID, "stream %s: offset is too large", a->stream),
                           "offset");
    if (a->len == 0 || a->data[a->len - 1] != '\n')
        return error_blame(
            error_set(MLD_EINVALID, "stream %s: its bytes do not end with a newline", a->stream),
            "length");
    return MLD_OK;
}

static enum mld_error check_appends(const struct lane_append *appends, size_t n)
{
    size_t total = 0;
    if (n == 0)
        return MLD_OK;
    if (n > LANE_MAX_STREAMS)
        return error_blame(error_set(MLD_EINVALID, "more than %d streams", LANE_MAX_STREAMS),
                           "streams");
    const struct lane_append **sorted = malloc(n * sizeof(void *));
    enum mld_error error =
        sorted == NULL ? error_set(MLD_ENOMEM, "out of memory for an append") : MLD_OK;
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        error = check_append(&appends[i]);
        if (error != MLD_OK)
            error_blame_element(error, "streams", i);
        total += appends[i].len;
        sorted[i] = &appends[i];
    }
    if (error == MLD_OK && total > LANE_MAX_REQUEST_BYTES)
        error = error_blame(
            error_set(MLD_ETOOLARGE, "more than %zu bytes at once", LANE_MAX_REQUEST_BYTES),
            "body");
    if (error == MLD_OK)
        qsort(sorted, n, sizeof(void *), by_id);
    for (size_t i = 1; error == MLD_OK && i < n; i++)
        if (strcmp(sorted[i - 1]->stream, sorted[i]->stream) == 0)
            error = error_blame(
                error_set(MLD_EINVALID, "stream %s is there twice", sorted[i]->stream), "streams");
    free(sorted);
    return error;
}

static bool digest_is(const struct sha256_state *state, const char *sha256)
{
    char hex[SHA256_HEX_LEN + 1];
    sha256_state_digest(state, hex);
    return strcmp(hex, sha256) == 0;
}

/* The request that was answered last is sent again: no need to read anything. */
static bool is_last_again(const struct lane_stream *s, const struct lane_append *a)
{
    if (s->before.len != a->offset || s->at.len != a->offset + a->len ||
        !digest_is(&s->before, a->sha256))
        return false;
    struct sha256_state after = s->before;
    sha256_state_update(&after, a->data, a->len);
    return memcmp(&after, &s->at, sizeof after) == 0;
}

/* One append under way. */
struct appending {
    struct lane *lane;
    struct lane_append *appends;
    size_t *skip; /* of each: bytes that are there already */
    size_t n;
    struct arena arena;
};

/* How one stream fits what the lane has. */
static enum mld_error judge(struct appending *p, size_t i)
{
    struct lane_append *a = &p->appends[i];
    struct lane_stream none = {.kind = a->kind};
    const struct lane_stream *s = lane_state_find(&p->lane->state, a->stream);
    if (s == NULL) {
        sha256_state_init(&none.at);
        none.before = none.at;
        s = &none;
    }
    a->out_offset = s->at.len;
    sha256_state_digest(&s->at, a->out_sha256);
    p->skip[i] = 0;
    a->outcome = LANE_DONE;
    if (s->kind != a->kind)
        return error_blame(error_set(MLD_EINVALID, "stream %s is of another kind", a->stream),
                           "kind");
    if (a->offset > s->at.len) {
        a->outcome = LANE_OFFSET;
    } else if (a->offset == s->at.len) {
        if (strcmp(a->sha256, a->out_sha256) != 0)
            a->outcome = LANE_DIVERGED;
    } else if (is_last_again(s, a)) {
        p->skip[i] = a->len;
    } else {
        uint64_t there = s->at.len - a->offset;
        bool same = false;
        p->skip[i] = there < a->len ? (size_t)there : a->len;
        enum mld_error error =
            lane_compare(p->lane->lanes, p->lane->experiment, a, p->skip[i], &same);
        if (error != MLD_OK)
            return error;
        a->outcome = same ? LANE_DONE : LANE_DIVERGED;
    }
    return MLD_OK;
}

static enum mld_error judge_all(struct appending *p, bool *out_fit, bool *out_new)
{
    *out_fit = true;
    *out_new = false;
    for (size_t i = 0; i < p->n; i++) {
        enum mld_error error = judge(p, i);
        if (error != MLD_OK)
            return error;
        *out_fit = *out_fit && p->appends[i].outcome == LANE_DONE;
        *out_new = *out_new || p->skip[i] < p->appends[i].len;
    }
    return MLD_OK;
}

static void look_at_lines(struct appending *p, struct batch_entry *e, size_t len)
{
    bool records = e->kind == STREAM_RECORDS;
    char writer[ID_RANDOM_LEN + 1] = "";
    const char *at = e->data;
    const char *end = at + len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t line = (size_t)(newline - at);
        if (records && !apply_line_is_intact(at, line))
            e->garbled++;
        else if (records)
            apply_line_writer(at, line, writer);
        e->lines++;
        at = newline + 1;
    }
    if (writer[0] != '\0')
        e->writer = arena_strdup(&p->arena, writer);
}

/* The new bytes of all streams as the lane's next batch. */
static enum mld_error make_batch(struct appending *p, struct batch *out)
{
    out->number = p->lane->last + 1;
    out->entries = arena_alloc(&p->arena, p->n * sizeof *out->entries);
    if (out->entries == NULL)
        return error_set(MLD_ENOMEM, "out of memory for an append");
    buf_init(&out->bytes, LANE_MAX_REQUEST_BYTES + 1);
    for (size_t i = 0; i < p->n; i++) {
        const struct lane_append *a = &p->appends[i];
        const struct lane_stream *s = lane_state_find(&p->lane->state, a->stream);
        size_t len = a->len - p->skip[i];
        if (len == 0)
            continue;
        struct batch_entry *e = &out->entries[out->n++];
        e->id = a->stream;
        e->kind = a->kind;
        e->slot = s != NULL ? s->slot : a->slot;
        e->file = a->file; /* of a known stream nobody reads it: its own may be longer */
        e->offset = a->offset + p->skip[i];
        e->length = len;
        e->data = a->data + p->skip[i];
        if (s != NULL)
            e->after = s->at;
        else
            sha256_state_init(&e->after);
        sha256_state_update(&e->after, e->data, len);
        look_at_lines(p, e, len);
        buf_put(&out->bytes, e->data, len);
    }
    return buf_check(&out->bytes, "bytes of an append");
}

/* Whether the batch is ours after an insertion of unknown outcome. */
static bool is_inserted(struct lane *lane, const struct batch *batch, const char *id)
{
    char partition[LANE_PARTITION_BYTES];
    struct meta_docs docs = {0};
    struct batch stored = {0};
    lane_partition(partition, lane->experiment);
    bool ours = meta_get(lane->lanes->meta, &docs, partition, id) == MLD_OK &&
                lane_batch_read(&stored, &docs.arena, &docs.docs[0], false) == MLD_OK &&
                stored.nonce != NULL && strcmp(stored.nonce, batch->nonce) == 0;
    lane_batch_free(&stored);
    meta_docs_free(&docs);
    return ours;
}

/* MLD_EEXISTS: another server has this number. */
static enum mld_error insert(struct lane *lane, const struct batch *batch, const struct buf *text,
                             const struct buf *data)
{
    static const char *const TOKENS[] = {"batch"};
    char partition[LANE_PARTITION_BYTES];
    char id[32];
    char work[64];
    struct meta_write writes[2] = {{.op = META_INSERT}, {.op = META_INSERT}};
    lane_partition(partition, lane->experiment);
    lane_batch_id(id, batch->number);
    writes[0].doc = (struct meta_doc){.partition = partition,
                                      .id = id,
                                      .order = (int64_t)batch->number,
                                      .tokens = TOKENS,
                                      .n_tokens = 1,
                                      .text = text->data,
                                      .text_len = text->len,
                                      .data = data->data,
                                      .data_len = data->len};
    snprintf(work, sizeof work, "lane:%s", lane->experiment);
    work_document(&writes[1].doc, work, WORK_LANE_US, "{}");
    enum mld_error error = meta_write(lane->lanes->meta, writes, lane->announced ? 1 : 2);
    if (error == MLD_OK && writes[1].result == MLD_OK)
        lane->announced = true;
    if (error == MLD_OK)
        return writes[0].result;
    struct error_copy first;
    error_save(error, &first);
    return is_inserted(lane, batch, id) ? MLD_OK : error_restore(&first);
}

/* A batch that fell behind what was sealed while this server slept is none: it goes. */
static enum mld_error check_place(struct lane *lane, uint64_t number, bool *out_valid)
{
    struct arena arena = {0};
    struct seal seal;
    char partition[LANE_PARTITION_BYTES];
    char id[32];
    enum mld_error error =
        seal_last(&seal, &arena, lane->lanes->meta, lane->experiment, UINT64_MAX);
    *out_valid = error == MLD_OK && seal.last == lane->sealed;
    if (error == MLD_OK && seal.last >= number) {
        lane_partition(partition, lane->experiment);
        lane_batch_id(id, number);
        error = meta_delete(lane->lanes->meta, partition, id, 0);
    }
    arena_free(&arena);
    return error;
}

static enum mld_error take_in(struct lane *lane, const struct batch *batch)
{
    enum mld_error error = MLD_OK;
    if (lane->applied == lane->last) {
        error = lane_apply_batch(lane, batch, &lane->state);
        if (error == MLD_OK)
            lane->applied = batch->number;
    }
    if (error == MLD_OK)
        error = lane_state_advance(&lane->state, batch);
    lane->last = batch->number;
    lane->batches++;
    for (size_t i = 0; i < batch->n; i++) {
        lane->lines += batch->entries[i].lines;
        lane->bytes += batch->entries[i].length;
    }
    return error;
}

/* Inserts what is new. *out_again: it did not count, or the state is to be read again. */
static enum mld_error commit(struct appending *p, bool *out_again)
{
    struct lane *lane = p->lane;
    struct batch batch = {0};
    struct buf text;
    struct buf data;
    char nonce[ID_RANDOM_LEN + 1];
    bool valid = false;
    buf_init(&text, META_MAX_BODY_BYTES);
    buf_init(&data, META_MAX_BODY_BYTES);
    batch.nonce = nonce;
    enum mld_error error = id_random(nonce);
    if (error == MLD_OK)
        error = make_batch(p, &batch);
    if (error == MLD_OK) {
        lane_batch_write(&text, &batch);
        error = buf_check(&text, "streams of an append");
    }
    if (error == MLD_OK)
        error = zpack_compress(&data, batch.bytes.data, batch.bytes.len);
    if (error == MLD_OK && text.len + data.len > META_MAX_BODY_BYTES)
        error = error_set(MLD_ETOOLARGE,
                          "an append of %zu bytes with longer names than a "
                          "request can carry",
                          batch.bytes.len);
    if (error == MLD_OK)
        error = insert(lane, &batch, &text, &data);
    if (error == MLD_EEXISTS) {
        *out_again = true;
        error = lane_catch_up(lane);
    } else if (error == MLD_OK) {
        error = check_place(lane, batch.number, &valid);
        if (error == MLD_OK && valid)
            error = take_in(lane, &batch);
        *out_again = error == MLD_OK && !valid;
        if (error != MLD_OK || !valid)
            lane_unload(lane); /* it is in the store, or not: reading tells */
    } else if (error != MLD_ETOOLARGE) {
        lane_unload(lane);
    }
    buf_free(&text);
    buf_free(&data);
    lane_batch_free(&batch);
    return error;
}

static enum mld_error append_once(struct appending *p, bool *out_again)
{
    bool fit = false;
    bool new = false;
    struct lane *lane = p->lane;
    *out_again = false;
    enum mld_error error = lane_load(lane);
    if (error == MLD_OK)
        error = lane_apply_pending(lane);
    if (error == MLD_OK)
        error = judge_all(p, &fit, &new);
    if (error == MLD_OK && !fit) { /* another server may have gone on */
        error = lane_catch_up(lane);
        if (error == MLD_OK)
            error = lane_apply_pending(lane);
        if (error == MLD_OK)
            error = judge_all(p, &fit, &new);
        if (error == MLD_OK && !fit)
            error = error_set(MLD_ECONFLICT, "streams do not continue what the server has");
    }
    if (error == MLD_OK && new)
        error = commit(p, out_again);
    if (error != MLD_OK || *out_again)
        return error;
    if (lane->batches > 0)
        error = lane_announce(lane);
    if (error == MLD_OK)
        error = lane_note_applied(lane, LANE_APPLIED_EVERY);
    return error;
}

static void tell_ends(struct appending *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct lane_append *a = &p->appends[i];
        const struct lane_stream *s = lane_state_find(&p->lane->state, a->stream);
        a->out_offset = s == NULL ? 0 : s->at.len;
        if (s != NULL)
            sha256_state_digest(&s->at, a->out_sha256);
    }
}

/* Without it the experiment would only seem to be quiet. */
static void note_seen(struct lane *lane)
{
    int64_t now = clock_monotonic_ms();
    if (lane->seen != 0 && now - lane->seen < SEEN_EVERY_MS)
        return;
    if (apply_seen(lane->lanes->meta, lane->experiment) == MLD_OK)
        lane->seen = now;
}

enum mld_error lane_append(struct lanes *lanes, const char *experiment, struct lane_append *appends,
                           size_t n)
{
    struct appending p = {.appends = appends, .n = n};
    bool again = true;
    bool due = false;
    enum mld_error error = check_appends(appends, n);
    if (error != MLD_OK)
        return error;
    p.skip = arena_alloc(&p.arena, (n + 1) * sizeof *p.skip);
    error = p.skip == NULL ? error_set(MLD_ENOMEM, "out of memory for an append")
                           : lane_take(&p.lane, lanes, experiment);
    if (error != MLD_OK) {
        arena_free(&p.arena);
        return error;
    }
    for (int i = 0; i < LANE_MAX_TRIES && again && error == MLD_OK; i++)
        error = append_once(&p, &again);
    if (error == MLD_OK && again)
        error = error_set(MLD_EUNAVAILABLE, "experiment %s is written by too many", experiment);
    if (error == MLD_OK) {
        tell_ends(&p);
        note_seen(p.lane);
        due = lane_is_due(p.lane);
    }
    lane_give(p.lane);
    arena_free(&p.arena);
    if (due && lanes->options.due != NULL)
        lanes->options.due(experiment, lanes->options.payload);
    return error;
}

/* Sealing: batches become one blob. All of it is made from what the store has, so that it matters
 * neither who does it nor how many try. The sealed range's document, whose id is its first number,
 * is the commit; two who try have the same first number, and one of them loses.
 *
 * A batch is read by others from its document or from the blob: the documents go only after the
 * sealed range is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "server/doc.h"
#include "server/lane_internal.h"
#include "server/work.h"
#include "server/zpack.h"

#define SEAL_MAX_BYTES ((uint64_t)32 << 20) /* of one range, unpacked */
#define SEALED_MAX_BYTES ((size_t)1 << 30)
#define SEAL_KEY "lanes/"
#define SEAL_KEY_BYTES 160

/* The bytes of one stream that go into this range. */
struct sealing_stream {
    struct seal_stream out;
    struct buf bytes;
};
struct sealing {
    struct lanes *lanes;
    const char *experiment;
    struct arena arena;
    struct lane_state state; /* only to find streams by id: items are parallel */
    struct sealing_stream *streams;
    size_t n, capacity;
    uint64_t first, last; /* last: 0 while nothing was taken */
    uint64_t upto;        /* what is applied */
    uint64_t total;
    bool full;
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for sealing streams");
}

static enum mld_error stream_of(struct sealing *s, struct sealing_stream **out, const char *id,
                                enum stream_kind kind, unsigned slot, const char *file)
{
    struct lane_stream *stream = lane_state_find(&s->state, id);
    if (stream == NULL) {
        if (s->n == s->capacity) {
            size_t larger = s->capacity == 0 ? 16 : 2 * s->capacity;
            void *moved = realloc(s->streams, larger * sizeof *s->streams);
            if (moved == NULL)
                return no_memory();
            s->streams = moved;
            s->capacity = larger;
        }
        enum mld_error error = lane_state_add(&s->state, &stream, id, kind, slot, file);
        if (error != MLD_OK)
            return error;
        stream->lines = s->n; /* its place in `streams` */
        struct sealing_stream *new = &s->streams[s->n++];
        *new = (struct sealing_stream){0};
        new->out.stream = *stream;
        new->out.stream.lines = 0;
        buf_init(&new->bytes, 2 * SEAL_MAX_BYTES);
    }
    *out = &s->streams[stream->lines];
    return MLD_OK;
}

static enum mld_error take_table(struct sealing *s, const struct seal *seal)
{
    struct seal_table table;
    enum mld_error error = seal_table_load(&table, s->lanes->blob, seal);
    for (size_t i = 0; error == MLD_OK && i < table.n; i++) {
        const struct lane_stream *from = &table.streams[i].stream;
        struct sealing_stream *to = NULL;
        error = stream_of(s, &to, from->id, from->kind, from->slot, from->file);
        if (error == MLD_OK) {
            const char *file = to->out.stream.file;
            to->out.stream = *from;
            to->out.stream.file = file;
        }
    }
    seal_table_free(&table);
    return error;
}

static enum mld_error take_entry(struct sealing *s, const struct batch_entry *e)
{
    struct sealing_stream *to = NULL;
    enum mld_error error = stream_of(s, &to, e->id, e->kind, e->slot, e->file);
    if (error != MLD_OK)
        return error;
    struct lane_stream *stream = &to->out.stream;
    if (stream->at.len != e->offset)
        return error_set(MLD_ECONFLICT, "stream %s does not go on here", e->id);
    if (to->out.length == 0) {
        to->out.start = e->offset;
        to->out.start_state = stream->at;
    }
    to->out.length += e->length;
    stream->at = e->after;
    stream->lines += e->lines;
    stream->garbled += e->garbled;
    if (e->writer != NULL)
        snprintf(stream->writer, sizeof stream->writer, "%s", e->writer);
    buf_put(&to->bytes, e->data, e->length);
    s->total += e->length;
    return buf_check(&to->bytes, "bytes of a stream");
}

static enum mld_error see_batch(const struct meta_doc *doc, uint64_t number, void *payload)
{
    struct sealing *s = payload;
    struct arena arena = {0};
    struct batch batch = {0};
    if (s->full || number > s->upto || s->total >= SEAL_MAX_BYTES) {
        s->full = true;
        return MLD_EINTERRUPTED; /* enough */
    }
    if (number != (s->last == 0 ? s->first : s->last + 1))
        return error_set(MLD_ECONFLICT, "a batch is gone: it was sealed");
    enum mld_error error = lane_batch_read(&batch, &arena, doc, true);
    for (size_t i = 0; error == MLD_OK && i < batch.n; i++)
        error = take_entry(s, &batch.entries[i]);
    if (error == MLD_OK)
        s->last = number;
    lane_batch_free(&batch);
    arena_free(&arena);
    return error;
}

/* Table and bytes as one blob. */
static enum mld_error make_blob(struct sealing *s, struct buf *out, uint64_t *out_table)
{
    struct buf packed;
    struct seal_table table = {.n = s->n};
    enum mld_error error = MLD_OK;
    buf_init(&packed, SEALED_MAX_BYTES);
    table.streams = arena_alloc(&s->arena, (s->n + 1) * sizeof *table.streams);
    if (table.streams == NULL)
        error = no_memory();
    for (size_t i = 0; error == MLD_OK && i < s->n; i++) {
        struct seal_stream *to = &s->streams[i].out;
        if (to->length > 0) {
            to->position = packed.len;
            error = zpack_compress(&packed, s->streams[i].bytes.data, s->streams[i].bytes.len);
            to->packed = packed.len - to->position;
        }
        table.streams[i] = *to;
    }
    if (error == MLD_OK)
        error = seal_table_write(out, &table);
    *out_table = out->len;
    buf_put(out, packed.data, packed.len);
    if (error == MLD_OK)
        error = buf_check(out, "sealed streams");
    buf_free(&packed);
    return error;
}

static enum mld_error insert_seal(struct sealing *s, const char *key, uint64_t table_bytes)
{
    static const char *const TOKENS[] = {"sealed"};
    char partition[LANE_PARTITION_BYTES];
    char id[32];
    char text[1024];
    lane_partition(partition, s->experiment);
    seal_id(id, s->first);
    snprintf(text, sizeof text, "{\"first\":%llu,\"last\":%llu,\"blob\":\"%s\",\"table\":%llu}",
             (unsigned long long)s->first, (unsigned long long)s->last, key,
             (unsigned long long)table_bytes);
    struct meta_doc doc = {.partition = partition,
                           .id = id,
                           .order = (int64_t)s->last,
                           .tokens = TOKENS,
                           .n_tokens = 1,
                           .text = text,
                           .text_len = strlen(text)};
    return meta_insert(s->lanes->meta, &doc);
}

/* Written down before the blob is stored, so that it does not stay behind unnamed. */
static enum mld_error note_seal(struct sealing *s, const char *key)
{
    char id[META_MAX_NAME_BYTES];
    snprintf(id, sizeof id, "seal:%s", key);
    return work_add(s->lanes->meta, id, WORK_SEAL_US, "{}");
}

static void seal_done(struct sealing *s, const char *key)
{
    char id[META_MAX_NAME_BYTES];
    snprintf(id, sizeof id, "seal:%s", key);
    work_done(s->lanes->meta, id);
}

static enum mld_error put_at(struct sealing *s, const struct buf *bytes, const char *key)
{
    enum mld_error error = note_seal(s, key);
    return error == MLD_OK ? blob_put(s->lanes->blob, key, bytes->data, bytes->len) : error;
}

/* The key tells the range, so that a range that is sealed again after a crash has the same one. */
static enum mld_error put_blob(struct sealing *s, const struct buf *bytes, char key[SEAL_KEY_BYTES])
{
    char random[ID_RANDOM_LEN + 1];
    snprintf(key, SEAL_KEY_BYTES, SEAL_KEY "%s/%llu-%llu", s->experiment,
             (unsigned long long)s->first, (unsigned long long)s->last);
    enum mld_error error = put_at(s, bytes, key);
    if (error != MLD_EEXISTS)
        return error;
    error = id_random(random);
    if (error != MLD_OK)
        return error;
    snprintf(key, SEAL_KEY_BYTES, SEAL_KEY "%s/%llu-%llu-%.16s", s->experiment,
             (unsigned long long)s->first, (unsigned long long)s->last, random);
    return put_at(s, bytes, key);
}

/* Deletes the blob when the range that begins with `first` is sealed with another: no document can
 * name it any more, since there is one for each first number. */
static enum mld_error delete_unless_named(struct lanes *lanes, const char *experiment,
                                          uint64_t first, const char *key, bool *out_sealed)
{
    struct arena arena = {0};
    struct seal seal;
    enum mld_error error = seal_at(&seal, &arena, lanes->meta, experiment, first);
    *out_sealed = error == MLD_OK && seal.exists;
    if (*out_sealed && strcmp(seal.key, key) != 0)
        error = blob_delete(lanes->blob, key);
    arena_free(&arena);
    return error;
}

enum mld_error lane_finish_seal(struct lanes *lanes, const char *key)
{
    char experiment[ID_FILE_MAX + 1];
    const char *begin = key + strlen(SEAL_KEY);
    const char *slash = strncmp(key, SEAL_KEY, strlen(SEAL_KEY)) == 0 ? strchr(begin, '/') : NULL;
    int64_t first = 0;
    bool sealed = false;
    bool rest;
    if (slash == NULL || (size_t)(slash - begin) >= sizeof experiment ||
        !num_parse_int64(slash + 1, strcspn(slash + 1, "-"), &first))
        return MLD_OK; /* not of this version */
    snprintf(experiment, sizeof experiment, "%.*s", (int)(slash - begin), begin);
    enum mld_error error = delete_unless_named(lanes, experiment, (uint64_t)first, key, &sealed);
    if (error != MLD_OK || sealed)
        return error;
    /* Whoever stored it may be slow and name it yet; so the range is sealed first. */
    error = lane_seal(lanes, experiment, true, &rest);
    if (error == MLD_OK)
        error = delete_unless_named(lanes, experiment, (uint64_t)first, key, &sealed);
    if (error == MLD_ENOTFOUND)
        return MLD_OK; /* the experiment is gone */
    if (error == MLD_OK && !sealed)
        error = error_set(MLD_EUNAVAILABLE, "the range of %s is not sealed yet", key);
    return error;
}

static enum mld_error commit(struct sealing *s)
{
    struct buf bytes;
    uint64_t table_bytes = 0;
    char key[SEAL_KEY_BYTES];
    bool sealed = true;
    buf_init(&bytes, SEALED_MAX_BYTES);
    enum mld_error error = make_blob(s, &bytes, &table_bytes);
    if (error == MLD_OK)
        error = put_blob(s, &bytes, key);
    if (error == MLD_OK)
        error = insert_seal(s, key, table_bytes);
    if (error == MLD_EEXISTS) /* another has sealed this range */
        error = delete_unless_named(s->lanes, s->experiment, s->first, key, &sealed);
    if (error == MLD_OK && sealed)
        seal_done(s, key);
    buf_free(&bytes);
    return error;
}

static void sealing_free(struct sealing *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_free(&s->streams[i].bytes);
    free(s->streams);
    lane_state_free(&s->state);
    arena_free(&s->arena);
}

/* Seals the next range up to `upto`. *out_done: there was nothing left. */
static enum mld_error seal_next(struct lanes *lanes, const char *experiment, uint64_t upto,
                                bool *out_done)
{
    struct sealing s = {.lanes = lanes, .experiment = experiment, .upto = upto};
    struct seal before;
    enum mld_error error = seal_last(&before, &s.arena, lanes->meta, experiment, UINT64_MAX);
    s.first = before.last + 1;
    if (error == MLD_OK && before.exists)
        error = take_table(&s, &before);
    if (error == MLD_OK)
        error = lane_each_batch(lanes->meta, experiment, s.first, see_batch, &s);
    if (error == MLD_EINTERRUPTED)
        error = MLD_OK;
    *out_done = error == MLD_OK && s.last == 0;
    if (error == MLD_OK && s.last != 0)
        error = commit(&s);
    sealing_free(&s);
    return error;
}

/* Deletes the batches that are sealed, and those that fell behind. */
static enum mld_error delete_sealed(struct lanes *lanes, const char *experiment)
{
    char partition[LANE_PARTITION_BYTES];
    struct arena arena = {0};
    struct seal seal;
    enum mld_error error = seal_last(&seal, &arena, lanes->meta, experiment, UINT64_MAX);
    bool more = error == MLD_OK && seal.exists;
    lane_partition(partition, experiment);
    while (more && error == MLD_OK) {
        struct meta_write writes[LANE_FIND_BATCHES] = {0};
        struct meta_docs docs = {0};
        error = lane_find_batches(lanes->meta, experiment, 0, &docs);
        size_t n = 0;
        while (n < docs.n && (uint64_t)docs.docs[n].order <= seal.last) {
            writes[n].op = META_DELETE;
            writes[n].doc.partition = partition;
            writes[n].doc.id = docs.docs[n].id;
            n++;
        }
        if (error == MLD_OK && n > 0)
            error = meta_write(lanes->meta, writes, n);
        more = n == LANE_FIND_BATCHES;
        meta_docs_free(&docs);
    }
    arena_free(&arena);
    return error;
}

/* Takes the lane off the sweeper's list when nothing is left. The list's document is read first: an
 * append that comes meanwhile changes its revision, and it stays. */
static enum mld_error forget_work(struct lanes *lanes, const char *experiment, bool *out_rest)
{
    char id[64];
    struct meta_docs work = {0};
    struct meta_docs docs = {0};
    snprintf(id, sizeof id, "lane:%s", experiment);
    enum mld_error error = meta_get(lanes->meta, &work, WORK_PARTITION, id);
    bool listed = error == MLD_OK;
    if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    if (error == MLD_OK)
        error = lane_find_batches(lanes->meta, experiment, 0, &docs);
    *out_rest = docs.n > 0;
    if (error == MLD_OK && listed && docs.n == 0) {
        error = meta_delete(lanes->meta, WORK_PARTITION, id, work.docs[0].revision);
        if (error == MLD_ECONFLICT || error == MLD_ENOTFOUND)
            error = MLD_OK;
    }
    meta_docs_free(&docs);
    meta_docs_free(&work);
    return error;
}

/* Brings the lane up to date and makes known what is applied. */
static enum mld_error prepare(struct lanes *lanes, const char *experiment, bool *out_due,
                              uint64_t *out_upto)
{
    struct lane *lane;
    enum mld_error error = lane_take(&lane, lanes, experiment);
    if (error != MLD_OK)
        return error;
    error = lane_catch_up(lane);
    if (error == MLD_OK)
        error = lane_apply_pending(lane);
    *out_due = error == MLD_OK && lane_is_due(lane);
    *out_upto = lane->applied;
    if (error == MLD_OK)
        error = lane_note_applied(lane, 1);
    lane_give(lane);
    return error;
}

enum mld_error lane_seal(struct lanes *lanes, const char *experiment, bool force, bool *out_rest)
{
    bool due = false;
    uint64_t upto = 0;
    *out_rest = true;
    enum mld_error error = prepare(lanes, experiment, &due, &upto);
    bool done = error != MLD_OK || !(due || force);
    for (int i = 0; i < LANE_MAX_TRIES && !done; i++) {
        error = seal_next(lanes, experiment, upto, &done);
        if (error == MLD_ECONFLICT)
            error = MLD_OK; /* another was quicker: look again */
        done = done || error != MLD_OK;
    }
    if (error == MLD_OK)
        error = delete_sealed(lanes, experiment);
    if (error == MLD_OK)
        error = forget_work(lanes, experiment, out_rest);
    return error;
}

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/doc.h"
#include "server/lane_internal.h"
#include "server/work.h"

void lane_partition(char out[LANE_PARTITION_BYTES], const char *experiment)
{
    snprintf(out, LANE_PARTITION_BYTES, "lane:%s", experiment);
}

void lane_batch_id(char out[32], uint64_t number)
{
    snprintf(out, 32, "b:%016llx", (unsigned long long)number);
}

enum mld_error lane_find_batches(struct meta *meta, const char *experiment, uint64_t from,
                                 struct meta_docs *out)
{
    char partition[LANE_PARTITION_BYTES];
    lane_partition(partition, experiment);
    struct meta_range range = {.partition = partition,
                               .token = "batch",
                               .min_order = (int64_t)from,
                               .max_order = INT64_MAX,
                               .limit = LANE_FIND_BATCHES};
    return meta_find(meta, out, &range);
}

enum mld_error lane_each_batch(struct meta *meta, const char *experiment, uint64_t from,
                               lane_visit *visit, void *payload)
{
    bool more = true;
    enum mld_error error = MLD_OK;
    while (more && error == MLD_OK) {
        struct meta_docs docs = {0};
        error = lane_find_batches(meta, experiment, from, &docs);
        more = docs.n > 0 && docs.more;
        for (size_t i = 0; i < docs.n && error == MLD_OK; i++) {
            from = (uint64_t)docs.docs[i].order + 1;
            error = visit(&docs.docs[i], (uint64_t)docs.docs[i].order, payload);
        }
        meta_docs_free(&docs);
    }
    return error;
}

void lane_unload(struct lane *lane)
{
    lane_state_free(&lane->state);
    lane->loaded = false;
    lane->announced = false;
    lane->last = lane->sealed = lane->applied = lane->noted = 0;
    lane->lines = lane->bytes = lane->batches = 0;
}

static enum mld_error load_experiment(struct lane *lane)
{
    struct meta_docs docs = {0};
    struct json_doc json;
    json_doc_init(&json);
    enum mld_error error = meta_get(lane->lanes->meta, &docs, "experiments", lane->experiment);
    if (error == MLD_OK)
        error = doc_parse(&json, &docs.docs[0]);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), &docs.arena, MLD_OK};
        const char *project = doc_needed(&r, "project");
        const char *status = doc_text(&r, "status");
        error = r.error;
        if (error == MLD_OK)
            snprintf(lane->project, sizeof lane->project, "%s", project);
        lane->ended = status != NULL && strcmp(status, "RUNNING") != 0;
    }
    json_doc_free(&json);
    meta_docs_free(&docs);
    return error;
}

static enum mld_error take_table(struct lane *lane, const struct seal *seal)
{
    struct seal_table table;
    enum mld_error error = seal_table_load(&table, lane->lanes->blob, seal);
    for (size_t i = 0; error == MLD_OK && i < table.n; i++) {
        const struct lane_stream *from = &table.streams[i].stream;
        struct lane_stream *to;
        error = lane_state_add(&lane->state, &to, from->id, from->kind, from->slot, from->file);
        if (error == MLD_OK) {
            const char *file = to->file;
            *to = *from;
            to->file = file;
        }
    }
    seal_table_free(&table);
    return error;
}

/* A number was left out: it was sealed and deleted since we looked. */
static enum mld_error gap(const struct lane *lane)
{
    return error_set(MLD_ECONFLICT, "experiment %s: a batch behind %llu is gone", lane->experiment,
                     (unsigned long long)lane->last);
}

static enum mld_error take_batch(const struct meta_doc *doc, uint64_t number, void *payload)
{
    struct lane *lane = payload;
    struct arena arena = {0};
    struct batch batch = {0};
    if (number != lane->last + 1)
        return gap(lane);
    enum mld_error error = lane_batch_read(&batch, &arena, doc, false);
    if (error == MLD_OK)
        error = lane_state_advance(&lane->state, &batch);
    if (error == MLD_OK) {
        lane->last = number;
        lane->batches++;
        for (size_t i = 0; i < batch.n; i++) {
            lane->lines += batch.entries[i].lines;
            lane->bytes += batch.entries[i].length;
        }
    }
    lane_batch_free(&batch);
    arena_free(&arena);
    return error;
}

static enum mld_error load_applied(struct lane *lane)
{
    char partition[LANE_PARTITION_BYTES];
    struct meta_docs docs = {0};
    lane_partition(partition, lane->experiment);
    enum mld_error error = meta_get(lane->lanes->meta, &docs, partition, "applied");
    if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    else if (error == MLD_OK)
        lane->noted = (uint64_t)docs.docs[0].order;
    lane->applied = lane->noted > lane->sealed ? lane->noted : lane->sealed;
    meta_docs_free(&docs);
    return error;
}

/* What was read counts only if nothing was sealed meanwhile: else a batch may have been one that
 * another server, long asleep, wrote behind the sealed range and is about to delete. */
static enum mld_error check_seal(struct lane *lane, enum mld_error error)
{
    struct error_copy first;
    struct arena arena = {0};
    struct seal seal;
    error_save(error, &first);
    enum mld_error checked =
        seal_last(&seal, &arena, lane->lanes->meta, lane->experiment, UINT64_MAX);
    arena_free(&arena);
    if (checked != MLD_OK)
        return checked;
    if (seal.last != lane->sealed)
        return gap(lane);
    return error == MLD_OK ? MLD_OK : error_restore(&first);
}

static enum mld_error load_once(struct lane *lane)
{
    struct arena arena = {0};
    struct seal seal;
    struct lanes *lanes = lane->lanes;
    lane_unload(lane);
    enum mld_error error = load_experiment(lane);
    if (error == MLD_OK)
        error = seal_last(&seal, &arena, lanes->meta, lane->experiment, UINT64_MAX);
    if (error == MLD_OK && seal.exists) {
        lane->last = lane->sealed = seal.last;
        error = take_table(lane, &seal);
    }
    if (error == MLD_OK)
        error = load_applied(lane);
    if (error == MLD_OK)
        error = lane_each_batch(lanes->meta, lane->experiment, lane->last + 1, take_batch, lane);
    if (error == MLD_OK || error == MLD_EDAMAGED)
        error = check_seal(lane, error);
    arena_free(&arena);
    lane->loaded = error == MLD_OK;
    return error;
}

enum mld_error lane_load(struct lane *lane)
{
    enum mld_error error = MLD_ECONFLICT;
    if (lane->loaded)
        return MLD_OK;
    /* What looks damaged may be a range that another server was just sealing: a few looks tell. */
    for (int i = 0; i < LANE_MAX_TRIES &&
                    (error == MLD_ECONFLICT || (error == MLD_EDAMAGED && i < LANE_DAMAGED_LOOKS));
         i++) {
        if (error == MLD_EDAMAGED)
            nanosleep(&(struct timespec){0, LANE_LOOK_PAUSE_NS}, NULL);
        error = load_once(lane);
    }
    if (error != MLD_OK)
        lane_unload(lane);
    return error == MLD_ECONFLICT ? MLD_EDAMAGED : error;
}

enum mld_error lane_catch_up(struct lane *lane)
{
    if (!lane->loaded)
        return lane_load(lane);
    enum mld_error error =
        lane_each_batch(lane->lanes->meta, lane->experiment, lane->last + 1, take_batch, lane);
    if (error == MLD_OK || error == MLD_EDAMAGED)
        error = check_seal(lane, error);
    if (error != MLD_OK)
        lane_unload(lane);
    return error == MLD_ECONFLICT || error == MLD_EDAMAGED ? lane_load(lane) : error;
}

enum mld_error lane_apply_batch(struct lane *lane, const struct batch *batch,
                                const struct lane_state *before)
{
    struct arena arena = {0};
    struct apply_lines *lines = arena_alloc(&arena, (batch->n + 1) * sizeof *lines);
    struct apply_place place = {lane->experiment, lane->project};
    size_t n = 0;
    enum mld_error error = MLD_OK;
    if (lines == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for records");
    for (size_t i = 0; error == MLD_OK && i < batch->n; i++) {
        const struct batch_entry *e = &batch->entries[i];
        if (e->kind != STREAM_RECORDS)
            continue;
        const struct lane_stream *known = lane_state_find(before, e->id);
        const char *writer = known != NULL && known->writer[0] != '\0' ? known->writer : NULL;
        lines[n++] = (struct apply_lines){e->id, e->slot, writer, e->data, e->length};
    }
    bool ended = false;
    if (error == MLD_OK && n > 0)
        error = apply_records(lane->lanes->meta, &place, lines, n, &ended);
    if (error == MLD_OK && ended)
        lane->ended = true;
    arena_free(&arena);
    return error;
}

/* Batches are walked from the last sealed range on, since applying needs to know the writer of each
 * records stream as it was before. */
struct pending {
    struct lane *lane;
    struct lane_state before;
    uint64_t last; /* the batch that `before` is the state after */
};

static enum mld_error apply_next(const struct meta_doc *doc, uint64_t number, void *payload)
{
    struct pending *pending = payload;
    struct lane *lane = pending->lane;
    struct arena arena = {0};
    struct batch batch = {0};
    bool wanted = number > lane->applied;
    if (number != pending->last + 1)
        return gap(lane);
    pending->last = number;
    enum mld_error error = lane_batch_read(&batch, &arena, doc, wanted);
    if (error == MLD_OK && wanted) {
        error = lane_apply_batch(lane, &batch, &pending->before);
        if (error == MLD_OK)
            lane->applied = number;
    }
    if (error == MLD_OK)
        error = lane_state_advance(&pending->before, &batch);
    lane_batch_free(&batch);
    arena_free(&arena);
    return error;
}

/* The state at the last sealed range. */
static enum mld_error state_when_sealed(struct lane *lane, struct lane_state *out)
{
    struct arena arena = {0};
    struct seal seal;
    struct lane scratch = {.lanes = lane->lanes};
    enum mld_error error =
        seal_last(&seal, &arena, lane->lanes->meta, lane->experiment, UINT64_MAX);
    if (error == MLD_OK && seal.last != lane->sealed)
        error = gap(lane);
    else if (error == MLD_OK && seal.exists)
        error = take_table(&scratch, &seal);
    *out = scratch.state;
    arena_free(&arena);
    return error;
}

static enum mld_error apply_once(struct lane *lane)
{
    struct pending pending = {.lane = lane, .last = lane->sealed};
    enum mld_error error = state_when_sealed(lane, &pending.before);
    if (error == MLD_OK)
        error = lane_each_batch(lane->lanes->meta, lane->experiment, lane->sealed + 1, apply_next,
                                &pending);
    if (error == MLD_EDAMAGED) /* or some of it was sealed meanwhile */
        error = check_seal(lane, error);
    if (error == MLD_OK && lane->applied < lane->last)
        error = gap(lane);
    lane_state_free(&pending.before);
    return error;
}

enum mld_error lane_apply_pending(struct lane *lane)
{
    enum mld_error error = MLD_OK;
    for (int i = 0; i < LANE_MAX_TRIES; i++) {
        if (error != MLD_OK || lane->applied >= lane->last)
            return error;
        error = apply_once(lane);
        /* What was to be applied may have been sealed meanwhile; then it is applied. */
        if (error == MLD_ECONFLICT) {
            lane_unload(lane);
            error = lane_load(lane);
        }
    }
    return error_set(MLD_EUNAVAILABLE, "experiment %s changes too quickly", lane->experiment);
}

enum mld_error lane_note_applied(struct lane *lane, uint64_t every)
{
    char partition[LANE_PARTITION_BYTES];
    char text[64];
    struct meta *meta = lane->lanes->meta;
    if (lane->applied < lane->noted + every)
        return MLD_OK;
    lane_partition(partition, lane->experiment);
    snprintf(text, sizeof text, "{\"number\":%llu}", (unsigned long long)lane->applied);
    struct meta_doc doc = {.partition = partition,
                           .id = "applied",
                           .order = (int64_t)lane->applied,
                           .text = text,
                           .text_len = strlen(text)};
    enum mld_error error = MLD_ECONFLICT;
    for (int i = 0; i < LANE_MAX_TRIES && error == MLD_ECONFLICT; i++) {
        struct meta_docs docs = {0};
        error = meta_get(meta, &docs, partition, "applied");
        if (error == MLD_ENOTFOUND) {
            error = meta_insert(meta, &doc);
        } else if (error == MLD_OK && docs.docs[0].order < doc.order) {
            doc.revision = docs.docs[0].revision;
            error = meta_replace(meta, &doc);
        }
        meta_docs_free(&docs);
        if (error == MLD_EEXISTS || error == MLD_ENOTFOUND)
            error = MLD_ECONFLICT;
    }
    if (error == MLD_OK)
        lane->noted = lane->applied;
    return error;
}

enum mld_error lane_announce(struct lane *lane)
{
    char id[64];
    if (lane->announced)
        return MLD_OK;
    snprintf(id, sizeof id, "lane:%s", lane->experiment);
    enum mld_error error = work_add(lane->lanes->meta, id, WORK_LANE_US, "{}");
    lane->announced = error == MLD_OK;
    return error;
}

bool lane_is_due(const struct lane *lane)
{
    const struct lanes_options *o = &lane->lanes->options;
    /* A table of all streams goes with each range: it must be worth it. */
    uint64_t table = 256 * (uint64_t)lane->state.n;
    if (lane->batches == 0)
        return false;
    if (lane->ended || lane->batches >= o->seal_batches)
        return true;
    return lane->bytes >= table && (lane->lines >= o->seal_lines || lane->bytes >= o->seal_bytes);
}

/* What is in lanes, read: heads, lists, bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/lane_internal.h"

enum mld_error lane_heads(struct lanes *lanes, const char *experiment, struct lane_head *heads,
                          size_t n)
{
    struct lane *lane;
    struct sha256_state nothing;
    sha256_state_init(&nothing);
    enum mld_error error = lane_take(&lane, lanes, experiment);
    if (error != MLD_OK)
        return error;
    error = lane_catch_up(lane);
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        const struct lane_stream *s = lane_state_find(&lane->state, heads[i].stream);
        heads[i].offset = s == NULL ? 0 : s->at.len;
        sha256_state_digest(s == NULL ? &nothing : &s->at, heads[i].sha256);
    }
    lane_give(lane);
    return error;
}

static int by_stream(const void *a, const void *b)
{
    const struct lane_stream *const *x = a;
    const struct lane_stream *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

static enum mld_error copy_info(struct lane_infos *out, const struct lane_stream *s)
{
    struct lane_info *info = &out->items[out->n++];
    snprintf(info->stream, sizeof info->stream, "%s", s->id);
    info->kind = s->kind;
    info->slot = s->slot;
    info->file = arena_strdup(&out->arena, s->file);
    info->offset = s->at.len;
    info->lines = s->lines;
    info->garbled = s->garbled;
    return info->file == NULL ? error_set(MLD_ENOMEM, "out of memory for a list") : MLD_OK;
}

static enum mld_error list(struct lane *lane, int kind, const char *after, size_t limit,
                           struct lane_infos *out)
{
    size_t n = lane->state.n;
    struct arena scratch = {0};
    struct lane_stream **sorted = arena_alloc(&scratch, (n + 1) * sizeof(void *));
    enum mld_error error = MLD_OK;
    out->items = arena_alloc(&out->arena, (limit + 1) * sizeof *out->items);
    if (sorted == NULL || out->items == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for a list");
    else if (n > 0)
        memcpy(sorted, lane->state.streams, n * sizeof(void *));
    if (error == MLD_OK)
        qsort(sorted, n, sizeof(void *), by_stream);
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        if ((kind >= 0 && (int)sorted[i]->kind != kind) ||
            (after != NULL && strcmp(sorted[i]->id, after) <= 0))
            continue;
        out->more = out->n == limit;
        if (out->more)
            break;
        error = copy_info(out, sorted[i]);
    }
    arena_free(&scratch);
    return error;
}

enum mld_error lane_list(struct lanes *lanes, const char *experiment, int kind, const char *after,
                         size_t limit, struct lane_infos *out)
{
    struct lane *lane;
    *out = (struct lane_infos){0};
    enum mld_error error = lane_take(&lane, lanes, experiment);
    if (error != MLD_OK)
        return error;
    error = lane_catch_up(lane);
    if (error == MLD_OK)
        error = list(lane, kind, after, limit, out);
    lane_give(lane);
    return error;
}

void lane_plan_free(struct lane_plan *plan)
{
    free(plan->pieces);
    arena_free(&plan->arena);
    *plan = (struct lane_plan){0};
}

static struct lane_piece *add_piece(struct lane_plan *plan)
{
    if (plan->n == plan->capacity) {
        size_t larger = plan->capacity == 0 ? 16 : 2 * plan->capacity;
        void *moved = realloc(plan->pieces, larger * sizeof *plan->pieces);
        if (moved == NULL)
            return NULL;
        plan->pieces = moved;
        plan->capacity = larger;
    }
    plan->pieces[plan->n] = (struct lane_piece){0};
    return &plan->pieces[plan->n++];
}

/* Planning goes from the end to the begin: batches first, then the sealed ranges, newest first. */
struct planning {
    struct lane_plan *plan;
    struct lanes *lanes;
    const char *experiment;
    const char *stream;
    uint64_t from;
    struct {
        uint64_t number;
        struct lane_piece piece;
    } *hot; /* those of the batches, in order */
    size_t n_hot, capacity;
};

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for reading a stream");
}

static enum mld_error take_hot(struct planning *p, const struct batch *batch,
                               const struct batch_entry *e)
{
    if (p->n_hot == p->capacity) {
        size_t larger = p->capacity == 0 ? 16 : 2 * p->capacity;
        void *moved = realloc(p->hot, larger * sizeof *p->hot);
        if (moved == NULL)
            return no_memory();
        p->hot = moved;
        p->capacity = larger;
    }
    char *data = NULL;
    if (e->offset + e->length > p->from) {
        data = arena_strndup(&p->plan->arena, e->data, e->length);
        if (data == NULL)
            return no_memory();
    }
    p->hot[p->n_hot].number = batch->number;
    p->hot[p->n_hot].piece = (struct lane_piece){
        .start = e->offset, .length = e->length, .start_state = e->after, .data = data};
    p->n_hot++;
    return MLD_OK;
}

static enum mld_error see_batch(const struct meta_doc *doc, uint64_t number, void *payload)
{
    struct planning *p = payload;
    struct arena arena = {0};
    struct batch batch = {0};
    (void)number;
    enum mld_error error = lane_batch_read(&batch, &arena, doc, true);
    for (size_t i = 0; error == MLD_OK && i < batch.n; i++)
        if (strcmp(batch.entries[i].id, p->stream) == 0)
            error = take_hot(p, &batch, &batch.entries[i]);
    lane_batch_free(&batch);
    arena_free(&arena);
    return error;
}

/* Adds the stream's bytes of one sealed range, from the table of its blob. *out_start: where the
 * stream begins in this range; its end when it has nothing in it. */
static enum mld_error see_seal(struct planning *p, const struct seal *seal, uint64_t *out_start,
                               bool *out_known, struct sha256_state *out_end)
{
    struct seal_table table;
    enum mld_error error = seal_table_load(&table, p->lanes->blob, seal);
    *out_known = false;
    for (size_t i = 0; error == MLD_OK && i < table.n; i++) {
        const struct seal_stream *s = &table.streams[i];
        if (strcmp(s->stream.id, p->stream) != 0)
            continue;
        *out_known = true;
        *out_start = s->stream.at.len - s->length;
        *out_end = s->stream.at;
        if (s->length == 0)
            break;
        struct lane_piece *piece = add_piece(p->plan);
        char *key = arena_strdup(&p->plan->arena, seal->key);
        if (piece == NULL || key == NULL)
            error = no_memory();
        else
            *piece = (struct lane_piece){.start = s->start,
                                         .length = s->length,
                                         .start_state = s->start_state,
                                         .key = key,
                                         .position = seal->table_bytes + s->position,
                                         .packed = s->packed};
        break;
    }
    seal_table_free(&table);
    return error;
}

static int by_start(const void *a, const void *b)
{
    const struct lane_piece *x = a;
    const struct lane_piece *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Adds the batches past what is sealed. `at`: the state of the stream there. The state before each
 * is the one after the one before it. */
static enum mld_error add_hot(struct planning *p, uint64_t sealed, const struct sha256_state *at)
{
    struct sha256_state before = *at;
    for (size_t i = 0; i < p->n_hot; i++) {
        struct lane_piece *from = &p->hot[i].piece;
        if (p->hot[i].number <= sealed)
            continue;
        p->plan->found = true;
        p->plan->end = from->start + from->length;
        if (from->start != before.len)
            return error_set(MLD_ECONFLICT, "stream %s: bytes are missing", p->stream);
        struct sha256_state after = from->start_state;
        if (from->data != NULL) {
            struct lane_piece *piece = add_piece(p->plan);
            if (piece == NULL)
                return no_memory();
            *piece = *from;
            piece->start_state = before;
        }
        before = after;
    }
    return MLD_OK;
}

static enum mld_error add_sealed(struct planning *p, uint64_t *out_sealed,
                                 struct sha256_state *out_at)
{
    uint64_t below = UINT64_MAX;
    uint64_t start = UINT64_MAX;
    struct arena arena = {0};
    enum mld_error error = MLD_OK;
    *out_sealed = 0;
    sha256_state_init(out_at);
    while (error == MLD_OK && start > p->from) {
        struct seal seal;
        struct sha256_state end;
        bool known = false;
        error = seal_last(&seal, &arena, p->lanes->meta, p->experiment, below);
        if (error != MLD_OK || !seal.exists)
            break;
        if (below == UINT64_MAX)
            *out_sealed = seal.last;
        error = see_seal(p, &seal, &start, &known, &end);
        if (error != MLD_OK || !known)
            break; /* nor is it in any range before this one */
        if (below == UINT64_MAX) {
            *out_at = end;
            p->plan->found = true;
            p->plan->end = end.len;
        }
        below = seal.last;
    }
    arena_free(&arena);
    return error;
}

static enum mld_error plan_once(struct planning *p)
{
    uint64_t sealed;
    struct sha256_state at;
    p->n_hot = 0;
    enum mld_error error = lane_each_batch(p->lanes->meta, p->experiment, 0, see_batch, p);
    if (error == MLD_OK)
        error = add_sealed(p, &sealed, &at);
    if (error == MLD_OK)
        error = add_hot(p, sealed, &at);
    struct lane_plan *plan = p->plan;
    if (error == MLD_OK && plan->n > 0)
        qsort(plan->pieces, plan->n, sizeof *plan->pieces, by_start);
    for (size_t i = 1; error == MLD_OK && i < plan->n; i++)
        if (plan->pieces[i].start != plan->pieces[i - 1].start + plan->pieces[i - 1].length)
            error = error_set(MLD_ECONFLICT, "stream %s: bytes are missing", p->stream);
    return error;
}

enum mld_error lane_plan(struct lane_plan *out, struct lanes *lanes, const char *experiment,
                         const char *stream, uint64_t from)
{
    struct planning p = {
        .plan = out, .lanes = lanes, .experiment = experiment, .stream = stream, .from = from};
    *out = (struct lane_plan){0};
    /* A range that was sealed while we looked leaves a gap: look again. */
    enum mld_error error = MLD_ECONFLICT;
    for (int i = 0; i < LANE_MAX_TRIES && error == MLD_ECONFLICT; i++) {
        lane_plan_free(out);
        error = plan_once(&p);
    }
    free(p.hot);
    if (error != MLD_OK)
        lane_plan_free(out);
    return error == MLD_ECONFLICT ? MLD_EDAMAGED : error;
}

struct lane_reader {
    struct lanes *lanes;
    struct lane_plan plan;
    uint64_t from, to;
    size_t next;
    struct buf bytes;
};

enum mld_error lane_reader_open(struct lane_reader **out, struct lanes *lanes,
                                const char *experiment, const char *stream, uint64_t from,
                                uint64_t to, uint64_t *out_end)
{
    struct lane_reader *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL)
        return no_memory();
    r->lanes = lanes;
    buf_init(&r->bytes, (size_t)256 << 20);
    enum mld_error error = lane_plan(&r->plan, lanes, experiment, stream, from);
    *out_end = r->plan.end;
    if (error == MLD_OK && !r->plan.found)
        error = error_set(MLD_ENOTFOUND, "no stream %s", stream);
    r->from = from;
    r->to = to == UINT64_MAX ? r->plan.end : to;
    if (error == MLD_OK && (r->from > r->to || r->to > r->plan.end))
        error = error_blame(error_set(MLD_EINVALID, "stream %s has %llu bytes", stream,
                                      (unsigned long long)r->plan.end),
                            r->to > r->plan.end ? "to" : "from");
    if (error == MLD_OK)
        *out = r;
    else
        lane_reader_close(r);
    return error;
}

uint64_t lane_reader_len(const struct lane_reader *r)
{
    return r->to - r->from;
}

enum mld_error lane_reader_next(struct lane_reader *r, const void **out, size_t *out_len)
{
    *out = NULL;
    *out_len = 0;
    while (r->next < r->plan.n) {
        const struct lane_piece *piece = &r->plan.pieces[r->next++];
        uint64_t end = piece->start + piece->length;
        uint64_t from = r->from > piece->start ? r->from : piece->start;
        uint64_t to = r->to < end ? r->to : end;
        if (from >= to)
            continue;
        enum mld_error error = lane_piece_read(r->lanes, piece, &r->bytes);
        if (error != MLD_OK)
            return error;
        *out = r->bytes.data + (from - piece->start);
        *out_len = (size_t)(to - from);
        return MLD_OK;
    }
    return MLD_OK;
}

void lane_reader_close(struct lane_reader *r)
{
    if (r == NULL)
        return;
    lane_plan_free(&r->plan);
    buf_free(&r->bytes);
    free(r);
}

/* Compares one piece's bytes with the append's; at the piece where the append begins, also what the
 * bytes before it hash to. */
static bool piece_fits(const struct lane_piece *piece, const struct buf *bytes,
                       const struct lane_append *a, size_t len)
{
    uint64_t from = a->offset > piece->start ? a->offset : piece->start;
    uint64_t end = a->offset + len;
    uint64_t to = end < piece->start + piece->length ? end : piece->start + piece->length;
    if (from == a->offset) {
        char hex[SHA256_HEX_LEN + 1];
        struct sha256_state state = piece->start_state;
        sha256_state_update(&state, bytes->data, from - piece->start);
        sha256_state_digest(&state, hex);
        if (strcmp(hex, a->sha256) != 0)
            return false;
    }
    return memcmp(bytes->data + (from - piece->start), a->data + (from - a->offset), to - from) ==
           0;
}

enum mld_error lane_compare(struct lanes *lanes, const char *experiment,
                            const struct lane_append *append, size_t len, bool *out_same)
{
    struct lane_plan plan;
    struct buf bytes;
    uint64_t end = append->offset + len;
    bool begun = false;
    *out_same = true;
    buf_init(&bytes, (size_t)256 << 20);
    enum mld_error error = lane_plan(&plan, lanes, experiment, append->stream, append->offset);
    for (size_t i = 0; error == MLD_OK && *out_same && i < plan.n; i++) {
        const struct lane_piece *piece = &plan.pieces[i];
        if (piece->start + piece->length <= append->offset || piece->start >= end)
            continue;
        error = lane_piece_read(lanes, piece, &bytes);
        if (error == MLD_OK)
            *out_same = piece_fits(piece, &bytes, append, len);
        begun = begun || piece->start <= append->offset;
    }
    if (error == MLD_OK && (plan.end < end || !begun))
        error = error_set(MLD_EDAMAGED, "stream %s: bytes are missing", append->stream);
    buf_free(&bytes);
    lane_plan_free(&plan);
    return error;
}

/* world.h: stores in memory with one experiment, and a metadata store that dies after some writes.
 */
#ifndef TESTS_SERVER_WORLD_H
#define TESTS_SERVER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "meta/store.h"
#include "server/experiments.h"
#include "server/file_list.h"
#include "server/files.h"
#include "server/lane.h"
#include "server/run_docs.h"
#include "server/sweeper.h"

#define assert_ok(call)                                                                  \
    do {                                                                                 \
        enum mld_error error_of_call = (call);                                           \
        if (error_of_call != MLD_OK)                                                     \
            print_error("%s: %s\n", mld_error_name(error_of_call), mld_error_message()); \
        assert_int_equal(error_of_call, MLD_OK);                                         \
    } while (0)

/* A store in front of another that dies: after `left` writes nothing works any more. With `late`,
 * the write during which it dies is done all the same. */
struct mortal {
    struct meta base;
    struct meta *behind;
    atomic_long left;
    bool late;
};

static inline enum mld_error mortal_dead(void)
{
    return error_set(MLD_EUNAVAILABLE, "the store is dead");
}
static inline enum mld_error mortal_write(struct meta *m, struct meta_write *writes, size_t n)
{
    struct mortal *x = (struct mortal *)m;
    long left = atomic_fetch_sub(&x->left, 1);
    if (left < 1 || (left == 1 && !x->late)) {
        for (size_t i = 0; i < n; i++)
            writes[i].result = MLD_EUNAVAILABLE;
        return mortal_dead();
    }
    enum mld_error error = meta_write(x->behind, writes, n);
    return left == 1 ? mortal_dead() : error;
}
static inline enum mld_error mortal_get_many(struct meta *m, struct meta_docs *out,
                                             const char *partition, const char *const *ids,
                                             size_t n)
{
    struct mortal *x = (struct mortal *)m;
    return atomic_load(&x->left) < 1 ? mortal_dead()
                                     : meta_get_many(x->behind, out, partition, ids, n);
}
static inline enum mld_error mortal_find(struct meta *m, struct meta_docs *out,
                                         const struct meta_range *range)
{
    struct mortal *x = (struct mortal *)m;
    return atomic_load(&x->left) < 1 ? mortal_dead() : meta_find(x->behind, out, range);
}
static inline enum mld_error mortal_count(struct meta *m, uint64_t *out,
                                          const struct meta_range *range, uint64_t max)
{
    return meta_count(((struct mortal *)m)->behind, out, range, max);
}
static inline enum mld_error mortal_health(struct meta *m)
{
    (void)m;
    return MLD_OK;
}
static inline void mortal_close(struct meta *m)
{
    (void)m;
}
static inline void mortal_init(struct mortal *x, struct meta *behind, long left, bool late)
{
    static const struct meta_ops OPS = {.kind = "mortal",
                                        .write = mortal_write,
                                        .get_many = mortal_get_many,
                                        .find = mortal_find,
                                        .count = mortal_count,
                                        .health = mortal_health,
                                        .close = mortal_close};
    memset(x, 0, sizeof *x);
    x->base.ops = &OPS;
    x->behind = behind;
    x->late = late;
    atomic_store(&x->left, left);
}

struct world {
    struct meta *meta;
    struct blob *blob;
    struct lanes *lanes;
    struct arena arena;
    struct experiment_doc experiment;
    struct files_place place;
};

static inline void world_open(struct world *w, const struct lanes_options *options)
{
    bool created;
    struct registration r = {.namespace_id = "ns1",
                             .project = "digits",
                             .folder = "a/b",
                             .name = "baseline",
                             .run = "0123456789abcdef0123456789abcdef"};
    memset(w, 0, sizeof *w);
    assert_ok(meta_memory_open(&w->meta));
    assert_ok(blob_memory_open(&w->blob));
    assert_ok(lanes_open(&w->lanes, w->meta, w->blob, options));
    assert_ok(experiment_register(&w->experiment, &created, &w->arena, w->meta, &r));
    assert_true(created);
    w->place = (struct files_place){.meta = w->meta,
                                    .blob = w->blob,
                                    .experiment = w->experiment.id,
                                    .project = w->experiment.project,
                                    .namespace_name = "ada",
                                    .project_name = "digits"};
}

static inline void world_close(struct world *w)
{
    lanes_close(w->lanes);
    blob_close(w->blob);
    meta_close(w->meta);
    arena_free(&w->arena);
}

/* The SHA-256 of bytes. */
static inline const char *sha_of(const void *data, size_t len, char out[65])
{
    struct sha256_state s;
    sha256_state_init(&s);
    sha256_state_update(&s, data, len);
    sha256_state_digest(&s, out);
    return out;
}

/* A stream's id from a number. */
static inline const char *stream_id(char out[33], unsigned n)
{
    snprintf(out, 33, "%08x%024x", n, n);
    return out;
}

/* What a client has of one stream. */
struct client {
    char id[33];
    enum stream_kind kind;
    unsigned slot;
    struct buf bytes;
    size_t sent;
};
static inline void client_init(struct client *c, unsigned n, enum stream_kind kind, unsigned slot)
{
    memset(c, 0, sizeof *c);
    stream_id(c->id, n);
    c->kind = kind;
    c->slot = slot;
    buf_init(&c->bytes, 1 << 26);
}
/* The append of [from, to). `sha` has room for 65. */
static inline struct lane_append client_append(const struct client *c, size_t from, size_t to,
                                               char *sha)
{
    return (struct lane_append){.stream = c->id,
                                .kind = c->kind,
                                .slot = c->slot,
                                .file = c->kind == STREAM_RECORDS ? ".mldash/records.jsonl"
                                                                  : "metrics/loss/data.jsonl",
                                .offset = from,
                                .sha256 = sha_of(buf_text(&c->bytes), from, sha),
                                .data = buf_text(&c->bytes) + from,
                                .len = to - from};
}
/* Sends what was not sent. */
static inline enum mld_error client_send(struct client *c, struct lanes *lanes,
                                         const char *experiment)
{
    char sha[65];
    if (c->sent == c->bytes.len)
        return MLD_OK;
    struct lane_append a = client_append(c, c->sent, c->bytes.len, sha);
    enum mld_error error = lane_append(lanes, experiment, &a, 1);
    if (error == MLD_OK)
        c->sent = c->bytes.len;
    return error;
}
/* A record: `members` without braces, type and clock first. */
static inline void client_record(struct client *c, const char *members)
{
    struct buf line;
    buf_init(&line, 1 << 20);
    buf_printf(&line, "{%s", members);
    uint32_t crc = crc32c(0, line.data, line.len);
    buf_printf(&line, ",\"crc\":\"%08x\"}\n", crc);
    buf_put(&c->bytes, line.data, line.len);
    buf_free(&line);
}

/* The stream as the server has it. */
static inline void read_stream(struct lanes *lanes, const char *experiment, const char *stream,
                               uint64_t from, uint64_t to, struct buf *out)
{
    struct lane_reader *r;
    uint64_t end;
    const void *data;
    size_t len;
    assert_ok(lane_reader_open(&r, lanes, experiment, stream, from, to, &end));
    for (;;) {
        assert_ok(lane_reader_next(r, &data, &len));
        if (len == 0)
            break;
        buf_put(out, data, len);
    }
    lane_reader_close(r);
}
static inline void expect_stream(struct lanes *lanes, const char *experiment,
                                 const struct client *c)
{
    struct buf got;
    buf_init(&got, 1 << 26);
    read_stream(lanes, experiment, c->id, 0, UINT64_MAX, &got);
    assert_int_equal(got.len, c->bytes.len);
    assert_memory_equal(buf_text(&got), buf_text(&c->bytes), got.len);
    buf_free(&got);
}

/* All that is shown of the experiment, as one text. */
static inline void show(struct world *w, struct buf *out)
{
    struct arena arena = {0};
    struct experiment_doc e;
    struct file_page page;
    struct file_query query = {.project = w->experiment.project,
                               .experiment = w->experiment.id,
                               .all_versions = true,
                               .deleted = true};
    assert_ok(experiment_doc_get(&e, &arena, w->meta, w->experiment.id));
    buf_printf(out, "status %s started %s ended %s description %s metadata %s tags", e.status,
               e.started ? e.started : "-", e.ended ? e.ended : "-",
               e.description ? e.description : "-", e.metadata ? e.metadata : "-");
    for (size_t i = 0; i < e.tags.n; i++)
        buf_printf(out, " %s", e.tags.items[i]);
    buf_puts(out, "\nparameters {");
    assert_ok(run_put_parameters(out, w->meta, w->experiment.id));
    buf_puts(out, "}\n");
    for (int i = 0; i < 2; i++) {
        struct run_page series = {.query = i == 0 ? "series:metric" : "series:track", .limit = 100};
        assert_ok(run_put_series(out, w->meta, w->experiment.id, &series));
        buf_puts(out, "}\n");
        run_page_free(&series);
    }
    assert_ok(files_list(&page, w->meta, &query, (struct meta_cursor){0}, 1000));
    for (size_t i = 0; i < page.n; i++) {
        file_put(out, &page.items[i]);
        buf_putc(out, '\n');
    }
    arena_free(&page.arena);
    arena_free(&arena);
}

#endif

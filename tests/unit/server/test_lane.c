#include "world.h"

#include <pthread.h>

#include "base/clock.h"
#include "server/work.h"

static void put_points(struct client *c, int first, int n)
{
    for (int i = first; i < first + n; i++)
        buf_printf(&c->bytes, "{\"index\":%d,\"data\":{\"loss\":%d.5}}\n", i, i);
}

static void test_append_and_read(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    struct client d;
    char sha[65];
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_METRIC, 0);
    client_init(&d, 2, STREAM_LOG, 7);
    for (int i = 0; i < 20; i++) {
        put_points(&c, i * 10, 10);
        put_points(&d, i, 1);
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
        assert_ok(client_send(&d, w.lanes, w.experiment.id));
    }
    expect_stream(w.lanes, w.experiment.id, &c);
    expect_stream(w.lanes, w.experiment.id, &d);

    char other[33];
    struct lane_head heads[] = {{.stream = d.id}, {.stream = stream_id(other, 9)}};
    assert_ok(lane_heads(w.lanes, w.experiment.id, heads, 2));
    assert_int_equal(heads[0].offset, d.bytes.len);
    assert_string_equal(heads[0].sha256, sha_of(d.bytes.data, d.bytes.len, sha));
    assert_int_equal(heads[1].offset, 0);
    assert_string_equal(heads[1].sha256, sha_of("", 0, sha));

    struct lane_infos infos;
    assert_ok(lane_list(w.lanes, w.experiment.id, -1, NULL, 1, &infos));
    assert_int_equal(infos.n, 1);
    assert_true(infos.more);
    assert_string_equal(infos.items[0].stream, c.id);
    assert_int_equal(infos.items[0].lines, 200);
    arena_free(&infos.arena);
    assert_ok(lane_list(w.lanes, w.experiment.id, STREAM_LOG, NULL, 10, &infos));
    assert_int_equal(infos.n, 1);
    assert_int_equal(infos.items[0].slot, 7);
    arena_free(&infos.arena);

    struct buf part;
    buf_init(&part, 1 << 20);
    read_stream(w.lanes, w.experiment.id, c.id, 100, 200, &part);
    assert_int_equal(part.len, 100);
    assert_memory_equal(part.data, c.bytes.data + 100, 100);
    buf_free(&part);
    struct lane_reader *r;
    uint64_t end;
    assert_int_equal(lane_reader_open(&r, w.lanes, w.experiment.id, c.id, 0, c.bytes.len + 1, &end),
                     MLD_EINVALID);
    assert_int_equal(lane_reader_open(&r, w.lanes, w.experiment.id, other, 0, UINT64_MAX, &end),
                     MLD_ENOTFOUND);
    assert_int_equal(lane_heads(w.lanes, "17", heads, 1), MLD_ENOTFOUND);
    buf_free(&c.bytes);
    buf_free(&d.bytes);
    world_close(&w);
}

static void expect_outcome(struct world *w, struct lane_append a, enum lane_outcome outcome)
{
    enum mld_error error = lane_append(w->lanes, w->experiment.id, &a, 1);
    assert_int_equal(error, outcome == LANE_DONE ? MLD_OK : MLD_ECONFLICT);
    assert_int_equal(a.outcome, outcome);
}

/* Offsets that lie, in every way, change nothing. With `seal`, when all of it lies in a blob. */
static void check_lies(bool seal)
{
    struct world w;
    struct client c;
    char sha[65];
    char end[65];
    bool rest;
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_METRIC, 0);
    put_points(&c, 0, 10);
    size_t first = c.bytes.len;
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    put_points(&c, 10, 10);
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    if (seal) {
        assert_ok(lane_seal(w.lanes, w.experiment.id, true, &rest));
        assert_false(rest);
    }
    size_t len = c.bytes.len;
    sha_of(c.bytes.data, len, end);

    /* What is there, all or in parts, from any line or middle of one, is passed over. */
    expect_outcome(&w, client_append(&c, first, len, sha), LANE_DONE);
    expect_outcome(&w, client_append(&c, 0, first, sha), LANE_DONE);
    expect_outcome(&w, client_append(&c, 0, len, sha), LANE_DONE);
    expect_outcome(&w, client_append(&c, 17, len, sha), LANE_DONE);
    expect_stream(w.lanes, w.experiment.id, &c);

    struct lane_append a = client_append(&c, first, len, sha);
    a.offset += 1; /* other bytes at an offset in what is there */
    expect_outcome(&w, a, LANE_DIVERGED);
    a = client_append(&c, first, len, sha);
    a.sha256 = end; /* the right bytes, but what is before them is another */
    expect_outcome(&w, a, LANE_DIVERGED);
    a = client_append(&c, first, len, sha);
    a.offset = len;
    expect_outcome(&w, a, LANE_DIVERGED);
    a.offset = len + 1;
    expect_outcome(&w, a, LANE_OFFSET);
    lane_append(w.lanes, w.experiment.id, &a, 1);
    assert_int_equal(a.out_offset, len);
    assert_string_equal(a.out_sha256, end);
    a.offset = INT64_MAX - a.len;
    expect_outcome(&w, a, LANE_OFFSET);
    a.offset = (uint64_t)1 << 63;
    assert_int_equal(lane_append(w.lanes, w.experiment.id, &a, 1), MLD_EINVALID);
    a = client_append(&c, first, len - 1, sha);
    assert_int_equal(lane_append(w.lanes, w.experiment.id, &a, 1), MLD_EINVALID);
    a = client_append(&c, first, len, sha);
    a.kind = STREAM_TRACK;
    assert_int_equal(lane_append(w.lanes, w.experiment.id, &a, 1), MLD_EINVALID);
    struct lane_append twice[] = {client_append(&c, first, len, sha),
                                  client_append(&c, first, len, sha)};
    assert_int_equal(lane_append(w.lanes, w.experiment.id, twice, 2), MLD_EINVALID);
    expect_stream(w.lanes, w.experiment.id, &c);

    /* Part of it is new. */
    put_points(&c, 20, 5);
    expect_outcome(&w, client_append(&c, 0, c.bytes.len, sha), LANE_DONE);
    expect_stream(w.lanes, w.experiment.id, &c);

    /* One that does not fit keeps all others out. */
    struct client d;
    client_init(&d, 2, STREAM_METRIC, 0);
    put_points(&d, 0, 3);
    struct lane_append both[] = {client_append(&d, 0, d.bytes.len, sha),
                                 client_append(&c, first, len, end)};
    both[1].offset = c.bytes.len + 10;
    assert_int_equal(lane_append(w.lanes, w.experiment.id, both, 2), MLD_ECONFLICT);
    struct lane_head head = {.stream = d.id};
    assert_ok(lane_heads(w.lanes, w.experiment.id, &head, 1));
    assert_int_equal(head.offset, 0);
    buf_free(&c.bytes);
    buf_free(&d.bytes);
    world_close(&w);
}

static void test_lies(void **unused)
{
    (void)unused;
    check_lies(false);
    check_lies(true);
}

/* Many threads, two servers. */
#define THREADS 8
#define ROUNDS 25
struct worker {
    struct lanes **lanes;
    const char *experiment;
    struct client client;
    unsigned seed;
    enum mld_error failed;
    char message[256];
};

static void *append_rounds(void *payload)
{
    struct worker *w = payload;
    for (int i = 0; i < ROUNDS && w->failed == MLD_OK; i++) {
        put_points(&w->client, 3 * i, 3);
        w->failed = client_send(&w->client, w->lanes[rand_r(&w->seed) % 2], w->experiment);
        if (w->failed == MLD_OK && rand_r(&w->seed) % 3 == 0) {
            w->client.sent = 0; /* all of it again, to any server */
            w->failed = client_send(&w->client, w->lanes[rand_r(&w->seed) % 2], w->experiment);
        }
    }
    if (w->failed != MLD_OK)
        snprintf(w->message, sizeof w->message, "%s", mld_error_message());
    return NULL;
}

static void test_two_servers(void **unused)
{
    (void)unused;
    struct world w;
    struct lanes *second;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct lanes_options options = {.seal_lines = 40};
    world_open(&w, &options);
    assert_ok(lanes_open(&second, w.meta, w.blob, &options));
    struct lanes *lanes[] = {w.lanes, second};
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.lanes = lanes, .experiment = w.experiment.id, .seed = i + 1};
        client_init(&workers[i].client, i + 1, STREAM_METRIC, i);
        pthread_create(&threads[i], NULL, append_rounds, &workers[i]);
    }
    /* Meanwhile both seal, and one reads. */
    for (int i = 0; i < 30; i++) {
        bool rest;
        struct lane_infos infos;
        assert_ok(lane_seal(lanes[i % 2], w.experiment.id, i % 3 == 0, &rest));
        assert_ok(lane_list(lanes[1 - i % 2], w.experiment.id, -1, NULL, 100, &infos));
        for (size_t k = 0; k < infos.n; k++) {
            struct buf got;
            buf_init(&got, 1 << 20);
            read_stream(lanes[i % 2], w.experiment.id, infos.items[k].stream, 0, UINT64_MAX, &got);
            assert_true(got.len >= infos.items[k].offset);
            buf_free(&got);
        }
        arena_free(&infos.arena);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_string_equal(workers[i].message, "");
        assert_int_equal(workers[i].failed, MLD_OK);
        for (int k = 0; k < 2; k++)
            expect_stream(lanes[k], w.experiment.id, &workers[i].client);
        buf_free(&workers[i].client.bytes);
    }
    lanes_close(second);
    world_close(&w);
}

struct replay {
    struct lanes *lanes;
    const char *experiment;
    struct client *client;
    pthread_barrier_t *barrier;
    enum mld_error error;
};

static void *replay_one(void *payload)
{
    struct replay *r = payload;
    char sha[65];
    struct lane_append a = client_append(r->client, 0, r->client->bytes.len, sha);
    pthread_barrier_wait(r->barrier);
    r->error = lane_append(r->lanes, r->experiment, &a, 1);
    return NULL;
}

/* One request, sent by all at once to two servers, has the effect of one. */
static void test_replay_in_parallel(void **unused)
{
    (void)unused;
    struct world w;
    struct lanes *second;
    struct client c;
    pthread_barrier_t barrier;
    world_open(&w, NULL);
    assert_ok(lanes_open(&second, w.meta, w.blob, NULL));
    client_init(&c, 1, STREAM_METRIC, 0);
    put_points(&c, 0, 100);
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    struct replay replays[THREADS];
    for (int i = 0; i < THREADS; i++) {
        replays[i] =
            (struct replay){i % 2 ? w.lanes : second, w.experiment.id, &c, &barrier, MLD_OK};
        pthread_create(&threads[i], NULL, replay_one, &replays[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(replays[i].error, MLD_OK);
    }
    expect_stream(w.lanes, w.experiment.id, &c);
    pthread_barrier_destroy(&barrier);
    buf_free(&c.bytes);
    lanes_close(second);
    world_close(&w);
}

/* A server that slept while another appended, sealed and deleted: its number is taken again and
 * must not count. */
static void test_slept_through_a_seal(void **unused)
{
    (void)unused;
    struct world w;
    struct lanes *asleep;
    struct client c;
    struct client d;
    bool rest;
    world_open(&w, NULL);
    assert_ok(lanes_open(&asleep, w.meta, w.blob, NULL));
    client_init(&c, 1, STREAM_METRIC, 0);
    client_init(&d, 2, STREAM_METRIC, 1);
    put_points(&d, 0, 3);
    assert_ok(client_send(&d, asleep, w.experiment.id));
    for (int i = 0; i < 5; i++) {
        put_points(&c, i, 1);
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
    }
    assert_ok(lane_seal(w.lanes, w.experiment.id, true, &rest));
    assert_false(rest);
    put_points(&d, 3, 3);
    assert_ok(client_send(&d, asleep, w.experiment.id));
    expect_stream(w.lanes, w.experiment.id, &c);
    expect_stream(w.lanes, w.experiment.id, &d);
    expect_stream(asleep, w.experiment.id, &d);

    /* The lane is on the sweeper's list again. */
    struct meta_docs docs = {0};
    char id[64];
    snprintf(id, sizeof id, "lane:%s", w.experiment.id);
    assert_ok(meta_get(w.meta, &docs, WORK_PARTITION, id));
    meta_docs_free(&docs);
    buf_free(&c.bytes);
    buf_free(&d.bytes);
    lanes_close(asleep);
    world_close(&w);
}

/* While one server reads a lane, another seals it, and a third that was long asleep has just put a
 * batch behind what is sealed. */
struct meanwhile {
    struct world *w;
    struct meta_docs first;
    bool done;
};

static void seal_meanwhile(const char *token, void *payload)
{
    struct meanwhile *m = payload;
    bool rest;
    if (m->done || strcmp(token, "batch") != 0)
        return;
    m->done = true;
    assert_ok(lane_seal(m->w->lanes, m->w->experiment.id, true, &rest));
    assert_false(rest);
    assert_ok(meta_insert(m->w->meta, &m->first.docs[0]));
}

static void test_sealed_while_loading(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    struct mortal watched;
    struct lanes *loading;
    char partition[64];
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_METRIC, 0);
    for (int i = 0; i < 3; i++) {
        put_points(&c, i, 1);
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
    }
    struct meanwhile meanwhile = {.w = &w};
    snprintf(partition, sizeof partition, "lane:%s", w.experiment.id);
    assert_ok(meta_get(w.meta, &meanwhile.first, partition, "b:0000000000000001"));
    mortal_init(&watched, w.meta, 1000, false);
    watched.on_find = seal_meanwhile;
    watched.payload = &meanwhile;
    assert_ok(lanes_open(&loading, &watched.base, w.blob, NULL));
    struct lane_head head = {.stream = c.id};
    assert_ok(lane_heads(loading, w.experiment.id, &head, 1));
    assert_true(meanwhile.done);
    assert_int_equal(head.offset, c.bytes.len);
    expect_stream(loading, w.experiment.id, &c);
    meta_docs_free(&meanwhile.first);
    buf_free(&c.bytes);
    lanes_close(loading);
    world_close(&w);
}

/* One that goes on as long as its server lives: appends, and seals after the third. */
static void script(struct client *c, struct lanes *lanes, const char *experiment)
{
    bool rest;
    for (int i = 0; i < 5; i++) {
        client_send(c, lanes, experiment);
        if (i == 2 || i == 4)
            lane_seal(lanes, experiment, true, &rest);
        char text[64];
        snprintf(text, sizeof text, "\"type\":\"params\",\"clock\":%d,\"data\":{\"p%d\":%d}", i + 1,
                 i, i);
        client_record(c, text);
    }
    client_send(c, lanes, experiment);
}

/* The server dies at each of its writes, before or right after it is done. Another goes on. */
static void test_dies_at_every_write(void **unused)
{
    (void)unused;
    for (long n = 1; n < 60; n++) {
        struct world w;
        struct client c;
        struct mortal mortal;
        struct lanes *dying;
        bool rest;
        world_open(&w, NULL);
        client_init(&c, 1, STREAM_RECORDS, 0);
        mortal_init(&mortal, w.meta, n, n % 2 == 0);
        assert_ok(lanes_open(&dying, &mortal.base, w.blob, NULL));
        script(&c, dying, w.experiment.id);
        lanes_close(dying);

        /* The client asks where it is and goes on, as it would after any failure. */
        struct lane_head head = {.stream = c.id};
        char sha[65];
        assert_ok(lane_heads(w.lanes, w.experiment.id, &head, 1));
        assert_true(head.offset >= c.sent);
        assert_string_equal(head.sha256, sha_of(buf_text(&c.bytes), head.offset, sha));
        c.sent = head.offset;
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
        client_record(&c, "\"type\":\"params\",\"clock\":9,\"data\":{\"last\":1}");
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
        expect_stream(w.lanes, w.experiment.id, &c);
        struct buf shown;
        buf_init(&shown, 1 << 20);
        assert_ok(run_put_parameters(&shown, w.meta, w.experiment.id));
        assert_string_equal(shown.data, "\"p0\":0,\"p1\":1,\"p2\":2,\"p3\":3,\"p4\":4,\"last\":1");
        buf_free(&shown);
        assert_ok(lane_seal(w.lanes, w.experiment.id, true, &rest));
        assert_false(rest);
        expect_stream(w.lanes, w.experiment.id, &c);
        buf_free(&c.bytes);
        world_close(&w);
    }
}

static enum mld_error count_blob(const char *key, uint64_t size, void *payload)
{
    (void)key, (void)size;
    ++*(size_t *)payload;
    return MLD_OK;
}

static size_t count_seals(struct world *w)
{
    char partition[64];
    struct meta_docs docs = {0};
    snprintf(partition, sizeof partition, "lane:%s", w->experiment.id);
    struct meta_range range = {.partition = partition,
                               .token = "sealed",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = 100};
    assert_ok(meta_find(w->meta, &docs, &range));
    size_t n = docs.n;
    meta_docs_free(&docs);
    return n;
}

/* The server dies at each write of a seal; then more comes, so that the next one is of another
 * range. In the end every blob is the one of a sealed range. */
static void test_a_seal_leaves_no_blob_behind(void **unused)
{
    (void)unused;
    for (long n = 1; n < 14; n++) {
        struct world w;
        struct client c;
        struct mortal mortal;
        struct lanes *dying;
        bool rest;
        size_t swept;
        size_t blobs = 0;
        world_open(&w, NULL);
        client_init(&c, 1, STREAM_METRIC, 0);
        put_points(&c, 0, 100);
        assert_ok(client_send(&c, w.lanes, w.experiment.id));
        mortal_init(&mortal, w.meta, n / 2, n % 2 == 0);
        assert_ok(lanes_open(&dying, &mortal.base, w.blob, NULL));
        lane_seal(dying, w.experiment.id, true, &rest);
        lanes_close(dying);
        if (n % 3 != 0) {
            put_points(&c, 100, 100);
            assert_ok(client_send(&c, w.lanes, w.experiment.id));
        }
        if (n % 4 == 0)
            assert_ok(lane_seal(w.lanes, w.experiment.id, true, &rest));
        assert_ok(sweep(w.meta, w.blob, w.lanes, clock_now_us() + 2 * WORK_SEAL_US, 100, &swept));
        assert_ok(lane_seal(w.lanes, w.experiment.id, true, &rest));
        assert_false(rest);
        assert_ok(blob_list(w.blob, count_blob, &blobs));
        assert_int_equal(blobs, count_seals(&w));
        assert_true(blobs > 0);
        expect_stream(w.lanes, w.experiment.id, &c);
        assert_ok(sweep(w.meta, w.blob, w.lanes, clock_now_us() + 2 * WORK_SEAL_US, 100, &swept));
        assert_int_equal(swept, 0);
        buf_free(&c.bytes);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_read),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_two_servers),
        cmocka_unit_test(test_replay_in_parallel),
        cmocka_unit_test(test_slept_through_a_seal),
        cmocka_unit_test(test_sealed_while_loading),
        cmocka_unit_test(test_dies_at_every_write),
        cmocka_unit_test(test_a_seal_leaves_no_blob_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "world.h"

#include "mldash/experiment.h"

#define W1 "11111111111111111111111111111111"
#define W2 "22222222222222222222222222222222"
#define STREAM_LINE(clock, writer, slot)                                                          \
    "\"type\":\"stream\",\"clock\":" clock ",\"version\":1,\"stream\":\"x\",\"writer\":\"" writer \
    "\",\"slot\":" slot ",\"host\":\"h\",\"boot\":\"b\",\"created\":\"2026-01-01T00:00:0" slot    \
    ".000000Z\""
#define STATUS(clock, status, at) \
    "\"type\":\"status\",\"clock\":" clock ",\"status\":\"" status "\",\"at\":\"" at "\""

/* Whatever a run may say, from two writers. */
static const char *const FIRST[] = {
    STREAM_LINE("100", W1, "0"),
    STATUS("101", "RUNNING", "t1"),
    "\"type\":\"experiment\",\"clock\":102,\"description\":\"first\",\"tags\":[\"a\"],"
    "\"metadata\":{\"x\":NaN}",
    "\"type\":\"params\",\"clock\":103,\"data\":{\"lr\":0.1,\"n\":123456789012345678901234567890,"
    "\"bad\":Infinity}",
    "\"type\":\"file\",\"clock\":104,\"id\":\"1001\",\"path\":\"/models\",\"filename\":\"m.pt\","
    "\"description\":\"d1\",\"tags\":[\"t\"],\"contentType\":\"a/b\",\"sizeBytes\":3,"
    "\"checksum\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\","
    "\"metadata\":{\"epoch\":1},\"uploadedAt\":\"2026-01-01T00:00:01Z\",\"keep\":1",
    "\"type\":\"series\",\"clock\":105,\"kind\":\"metric\",\"name\":\"loss\","
    "\"dir\":\"metrics/loss\",\"file\":\"metrics/loss/data.jsonl\","
    "\"stream\":\"000000aa0000000000000000000000aa\",\"base\":0,\"description\":\"first words\"",
    "\"type\":\"something new\",\"clock\":106,\"what\":[1]",
    "\"type\":\"update\",\"clock\":107,\"id\":\"1001\",\"at\":\"2026-01-01T00:00:09Z\","
    "\"description\":\"d2\"",
    "\"type\":\"alias\",\"clock\":108,\"path\":\"/models\",\"filename\":\"m.pt\","
    "\"alias\":\"best\",\"id\":\"1001\"",
    STATUS("120", "COMPLETED", "t9"),
    "\"type\":\"end\",\"clock\":121",
};
static const char *const SECOND[] = {
    STREAM_LINE("110", W2, "1"),
    STATUS("111", "RUNNING", "t2"),
    "\"type\":\"experiment\",\"clock\":112,\"tags\":[\"b\",\"c\"]",
    "\"type\":\"params\",\"clock\":99,\"data\":{\"lr\":7,\"own\":\"\\u00e9\"}",
    "\"type\":\"file\",\"clock\":113,\"id\":\"1002\",\"path\":\"/models\",\"filename\":\"m.pt\","
    "\"description\":null,\"tags\":[],\"contentType\":\"a/b\",\"sizeBytes\":3,"
    "\"checksum\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\","
    "\"metadata\":null,\"uploadedAt\":\"2026-01-01T00:00:02Z\",\"keep\":1",
    "\"type\":\"series\",\"clock\":98,\"kind\":\"metric\",\"name\":\"loss\","
    "\"dir\":\"metrics/loss\",\"file\":\"metrics/loss/data.1.jsonl\","
    "\"stream\":\"000000bb0000000000000000000000bb\",\"base\":0",
    "\"type\":\"update\",\"clock\":114,\"id\":\"1001\",\"at\":\"2026-01-01T00:00:10Z\","
    "\"tags\":[\"u\"]",
    STATUS("130", "FAILED", "t8"),
    "\"type\":\"end\",\"clock\":131",
};
#define N_FIRST (sizeof FIRST / sizeof *FIRST)
#define N_SECOND (sizeof SECOND / sizeof *SECOND)

static void put_small(struct world *w, const char *id)
{
    struct file_offer offer = {
        .id = id,
        .path = "/models",
        .filename = "m.pt",
        .size = 3,
        .sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        .data = "abc"};
    assert_ok(files_put_small(&w->place, &offer, 1));
    assert_int_equal(offer.answer, FILE_LIVE);
}

/* Sends both streams: `order` decides who is first, and where the bytes of files come. */
static void play(struct world *w, unsigned order)
{
    struct client a;
    struct client b;
    client_init(&a, 1, STREAM_RECORDS, 0);
    client_init(&b, 2, STREAM_RECORDS, 1);
    if (order & 1)
        put_small(w, "1002");
    for (size_t i = 0; i < N_FIRST || i < N_SECOND; i++) {
        if (i < N_FIRST)
            client_record(&a, FIRST[i]);
        if (i < N_SECOND)
            client_record(&b, SECOND[i]);
        if (order & 2) {
            assert_ok(client_send(order & 4 ? &a : &b, w->lanes, w->experiment.id));
            assert_ok(client_send(order & 4 ? &b : &a, w->lanes, w->experiment.id));
        }
    }
    assert_ok(client_send(order & 4 ? &a : &b, w->lanes, w->experiment.id));
    assert_ok(client_send(order & 4 ? &b : &a, w->lanes, w->experiment.id));
    put_small(w, "1001");
    if (!(order & 1))
        put_small(w, "1002");
    if (order & 8) { /* all records once more, as gc's copies */
        struct client c;
        client_init(&c, 3, STREAM_RECORDS, 0);
        buf_put(&c.bytes, a.bytes.data, a.bytes.len);
        assert_ok(client_send(&c, w->lanes, w->experiment.id));
        buf_free(&c.bytes);
    }
    buf_free(&a.bytes);
    buf_free(&b.bytes);
}

static void test_any_order(void **unused)
{
    (void)unused;
    struct buf expected;
    buf_init(&expected, 1 << 20);
    for (unsigned order = 0; order < 16; order++) {
        struct world w;
        struct buf shown;
        world_open(&w, NULL);
        /* Ids of experiments differ from world to world. */
        play(&w, order);
        buf_init(&shown, 1 << 20);
        show(&w, &shown);
        char *at = shown.data;
        while ((at = strstr(at, w.experiment.id)) != NULL)
            memset(at, 'x', strlen(w.experiment.id));
        if (order == 0)
            buf_put(&expected, shown.data, shown.len);
        assert_string_equal(shown.data, expected.data);
        buf_free(&shown);
        world_close(&w);
    }
    /* And it is what a run folder's own library says of these records. */
    assert_non_null(strstr(expected.data, "status FAILED"));
    assert_non_null(strstr(expected.data, "ended t9"));
    assert_non_null(strstr(expected.data, "description first metadata {\"x\":NaN} tags b c"));
    assert_non_null(strstr(expected.data,
                           "{\"lr\":0.1,\"own\":\"\xc3\xa9\",\"n\":123456789012345678901234567890,"
                           "\"bad\":\"Infinity\"}") == NULL
                        ? strstr(expected.data, "\"n\":123456789012345678901234567890")
                        : expected.data);
    assert_non_null(strstr(expected.data, "\"description\":\"d2\",\"tags\":[\"u\"]"));
    assert_non_null(strstr(expected.data, "\"updatedAt\":\"2026-01-01T00:00:10Z\""));
    assert_non_null(strstr(expected.data, "\"aliases\":[\"best\"],\"newest\":false"));
    assert_non_null(strstr(expected.data, "[\"000000bb0000000000000000000000bb\","
                                          "\"000000aa0000000000000000000000aa\"]"));
    buf_free(&expected);
}

static void expect_status(struct world *w, const char *expected)
{
    struct arena arena = {0};
    struct experiment_doc e;
    assert_ok(experiment_doc_get(&e, &arena, w->meta, w->experiment.id));
    assert_string_equal(e.status, expected);
    arena_free(&arena);
}

/* NULL: none. */
static void expect_reason(struct world *w, const char *expected)
{
    struct arena arena = {0};
    struct experiment_doc e;
    assert_ok(experiment_doc_get(&e, &arena, w->meta, w->experiment.id));
    if (expected == NULL)
        assert_null(e.failure);
    else
        assert_string_equal(e.failure, expected);
    arena_free(&arena);
}

/* Longer than a run folder keeps: cut between characters, and no harm to the rest. */
static void expect_long_reason(struct world *w, struct client *c)
{
    struct buf line;
    struct buf cut;
    buf_init(&line, 1 << 21);
    buf_init(&cut, 1 << 21);
    buf_puts(&line, STATUS("152", "FAILED", "t") ",\"error\":\"x");
    buf_putc(&cut, 'x');
    for (int i = 0; i < 200000; i++)
        buf_puts(&line, "\xc3\xa9");
    buf_putc(&line, '"');
    while (cut.len + 2 <= MLD_MAX_REASON_BYTES)
        buf_puts(&cut, "\xc3\xa9");
    client_record(c, buf_text(&line));
    client_record(c, "\"type\":\"end\",\"clock\":153");
    assert_ok(client_send(c, w->lanes, w->experiment.id));
    expect_status(w, "FAILED");
    expect_reason(w, buf_text(&cut));
    buf_free(&line);
    buf_free(&cut);
}

static void test_status(void **unused)
{
    (void)unused;
    struct world w;
    struct client a;
    struct client b;
    world_open(&w, NULL);
    client_init(&a, 1, STREAM_RECORDS, 0);
    client_init(&b, 2, STREAM_RECORDS, 1);
    expect_status(&w, "UNKNOWN");
    client_record(&a, STREAM_LINE("100", W1, "0"));
    client_record(&a, STATUS("101", "RUNNING", "t"));
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_status(&w, "RUNNING");
    /* A child writes and ends without a word. */
    client_record(&b, STREAM_LINE("110", W2, "1"));
    client_record(&b, "\"type\":\"end\",\"clock\":111");
    assert_ok(client_send(&b, w.lanes, w.experiment.id));
    expect_status(&w, "RUNNING");
    /* It was killed, and another took its slot. */
    client_record(&a, STREAM_LINE("120", "33333333333333333333333333333333", "0"));
    client_record(&a, STATUS("121", "RUNNING", "t"));
    client_record(&a, STATUS("122", "CANCELLED", "t"));
    client_record(&a, "\"type\":\"end\",\"clock\":123");
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_status(&w, "CANCELLED");
    client_record(&a, STREAM_LINE("130", "44444444444444444444444444444444", "0"));
    client_record(&a, STATUS("131", "RUNNING", "t"));
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_status(&w, "RUNNING");
    client_record(&a, STATUS("132", "COMPLETED", "t"));
    client_record(&a, "\"type\":\"end\",\"clock\":133");
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_status(&w, "COMPLETED");
    expect_reason(&w, NULL);
    /* Why it failed: of two that did, the first; and nothing any more once it runs again. */
    client_record(&a, STREAM_LINE("140", "55555555555555555555555555555555", "0"));
    client_record(&a, STATUS("141", "RUNNING", "t"));
    client_record(&a, STATUS("144", "FAILED", "t") ",\"error\":\"ValueError: lr\"");
    client_record(&a, "\"type\":\"end\",\"clock\":145");
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_reason(&w, "ValueError: lr");
    client_record(&b, STREAM_LINE("142", "66666666666666666666666666666666", "1"));
    client_record(&b, STATUS("142", "RUNNING", "t"));
    client_record(&b, STATUS("143", "FAILED", "t") ",\"error\":\"OSError: disk\"");
    client_record(&b, "\"type\":\"end\",\"clock\":144");
    assert_ok(client_send(&b, w.lanes, w.experiment.id));
    expect_status(&w, "FAILED");
    expect_reason(&w, "OSError: disk");
    client_record(&a, STREAM_LINE("150", "77777777777777777777777777777777", "0"));
    client_record(&a, STATUS("151", "RUNNING", "t"));
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    expect_reason(&w, NULL);
    expect_long_reason(&w, &a);
    buf_free(&a.bytes);
    buf_free(&b.bytes);
    world_close(&w);
}

/* Lines that do not read are counted and skipped; those around them count. */
static void test_garbled(void **unused)
{
    (void)unused;
    struct world w;
    struct client a;
    struct lane_infos infos;
    struct buf shown;
    world_open(&w, NULL);
    client_init(&a, 1, STREAM_RECORDS, 0);
    client_record(&a, "\"type\":\"params\",\"clock\":1,\"data\":{\"a\":1}");
    buf_puts(&a.bytes,
             "{\"type\":\"params\",\"clock\":2,\"data\":{\"b\":1},\"crc\":\"00000000\"}\n");
    buf_puts(&a.bytes, "\n\x01\xff half a line {{{\n");
    client_record(&a, "\"type\":\"params\",\"clock\":\"no number\",\"data\":{\"c\":1}");
    client_record(&a, "\"type\":\"file\",\"clock\":3,\"id\":\"../../x\",\"path\":\"/\"");
    client_record(&a, "\"type\":\"file\",\"clock\":3,\"id\":\"77\",\"path\":5,\"filename\":[]");
    client_record(&a, "\"type\":\"update\",\"clock\":3,\"id\":\"78\",\"tags\":\"x\",\"at\":\"t\"");
    client_record(&a, "\"type\":\"params\",\"clock\":4,\"data\":{\"d\":1,\"d\":2}");
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    assert_ok(lane_list(w.lanes, w.experiment.id, -1, NULL, 10, &infos));
    assert_int_equal(infos.items[0].garbled, 3);
    assert_int_equal(infos.items[0].lines, 9);
    arena_free(&infos.arena);
    buf_init(&shown, 1 << 20);
    assert_ok(run_put_parameters(&shown, w.meta, w.experiment.id));
    assert_string_equal(shown.data, "\"a\":1,\"d\":2");
    expect_stream(w.lanes, w.experiment.id, &a);
    buf_free(&shown);
    buf_free(&a.bytes);
    world_close(&w);
}

/* Many records at once take a handful of writes. */
static void test_grouped(void **unused)
{
    (void)unused;
    struct world w;
    struct client a;
    struct mortal counting;
    struct lanes *lanes;
    world_open(&w, NULL);
    mortal_init(&counting, w.meta, 1000000, false);
    assert_ok(lanes_open(&lanes, &counting.base, w.blob, NULL));
    client_init(&a, 1, STREAM_RECORDS, 0);
    for (int i = 0; i < 1000; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "\"type\":\"file\",\"clock\":%d,\"id\":\"%d\",\"path\":\"/\",\"filename\":\"f%d\","
                 "\"sizeBytes\":1",
                 i + 1, 5000 + i, i);
        client_record(&a, text);
    }
    assert_ok(client_send(&a, lanes, w.experiment.id));
    assert_true(1000000 - atomic_load(&counting.left) <= 5);
    lanes_close(lanes);
    buf_free(&a.bytes);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_garbled),
        cmocka_unit_test(test_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

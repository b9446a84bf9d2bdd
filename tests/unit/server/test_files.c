#include "world.h"

#include <pthread.h>

#include "base/clock.h"
#include "server/file_filter.h"
#include "server/work.h"

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define FAR (INT64_MAX / 2) /* when all that is written down is due */

static struct file_offer offer_of(const char *id, const char *filename, const char *text,
                                  char sha[65])
{
    return (struct file_offer){.id = id,
                               .path = "/models",
                               .filename = filename,
                               .size = strlen(text),
                               .sha256 = sha_of(text, strlen(text), sha),
                               .content_type = "text/plain",
                               .data = text};
}

static void record_file(struct client *c, int clock, const char *id, const char *filename,
                        const char *text, const char *more)
{
    char members[2048];
    char sha[65];
    snprintf(
        members, sizeof members,
        "\"type\":\"file\",\"clock\":%d,\"id\":\"%s\",\"path\":\"/models\",\"filename\":\"%s\","
        "\"contentType\":\"text/plain\",\"sizeBytes\":%zu,\"checksum\":\"%s\","
        "\"uploadedAt\":\"2026-01-01T00:00:00Z\",\"keep\":1%s",
        clock, id, filename, strlen(text), sha_of(text, strlen(text), sha), more);
    client_record(c, members);
}

static enum mld_error put(struct world *w, const char *id, const char *filename, const char *text,
                          enum file_answer *answer)
{
    char sha[65];
    struct file_offer offer = offer_of(id, filename, text, sha);
    enum mld_error error = files_put_small(&w->place, &offer, 1);
    *answer = offer.answer;
    return error;
}

static enum file_answer status(struct world *w, const char *id, const char *text)
{
    char sha[65];
    struct file_offer offer = offer_of(id, "x", text, sha);
    assert_ok(files_status(&w->place, &offer, 1));
    return offer.answer;
}

static void sweep_all(struct world *w)
{
    size_t n = 1;
    for (int i = 0; i < 3 && n > 0; i++)
        assert_ok(sweep(w->meta, w->blob, w->lanes, FAR, 1000, &n));
}

/* "id,id*" of a list, newest first, the newest versions marked. */
static const char *ids(struct world *w, struct file_query query)
{
    static char text[4096];
    struct file_page page;
    query.project = w->experiment.project;
    text[0] = '\0';
    assert_ok(files_list(&page, w->meta, &query, (struct meta_cursor){0}, 100));
    for (size_t i = 0; i < page.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i > 0 ? "," : "",
                 page.items[i].doc.id, page.items[i].doc.newest ? "*" : "");
    arena_free(&page.arena);
    return text;
}

static const char *content(struct world *w, const char *id)
{
    static struct buf bytes;
    struct arena arena = {0};
    struct file_doc f;
    bytes.max_bytes = 1 << 20;
    buf_clear(&bytes);
    assert_ok(file_get(&f, &arena, w->meta, w->experiment.project, w->experiment.id, id));
    if (f.bytes.state == BYTES_LIVE)
        assert_ok(blob_get(w->blob, f.bytes.key, &bytes));
    arena_free(&arena);
    return buf_text(&bytes);
}

static void test_small(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    enum file_answer answer;
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_RECORDS, 0);
    assert_int_equal(status(&w, "1", "abc"), FILE_ABSENT);
    assert_ok(put(&w, "1", "a.txt", "abc", &answer));
    assert_int_equal(answer, FILE_LIVE);
    assert_ok(put(&w, "1", "a.txt", "abc", &answer));
    assert_int_equal(answer, FILE_LIVE);
    assert_ok(put(&w, "1", "a.txt", "abd", &answer));
    assert_int_equal(answer, FILE_ID_TAKEN);
    assert_int_equal(status(&w, "1", "abc"), FILE_LIVE);
    assert_int_equal(status(&w, "1", "other"), FILE_ID_TAKEN);
    assert_string_equal(ids(&w, (struct file_query){0}), ""); /* no record yet */
    record_file(&c, 1, "1", "a.txt", "abc", "");
    record_file(&c, 2, "2", "empty", "", "");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, (struct file_query){0}), "1*");
    assert_ok(put(&w, "2", "empty", "", &answer));
    assert_string_equal(ids(&w, (struct file_query){0}), "2*,1*");
    assert_string_equal(content(&w, "1"), "abc");

    char sha[65];
    struct file_offer wrong = offer_of("3", "c", "abc", sha);
    wrong.data = "abd";
    assert_ok(files_put_small(&w.place, &wrong, 1));
    assert_int_equal(wrong.answer, FILE_CHECKSUM);
    struct file_offer bad = offer_of("../3", "c", "abc", sha);
    assert_int_equal(files_put_small(&w.place, &bad, 1), MLD_EINVALID);
    bad = offer_of("3", "a/c", "abc", sha);
    assert_int_equal(files_put_small(&w.place, &bad, 1), MLD_ENAME);
    sweep_all(&w);
    assert_string_equal(ids(&w, (struct file_query){0}), "2*,1*");
    assert_int_equal(status(&w, "3", "abc"), FILE_ABSENT);
    buf_free(&c.bytes);
    world_close(&w);
}

static void test_versions(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    enum file_answer answer;
    struct file_query all = {.all_versions = true};
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_RECORDS, 0);
    record_file(&c, 1, "1", "m", "one", ",\"tags\":[\"x\"]");
    record_file(&c, 2, "2", "m", "two", ",\"tags\":[\"x\"]");
    record_file(&c, 3, "3", "m", "three", ",\"tags\":[\"x\"]");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_ok(put(&w, "2", "m", "two", &answer));
    assert_ok(put(&w, "3", "m", "three", &answer));
    assert_ok(put(&w, "1", "m", "one", &answer));
    assert_string_equal(ids(&w, all), "3*,2,1");
    assert_string_equal(ids(&w, (struct file_query){.tags = {"x"}, .n_tags = 1}), "3*");

    client_record(&c, "\"type\":\"delete\",\"clock\":4,\"id\":\"3\",\"at\":\"t\"");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, all), "2*,1");
    assert_string_equal(ids(&w, (struct file_query){.deleted = true}), "3,2*");
    client_record(&c, "\"type\":\"restore\",\"clock\":5,\"id\":\"3\",\"at\":\"t\"");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, all), "3*,2,1");

    /* Retired: not shown at once; its bytes go later. */
    client_record(&c, "\"type\":\"retire\",\"clock\":6,\"id\":\"2\",\"by\":\"3\"");
    client_record(&c, "\"type\":\"retire\",\"clock\":6,\"id\":\"1\",\"by\":\"3\"");
    client_record(&c, "\"type\":\"unretire\",\"clock\":7,\"id\":\"1\",\"by\":\"3\"");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, all), "3*,1");
    assert_string_equal(content(&w, "2"), "two");
    sweep_all(&w);
    assert_string_equal(content(&w, "2"), "");
    assert_int_equal(status(&w, "2", "two"), FILE_GONE);
    assert_string_equal(content(&w, "1"), "one");
    assert_string_equal(ids(&w, all), "3*,1");

    /* An alias turned up after all: it may be sent again. */
    client_record(&c, "\"type\":\"unretire\",\"clock\":8,\"id\":\"2\",\"by\":\"3\"");
    client_record(&c, "\"type\":\"alias\",\"clock\":9,\"path\":\"/models\",\"filename\":\"m\","
                      "\"alias\":\"best\",\"id\":\"2\"");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_int_equal(status(&w, "2", "two"), FILE_ABSENT);
    assert_ok(put(&w, "2", "m", "two", &answer));
    assert_int_equal(answer, FILE_LIVE);
    assert_string_equal(ids(&w, all), "3*,2,1");
    assert_string_equal(ids(&w, (struct file_query){.alias = "best"}), "2");
    assert_string_equal(content(&w, "2"), "two");
    sweep_all(&w);
    assert_string_equal(content(&w, "2"), "two");
    buf_free(&c.bytes);
    world_close(&w);
}

static char large[200000];

static enum mld_error send_part(struct world *w, const struct upload_info *u, unsigned n,
                                const char *bytes)
{
    char sha[65];
    struct blob_part *part;
    uint64_t at = n * u->upload.part_size_bytes;
    uint64_t len = u->upload.size_bytes - at;
    if (len > u->upload.part_size_bytes)
        len = u->upload.part_size_bytes;
    enum mld_error error =
        blob_part_begin(&part, w->blob, &u->upload, n, len, sha_of(bytes + at, len, sha));
    if (error == MLD_OK) {
        error = blob_part_write(part, bytes + at, len);
        assert_int_equal(error, MLD_OK);
        error = blob_part_finish(part);
    }
    return error;
}

static void test_uploads(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    struct arena arena = {0};
    struct upload_info u;
    char sha[65];
    memset(large, 'x', sizeof large - 1);
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_RECORDS, 0);
    struct file_offer offer = offer_of("9", "big", large, sha);
    assert_int_equal(upload_create(&w.place, &offer, 1000, &arena, &u), MLD_ETOOLARGE);
    assert_ok(upload_create(&w.place, &offer, 1 << 20, &arena, &u));
    assert_int_equal(u.answer, FILE_OPEN);
    assert_int_equal(u.n_have, 0);
    free(u.have);
    assert_int_equal(status(&w, "9", large), FILE_OPEN);
    assert_int_equal(status(&w, "9", "abc"), FILE_ID_TAKEN);
    assert_int_equal(upload_commit(&w.place, "9", &arena, &u), MLD_ESTATE);
    assert_ok(upload_create(&w.place, &offer, 1 << 20, &arena, &u));
    for (unsigned n = 0; n < u.parts; n++)
        assert_ok(send_part(&w, &u, n, large));
    free(u.have);
    assert_ok(upload_get(&w.place, "9", &arena, &u));
    assert_int_equal(u.n_have, u.parts);
    free(u.have);
    size_t n_due;
    assert_ok(sweep(w.meta, w.blob, w.lanes, clock_now_us() + WORK_UPLOAD_US - 60000000, 100,
                    &n_due)); /* nobody has given it up yet */
    record_file(&c, 5, "9", "big", large, "");
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, (struct file_query){0}), "");
    assert_ok(upload_commit(&w.place, "9", &arena, &u));
    assert_int_equal(u.answer, FILE_LIVE);
    assert_ok(upload_commit(&w.place, "9", &arena, &u)); /* again */
    assert_ok(upload_abort(&w.place, "9"));
    assert_string_equal(ids(&w, (struct file_query){0}), "9*");
    assert_string_equal(content(&w, "9"), large);

    /* The whole is another: it is dropped, and can begin anew. */
    offer = offer_of("10", "big2", large, sha);
    assert_ok(upload_create(&w.place, &offer, 1 << 20, &arena, &u));
    large[5] = 'y';
    for (unsigned n = 0; n < u.parts; n++)
        assert_ok(send_part(&w, &u, n, large));
    large[5] = 'x';
    free(u.have);
    assert_int_equal(upload_commit(&w.place, "10", &arena, &u), MLD_ECHECKSUM);
    assert_int_equal(status(&w, "10", large), FILE_ABSENT);
    assert_ok(upload_create(&w.place, &offer, 1 << 20, &arena, &u));
    free(u.have);
    assert_ok(upload_abort(&w.place, "10"));
    assert_int_equal(status(&w, "10", large), FILE_ABSENT);
    assert_int_equal(upload_commit(&w.place, "10", &arena, &u), MLD_ENOTFOUND);
    arena_free(&arena);
    buf_free(&c.bytes);
    world_close(&w);
}

/* Two machines made the same id: both files are shown, whoever comes first. */
static void check_twins(unsigned order)
{
    struct world w;
    struct client a;
    struct client b;
    enum file_answer answer = FILE_ABSENT;
    char sha[65];
    world_open(&w, NULL);
    client_init(&a, 1, STREAM_RECORDS, 0);
    client_init(&b, 2, STREAM_RECORDS, 0);
    record_file(&a, 1, "50", "a", "aaa", "");
    record_file(&b, 2, "50", "b", "bbb", "");
    client_record(&b,
                  "\"type\":\"update\",\"clock\":3,\"id\":\"50\",\"at\":\"t\",\"tags\":[\"b\"]");
    if (order & 1)
        assert_ok(client_send(&a, w.lanes, w.experiment.id));
    assert_ok(put(&w, "50", "a", "aaa", &answer));
    assert_int_equal(answer, FILE_LIVE);
    if (order & 2)
        assert_ok(client_send(&b, w.lanes, w.experiment.id));
    assert_int_equal(status(&w, "50", "bbb"), FILE_ID_TAKEN);
    struct file_offer offer = offer_of("51", "b", "bbb", sha);
    offer.as = "50";
    offer.stream = b.id;
    for (int i = 0; i < 2; i++) {
        assert_ok(files_put_small(&w.place, &offer, 1));
        assert_int_equal(offer.answer, FILE_LIVE);
    }
    assert_ok(client_send(&b, w.lanes, w.experiment.id));
    assert_ok(client_send(&a, w.lanes, w.experiment.id));
    assert_string_equal(ids(&w, (struct file_query){0}), "51*,50*");
    assert_string_equal(ids(&w, (struct file_query){.tags = {"b"}, .n_tags = 1}), "51*");
    assert_string_equal(content(&w, "50"), "aaa");
    assert_string_equal(content(&w, "51"), "bbb");
    assert_int_equal(status(&w, "51", "bbb"), FILE_LIVE);
    buf_free(&a.bytes);
    buf_free(&b.bytes);
    world_close(&w);
}

static void test_twins(void **unused)
{
    (void)unused;
    for (unsigned order = 0; order < 4; order++)
        check_twins(order);
}

static void test_queries(void **unused)
{
    (void)unused;
    struct world w;
    struct client c;
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_RECORDS, 0);
    for (int i = 0; i < 300; i++) {
        char id[16];
        char name[32];
        char more[200];
        enum file_answer answer;
        snprintf(id, sizeof id, "%d", 1000 + i);
        snprintf(name, sizeof name, "f%03d.txt", i);
        snprintf(more, sizeof more,
                 ",\"tags\":[\"%s\",\"m%d\"],\"metadata\":{\"epoch\":%d.0,\"name\":\"n%d\","
                 "\"good\":%s,\"nan\":NaN}",
                 i % 2 ? "odd" : "even", i % 10, i, i % 7, i % 3 ? "true" : "false");
        record_file(&c, i + 1, id, name, "x", more);
        assert_ok(put(&w, id, name, "x", &answer));
    }
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    struct file_query q = {.metadata = {{"epoch", "17"}}, .n_metadata = 1};
    assert_string_equal(ids(&w, q), "1017*");
    q.metadata[0].value = "17.0";
    assert_string_equal(ids(&w, q), "1017*");
    q.metadata[0] = (struct file_term){"name", "n3"};
    q.metadata[1] = (struct file_term){"good", "false"};
    q.n_metadata = 2;
    q.tags[0] = "odd";
    q.n_tags = 1;
    q.glob = "f0*";
    assert_string_equal(ids(&w, q), "1087*,1045*,1003*");
    q.glob = "/models/f00?.txt";
    assert_string_equal(ids(&w, q), "1003*");
    q.experiment = "17";
    assert_string_equal(ids(&w, q), "");
    q = (struct file_query){.tags = {"even", "odd"}, .n_tags = 2};
    assert_string_equal(ids(&w, q), "");
    q = (struct file_query){.prefix = "/other", .experiment = w.experiment.id};
    assert_string_equal(ids(&w, q), "");

    /* Pages together are the whole. */
    q = (struct file_query){.project = w.experiment.project, .tags = {"odd"}, .n_tags = 1};
    struct meta_cursor after = {0};
    char last[200] = "";
    size_t n = 0;
    bool more = true;
    while (more) {
        struct file_page page;
        assert_ok(files_list(&page, w.meta, &q, after, 7));
        for (size_t i = 0; i < page.n; i++)
            assert_int_equal(atoi(page.items[i].doc.id), 1299 - 2 * (int)n++);
        more = page.more;
        if (more) {
            snprintf(last, sizeof last, "%s", page.last_id);
            after = (struct meta_cursor){page.last_order, last};
        }
        arena_free(&page.arena);
    }
    assert_int_equal(n, 150);
    buf_free(&c.bytes);
    world_close(&w);
}

#define THREADS 6
struct saver {
    struct world *w;
    struct files_place place;
    struct client client;
    unsigned n;
    enum mld_error error;
};

/* Each thread saves versions of one name, with records and bytes in turn. */
static void *save_versions(void *payload)
{
    struct saver *s = payload;
    for (int i = 0; i < 10 && s->error == MLD_OK; i++) {
        char id[16];
        char sha[65];
        snprintf(id, sizeof id, "%u", 1000 + 100 * s->n + (unsigned)i);
        struct file_offer offer = offer_of(id, "same", id, sha);
        record_file(&s->client, 10 * i + (int)s->n + 1, id, "same", id, "");
        if (i % 2)
            s->error = files_put_small(&s->place, &offer, 1);
        if (s->error == MLD_OK)
            s->error = client_send(&s->client, s->w->lanes, s->w->experiment.id);
        if (s->error == MLD_OK && i % 2 == 0)
            s->error = files_put_small(&s->place, &offer, 1);
    }
    return NULL;
}

static void test_many_versions_at_once(void **unused)
{
    (void)unused;
    struct world w;
    struct saver savers[THREADS];
    pthread_t threads[THREADS];
    struct file_page page;
    world_open(&w, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        savers[i] = (struct saver){.w = &w, .place = w.place, .n = i};
        client_init(&savers[i].client, i + 1, STREAM_RECORDS, i);
        pthread_create(&threads[i], NULL, save_versions, &savers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(savers[i].error, MLD_OK);
        buf_free(&savers[i].client.bytes);
    }
    struct file_query q = {.project = w.experiment.project, .all_versions = true};
    assert_ok(files_list(&page, w.meta, &q, (struct meta_cursor){0}, 1000));
    assert_int_equal(page.n, 10 * THREADS);
    for (size_t i = 0; i < page.n; i++)
        assert_int_equal(page.items[i].doc.newest, i == 0);
    arena_free(&page.arena);
    world_close(&w);
}

static void run_script(struct world *w, const struct files_place *place, struct lanes *lanes,
                       struct client *c)
{
    struct arena arena = {0};
    struct upload_info u;
    char sha[65];
    struct file_offer one = offer_of("1", "m", "one", sha);
    client_send(c, lanes, w->experiment.id);
    files_put_small(place, &one, 1);
    char sha2[65];
    struct file_offer two = offer_of("2", "m", large, sha2);
    if (upload_create(place, &two, 1 << 20, &arena, &u) == MLD_OK) {
        for (unsigned n = 0; n < u.parts && u.answer == FILE_OPEN; n++)
            assert_ok(send_part(w, &u, n, large));
        free(u.have);
        upload_commit(place, "2", &arena, &u);
    }
    char sha3[65];
    struct file_offer three = offer_of("3", "m", "three", sha3);
    files_put_small(place, &three, 1);
    arena_free(&arena);
}

/* A server dies at each of its writes; the client tries again with another, or never comes back.
 * Either way all comes right, and no bytes are left that nothing names. */
static enum mld_error count_blob(const char *key, uint64_t size, void *payload)
{
    (void)size;
    if (strncmp(key, "files/", 6) == 0)
        ++*(size_t *)payload;
    return MLD_OK;
}

static void die_at(long n, bool comes_back)
{
    struct world w;
    struct client c;
    struct mortal mortal;
    struct lanes *dying;
    size_t blobs = 0;
    world_open(&w, NULL);
    client_init(&c, 1, STREAM_RECORDS, 0);
    record_file(&c, 1, "1", "m", "one", "");
    record_file(&c, 2, "2", "m", large, "");
    record_file(&c, 3, "3", "m", "three", "");
    mortal_init(&mortal, w.meta, n, n % 2 == 0);
    assert_ok(lanes_open(&dying, &mortal.base, w.blob, NULL));
    struct files_place place = w.place;
    place.meta = &mortal.base;
    run_script(&w, &place, dying, &c);
    lanes_close(dying);
    if (comes_back) {
        c.sent = 0;
        run_script(&w, &w.place, w.lanes, &c);
        assert_string_equal(ids(&w, (struct file_query){.all_versions = true}), "3*,2,1");
    }
    c.sent = 0;
    assert_ok(client_send(&c, w.lanes, w.experiment.id));
    sweep_all(&w);
    const char *left = ids(&w, (struct file_query){.all_versions = true});
    size_t listed = 0;
    for (const char *at = left; *at != '\0'; at++)
        listed += at == left || at[-1] == ',';
    for (const char *at = strchr(left, '*'); at != NULL; at = NULL)
        assert_true(at == left + 1 && strchr(at + 1, '*') == NULL);
    assert_ok(blob_list(w.blob, count_blob, &blobs));
    assert_int_equal(blobs, listed);
    buf_free(&c.bytes);
    world_close(&w);
}

static void test_dies_at_every_write(void **unused)
{
    (void)unused;
    memset(large, 'x', sizeof large - 1);
    for (long n = 1; n < 40; n++) {
        die_at(n, true);
        die_at(n, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_many_versions_at_once),
        cmocka_unit_test(test_dies_at_every_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

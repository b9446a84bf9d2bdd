#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "meta_cases.h"

#define THREADS 64
#define ROUNDS 20

static const struct meta_suite *suite;

int meta_suite_setup(void **state)
{
    *state = suite->open_empty();
    return *state == NULL ? -1 : 0;
}

int meta_suite_teardown(void **state)
{
    meta_close(*state);
    return 0;
}

static struct meta_doc doc_of(const char *partition, const char *id, const char *text)
{
    return (struct meta_doc){
        .partition = partition, .id = id, .text = text, .text_len = strlen(text)};
}

static void insert(struct meta *m, const char *partition, const char *id, int64_t order,
                   const char *const *tokens, size_t n)
{
    struct meta_doc doc = doc_of(partition, id, "{}");
    doc.order = order;
    doc.tokens = tokens;
    doc.n_tokens = n;
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
}

static void reads_back_what_was_inserted(void **state)
{
    struct meta *m = *state;
    static const char *const tokens[] = {"tag:best", "tag:ü", "run"};
    struct meta_docs docs = {0};
    struct meta_doc doc = doc_of("p", "näme/1", "{\"a\":1}");
    doc.tokens = tokens;
    doc.n_tokens = 3;
    doc.order = -5;
    doc.data = "x\0y";
    doc.data_len = 3;
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "p", "näme/1"), MLD_OK);
    assert_int_equal(docs.n, 1);
    const struct meta_doc *got = &docs.docs[0];
    assert_string_equal(got->partition, "p");
    assert_string_equal(got->id, "näme/1");
    assert_int_equal(got->revision, 1);
    assert_int_equal(got->order, -5);
    assert_int_equal(got->n_tokens, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(got->tokens[i], tokens[i]);
    assert_int_equal(got->text_len, 7);
    assert_memory_equal(got->text, "{\"a\":1}", 7);
    assert_int_equal(got->data_len, 3);
    assert_memory_equal(got->data, "x\0y", 3);
    meta_docs_free(&docs);
}

static void tells_nothing_from_empty(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    struct meta_doc doc = {.partition = "p", .id = "nothing"};
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    doc = (struct meta_doc){.partition = "p", .id = "empty", .text = "", .data = ""};
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "p", "nothing"), MLD_OK);
    assert_null(docs.docs[0].text);
    assert_null(docs.docs[0].data);
    assert_int_equal(meta_get(m, &docs, "p", "empty"), MLD_OK);
    assert_non_null(docs.docs[0].text);
    assert_non_null(docs.docs[0].data);
    assert_int_equal(docs.docs[0].text_len, 0);
    meta_docs_free(&docs);
}

static void an_id_is_taken_once(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    struct meta_doc first = doc_of("p", "a", "first"), second = doc_of("p", "a", "second");
    struct meta_doc elsewhere = doc_of("q", "a", "other");
    assert_int_equal(meta_insert(m, &first), MLD_OK);
    assert_int_equal(meta_insert(m, &second), MLD_EEXISTS);
    assert_int_equal(meta_insert(m, &elsewhere), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "p", "a"), MLD_OK);
    assert_memory_equal(docs.docs[0].text, "first", 5);
    assert_int_equal(meta_get(m, &docs, "p", "b"), MLD_ENOTFOUND);
    assert_int_equal(meta_get(m, &docs, "r", "a"), MLD_ENOTFOUND);
    meta_docs_free(&docs);
}

static void replaces_only_the_revision_that_was_read(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    struct meta_doc doc = doc_of("p", "a", "one");
    doc.revision = 1;
    assert_int_equal(meta_replace(m, &doc), MLD_ENOTFOUND);
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    doc.text = "two";
    assert_int_equal(meta_replace(m, &doc), MLD_OK);
    assert_int_equal(meta_replace(m, &doc), MLD_ECONFLICT);
    assert_int_equal(meta_get(m, &docs, "p", "a"), MLD_OK);
    assert_int_equal(docs.docs[0].revision, 2);
    assert_memory_equal(docs.docs[0].text, "two", 3);
    assert_int_equal(meta_delete(m, "p", "a", 1), MLD_ECONFLICT);
    assert_int_equal(meta_delete(m, "p", "a", 2), MLD_OK);
    assert_int_equal(meta_delete(m, "p", "a", 2), MLD_ENOTFOUND);
    assert_int_equal(meta_delete(m, "p", "a", 0), MLD_OK);
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    assert_int_equal(meta_delete(m, "p", "a", 0), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "p", "a"), MLD_ENOTFOUND);
    meta_docs_free(&docs);
}

static void each_write_has_its_own_result(void **state)
{
    struct meta *m = *state;
    struct meta_doc there = doc_of("p", "there", "1");
    assert_int_equal(meta_insert(m, &there), MLD_OK);
    struct meta_doc stale = there;
    stale.revision = 7;
    struct meta_write writes[] = {
        {.op = META_INSERT, .doc = doc_of("p", "new", "2")},
        {.op = META_INSERT, .doc = there},
        {.op = META_REPLACE, .doc = doc_of("p", "missing", "3")},
        {.op = META_INSERT, .doc = doc_of("q", "there", "4")},
        {.op = META_DELETE, .doc = doc_of("q", "missing", "")},
    };
    assert_int_equal(meta_write(m, writes, 5), MLD_OK);
    assert_int_equal(writes[0].result, MLD_OK);
    assert_int_equal(writes[1].result, MLD_EEXISTS);
    assert_int_equal(writes[2].result, MLD_ENOTFOUND);
    assert_int_equal(writes[3].result, MLD_OK);
    assert_int_equal(writes[4].result, MLD_OK);
    struct meta_write again = {.op = META_REPLACE, .doc = stale};
    assert_int_equal(meta_write(m, &again, 1), MLD_OK);
    assert_int_equal(again.result, MLD_ECONFLICT);
    assert_int_equal(meta_write(m, NULL, 0), MLD_OK);
}

static void refuses_what_is_over_the_limits(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    static char name[META_MAX_NAME_BYTES + 2];
    static const char *tokens[META_MAX_TOKENS + 1];
    static char texts[META_MAX_TOKENS + 1][8];
    memset(name, 'n', sizeof name - 1);
    for (size_t i = 0; i <= META_MAX_TOKENS; i++) {
        snprintf(texts[i], sizeof texts[i], "t%zu", i);
        tokens[i] = texts[i];
    }
    struct meta_doc doc = doc_of("p", name, "{}");
    assert_int_equal(meta_insert(m, &doc), MLD_EINVALID);
    doc = doc_of(name, "a", "{}");
    assert_int_equal(meta_insert(m, &doc), MLD_EINVALID);
    doc = doc_of("p", "", "{}");
    assert_int_equal(meta_insert(m, &doc), MLD_EINVALID);
    doc = doc_of("p", "a", "{}");
    doc.tokens = tokens;
    doc.n_tokens = META_MAX_TOKENS + 1;
    assert_int_equal(meta_insert(m, &doc), MLD_EINVALID);
    doc.n_tokens = META_MAX_TOKENS;
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    tokens[1] = tokens[0];
    doc.id = "b";
    assert_int_equal(meta_insert(m, &doc), MLD_EINVALID);
    struct meta_write twice[] = {{.op = META_INSERT, .doc = doc_of("p", "c", "")},
                                 {.op = META_DELETE, .doc = doc_of("p", "c", "")}};
    assert_int_equal(meta_write(m, twice, 2), MLD_EINVALID);
    assert_int_equal(meta_get(m, &docs, "p", "b"), MLD_ENOTFOUND);
    assert_int_equal(meta_get(m, &docs, "p", "c"), MLD_ENOTFOUND);
    name[META_MAX_NAME_BYTES] = '\0';
    doc = doc_of(name, name, "{}");
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    struct meta_range range = {.partition = "p", .token = "t1", .limit = META_MAX_FIND + 1};
    assert_int_equal(meta_find(m, &docs, &range), MLD_EINVALID);
    range.limit = 0;
    assert_int_equal(meta_find(m, &docs, &range), MLD_EINVALID);
    range = (struct meta_range){.partition = "p", .limit = 1};
    assert_int_equal(meta_find(m, &docs, &range), MLD_EINVALID);
    meta_docs_free(&docs);
}

static void gets_many_in_the_order_asked(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    insert(m, "p", "a", 0, NULL, 0);
    insert(m, "p", "b", 0, NULL, 0);
    insert(m, "q", "c", 0, NULL, 0);
    static const char *const ids[] = {"b", "c", "missing", "a"};
    assert_int_equal(meta_get_many(m, &docs, "p", ids, 4), MLD_OK);
    assert_int_equal(docs.n, 2);
    assert_string_equal(docs.docs[0].id, "b");
    assert_string_equal(docs.docs[1].id, "a");
    meta_docs_free(&docs);
}

/* 300 documents of token "all", three for each order; every third has "some", too. */
static void fill(struct meta *m)
{
    static const char *const tokens[] = {"all", "some"};
    char id[16];
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "%d", (i * 7) % 300);
        int number = (i * 7) % 300;
        insert(m, "p", id, number / 3 - 20, tokens, number % 3 == 0 ? 2 : 1);
    }
    insert(m, "other", "1", 0, tokens, 2);
}

static int before(const struct meta_doc *a, const struct meta_doc *b)
{
    return a->order != b->order ? (a->order < b->order ? -1 : 1) : strcmp(a->id, b->id);
}

/* Reads the whole range page by page; each document must come after the one before. */
static size_t page_through(struct meta *m, struct meta_range range)
{
    struct meta_docs docs = {0};
    char last_id[64] = "";
    struct meta_doc last = {.id = last_id};
    size_t count = 0;
    do {
        assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
        assert_true(docs.n <= range.limit);
        assert_true(docs.n > 0 || !docs.more);
        for (size_t i = 0; i < docs.n; i++, count++) {
            const struct meta_doc *doc = &docs.docs[i];
            int compared = count == 0 ? -1 : before(&last, doc);
            assert_true(count == 0 || (range.descending ? compared > 0 : compared < 0));
            assert_true(doc->order >= range.min_order && doc->order <= range.max_order);
            last.order = doc->order;
            snprintf(last_id, sizeof last_id, "%s", doc->id);
        }
        range.after = (struct meta_cursor){last.order, last_id};
    } while (docs.more);
    meta_docs_free(&docs);
    return count;
}

static void finds_ranges_in_order(void **state)
{
    struct meta *m = *state;
    static const size_t limits[] = {1, 2, 7, 299, 300, 301, META_MAX_FIND};
    fill(m);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        for (int down = 0; down < 2; down++) {
            struct meta_range range = {.partition = "p",
                                       .token = "all",
                                       .min_order = INT64_MIN,
                                       .max_order = INT64_MAX,
                                       .descending = down,
                                       .limit = limits[i]};
            assert_int_equal(page_through(m, range), 300);
            range.token = "some";
            assert_int_equal(page_through(m, range), 100);
            range.min_order = -10;
            range.max_order = 10;
            assert_int_equal(page_through(m, range), 21);
            range.token = "none";
            assert_int_equal(page_through(m, range), 0);
        }
    }
}

static void begins_behind_a_cursor_that_is_gone(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    static const char *const tokens[] = {"t"};
    insert(m, "p", "a", 1, tokens, 1);
    insert(m, "p", "c", 1, tokens, 1);
    struct meta_range range = {.partition = "p",
                               .token = "t",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .after = {1, "b"},
                               .limit = 10};
    assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
    assert_int_equal(docs.n, 1);
    assert_string_equal(docs.docs[0].id, "c");
    range.descending = true;
    assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
    assert_int_equal(docs.n, 1);
    assert_string_equal(docs.docs[0].id, "a");
    meta_docs_free(&docs);
}

static uint64_t count_of(struct meta *m, const char *token, uint64_t max)
{
    uint64_t count = 0;
    struct meta_range range = {
        .partition = "p", .token = token, .min_order = INT64_MIN, .max_order = INT64_MAX};
    assert_int_equal(meta_count(m, &count, &range, max), MLD_OK);
    return count;
}

static void counts_up_to_a_bound(void **state)
{
    struct meta *m = *state;
    fill(m);
    assert_int_equal(count_of(m, "all", UINT64_MAX), 300);
    assert_int_equal(count_of(m, "all", 299), 299);
    assert_int_equal(count_of(m, "some", 1000), 100);
    assert_int_equal(count_of(m, "none", 1000), 0);
}

static void follows_tokens_and_order_when_they_change(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    static const char *const before_tokens[] = {"stays", "goes"};
    static const char *const after_tokens[] = {"comes", "stays"};
    insert(m, "p", "a", 1, before_tokens, 2);
    struct meta_doc doc = doc_of("p", "a", "{}");
    doc.revision = 1;
    doc.order = 1;
    doc.tokens = after_tokens;
    doc.n_tokens = 2;
    assert_int_equal(meta_replace(m, &doc), MLD_OK);
    assert_int_equal(count_of(m, "stays", 10), 1);
    assert_int_equal(count_of(m, "goes", 10), 0);
    assert_int_equal(count_of(m, "comes", 10), 1);
    doc.revision = 2;
    doc.order = 9;
    assert_int_equal(meta_replace(m, &doc), MLD_OK);
    struct meta_range range = {
        .partition = "p", .token = "stays", .min_order = 2, .max_order = INT64_MAX, .limit = 5};
    assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
    assert_int_equal(docs.n, 1);
    assert_int_equal(docs.docs[0].order, 9);
    assert_int_equal(count_of(m, "stays", 10), 1);
    assert_int_equal(meta_delete(m, "p", "a", 3), MLD_OK);
    assert_int_equal(count_of(m, "stays", 10), 0);
    assert_int_equal(count_of(m, "comes", 10), 0);
    meta_docs_free(&docs);
}

/* Many threads at once. */
struct worker {
    struct meta *m;
    int number;
    int wins;
    pthread_t thread;
};

static void run_workers(struct meta *m, void *(*work)(void *), struct worker *workers)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.m = m, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
}

static void *increment(void *payload)
{
    struct worker *w = payload;
    for (int i = 0; i < ROUNDS; i++) {
        enum mld_error error = MLD_ECONFLICT;
        while (error == MLD_ECONFLICT) {
            struct meta_docs docs = {0};
            char text[16];
            if (meta_get(w->m, &docs, "p", "counter") != MLD_OK)
                return NULL;
            struct meta_doc doc = docs.docs[0];
            doc.text_len =
                (size_t)snprintf(text, sizeof text, "%d", (int)strtol(doc.text, NULL, 10) + 1);
            doc.text = text;
            error = meta_replace(w->m, &doc);
            meta_docs_free(&docs);
        }
        w->wins += error == MLD_OK;
    }
    return NULL;
}

static void loses_no_change_of_64_threads(void **state)
{
    struct meta *m = *state;
    static struct worker workers[THREADS];
    struct meta_docs docs = {0};
    struct meta_doc doc = doc_of("p", "counter", "0");
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    run_workers(m, increment, workers);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].wins, ROUNDS);
    assert_int_equal(meta_get(m, &docs, "p", "counter"), MLD_OK);
    assert_int_equal(strtol(docs.docs[0].text, NULL, 10), THREADS * ROUNDS);
    assert_int_equal(docs.docs[0].revision, THREADS * ROUNDS + 1);
    meta_docs_free(&docs);
}

static void *reserve(void *payload)
{
    struct worker *w = payload;
    for (int i = 0; i < ROUNDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "name%d", i);
        struct meta_doc doc = doc_of("names", id, "{}");
        w->wins += meta_insert(w->m, &doc) == MLD_OK;
    }
    return NULL;
}

static void gives_each_name_to_one_of_64_threads(void **state)
{
    static struct worker workers[THREADS];
    int wins = 0;
    run_workers(*state, reserve, workers);
    for (int i = 0; i < THREADS; i++)
        wins += workers[i].wins;
    assert_int_equal(wins, ROUNDS);
}

static void *insert_batches(void *payload)
{
    struct worker *w = payload;
    static const char *const tokens[] = {"batch"};
    for (int i = 0; i < ROUNDS; i++) {
        struct meta_write writes[10];
        char ids[10][32];
        for (int j = 0; j < 10; j++) {
            snprintf(ids[j], sizeof ids[j], "%d-%d-%d", w->number, i, j);
            writes[j] = (struct meta_write){.op = META_INSERT, .doc = doc_of("p", ids[j], "{}")};
            writes[j].doc.tokens = tokens;
            writes[j].doc.n_tokens = 1;
            writes[j].doc.order = w->number;
        }
        if (meta_write(w->m, writes, 10) != MLD_OK)
            return NULL;
        for (int j = 0; j < 10; j++)
            w->wins += writes[j].result == MLD_OK;
    }
    return NULL;
}

static void pages_while_64_threads_insert(void **state)
{
    struct meta *m = *state;
    static struct worker workers[THREADS];
    struct meta_range range = {.partition = "p",
                               .token = "batch",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = 100};
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.m = m, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, insert_batches, &workers[i]), 0);
    }
    size_t seen = 0;
    for (int i = 0; i < 5; i++) {
        size_t now = page_through(m, range);
        assert_true(now >= seen);
        seen = now;
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].wins, ROUNDS * 10);
    }
    assert_int_equal(page_through(m, range), THREADS * ROUNDS * 10);
}

static void keeps_all_over_a_reopening(void **state)
{
    struct meta_docs docs = {0};
    static const char *const tokens[] = {"t"};
    if (suite->open_again == NULL)
        return;
    insert(*state, "p", "a", 3, tokens, 1);
    meta_close(*state);
    *state = suite->open_again();
    assert_non_null(*state);
    assert_int_equal(meta_get(*state, &docs, "p", "a"), MLD_OK);
    assert_int_equal(count_of(*state, "t", 10), 1);
    meta_docs_free(&docs);
}

static void two_openings_see_each_other(void **state)
{
    struct meta_docs docs = {0};
    if (suite->open_again == NULL)
        return;
    struct meta *other = suite->open_again();
    assert_non_null(other);
    insert(*state, "p", "a", 3, NULL, 0);
    assert_int_equal(meta_get(other, &docs, "p", "a"), MLD_OK);
    struct meta_doc doc = docs.docs[0];
    assert_int_equal(meta_insert(other, &doc), MLD_EEXISTS);
    assert_int_equal(meta_replace(other, &doc), MLD_OK);
    assert_int_equal(meta_replace(*state, &doc), MLD_ECONFLICT);
    meta_docs_free(&docs);
    meta_close(other);
}

static void is_well(void **state)
{
    assert_int_equal(meta_health(*state), MLD_OK);
    assert_string_equal(meta_kind(*state), suite->name);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, meta_suite_setup, meta_suite_teardown)

int meta_suite_run(const struct meta_suite *s)
{
    const struct CMUnitTest own[] = {
        CASE(reads_back_what_was_inserted),
        CASE(tells_nothing_from_empty),
        CASE(an_id_is_taken_once),
        CASE(replaces_only_the_revision_that_was_read),
        CASE(each_write_has_its_own_result),
        CASE(refuses_what_is_over_the_limits),
        CASE(gets_many_in_the_order_asked),
        CASE(finds_ranges_in_order),
        CASE(begins_behind_a_cursor_that_is_gone),
        CASE(counts_up_to_a_bound),
        CASE(follows_tokens_and_order_when_they_change),
        CASE(loses_no_change_of_64_threads),
        CASE(gives_each_name_to_one_of_64_threads),
        CASE(pages_while_64_threads_insert),
        CASE(keeps_all_over_a_reopening),
        CASE(two_openings_see_each_other),
        CASE(is_well),
    };
    struct CMUnitTest tests[sizeof own / sizeof own[0] + META_FIND_CASES];
    memcpy(tests, own, sizeof own);
    memcpy(tests + sizeof own / sizeof own[0], meta_find_cases, sizeof meta_find_cases);
    suite = s;
    return cmocka_run_group_tests_name(s->name, tests, NULL, NULL);
}

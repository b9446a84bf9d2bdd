/* meta_suite_find.c: cases about ranges, limits and the comparison with the reference store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "meta_cases.h"

static const struct meta_range everything = {.partition = "p",
                                             .token = "t",
                                             .min_order = INT64_MIN,
                                             .max_order = INT64_MAX,
                                             .limit = META_MAX_FIND};

static void insert(struct meta *m, const char *partition, const char *id, int64_t order,
                   const char *token)
{
    struct meta_doc doc = {
        .partition = partition, .id = id, .order = order, .tokens = &token, .n_tokens = 1};
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
}

/* The ids that the range gives, each with a blank behind it; the count must be that of meta_count.
 */
static const char *ids_of(struct meta *m, const struct meta_range *range)
{
    static char text[4096];
    struct meta_docs docs = {0};
    size_t len = 0;
    uint64_t count;
    assert_int_equal(meta_find(m, &docs, range), MLD_OK);
    assert_int_equal(meta_count(m, &count, range, UINT64_MAX), MLD_OK);
    if (!docs.more)
        assert_int_equal(docs.n, count);
    text[0] = '\0';
    for (size_t i = 0; i < docs.n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s ", docs.docs[i].id);
    meta_docs_free(&docs);
    return text;
}

static void orders_ids_by_their_bytes(void **state)
{
    struct meta *m = *state;
    static const char *const ids[] = {"é", "z", "\xff\xff\xff", "a", "ab", "a/b", "B", "日本", "%"};
    struct meta_range range = everything;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        insert(m, "p", ids[i], 7, "t");
    assert_string_equal(ids_of(m, &range), "% B a a/b ab z é 日本 \xff\xff\xff ");
    range.descending = true;
    assert_string_equal(ids_of(m, &range), "\xff\xff\xff 日本 é z ab a/b a B % ");
    range.after = (struct meta_cursor){7, "é"};
    assert_string_equal(ids_of(m, &range), "z ab a/b a B % ");
    range.descending = false;
    assert_string_equal(ids_of(m, &range), "日本 \xff\xff\xff ");
}

static void includes_both_ends_of_an_interval(void **state)
{
    struct meta *m = *state;
    struct meta_range range = everything;
    insert(m, "p", "least", INT64_MIN, "t");
    insert(m, "p", "minus", -1, "t");
    insert(m, "p", "null", 0, "t");
    insert(m, "p", "most", INT64_MAX, "t");
    for (int down = 0; down < 2; down++) {
        range = everything;
        range.descending = down;
        assert_string_equal(ids_of(m, &range),
                            down ? "most null minus least " : "least minus null most ");
        range.min_order = -1;
        range.max_order = 0;
        assert_string_equal(ids_of(m, &range), down ? "null minus " : "minus null ");
        range.min_order = range.max_order = INT64_MAX;
        assert_string_equal(ids_of(m, &range), "most ");
        range.min_order = range.max_order = INT64_MIN;
        assert_string_equal(ids_of(m, &range), "least ");
        range.min_order = 1;
        range.max_order = 0;
        assert_string_equal(ids_of(m, &range), "");
    }
}

static void a_cursor_outside_its_interval_is_the_end_or_nothing(void **state)
{
    struct meta *m = *state;
    struct meta_range range = everything;
    insert(m, "p", "a", 1, "t");
    insert(m, "p", "b", 5, "t");
    insert(m, "p", "c", 9, "t");
    range.min_order = 2;
    range.max_order = 8;
    range.after = (struct meta_cursor){1, "a"};
    assert_string_equal(ids_of(m, &range), "b ");
    range.after = (struct meta_cursor){9, "c"};
    assert_string_equal(ids_of(m, &range), "");
    range.descending = true;
    assert_string_equal(ids_of(m, &range), "b ");
    range.after = (struct meta_cursor){1, "a"};
    assert_string_equal(ids_of(m, &range), "");
}

static void tells_tokens_and_partitions_apart(void **state)
{
    struct meta *m = *state;
    struct meta_range range = everything;
    insert(m, "p", "a", 0, "t");
    insert(m, "p", "b", 0, "tt");
    insert(m, "p", "c", 0, "T");
    insert(m, "P", "d", 0, "t");
    insert(m, "pp", "e", 0, "t");
    insert(m, "p", "f", 0, "t ");
    assert_string_equal(ids_of(m, &range), "a ");
    range.partition = "P";
    assert_string_equal(ids_of(m, &range), "d ");
    range.partition = "missing";
    assert_string_equal(ids_of(m, &range), "");
    range.partition = "p";
    range.token = "%";
    assert_string_equal(ids_of(m, &range), "");
}

static void tells_whether_there_is_more(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    struct meta_range range = everything;
    insert(m, "p", "a", 0, "t");
    insert(m, "p", "b", 0, "t");
    for (int down = 0; down < 2; down++) {
        range.descending = down;
        range.limit = 1;
        assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
        assert_int_equal(docs.n, 1);
        assert_true(docs.more);
        range.limit = 2;
        assert_int_equal(meta_find(m, &docs, &range), MLD_OK); /* into what is not empty */
        assert_int_equal(docs.n, 2);
        assert_false(docs.more);
    }
    meta_docs_free(&docs);
}

static void ends_a_page_that_grows_large(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    struct meta_range range = everything;
    static char body[META_MAX_BODY_BYTES / 2];
    const char *token = "t";
    size_t total = 0, pages = 0;
    char id[8] = "";
    memset(body, 'b', sizeof body);
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "%d", i);
        struct meta_doc doc = {.partition = "p",
                               .id = id,
                               .tokens = &token,
                               .n_tokens = 1,
                               .text = body,
                               .text_len = sizeof body,
                               .data = body,
                               .data_len = sizeof body};
        assert_int_equal(meta_insert(m, &doc), MLD_OK);
    }
    do {
        assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
        assert_true(docs.n >= 1 && docs.n < 6);
        assert_int_equal(docs.docs[0].data_len, sizeof body);
        assert_memory_equal(docs.docs[0].data, body, sizeof body);
        snprintf(id, sizeof id, "%s", docs.docs[docs.n - 1].id);
        range.after = (struct meta_cursor){0, id};
        total += docs.n;
        pages++;
    } while (docs.more);
    assert_int_equal(total, 6);
    assert_true(pages >= 2);
    meta_docs_free(&docs);
}

static void refuses_a_write_whole(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    static char body[META_MAX_BODY_BYTES + 1];
    static char long_token[META_MAX_NAME_BYTES + 2];
    memset(long_token, 't', sizeof long_token - 1);
    const char *token = long_token;
    const struct meta_doc bad[] = {
        {.partition = "p", .id = "b", .text = body, .text_len = sizeof body},
        {.partition = "p", .id = "b", .data = body, .data_len = sizeof body},
        {.partition = "p",
         .id = "b",
         .text = body,
         .text_len = sizeof body / 2,
         .data = body,
         .data_len = sizeof body / 2 + 1},
        {.partition = "p", .id = "b", .text_len = 1},
        {.partition = "p", .id = "b", .data_len = 1},
        {.partition = "p", .id = "b", .tokens = &token, .n_tokens = 1},
        {.partition = "p"},
        {.id = "b"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct meta_write writes[] = {
            {.op = META_INSERT, .doc = {.partition = "p", .id = "good"}},
            {.op = META_INSERT, .doc = bad[i]},
        };
        assert_int_equal(meta_write(m, writes, 2), MLD_EINVALID);
        assert_int_equal(writes[0].result, MLD_EINVALID);
        assert_int_equal(writes[1].result, MLD_EINVALID);
        assert_true(mld_error_message()[0] != '\0');
        assert_int_equal(meta_get(m, &docs, "p", "good"), MLD_ENOTFOUND);
    }
    struct meta_write odd = {.op = (enum meta_op)77, .doc = {.partition = "p", .id = "good"}};
    assert_int_equal(meta_write(m, &odd, 1), MLD_EINVALID);
}

static void takes_as_many_as_the_limits_say(void **state)
{
    struct meta *m = *state;
    struct meta_docs docs = {0};
    static struct meta_write writes[META_MAX_WRITES + 1];
    static char ids[META_MAX_WRITES + 1][16];
    static const char *named[META_MAX_FIND + 1];
    for (size_t i = 0; i <= META_MAX_WRITES; i++) {
        snprintf(ids[i], sizeof ids[i], "%zu", i);
        writes[i] = (struct meta_write){.op = META_INSERT, .doc = {.partition = "p", .id = ids[i]}};
    }
    assert_int_equal(meta_write(m, writes, META_MAX_WRITES + 1), MLD_EINVALID);
    assert_int_equal(meta_get(m, &docs, "p", "0"), MLD_ENOTFOUND);
    assert_int_equal(meta_write(m, writes, META_MAX_WRITES), MLD_OK);
    for (size_t i = 0; i < META_MAX_WRITES; i++)
        assert_int_equal(writes[i].result, MLD_OK);
    for (size_t i = 0; i <= META_MAX_FIND; i++)
        named[i] = ids[META_MAX_WRITES - 1 - i];
    assert_int_equal(meta_get_many(m, &docs, "p", named, META_MAX_FIND + 1), MLD_EINVALID);
    assert_int_equal(meta_get_many(m, &docs, "p", named, META_MAX_FIND), MLD_OK);
    assert_int_equal(docs.n, META_MAX_FIND);
    for (size_t i = 0; i < META_MAX_FIND; i++)
        assert_string_equal(docs.docs[i].id, named[i]);
    assert_int_equal(meta_get_many(m, &docs, "p", named, 0), MLD_OK);
    assert_int_equal(docs.n, 0);
    named[0] = "";
    assert_int_equal(meta_get_many(m, &docs, "p", named, 1), MLD_EINVALID);
    meta_docs_free(&docs);
}

/* ---- the same operations on the store and on the reference ---- */

#define IDS 40
#define OPERATIONS 800

static unsigned next_random(unsigned *seed, unsigned below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

struct random_doc {
    struct meta_write write;
    char id[16];
    const char *tokens[3];
    char text[16];
};

static void make_random(struct random_doc *r, unsigned *seed)
{
    static const char *const all[] = {"t", "u", "v"};
    static const char *const partitions[] = {"p", "q"};
    unsigned first = next_random(seed, 3), n = next_random(seed, 3);
    snprintf(r->id, sizeof r->id, "%u", next_random(seed, IDS));
    snprintf(r->text, sizeof r->text, "%u", next_random(seed, 100000));
    for (unsigned i = 0; i < n; i++)
        r->tokens[i] = all[(first + i) % 3];
    r->write = (struct meta_write){
        .op = (enum meta_op)next_random(seed, 3),
        .doc = {.partition = partitions[next_random(seed, 2)],
                .id = r->id,
                .revision = next_random(seed, 4),
                .order = (int)next_random(seed, 7) - 3,
                .tokens = r->tokens,
                .n_tokens = n,
                .text = r->text,
                .text_len = strlen(r->text)},
    };
}

static void expect_same_docs(const struct meta_docs *a, const struct meta_docs *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->more, b->more);
    for (size_t i = 0; i < a->n; i++) {
        const struct meta_doc *x = &a->docs[i], *y = &b->docs[i];
        assert_string_equal(x->id, y->id);
        assert_string_equal(x->partition, y->partition);
        assert_int_equal(x->revision, y->revision);
        assert_int_equal(x->order, y->order);
        assert_int_equal(x->n_tokens, y->n_tokens);
        for (size_t t = 0; t < x->n_tokens; t++)
            assert_string_equal(x->tokens[t], y->tokens[t]);
        assert_int_equal(x->text_len, y->text_len);
        assert_memory_equal(x->text, y->text, x->text_len);
    }
}

static void expect_same_range(struct meta *m, struct meta *reference, unsigned *seed)
{
    struct meta_docs a = {0}, b = {0};
    uint64_t count_a, count_b, max = next_random(seed, 30);
    char id[16];
    snprintf(id, sizeof id, "%u", next_random(seed, IDS));
    struct meta_range range = {.partition = next_random(seed, 2) ? "p" : "q",
                               .token = next_random(seed, 2) ? "t" : "u",
                               .min_order = (int)next_random(seed, 8) - 4,
                               .max_order = (int)next_random(seed, 8) - 4,
                               .descending = next_random(seed, 2),
                               .limit = 1 + next_random(seed, 12)};
    if (next_random(seed, 2))
        range.after = (struct meta_cursor){(int)next_random(seed, 8) - 4, id};
    assert_int_equal(meta_find(m, &a, &range), MLD_OK);
    assert_int_equal(meta_find(reference, &b, &range), MLD_OK);
    expect_same_docs(&a, &b);
    assert_int_equal(meta_count(m, &count_a, &range, max), MLD_OK);
    assert_int_equal(meta_count(reference, &count_b, &range, max), MLD_OK);
    assert_int_equal(count_a, count_b);
    meta_docs_free(&a);
    meta_docs_free(&b);
}

/* Puts the revision that is there into half of the writes, so that replacements go through. */
static void use_revision(struct meta *reference, struct meta_doc *doc)
{
    struct meta_docs docs = {0};
    if (meta_get(reference, &docs, doc->partition, doc->id) == MLD_OK)
        doc->revision = docs.docs[0].revision;
    meta_docs_free(&docs);
}

static void does_as_the_reference_does(void **state)
{
    struct meta *m = *state, *reference;
    unsigned seed = 20;
    assert_int_equal(meta_memory_open(&reference), MLD_OK);
    for (int i = 0; i < OPERATIONS; i++) {
        struct random_doc r;
        make_random(&r, &seed);
        if (next_random(&seed, 2))
            use_revision(reference, &r.write.doc);
        struct meta_write same = r.write;
        assert_int_equal(meta_write(m, &r.write, 1), MLD_OK);
        assert_int_equal(meta_write(reference, &same, 1), MLD_OK);
        assert_int_equal(r.write.result, same.result);
        expect_same_range(m, reference, &seed);
    }
    meta_close(reference);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, meta_suite_setup, meta_suite_teardown)

const struct CMUnitTest meta_find_cases[META_FIND_CASES] = {
    CASE(orders_ids_by_their_bytes),
    CASE(includes_both_ends_of_an_interval),
    CASE(a_cursor_outside_its_interval_is_the_end_or_nothing),
    CASE(tells_tokens_and_partitions_apart),
    CASE(tells_whether_there_is_more),
    CASE(ends_a_page_that_grows_large),
    CASE(refuses_a_write_whole),
    CASE(takes_as_many_as_the_limits_say),
    CASE(does_as_the_reference_does),
};

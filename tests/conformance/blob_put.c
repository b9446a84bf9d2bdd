/* Blobs from memory: putting, reading, ranges, deleting, listing, keys. */
#include "blob_fixture.h"

static void test_sizes(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 4096, BLOB_SMALL_BYTES - 1, BLOB_SMALL_BYTES};
    struct blob_put puts[6];
    unsigned char *data = make_bytes(BLOB_SMALL_BYTES + 1, 1);
    char keys[6][16];

    for (unsigned i = 0; i < 6; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%u", i);
        puts[i] = (struct blob_put){.key = keys[i],
                                    .data = data,
                                    .len = i < 5 ? sizes[i] : BLOB_SMALL_BYTES + 1,
                                    .result = MLD_EBUSY};
    }
    assert_ok(blob_put_small(f->b, puts, 6));
    fixture_reopen(f);
    for (unsigned i = 0; i < 5; i++) {
        assert_ok(puts[i].result);
        expect_bytes(f->b, keys[i], data, sizes[i]);
    }
    assert_int_equal(puts[5].result, MLD_ETOOLARGE);
    expect_missing(f->b, keys[5]);
    free(data);
}

static void test_null_data_of_an_empty_blob(void **state)
{
    struct fixture *f = *state;

    assert_ok(put_one(f->b, "k", NULL, 0));
    expect_bytes(f->b, "k", "", 0);
    assert_ok(blob_put(f->b, "k2", NULL, 0));
    expect_bytes(f->b, "k2", "", 0);
}

static void test_a_key_never_changes(void **state)
{
    struct fixture *f = *state;
    struct blob_put puts[] = {{.key = "a", .data = "one", .len = 3},
                              {.key = "b", .data = "x", .len = 1},
                              {.key = "a", .data = "one", .len = 3},
                              {.key = "a", .data = "two", .len = 3},
                              {.key = "a", .data = "ones", .len = 4}};

    assert_ok(blob_put_small(f->b, puts, 5));
    assert_ok(puts[0].result);
    assert_ok(puts[1].result);
    assert_ok(puts[2].result);
    assert_int_equal(puts[3].result, MLD_EEXISTS);
    assert_int_equal(puts[4].result, MLD_EEXISTS);
    fixture_reopen(f);
    assert_ok(put_one(f->b, "a", "one", 3));
    assert_int_equal(put_one(f->b, "a", "two", 3), MLD_EEXISTS);
    assert_int_equal(put_one(f->b, "a", NULL, 0), MLD_EEXISTS);
    expect_bytes(f->b, "a", "one", 3);
    expect_bytes(f->b, "b", "x", 1);
}

static void test_checksums(void **state)
{
    struct fixture *f = *state;
    struct digest right = digest_of("abc", 3);
    struct digest upper = right;
    struct digest wrong = digest_of("abd", 3);
    struct digest longer = digest_of("abc", 3);

    for (char *c = upper.hex; *c != '\0'; c++)
        *c = *c >= 'a' ? (char)(*c - 'a' + 'A') : *c;
    longer.hex[63] = 'g';
    struct blob_put puts[] = {{.key = "right", .data = "abc", .len = 3, .sha256 = right.hex},
                              {.key = "upper", .data = "abc", .len = 3, .sha256 = upper.hex},
                              {.key = "wrong", .data = "abc", .len = 3, .sha256 = wrong.hex},
                              {.key = "short", .data = "abc", .len = 3, .sha256 = "abc"},
                              {.key = "odd", .data = "abc", .len = 3, .sha256 = longer.hex}};
    assert_ok(blob_put_small(f->b, puts, 5));
    assert_ok(puts[0].result);
    assert_ok(puts[1].result);
    assert_int_equal(puts[2].result, MLD_ECHECKSUM);
    assert_int_equal(puts[3].result, MLD_EINVALID);
    assert_int_equal(puts[4].result, MLD_EINVALID);
    expect_bytes(f->b, "right", "abc", 3);
    expect_bytes(f->b, "upper", "abc", 3);
    expect_missing(f->b, "wrong");
    expect_missing(f->b, "short");
    expect_missing(f->b, "odd");
}

static void test_how_many_at_a_time(void **state)
{
    struct fixture *f = *state;
    size_t n = BLOB_MAX_PUTS;
    struct blob_put *puts = calloc(n + 1, sizeof(*puts));
    char(*keys)[16] = calloc(n + 1, sizeof(*keys));

    assert_non_null(puts);
    assert_non_null(keys);
    for (size_t i = 0; i <= n; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key-%zu", i);
        puts[i] = (struct blob_put){.key = keys[i], .data = keys[i], .len = strlen(keys[i])};
    }
    assert_ok(blob_put_small(f->b, puts, 0));
    assert_int_equal(blob_put_small(f->b, puts, n + 1), MLD_EINVALID);
    expect_missing(f->b, keys[0]);
    assert_ok(blob_put_small(f->b, puts, n));
    for (size_t i = 0; i < n; i++) {
        assert_ok(puts[i].result);
        expect_bytes(f->b, keys[i], keys[i], strlen(keys[i]));
    }
    free(puts);
    free(keys);
}

/* Keys are bytes: none reaches a path, each is a blob of its own. */
static void test_odd_keys(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"../../outside",
                                       "..",
                                       ".",
                                       "/",
                                       "/etc/passwd",
                                       "a/../b",
                                       "a//b",
                                       "a/b/",
                                       "a/b",
                                       "\xff\xfe\x80",
                                       "\n\t\x01\x7f",
                                       "%2e%2e%2f",
                                       "A",
                                       "a",
                                       "\xc3\xa9",
                                       "e\xcc\x81",
                                       "blobs/ab/cd",
                                       "small.sqlite",
                                       "uploads",
                                       "'; DROP TABLE small; --",
                                       "*",
                                       "~",
                                       " ",
                                       "  "};
    const size_t n = sizeof(keys) / sizeof(keys[0]);
    unsigned char *large = make_bytes(BLOB_SMALL_BYTES + 100, 2);

    for (size_t i = 0; i < n; i++) {
        large[0] = (unsigned char)i;
        assert_ok(i % 2 == 0 ? put_one(f->b, keys[i], keys[i], strlen(keys[i]))
                             : blob_put(f->b, keys[i], large, BLOB_SMALL_BYTES + 100));
    }
    fixture_reopen(f);
    for (size_t i = 0; i < n; i++) {
        large[0] = (unsigned char)i;
        if (i % 2 == 0)
            expect_bytes(f->b, keys[i], keys[i], strlen(keys[i]));
        else
            expect_bytes(f->b, keys[i], large, BLOB_SMALL_BYTES + 100);
    }
    assert_true(scratch_count(f->scratch, ".") <= 1); /* the store's folder and nothing beside it */
    free(large);
}

static void test_length_of_keys(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    char key[BLOB_MAX_KEY_BYTES + 2];
    struct buf name;
    uint64_t size;

    memset(key, 'k', sizeof(key));
    key[BLOB_MAX_KEY_BYTES + 1] = '\0';
    assert_int_equal(put_one(f->b, key, "x", 1), MLD_EINVALID);
    assert_int_equal(put_one(f->b, "", "x", 1), MLD_EINVALID);
    assert_int_equal(blob_put(f->b, key, "x", 1), MLD_EINVALID);
    assert_int_equal(blob_stat(f->b, key, &size), MLD_EINVALID);
    assert_int_equal(blob_delete(f->b, ""), MLD_EINVALID);
    buf_init(&name, 1000);
    assert_int_equal(blob_create(f->b, &name, key, 1), MLD_EINVALID);
    assert_int_equal(name.len, 0);
    buf_free(&name);
    key[BLOB_MAX_KEY_BYTES] = '\0';
    assert_ok(put_one(f->b, key, "x", 1));
    expect_bytes(f->b, key, "x", 1);
    key[BLOB_MAX_KEY_BYTES - 1] = 'l';
    sending_begin(&s, f->b, key, 100000, 1);
    assert_ok(sending_part(&s, 0, NULL));
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, key, s.data, 100000);
    sending_end(&s);
}

static void read_range(struct fixture *f, const char *key, const unsigned char *data, size_t size,
                       size_t offset, size_t len)
{
    struct blob_reader *r;
    unsigned char piece[777];
    size_t done = 0;
    size_t n = 1;

    assert_ok(blob_open(&r, f->b, key, offset, len));
    assert_int_equal(blob_reader_size(r), size);
    while (n > 0) {
        assert_ok(blob_read(r, piece, 1 + done % sizeof(piece), &n));
        assert_true(done + n <= len);
        assert_memory_equal(piece, data + offset + done, n);
        done += n;
    }
    assert_int_equal(done, len);
    assert_ok(blob_read(r, piece, 1, &n));
    assert_int_equal(n, 0);
    assert_int_equal(blob_read(r, piece, 0, &n), MLD_EINVALID);
    blob_reader_close(r);
}

static void test_ranges(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {5000, BLOB_SMALL_BYTES + 5000};
    struct blob_reader *r;
    struct buf all;

    for (unsigned i = 0; i < 2; i++) {
        size_t size = sizes[i];
        const char *key = i == 0 ? "small" : "large";
        unsigned char *data = make_bytes(size, i);
        assert_ok(blob_put(f->b, key, data, size));
        read_range(f, key, data, size, 0, size);
        read_range(f, key, data, size, 0, 0);
        read_range(f, key, data, size, size, 0);
        read_range(f, key, data, size, size - 1, 1);
        read_range(f, key, data, size, 123, 4000);
        assert_int_equal(blob_open(&r, f->b, key, 0, size + 1), MLD_EINVALID);
        assert_null(r);
        assert_int_equal(blob_open(&r, f->b, key, size + 1, 0), MLD_EINVALID);
        assert_int_equal(blob_open(&r, f->b, key, size + 1, UINT64_MAX), MLD_EINVALID);
        assert_int_equal(blob_open(&r, f->b, key, 1, UINT64_MAX - 1), MLD_EINVALID);
        assert_ok(blob_open(&r, f->b, key, 1, UINT64_MAX));
        blob_reader_close(r);
        buf_init(&all, size + 2);
        buf_puts(&all, "xyz");
        assert_int_equal(blob_get(f->b, key, &all), MLD_ETOOLARGE);
        assert_string_equal(buf_text(&all), "xyz");
        buf_free(&all);
        free(data);
    }
    blob_reader_close(NULL);
}

static void test_put_of_any_size(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {BLOB_SMALL_BYTES, BLOB_SMALL_BYTES + 1, 3000000};
    unsigned char *data = make_bytes(3000000, 4);

    for (unsigned i = 0; i < 3; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%u", i);
        assert_ok(blob_put(f->b, key, data, sizes[i]));
        fixture_reopen(f);
        assert_ok(blob_put(f->b, key, data, sizes[i]));
        assert_int_equal(blob_put(f->b, key, data + 1, sizes[i]), MLD_EEXISTS);
        assert_true(strstr(mld_error_message(), key) != NULL);
        /* Small or large makes no difference to who has a key. */
        assert_int_equal(blob_put(f->b, key, data, 7), MLD_EEXISTS);
        assert_int_equal(blob_put(f->b, key, data, BLOB_SMALL_BYTES + 7), MLD_EEXISTS);
        expect_bytes(f->b, key, data, sizes[i]);
    }
    free(data);
}

static void test_delete(void **state)
{
    struct fixture *f = *state;
    unsigned char *data = make_bytes(100000, 5);
    struct blob_reader *readers[2];

    assert_ok(blob_delete(f->b, "never"));
    assert_ok(blob_put(f->b, "small", data, 100));
    assert_ok(blob_put(f->b, "large", data, 100000));
    assert_ok(blob_put(f->b, "other", data, 10));
    assert_ok(blob_open(&readers[0], f->b, "small", 0, UINT64_MAX));
    assert_ok(blob_open(&readers[1], f->b, "large", 0, UINT64_MAX));
    assert_ok(blob_delete(f->b, "small"));
    assert_ok(blob_delete(f->b, "large"));
    for (unsigned i = 0; i < 2; i++) { /* goes on or fails, but never reads other bytes */
        unsigned char piece[50];
        size_t n;
        if (blob_read(readers[i], piece, sizeof(piece), &n) == MLD_OK)
            assert_memory_equal(piece, data, n);
        blob_reader_close(readers[i]);
    }
    expect_missing(f->b, "small");
    expect_missing(f->b, "large");
    fixture_reopen(f);
    expect_missing(f->b, "small");
    expect_missing(f->b, "large");
    expect_bytes(f->b, "other", data, 10);
    assert_ok(blob_delete(f->b, "small"));
    assert_ok(blob_delete(f->b, "large"));
    assert_ok(blob_put(f->b, "small", data + 1, 100000));
    assert_ok(blob_put(f->b, "large", data + 1, 100));
    expect_bytes(f->b, "small", data + 1, 100000);
    expect_bytes(f->b, "large", data + 1, 100);
    free(data);
}

#define LIST_KEYS 2500

struct seen {
    unsigned times[LIST_KEYS];
    unsigned n;
    unsigned stop_after;
};

static enum mld_error see(const char *key, uint64_t size, void *payload)
{
    struct seen *seen = payload;
    unsigned long number = strtoul(key + 2, NULL, 10);

    if (number >= LIST_KEYS || size != (number % 100 == 0 ? 70000 + number : number))
        return error_set(MLD_EDAMAGED, "'%s' has %llu bytes", key, (unsigned long long)size);
    seen->times[number]++;
    seen->n++;
    return seen->n == seen->stop_after ? error_set(MLD_EBUSY, "enough") : MLD_OK;
}

static void test_list(void **state)
{
    struct fixture *f = *state;
    unsigned char *data = make_bytes(80000, 6);
    struct seen seen = {.n = 0};
    struct blob_put puts[50];
    char keys[50][16];
    struct sending s;

    assert_ok(blob_list(f->b, see, &seen));
    assert_int_equal(seen.n, 0);
    for (unsigned i = 0; i < LIST_KEYS; i += 50) {
        for (unsigned k = 0; k < 50; k++) {
            snprintf(keys[k], sizeof(keys[k]), "k/%u", i + k);
            puts[k] = (struct blob_put){.key = keys[k], .data = data, .len = i + k};
            if ((i + k) % 100 == 0)
                puts[k].len = BLOB_SMALL_BYTES + 1; /* refused here */
        }
        assert_ok(blob_put_small(f->b, puts, 50));
        if (i % 100 == 0)
            assert_ok(blob_put(f->b, keys[0], data, 70000 + i));
    }
    sending_begin(&s, f->b, "under way", 100, 1); /* is not listed */
    assert_ok(sending_part(&s, 0, NULL));
    sending_end(&s);
    fixture_reopen(f);
    assert_ok(blob_list(f->b, see, &seen));
    assert_int_equal(seen.n, LIST_KEYS);
    for (unsigned i = 0; i < LIST_KEYS; i++)
        assert_int_equal(seen.times[i], 1);
    seen = (struct seen){.stop_after = 3};
    assert_int_equal(blob_list(f->b, see, &seen), MLD_EBUSY);
    assert_int_equal(seen.n, 3);
    free(data);
}

static void test_health(void **state)
{
    struct fixture *f = *state;

    assert_ok(blob_health(f->b));
    assert_string_equal(blob_kind(f->b), fixture_kind->name);
    blob_close(NULL);
}

const struct CMUnitTest blob_put_cases[] = {
    CASE(test_sizes),
    CASE(test_null_data_of_an_empty_blob),
    CASE(test_a_key_never_changes),
    CASE(test_checksums),
    CASE(test_how_many_at_a_time),
    CASE(test_odd_keys),
    CASE(test_length_of_keys),
    CASE(test_ranges),
    CASE(test_put_of_any_size),
    CASE(test_delete),
    CASE(test_list),
    CASE(test_health),
};
const size_t blob_n_put_cases = sizeof(blob_put_cases) / sizeof(blob_put_cases[0]);

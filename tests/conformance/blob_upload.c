/* Uploads: parts, commits, aborts. */
#include "blob_fixture.h"

#define MB ((size_t)1 << 20)

static void test_in_order(void **state)
{
    struct fixture *f = *state;
    enum blob_verified verified = BLOB_VERIFIED_PARTS;
    struct sending s;

    sending_begin(&s, f->b, "k", 16 * MB + 1, 1);
    assert_int_equal(s.n_parts, 3);
    assert_true(s.name.len > 0 && s.name.len <= 128);
    assert_int_equal(strspn(s.upload.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789-"),
                     s.name.len);
    for (unsigned i = 0; i < 3; i++) {
        expect_missing(f->b, "k");
        assert_ok(sending_part(&s, i, NULL));
    }
    expect_missing(f->b, "k");
    assert_ok(blob_commit(f->b, &s.upload, s.digest.hex, &verified));
    if (strcmp(fixture_kind->name, "s3") != 0)
        assert_int_equal(verified, BLOB_VERIFIED_WHOLE);
    fixture_reopen(f);
    expect_bytes(f->b, "k", s.data, 16 * MB + 1);
    sending_end(&s);
}

static void test_in_any_order(void **state)
{
    struct fixture *f = *state;
    static const unsigned order[] = {2, 0, 3, 1};
    struct sending s;

    sending_begin(&s, f->b, "k", 31 * MB, 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_ok(sending_part(&s, order[i], NULL));
        if (i == 1) {
            sending_expect_parts(&s, (unsigned[]){0, 2}, 2);
            fixture_reopen(f);
            s.b = f->b;
            sending_expect_parts(&s, (unsigned[]){0, 2}, 2);
        }
    }
    sending_expect_parts(&s, (unsigned[]){0, 1, 2, 3}, 4);
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 31 * MB);
    sending_end(&s);
}

static void test_sizes(void **state)
{
    struct fixture *f = *state;
    const size_t sizes[] = {0,          1,      BLOB_SMALL_BYTES, BLOB_SMALL_BYTES + 1,
                            8 * MB - 1, 8 * MB, 8 * MB + 1,       16 * MB};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sending s;
        char key[16];
        snprintf(key, sizeof(key), "size-%u", i);
        sending_begin(&s, f->b, key, sizes[i], i);
        for (unsigned part = 0; part < s.n_parts; part++)
            assert_ok(sending_part(&s, part, NULL));
        assert_ok(sending_commit(&s));
        expect_bytes(f->b, key, s.data, sizes[i]);
        sending_end(&s);
    }
}

static void test_size_of_parts(void **state)
{
    struct fixture *f = *state;
    struct buf name;

    for (uint64_t size = 1; size <= BLOB_MAX_BYTES; size = size * 3 + 1) {
        uint64_t part = blob_part_size(f->b, size);
        assert_true(part > 0);
        assert_true((size + part - 1) / part <= BLOB_MAX_PARTS);
    }
    assert_true(BLOB_MAX_BYTES / blob_part_size(f->b, BLOB_MAX_BYTES) < BLOB_MAX_PARTS);
    buf_init(&name, 1000);
    assert_int_equal(blob_create(f->b, &name, "k", BLOB_MAX_BYTES + 1), MLD_ETOOLARGE);
    assert_int_equal(name.len, 0);
    buf_free(&name);
}

static enum mld_error begin(struct sending *s, unsigned number, uint64_t len, const char *sha256)
{
    struct blob_part *part;
    enum mld_error error = blob_part_begin(&part, s->b, &s->upload, number, len, sha256);

    assert_int_equal(part == NULL, error != MLD_OK);
    blob_part_abandon(part);
    return error;
}

static void test_wrong_parts(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    struct blob_part *part;
    struct digest wrong = digest_of("x", 1);

    sending_begin(&s, f->b, "k", 8 * MB + 100, 3);
    assert_int_equal(begin(&s, 2, 100, s.digest.hex), MLD_EINVALID);
    assert_int_equal(begin(&s, UINT32_MAX, 100, s.digest.hex), MLD_EINVALID);
    assert_int_equal(begin(&s, 0, 100, s.digest.hex), MLD_EINVALID);
    assert_int_equal(begin(&s, 1, 101, s.digest.hex), MLD_EINVALID);
    assert_int_equal(begin(&s, 1, 0, s.digest.hex), MLD_EINVALID);
    assert_int_equal(begin(&s, 1, 100, "12"), MLD_EINVALID);
    assert_int_equal(begin(&s, 1, 100, NULL), MLD_EINVALID);
    assert_ok(begin(&s, 1, 100, s.digest.hex)); /* abandoned */

    assert_ok(blob_part_begin(&part, f->b, &s.upload, 1, 100, wrong.hex));
    assert_ok(blob_part_write(part, s.data, 100));
    assert_int_equal(blob_part_finish(part), MLD_ECHECKSUM);

    struct digest right = digest_of(s.data, 100);
    assert_ok(blob_part_begin(&part, f->b, &s.upload, 1, 100, right.hex));
    assert_ok(blob_part_write(part, s.data, 99));
    assert_int_equal(blob_part_finish(part), MLD_ECHECKSUM);

    assert_ok(blob_part_begin(&part, f->b, &s.upload, 1, 100, right.hex));
    assert_ok(blob_part_write(part, s.data, 100));
    assert_int_equal(blob_part_write(part, s.data, 1), MLD_EINVALID);
    assert_int_equal(blob_part_write(part, s.data, 0), MLD_EINVALID); /* it stays failed */
    assert_int_equal(blob_part_finish(part), MLD_EINVALID);

    sending_expect_parts(&s, NULL, 0);
    blob_part_abandon(NULL);
    assert_int_equal(sending_commit(&s), MLD_ESTATE);
    assert_ok(sending_part(&s, 1, NULL));
    assert_ok(sending_part(&s, 0, NULL));
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 8 * MB + 100);
    sending_end(&s);
}

static void test_missing_parts(void **state)
{
    struct fixture *f = *state;
    struct sending s;

    sending_begin(&s, f->b, "k", 17 * MB, 4);
    assert_int_equal(sending_commit(&s), MLD_ESTATE);
    assert_ok(sending_part(&s, 0, NULL));
    assert_ok(sending_part(&s, 2, NULL));
    assert_int_equal(sending_commit(&s), MLD_ESTATE);
    expect_missing(f->b, "k");
    assert_ok(sending_part(&s, 1, NULL));
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 17 * MB);
    sending_end(&s);
}

static void test_wrong_whole(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1000, 9 * MB};
    struct digest wrong = digest_of("x", 1);
    enum blob_verified verified;

    for (unsigned i = 0; i < 3; i++) {
        struct sending s;
        char key[8];
        snprintf(key, sizeof(key), "k%u", i);
        sending_begin(&s, f->b, key, sizes[i], 5);
        for (unsigned part = 0; part < s.n_parts; part++)
            assert_ok(sending_part(&s, part, NULL));
        for (unsigned again = 0; again < 2; again++) {
            assert_int_equal(blob_commit(f->b, &s.upload, wrong.hex, &verified), MLD_ECHECKSUM);
            expect_missing(f->b, key);
        }
        assert_int_equal(blob_commit(f->b, &s.upload, "abc", &verified), MLD_EINVALID);
        fixture_reopen(f);
        s.b = f->b;
        expect_missing(f->b, key);
        sending_expect_parts(&s, (unsigned[]){0, 1}, s.n_parts); /* the upload stays */
        assert_ok(sending_commit(&s));
        expect_bytes(f->b, key, s.data, sizes[i]);
        sending_end(&s);
    }
}

static void test_commit_again(void **state)
{
    struct fixture *f = *state;
    enum blob_verified verified;
    struct digest wrong = digest_of("x", 1);
    struct sending s;

    sending_begin(&s, f->b, "k", 9 * MB, 6);
    for (unsigned i = 0; i < 2; i++)
        assert_ok(sending_part(&s, i, NULL));
    assert_ok(sending_commit(&s));
    assert_ok(sending_commit(&s));
    assert_ok(blob_commit(f->b, &s.upload, s.digest.hex, NULL));
    fixture_reopen(f);
    s.b = f->b;
    assert_ok(sending_commit(&s));
    assert_int_equal(blob_commit(f->b, &s.upload, wrong.hex, &verified), MLD_ECHECKSUM);
    assert_int_equal(sending_part(&s, 0, NULL), MLD_ENOTFOUND);
    assert_int_equal(blob_abort(f->b, &s.upload), MLD_OK);
    expect_bytes(f->b, "k", s.data, 9 * MB);
    assert_ok(blob_delete(f->b, "k"));
    assert_int_equal(sending_commit(&s), MLD_ENOTFOUND);
    sending_end(&s);
}

static void test_abort(void **state)
{
    struct fixture *f = *state;
    struct blob_part *part;
    unsigned *numbers;
    size_t n;
    struct sending s;

    sending_begin(&s, f->b, "k", 9 * MB, 7);
    assert_ok(sending_part(&s, 0, NULL));
    struct digest digest = digest_of(s.data + 8 * MB, MB);
    assert_ok(blob_part_begin(&part, f->b, &s.upload, 1, MB, digest.hex));
    assert_ok(blob_part_write(part, s.data + 8 * MB, 1000));
    assert_ok(blob_abort(f->b, &s.upload));
    assert_ok(blob_abort(f->b, &s.upload));
    (void)blob_part_write(part, s.data + 8 * MB + 1000, MB - 1000);
    assert_int_equal(blob_part_finish(part), MLD_ENOTFOUND);
    assert_int_equal(sending_part(&s, 1, NULL), MLD_ENOTFOUND);
    assert_int_equal(sending_commit(&s), MLD_ENOTFOUND);
    assert_int_equal(blob_upload_parts(f->b, &s.upload, &numbers, &n), MLD_ENOTFOUND);
    assert_null(numbers);
    fixture_reopen(f);
    s.b = f->b;
    assert_int_equal(sending_commit(&s), MLD_ENOTFOUND);
    assert_ok(blob_abort(f->b, &s.upload));
    expect_missing(f->b, "k");
    sending_end(&s);
}

static void test_unknown_uploads(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"0123456789abcdef0123456789abcdef", "x", "../lock", "",
                                        "0123456789abcdef0123456789abcdef0"};
    struct sending s;

    sending_begin(&s, f->b, "k", 1000, 8);
    assert_ok(sending_part(&s, 0, NULL));
    struct blob_upload right = s.upload;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        s.upload.name = names[i];
        assert_int_equal(sending_part(&s, 0, NULL), MLD_ENOTFOUND);
        assert_int_equal(sending_commit(&s), MLD_ENOTFOUND);
    }
    s.upload.name = names[0];
    assert_ok(blob_abort(f->b, &s.upload));
    s.upload = right;
    s.upload.key = "other";
    assert_int_equal(sending_part(&s, 0, NULL), MLD_ENOTFOUND);
    assert_int_equal(sending_commit(&s), MLD_ENOTFOUND);
    assert_ok(blob_abort(f->b, &s.upload)); /* of another key: not this one */
    s.upload = right;
    s.upload.size_bytes = 999;
    assert_int_equal(sending_commit(&s), MLD_EINVALID);
    s.upload.size_bytes = 1000;
    s.upload.part_size_bytes = 0;
    assert_int_equal(sending_commit(&s), MLD_EINVALID);
    s.upload = right;
    assert_ok(sending_commit(&s));
    expect_missing(f->b, "other");
    sending_end(&s);
}

static void test_parts_sent_again(void **state)
{
    struct fixture *f = *state;
    struct blob_part *part;
    struct sending s;

    sending_begin(&s, f->b, "k", 17 * MB, 9);
    for (unsigned i = 0; i < 3; i++)
        assert_ok(sending_part(&s, i, NULL));
    assert_ok(sending_part(&s, 1, NULL));
    /* Wrong bytes are refused as ever, and harm nothing. */
    struct digest digest = digest_of(s.data, 8 * MB);
    struct digest other = digest_of("x", 1);
    for (unsigned i = 0; i < 2; i++) {
        const char *said = i == 0 ? digest.hex : other.hex;
        assert_ok(blob_part_begin(&part, f->b, &s.upload, 0, 8 * MB, said));
        assert_ok(blob_part_write(part, s.data + 1, 8 * MB));
        assert_int_equal(blob_part_finish(part), MLD_ECHECKSUM);
        assert_ok(blob_part_begin(&part, f->b, &s.upload, 0, 8 * MB, said));
        assert_ok(blob_part_write(part, s.data + 1, MB));
        blob_part_abandon(part);
    }
    sending_expect_parts(&s, (unsigned[]){0, 1, 2}, 3);
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 17 * MB);
    sending_end(&s);
}

/* Other bytes for a part that was hashed as a piece of the whole already. */
static void test_parts_replaced(void **state)
{
    struct fixture *f = *state;
    unsigned char *wrong = make_bytes(8 * MB, 99);

    for (unsigned round = 0; round < 4; round++) {
        struct sending s;
        char key[8];
        snprintf(key, sizeof(key), "k%u", round);
        sending_begin(&s, f->b, key, 26 * MB, round);
        for (unsigned i = 0; i < s.n_parts; i++)
            assert_ok(sending_part(&s, i, i == round ? wrong : NULL));
        if (round % 2 == 0)
            assert_int_equal(sending_commit(&s), MLD_ECHECKSUM);
        assert_ok(sending_part(&s, round, NULL));
        sending_expect_parts(&s, (unsigned[]){0, 1, 2, 3}, 4);
        if (round == 1) {
            fixture_reopen(f);
            s.b = f->b;
        }
        assert_ok(sending_commit(&s));
        expect_bytes(f->b, key, s.data, 26 * MB);
        sending_end(&s);
    }
    free(wrong);
}

static void send_all(struct sending *s)
{
    for (unsigned i = 0; i < s->n_parts; i++)
        assert_ok(sending_part(s, i, NULL));
}

static void test_a_key_never_changes(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1000, 200000};

    for (unsigned i = 0; i < 2; i++) {
        struct sending first;
        struct sending same;
        struct sending other;
        const char *key = i == 0 ? "small" : "large";
        sending_begin(&first, f->b, key, sizes[i], 1);
        sending_begin(&same, f->b, key, sizes[i], 1);
        sending_begin(&other, f->b, key, sizes[i], 2);
        assert_string_not_equal(first.upload.name, same.upload.name);
        send_all(&first);
        send_all(&same);
        send_all(&other);
        if (i == 0) /* made in the other way */
            assert_ok(put_one(f->b, key, first.data, sizes[i]));
        assert_ok(sending_commit(&first));
        assert_int_equal(sending_commit(&other), MLD_EEXISTS);
        assert_ok(sending_commit(&same));
        expect_bytes(f->b, key, first.data, sizes[i]);
        assert_ok(blob_abort(f->b, &other.upload));
        assert_ok(blob_abort(f->b, &same.upload));
        expect_bytes(f->b, key, first.data, sizes[i]);
        sending_end(&first);
        sending_end(&same);
        sending_end(&other);
    }
}

const struct CMUnitTest blob_upload_cases[] = {
    CASE(test_in_order),
    CASE(test_in_any_order),
    CASE(test_sizes),
    CASE(test_size_of_parts),
    CASE(test_wrong_parts),
    CASE(test_missing_parts),
    CASE(test_wrong_whole),
    CASE(test_commit_again),
    CASE(test_abort),
    CASE(test_unknown_uploads),
    CASE(test_parts_sent_again),
    CASE(test_parts_replaced),
    CASE(test_a_key_never_changes),
};
const size_t blob_n_upload_cases = sizeof(blob_upload_cases) / sizeof(blob_upload_cases[0]);

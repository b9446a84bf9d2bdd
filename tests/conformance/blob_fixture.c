#include "blob_fixture.h"

#define PIECE_BYTES 300000

const struct blob_store_kind *fixture_kind;

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    void *scratch;

    assert_non_null(f);
    assert_int_equal(scratch_setup(&scratch), 0);
    f->scratch = scratch;
    snprintf(f->folder, sizeof(f->folder), "%s/store", f->scratch->path);
    assert_ok(fixture_kind->open(&f->b, f->folder));
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;

    blob_close(f->b);
    scratch_teardown(&scratch);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f)
{
    if (!fixture_kind->keeps)
        return;
    blob_close(f->b);
    assert_ok(fixture_kind->open(&f->b, f->folder));
}

unsigned char *make_bytes(size_t len, unsigned seed)
{
    unsigned char *data = malloc(len + 1);
    uint32_t x = seed * 2654435761u + 12345;

    assert_non_null(data);
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (unsigned char)(x >> 24);
    }
    return data;
}

struct digest digest_of(const void *data, size_t len)
{
    struct sha256 hash = {.context = NULL};
    struct digest digest;

    assert_ok(sha256_begin(&hash));
    sha256_update(&hash, data, len);
    assert_ok(sha256_end(&hash, digest.hex));
    sha256_free(&hash);
    return digest;
}

void expect_bytes(struct blob *b, const char *key, const void *data, size_t len)
{
    struct buf found;
    uint64_t size = 1;

    buf_init(&found, len + 1);
    assert_ok(blob_get(b, key, &found));
    assert_int_equal(found.len, len);
    assert_true(len == 0 || memcmp(found.data, data, len) == 0);
    assert_ok(blob_stat(b, key, &size));
    assert_int_equal(size, len);
    buf_free(&found);
}

void expect_missing(struct blob *b, const char *key)
{
    struct blob_reader *r;
    struct buf found;
    uint64_t size = 1;

    buf_init(&found, 1000);
    assert_int_equal(blob_get(b, key, &found), MLD_ENOTFOUND);
    assert_int_equal(found.len, 0);
    assert_int_equal(blob_open(&r, b, key, 0, UINT64_MAX), MLD_ENOTFOUND);
    assert_null(r);
    assert_int_equal(blob_stat(b, key, &size), MLD_ENOTFOUND);
    assert_int_equal(size, 0);
    buf_free(&found);
}

enum mld_error put_one(struct blob *b, const char *key, const void *data, size_t len)
{
    struct blob_put put = {.key = key, .data = data, .len = len, .result = MLD_EBUSY};

    assert_ok(blob_put_small(b, &put, 1));
    return put.result;
}

void sending_begin(struct sending *s, struct blob *b, const char *key, size_t len, unsigned seed)
{
    *s = (struct sending){.b = b, .data = make_bytes(len, seed)};
    s->digest = digest_of(s->data, len);
    buf_init(&s->name, 1000);
    assert_ok(blob_create(b, &s->name, key, len));
    s->upload = (struct blob_upload){.key = key,
                                     .name = buf_text(&s->name),
                                     .size_bytes = len,
                                     .part_size_bytes = blob_part_size(b, len)};
    s->n_parts = (unsigned)((len + s->upload.part_size_bytes - 1) / s->upload.part_size_bytes);
}

size_t sending_part_len(const struct sending *s, unsigned number)
{
    uint64_t left = s->upload.size_bytes - number * s->upload.part_size_bytes;

    return left < s->upload.part_size_bytes ? left : s->upload.part_size_bytes;
}

enum mld_error sending_part(const struct sending *s, unsigned number, const void *data)
{
    size_t len = sending_part_len(s, number);
    const unsigned char *bytes = data != NULL ? data : s->data + number * s->upload.part_size_bytes;
    struct digest digest = digest_of(bytes, len);
    struct blob_part *part;
    enum mld_error error = blob_part_begin(&part, s->b, &s->upload, number, len, digest.hex);

    if (error != MLD_OK)
        return error;
    for (size_t done = 0; done < len; done += PIECE_BYTES) {
        size_t n = len - done < PIECE_BYTES ? len - done : PIECE_BYTES;
        error = blob_part_write(part, bytes + done, n);
        if (error != MLD_OK)
            break;
    }
    enum mld_error last = blob_part_finish(part);
    assert_true(error == MLD_OK || last == error);
    return last;
}

enum mld_error sending_commit(const struct sending *s)
{
    enum blob_verified verified;

    return blob_commit(s->b, &s->upload, s->digest.hex, &verified);
}

void sending_expect_parts(const struct sending *s, const unsigned *numbers, size_t n)
{
    unsigned *found;
    size_t n_found;

    assert_ok(blob_upload_parts(s->b, &s->upload, &found, &n_found));
    assert_int_equal(n_found, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(found[i], numbers[i]);
    free(found);
}

void sending_end(struct sending *s)
{
    buf_free(&s->name);
    free(s->data);
}

/* blob_fixture.h: a blob store for one case, and helpers that fail the case. */
#ifndef TESTS_BLOB_FIXTURE_H
#define TESTS_BLOB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "blob/blob.h"
#include "scratch.h"

/* How a kind of store is opened; another kind is one more entry in blob_main.c. */
struct blob_store_kind {
    const char *name;
    /* An empty store that uses `folder`, or the one that was there. */
    enum mld_error (*open)(struct blob **out, const char *folder);
    bool keeps; /* what is in it outlives blob_close */
};
extern const struct blob_store_kind *fixture_kind;

struct fixture {
    struct blob *b;
    struct scratch *scratch;
    char folder[96];
};
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_reopen(struct fixture *f); /* nothing when the store does not keep */

#define CASE(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)
#define assert_ok(call) assert_int_equal(call, MLD_OK)

/* Bytes that depend on the seed and on their place; freed by the caller. */
unsigned char *make_bytes(size_t len, unsigned seed);
struct digest {
    char hex[SHA256_HEX_LEN + 1];
};
struct digest digest_of(const void *data, size_t len);

/* The store has exactly these bytes, or no such key. */
void expect_bytes(struct blob *b, const char *key, const void *data, size_t len);
void expect_missing(struct blob *b, const char *key);
/* The result of putting one small blob, without a checksum. */
enum mld_error put_one(struct blob *b, const char *key, const void *data, size_t len);

/* An upload with the bytes it is to have. */
struct sending {
    struct blob *b;
    struct blob_upload upload;
    struct buf name;
    unsigned char *data;
    struct digest digest;
    unsigned n_parts;
};
void sending_begin(struct sending *s, struct blob *b, const char *key, size_t len, unsigned seed);
size_t sending_part_len(const struct sending *s, unsigned number);
/* Sends `data` (NULL: the right bytes) as that part, in pieces. */
enum mld_error sending_part(const struct sending *s, unsigned number, const void *data);
enum mld_error sending_commit(const struct sending *s);
void sending_expect_parts(const struct sending *s, const unsigned *numbers, size_t n);
void sending_end(struct sending *s);

extern const struct CMUnitTest blob_put_cases[];
extern const size_t blob_n_put_cases;
extern const struct CMUnitTest blob_upload_cases[];
extern const size_t blob_n_upload_cases;
extern const struct CMUnitTest blob_crowd_cases[];
extern const size_t blob_n_crowd_cases;

#endif

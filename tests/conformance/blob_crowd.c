/* Many threads at once. Threads count what went wrong: cmocka's assertions are the main thread's.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "blob_fixture.h"

#define MB ((size_t)1 << 20)
#define MAX_THREADS 64

struct crowd {
    struct blob *b;
    struct sending *sending;
    atomic_uint next;
    atomic_uint failures;
    atomic_uint wins;
    atomic_uint conflicts;
    unsigned rounds;
};
struct member {
    struct crowd *crowd;
    unsigned number;
};

static void complain(struct crowd *c, const char *what, enum mld_error error)
{
    if (atomic_fetch_add(&c->failures, 1) < 5)
        print_error("%s: %s %s\n", what, mld_error_name(error), mld_error_message());
}

static void run(struct crowd *c, unsigned n, void *(*work)(void *))
{
    pthread_t threads[MAX_THREADS];
    struct member members[MAX_THREADS];

    for (unsigned i = 0; i < n; i++) {
        members[i] = (struct member){.crowd = c, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &members[i]), 0);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&c->failures), 0);
}

static void *send_parts(void *argument)
{
    struct crowd *c = ((struct member *)argument)->crowd;
    unsigned number;

    while ((number = atomic_fetch_add(&c->next, 1)) < c->sending->n_parts) {
        enum mld_error error = sending_part(c->sending, number, NULL);
        if (error != MLD_OK)
            complain(c, "part", error);
    }
    return NULL;
}

static void test_parts_in_parallel(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    struct crowd c = {.b = f->b, .sending = &s};

    sending_begin(&s, f->b, "k", 100 * MB + 5, 1);
    run(&c, 8, send_parts);
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 100 * MB + 5);
    sending_end(&s);
}

/* Even members send the right bytes; odd ones send others, right by their own checksum or not. */
static void *send_the_same_part(void *argument)
{
    struct member *m = argument;
    struct crowd *c = m->crowd;
    size_t len = sending_part_len(c->sending, 1);
    unsigned char *other = make_bytes(len, 1000 + m->number);

    for (unsigned round = 0; round < c->rounds; round++) {
        enum mld_error error;
        if (m->number % 2 == 0) {
            error = sending_part(c->sending, 1, NULL);
        } else if (m->number % 4 == 1) {
            error = sending_part(c->sending, 1, other);
        } else {
            struct digest digest = digest_of(c->sending->data, len);
            struct blob_part *part;
            error = blob_part_begin(&part, c->b, &c->sending->upload, 1, len, digest.hex);
            if (error == MLD_OK)
                error = blob_part_write(part, other, len);
            if (error == MLD_OK)
                error = blob_part_finish(part) == MLD_ECHECKSUM ? MLD_OK : MLD_EDAMAGED;
        }
        if (error == MLD_ECONFLICT) /* somebody else's other bytes came in between */
            atomic_fetch_add(&c->conflicts, 1);
        else if (error != MLD_OK)
            complain(c, "the same part", error);
    }
    free(other);
    return NULL;
}

static void test_the_same_part_at_once(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    struct crowd c = {.b = f->b, .sending = &s, .rounds = 6};

    sending_begin(&s, f->b, "k", 8 * MB + 2000000, 1);
    assert_ok(sending_part(&s, 0, NULL));
    run(&c, 8, send_the_same_part);
    assert_ok(sending_part(&s, 1, NULL)); /* the last word */
    sending_expect_parts(&s, (unsigned[]){0, 1}, 2);
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 8 * MB + 2000000);
    sending_end(&s);
}

static void *send_right_bytes(void *argument)
{
    struct crowd *c = ((struct member *)argument)->crowd;

    for (unsigned round = 0; round < 2 * c->sending->n_parts; round++) {
        enum mld_error error = sending_part(c->sending, round % c->sending->n_parts, NULL);
        if (error != MLD_OK)
            complain(c, "right bytes", error);
    }
    return NULL;
}

/* When all send the same, nobody is refused. */
static void test_the_same_bytes_at_once(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    struct crowd c = {.b = f->b, .sending = &s};

    sending_begin(&s, f->b, "k", 8 * MB + 1000000, 1);
    run(&c, 8, send_right_bytes);
    assert_ok(sending_commit(&s));
    expect_bytes(f->b, "k", s.data, 8 * MB + 1000000);
    sending_end(&s);
}

static void *put_the_same_key(void *argument)
{
    struct member *m = argument;
    struct crowd *c = m->crowd;

    for (unsigned round = 0; round < c->rounds; round++) {
        char key[32];
        size_t len = m->number % 2 == 0 ? 1000 : BLOB_SMALL_BYTES + 1000;
        unsigned char *data = make_bytes(len, m->number);
        snprintf(key, sizeof(key), "key-%u", round);
        enum mld_error error = blob_put(c->b, key, data, len);
        if (error == MLD_OK)
            atomic_fetch_add(&c->wins, 1);
        else if (error != MLD_EEXISTS)
            complain(c, "put of one key", error);
        free(data);
    }
    return NULL;
}

static void test_one_key_one_winner(void **state)
{
    struct fixture *f = *state;
    struct crowd c = {.b = f->b, .rounds = 20};

    run(&c, 16, put_the_same_key);
    assert_int_equal(atomic_load(&c.wins), 20);
}

static void *commit_the_same(void *argument)
{
    struct crowd *c = ((struct member *)argument)->crowd;
    enum mld_error error = sending_commit(c->sending);

    if (error != MLD_OK)
        complain(c, "commit", error);
    return NULL;
}

static void test_commits_of_one_upload(void **state)
{
    struct fixture *f = *state;
    struct sending s;
    struct crowd c = {.b = f->b, .sending = &s};

    sending_begin(&s, f->b, "k", 20 * MB, 1);
    for (unsigned i = 0; i < s.n_parts; i++)
        assert_ok(sending_part(&s, i, NULL));
    run(&c, 16, commit_the_same);
    expect_bytes(f->b, "k", s.data, 20 * MB);
    sending_end(&s);
}

static enum mld_error same_bytes(struct blob *b, const char *key, const void *data, size_t len)
{
    struct buf found;
    enum mld_error error;

    buf_init(&found, len + 1);
    error = blob_get(b, key, &found);
    if (error == MLD_OK && (found.len != len || (len > 0 && memcmp(found.data, data, len) != 0)))
        error = error_set(MLD_EDAMAGED, "'%s' has other bytes", key);
    buf_free(&found);
    return error;
}

static enum mld_error send_one(struct blob *b, const char *key, unsigned seed)
{
    struct sending s;
    enum mld_error error;

    sending_begin(&s, b, key, 100000 + seed, seed);
    error = sending_part(&s, 0, NULL);
    if (error == MLD_OK && seed % 3 == 0)
        error = blob_abort(b, &s.upload);
    else if (error == MLD_OK)
        error = sending_commit(&s);
    if (error == MLD_OK && seed % 3 != 0)
        error = same_bytes(b, key, s.data, 100000 + seed);
    sending_end(&s);
    return error;
}

static enum mld_error put_some(struct blob *b, unsigned member, unsigned round)
{
    unsigned char *data = make_bytes(20000, member);
    struct blob_put puts[10];
    char keys[10][48];
    enum mld_error error;

    for (unsigned i = 0; i < 10; i++) {
        snprintf(keys[i], sizeof(keys[i]), "some/%u/%u/%u", member, round, i);
        puts[i] = (struct blob_put){.key = keys[i], .data = data + i, .len = i * 1000};
    }
    error = blob_put_small(b, puts, 10);
    for (unsigned i = 0; error == MLD_OK && i < 10; i++) {
        error = puts[i].result;
        if (error == MLD_OK)
            error = same_bytes(b, keys[i], data + i, i * 1000);
        if (error == MLD_OK && i % 2 == 0)
            error = blob_delete(b, keys[i]);
    }
    free(data);
    return error;
}

static void *mix(void *argument)
{
    struct member *m = argument;
    struct crowd *c = m->crowd;

    for (unsigned round = 0; round < c->rounds; round++) {
        enum mld_error error = MLD_OK;
        uint64_t size;
        char key[48];
        snprintf(key, sizeof(key), "one/%u/%u", m->number, round);
        switch ((m->number + round) % 4) {
        case 0:
            error = send_one(c->b, key, m->number * 10 + round);
            break;
        case 1:
            error = put_some(c->b, m->number, round);
            break;
        case 2:
            error = put_one(c->b, "everybody's", "same", 4);
            if (error == MLD_OK)
                error = same_bytes(c->b, "everybody's", "same", 4);
            break;
        default:
            error = blob_stat(c->b, key, &size) == MLD_ENOTFOUND ? MLD_OK : MLD_EDAMAGED;
            break;
        }
        if (error != MLD_OK)
            complain(c, "mixed", error);
    }
    return NULL;
}

static void test_64_threads(void **state)
{
    struct fixture *f = *state;
    struct crowd c = {.b = f->b, .rounds = 8};

    run(&c, 64, mix);
    fixture_reopen(f);
    for (unsigned member = 0; member < 64; member++) {
        unsigned char *data = make_bytes(20000, member);
        for (unsigned round = (1 - member) % 4; round < 8; round += 4) {
            for (unsigned i = 0; i < 10; i++) {
                char key[48];
                snprintf(key, sizeof(key), "some/%u/%u/%u", member, round, i);
                if (i % 2 == 0)
                    expect_missing(f->b, key);
                else
                    expect_bytes(f->b, key, data + i, i * 1000);
            }
        }
        free(data);
    }
}

const struct CMUnitTest blob_crowd_cases[] = {
    CASE(test_parts_in_parallel),      CASE(test_the_same_part_at_once),
    CASE(test_the_same_bytes_at_once), CASE(test_one_key_one_winner),
    CASE(test_commits_of_one_upload),  CASE(test_64_threads),
};
const size_t blob_n_crowd_cases = sizeof(blob_crowd_cases) / sizeof(blob_crowd_cases[0]);

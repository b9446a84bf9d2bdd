#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"

#define THREADS 4
#define IDS_PER_THREAD 20000

/* The time that the library sees; 0 is the real one. */
static time_t faked_second;

int clock_gettime(clockid_t id, struct timespec *out)
{
    if (id == CLOCK_REALTIME && faked_second != 0) {
        *out = (struct timespec){.tv_sec = faked_second};
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, id, out);
}

static void makes_random_ids(void **state)
{
    char a[ID_RANDOM_LEN + 1];
    char b[ID_RANDOM_LEN + 1];

    (void)state;
    assert_int_equal(id_random(a), MLD_OK);
    assert_int_equal(id_random(b), MLD_OK);
    assert_int_equal(strspn(a, "0123456789abcdef"), ID_RANDOM_LEN);
    assert_int_equal(strlen(a), ID_RANDOM_LEN);
    assert_string_not_equal(a, b);
}

static void puts_time_and_slot_into_file_ids(void **state)
{
    int64_t before = clock_now_us() / 1000;
    uint64_t id = id_file(1023);
    uint64_t other = id_file(0);

    (void)state;
    assert_int_equal(id >> 12 & 1023, 1023);
    assert_int_equal(other >> 12 & 1023, 0);
    assert_true(llabs(id_file_ms(id) - before) < 10000);
    assert_int_equal(id_file_ms(0), INT64_C(1704067200000));
    assert_int_equal(id_file_ms((UINT64_C(7) << 22) | 0x3FFFFF), INT64_C(1704067200007));
}

static uint64_t made[THREADS][IDS_PER_THREAD];

static void *make_ids(void *payload)
{
    uint64_t *ids = payload;

    for (int i = 0; i < IDS_PER_THREAD; i++)
        ids[i] = id_file(3);
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void never_makes_one_twice(void **state)
{
    pthread_t threads[THREADS];
    uint64_t *all = &made[0][0];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, made[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        for (int k = 1; k < IDS_PER_THREAD; k++)
            assert_true(made[i][k] > made[i][k - 1]);
    }
    qsort(all, THREADS * IDS_PER_THREAD, sizeof(*all), compare_ids);
    for (size_t i = 1; i < THREADS * IDS_PER_THREAD; i++)
        assert_true(all[i] != all[i - 1]);
}

/* Faster than 4096 in a millisecond, or with a clock set back, ids still grow. */
static void runs_ahead_of_a_clock_that_stands(void **state)
{
    uint64_t last = id_file(5);

    (void)state;
    faked_second = 1704067200 + 1; /* long ago */
    for (int i = 0; i < 10000; i++) {
        uint64_t id = id_file(5);
        assert_true(id > last);
        assert_int_equal(id >> 12 & 1023, 5);
        last = id;
    }
    faked_second = 1000000; /* before the epoch of ids */
    assert_true(id_file(5) > last);
    faked_second = 4102444800; /* a clock far ahead is followed */
    last = id_file(5);
    assert_int_equal(id_file_ms(last), INT64_C(4102444800000));
    faked_second = 0;
    assert_true(id_file(5) > last);
    assert_true(id_file_ms(id_file(5)) >= INT64_C(4102444800000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_random_ids),
        cmocka_unit_test(puts_time_and_slot_into_file_ids),
        cmocka_unit_test(never_makes_one_twice),
        cmocka_unit_test(runs_ahead_of_a_clock_that_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "file_helpers.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "run/copy.h"
#include "run/hasher.h"

static bool no_threads;
static bool short_reads;
static bool can_clone;
static int clones;

/* Comes before the C library's, which is found behind it. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return no_threads ? EAGAIN : real(thread, attributes, start, argument);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    return syscall(SYS_pread64, fd, data, short_reads && len > 1000 ? 1000 : len, offset);
}

/* A file system that can clone, for those who have none. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    struct stat st;

    va_start(arguments, request);
    int source = va_arg(arguments, int);
    va_end(arguments);
    if (request != FICLONE || !can_clone) {
        errno = EOPNOTSUPP;
        return -1;
    }
    assert_int_equal(fstat(source, &st), 0);
    off_t from = 0;
    off_t to = 0;
    while (from < st.st_size)
        assert_true(copy_file_range(source, &from, fd, &to, (size_t)(st.st_size - from), 0) > 0);
    clones++;
    return 0;
}

static const size_t sizes[] = {0,
                               1,
                               4096,
                               16383,
                               16384,
                               16385,
                               (1u << 20) - 1,
                               1u << 20,
                               (1u << 20) + 1,
                               (9u << 20) + 3,
                               (40u << 20) + 1};

static struct copy_options options_for(uint64_t total)
{
    return (struct copy_options){.total_bytes = total, .max_bytes = UINT64_MAX};
}

/* Copies a source of `len` bytes whose size is said to be `expected`, and checks every byte. */
static void check_copy(const struct scratch *scratch, size_t len, uint64_t expected)
{
    struct copy_options options = options_for(expected);
    struct copy_result result;
    char want[SHA256_HEX_LEN + 1];
    char *bytes = make_bytes(len);
    char *copy = malloc(len + 2);
    int in = open(make_source(scratch, "in", len), O_RDONLY | O_CLOEXEC);
    int out = open(in_scratch(scratch, "out"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    hash_of(want, bytes, len);
    expect_ok(copy_file(&result, in, out, "in", "out", &options));
    assert_int_equal(result.size_bytes, len);
    assert_string_equal(result.checksum, want);
    assert_int_equal(syscall(SYS_pread64, out, copy, len + 1, (off_t)0), len);
    assert_memory_equal(copy, bytes, len);
    expect_ok(copy_hash(&result, out, "out", &options));
    assert_int_equal(result.size_bytes, len);
    assert_string_equal(result.checksum, want);
    close(in);
    close(out);
    free(bytes);
    free(copy);
}

static void test_every_byte_arrives_and_is_hashed(void **state)
{
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        check_copy(*state, sizes[i], sizes[i]);
}

static void test_without_a_thread_the_caller_hashes(void **state)
{
    no_threads = true;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        check_copy(*state, sizes[i], sizes[i]);
    no_threads = false;
}

static void test_a_clone_is_hashed_and_not_written(void **state)
{
    can_clone = true;
    clones = 0;
    check_copy(*state, (3u << 20) + 1, (3u << 20) + 1);
    assert_int_equal(clones, 1);
    check_copy(*state, 4096, 4096); /* not worth a try */
    assert_int_equal(clones, 1);
    can_clone = false;
}

static void test_short_reads_lose_nothing(void **state)
{
    short_reads = true;
    check_copy(*state, 5000, 5000);
    check_copy(*state, 50000, 50000);
    check_copy(*state, 2u << 20, 2u << 20);
    short_reads = false;
}

static void test_a_wrong_expectation_changes_nothing(void **state)
{
    check_copy(*state, 100, 0);
    check_copy(*state, 100, 50);
    check_copy(*state, 100, 5000);
    check_copy(*state, 100, 5u << 20);
    check_copy(*state, 3u << 20, 0);
    check_copy(*state, 40000, 20000);
}

struct told {
    pthread_t thread;
    uint64_t last;
    int calls;
    int stop_at;
};

static bool tell(uint64_t done, uint64_t total, void *payload)
{
    struct told *told = payload;

    assert_true(pthread_equal(told->thread, pthread_self()));
    assert_true(done > told->last && done <= total);
    told->last = done;
    return ++told->calls != told->stop_at;
}

static void test_progress_is_told_on_the_calling_thread(void **state)
{
    struct told told = {.thread = pthread_self(), .stop_at = -1};
    struct copy_options options = options_for(33u << 20);
    struct copy_result result;
    int in = open(make_source(*state, "in", 33u << 20), O_RDONLY | O_CLOEXEC);
    int out = open(in_scratch(*state, "out"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    options.progress = tell;
    options.payload = &told;
    expect_ok(copy_file(&result, in, out, "in", "out", &options));
    assert_int_equal(told.calls, 4);

    told = (struct told){.thread = pthread_self(), .stop_at = 2};
    assert_int_equal(ftruncate(out, 0), 0);
    lseek(out, 0, SEEK_SET);
    expect_error(copy_file(&result, in, out, "in", "out", &options), MLD_EINTERRUPTED, "in");
    assert_int_equal(told.calls, 2);
    close(in);
    close(out);
}

static void test_more_than_the_limit_is_refused(void **state)
{
    struct copy_options options = options_for(100);
    struct copy_result result;
    int in = open(make_source(*state, "in", 100), O_RDONLY | O_CLOEXEC);
    int out = open(in_scratch(*state, "out"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    options.max_bytes = 100;
    expect_ok(copy_file(&result, in, out, "in", "out", &options));
    options.max_bytes = 99;
    expect_error(copy_file(&result, in, out, "in", "out", &options), MLD_ETOOLARGE, "in");
    close(in);
    close(out);
}

static void test_the_limit_counts_all_pieces(void **state)
{
    struct copy_options options = options_for(3u << 20);
    struct copy_result result;
    int in = open(make_source(*state, "in", 3u << 20), O_RDONLY | O_CLOEXEC);

    options.max_bytes = (3u << 20) - 1;
    expect_error(copy_hash(&result, in, "in", &options), MLD_ETOOLARGE, "in");
    close(in);
}

static void test_failures_of_either_file_are_told(void **state)
{
    for (size_t len = 100; len <= 20u << 20; len *= 200) {
        struct copy_options options = options_for(len);
        struct copy_result result;
        int in = open(make_source(*state, "in", len), O_RDONLY | O_CLOEXEC);
        int full = open("/dev/full", O_RDWR | O_CLOEXEC);
        int unreadable = open(in_scratch(*state, "in"), O_WRONLY | O_CLOEXEC);

        expect_error(copy_file(&result, in, full, "in", "full", &options), MLD_ENOSPACE, "full");
        expect_error(copy_file(&result, unreadable, full, "in", "full", &options), MLD_EIO, "in");
        close(in);
        close(full);
        close(unreadable);
    }
}

static void test_small_and_large_pieces_are_hashed_in_order(void **state)
{
    static const size_t pieces[] = {10, 300u << 10, 5, 1u << 20, 256u << 10, 0, 7, 2u << 20};
    char want[SHA256_HEX_LEN + 1];
    char got[SHA256_HEX_LEN + 1];
    struct hasher hasher;
    char *bytes = make_bytes(16u << 20);
    size_t at = 0;

    (void)state;
    expect_ok(hasher_begin(&hasher));
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
            hasher_put(&hasher, bytes + at, pieces[i]);
            at += pieces[i];
        }
    }
    expect_ok(hasher_end(&hasher, got));
    hasher_free(&hasher);
    hash_of(want, bytes, at);
    assert_string_equal(got, want);
    free(bytes);
}

static void test_only_regular_files_are_sources(void **state)
{
    const struct scratch *scratch = *state;
    struct copy_source source;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    expect_error(copy_source_open(&source, in_scratch(scratch, "none")), MLD_ENOTFOUND, "none");
    expect_error(copy_source_open(&source, scratch->path), MLD_EINVALID, "directory");
    expect_error(copy_source_open(&source, "/dev/zero"), MLD_EINVALID, "no regular file");
    assert_int_equal(mkfifo(in_scratch(scratch, "fifo"), 0600), 0);
    expect_error(copy_source_open(&source, in_scratch(scratch, "fifo")), MLD_EINVALID, "fifo");
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in_scratch(scratch, "socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    expect_error(copy_source_open(&source, address.sun_path), MLD_EINVALID, "socket");
    close(fd);
}

static void test_changes_of_the_source_are_seen(void **state)
{
    const struct scratch *scratch = *state;
    struct copy_source source;
    const char *path = make_source(scratch, "in", 100);

    expect_ok(copy_source_open(&source, path));
    expect_ok(copy_source_check(&source));
    usleep(20000); /* the clock of the file system is coarse */
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), 1); /* the size stays */
    expect_error(copy_source_check(&source), MLD_ECHANGED, path);
    copy_source_close(&source);

    expect_ok(copy_source_open(&source, path));
    usleep(20000);
    assert_int_equal(ftruncate(fd, 50), 0);
    expect_error(copy_source_check(&source), MLD_ECHANGED, path);
    copy_source_close(&source);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_byte_arrives_and_is_hashed, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_without_a_thread_the_caller_hashes, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_clone_is_hashed_and_not_written, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_short_reads_lose_nothing, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_wrong_expectation_changes_nothing, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_progress_is_told_on_the_calling_thread, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_more_than_the_limit_is_refused, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_the_limit_counts_all_pieces, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_failures_of_either_file_are_told, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(test_small_and_large_pieces_are_hashed_in_order),
        cmocka_unit_test_setup_teardown(test_only_regular_files_are_sources, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_changes_of_the_source_are_seen, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

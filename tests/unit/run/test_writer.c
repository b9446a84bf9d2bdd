#include "file_helpers.h"

#include <sys/wait.h>

static mld_writer *open_writer(mld_experiment *e, const char *filename, enum mld_writer_mode mode)
{
    struct mld_save_options o = named(filename);
    mld_writer *writer = NULL;

    expect_ok(mld_writer_open(&writer, e, &o, mode));
    return writer;
}

/* Commits and compares the record with the bytes that should be there. */
static void expect_commit(mld_experiment *e, mld_writer *writer, const char *bytes, size_t len)
{
    struct mld_file *file = NULL;
    char want[SHA256_HEX_LEN + 1];
    char *path = NULL;
    char *stored = malloc(len + 1);

    expect_ok(mld_writer_commit(&file, writer));
    hash_of(want, bytes, len);
    assert_string_equal(file->checksum, want);
    assert_int_equal(file->size_bytes, len);
    expect_ok(mld_file_stored_path(&path, e, file->id));
    FILE *in = fopen(path, "rb");
    assert_int_equal(fread(stored, 1, len + 1, in), len);
    assert_memory_equal(stored, bytes, len);
    fclose(in);
    free(stored);
    mld_free(path);
    mld_file_free(file);
}

static void test_pieces_of_any_size_make_one_file(void **state)
{
    static const size_t pieces[] = {1, 100, 2u << 20, 0, 3, 300000, 1u << 20, 5u << 20, 17};
    mld_experiment *e = open_run(*state);
    char *bytes = make_bytes(16u << 20);

    for (int mode = MLD_SEQUENTIAL; mode <= MLD_SEEKABLE; mode++) {
        mld_writer *writer = open_writer(e, "x", (enum mld_writer_mode)mode);
        size_t at = 0;
        for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
            char *own = malloc(pieces[i] + 1);
            memcpy(own, bytes + at, pieces[i]);
            expect_ok(mld_writer_write(writer, own, pieces[i]));
            memset(own, 0, pieces[i]); /* the memory is the caller's again */
            free(own);
            at += pieces[i];
            assert_int_equal(mld_writer_tell(writer), at);
            assert_int_equal(mld_writer_size(writer), at);
        }
        expect_commit(e, writer, bytes, at);
        expect_commit(e, open_writer(e, "empty", (enum mld_writer_mode)mode), "", 0);
    }
    free(bytes);
    mld_experiment_close(e);
}

static void test_a_seekable_one_goes_back_and_is_cut(void **state)
{
    mld_experiment *e = open_run(*state);
    mld_writer *writer = open_writer(e, "x", MLD_SEEKABLE);
    char back[16] = "";
    size_t len = 0;

    expect_ok(mld_writer_write(writer, "0123456789", 10));
    expect_ok(mld_writer_seek(writer, 2));
    expect_ok(mld_writer_read(writer, back, 3, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(back, "234", 3);
    expect_ok(mld_writer_write(writer, "FG", 2)); /* where the read ended */
    assert_int_equal(mld_writer_tell(writer), 7);
    assert_int_equal(mld_writer_size(writer), 10);
    expect_ok(mld_writer_seek(writer, 9));
    expect_ok(mld_writer_read(writer, back, 16, &len));
    assert_int_equal(len, 1);
    expect_ok(mld_writer_truncate(writer, 8));
    assert_int_equal(mld_writer_size(writer), 8);
    expect_ok(mld_writer_seek(writer, 10));
    expect_ok(mld_writer_write(writer, "!", 1));
    expect_commit(e, writer, "01234FG7\0\0!", 11);
    mld_experiment_close(e);
}

static void test_a_sequential_one_only_goes_on(void **state)
{
    mld_experiment *e = open_run(*state);
    mld_writer *writer = open_writer(e, "x", MLD_SEQUENTIAL);
    char data[4];
    size_t len = 9;

    expect_ok(mld_writer_write(writer, "abc", 3));
    expect_error(mld_writer_seek(writer, 0), MLD_EINVALID, "MLD_SEEKABLE");
    expect_error(mld_writer_read(writer, data, 1, &len), MLD_EINVALID, "MLD_SEEKABLE");
    assert_int_equal(len, 0);
    expect_error(mld_writer_truncate(writer, 0), MLD_EINVALID, "MLD_SEEKABLE");
    expect_commit(e, writer, "abc", 3);
    mld_experiment_close(e);
}

static void test_the_first_error_sticks(void **state)
{
    struct mld_experiment_options limited = MLD_EXPERIMENT_OPTIONS_INIT;
    limited.max_file_bytes = 10;
    mld_experiment *e = open_run_with(*state, limited);
    struct mld_file *file = (struct mld_file *)&limited;
    mld_writer *writer = open_writer(e, "x", MLD_SEQUENTIAL);

    expect_ok(mld_writer_write(writer, "0123456789", 10));
    expect_error(mld_writer_write(writer, "x", 1), MLD_ETOOLARGE, "limit");
    expect_error(mld_writer_write(writer, "", 0), MLD_ETOOLARGE, "limit");
    expect_error(mld_writer_commit(&file, writer), MLD_ETOOLARGE, "limit");
    assert_null(file);
    assert_int_equal(count_stored(*state), 0);
    assert_int_equal(count_listed(e, NULL), 0);
    mld_experiment_close(e);
}

static void test_nothing_is_visible_before_commit_nor_left_by_abandon(void **state)
{
    mld_experiment *e = open_run(*state);
    mld_writer *writer = open_writer(e, "x", MLD_SEQUENTIAL);
    char *bytes = make_bytes(2u << 20);

    expect_ok(mld_writer_write(writer, bytes, 2u << 20));
    assert_int_equal(count_listed(e, NULL), 0);
    assert_int_equal(count_stored(*state), 2);
    mld_writer_abandon(writer);
    assert_int_equal(count_stored(*state), 0);
    mld_writer_abandon(NULL);
    struct mld_save_options o = named("a/b");
    expect_error(mld_writer_open(&writer, e, &o, MLD_SEQUENTIAL), MLD_ENAME, "a/b");
    assert_null(writer);
    free(bytes);
    mld_experiment_close(e);
}

static void test_the_end_of_the_run_comes_before_an_open_writer(void **state)
{
    mld_experiment *e = open_run(*state);
    mld_writer *late = open_writer(e, "late", MLD_SEQUENTIAL);
    mld_writer *later = open_writer(e, "later", MLD_SEQUENTIAL);

    expect_ok(mld_writer_write(late, "x", 1));
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    expect_error(mld_writer_commit(NULL, late), MLD_ESTATE, "ended");
    mld_experiment_close(e);
    mld_writer_abandon(later);
    assert_int_equal(count_stored(*state), 0);
}

/* In the child: the writer came along, but is its parent's. */
static void use_in_child(mld_experiment *e, mld_writer *first, mld_writer *second)
{
    bool good = mld_writer_write(first, "child", 5) == MLD_ESTATE;
    good = good && mld_writer_commit(NULL, first) == MLD_ESTATE;
    mld_writer_abandon(second);
    good = good && count_listed(e, NULL) == 0;
    _exit(good ? 0 : 1);
}

static void test_a_forked_child_cannot_touch_its_parents_writers(void **state)
{
    mld_experiment *e = open_run(*state);
    mld_writer *first = open_writer(e, "first", MLD_SEQUENTIAL);
    mld_writer *second = open_writer(e, "second", MLD_SEEKABLE);
    char *bytes = make_bytes(2u << 20); /* large enough for the hashing thread */
    int status;

    expect_ok(mld_writer_write(first, bytes, 2u << 20));
    expect_ok(mld_writer_write(second, "abc", 3));
    pid_t child = fork();
    if (child == 0)
        use_in_child(e, first, second);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_commit(e, first, bytes, 2u << 20);
    expect_commit(e, second, "abc", 3);
    free(bytes);
    mld_experiment_close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pieces_of_any_size_make_one_file),
        TEST(test_a_seekable_one_goes_back_and_is_cut),
        TEST(test_a_sequential_one_only_goes_on),
        TEST(test_the_first_error_sticks),
        TEST(test_nothing_is_visible_before_commit_nor_left_by_abandon),
        TEST(test_the_end_of_the_run_comes_before_an_open_writer),
        TEST(test_a_forked_child_cannot_touch_its_parents_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

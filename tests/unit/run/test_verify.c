/* Everything that verify can find, each made by hand; and that it finds nothing else. */
#include "run/folder_helpers.h"

/* A folder with one of everything, ended. */
static struct saved make_folder(const struct scratch *s)
{
    struct mld_field field = mld_number("value", 1.5);
    mld_series *series;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/models", "a.bin", "some bytes");
    save(e, "/", "b.bin", "others");
    expect_ok(mld_params_set(e, &field, 1));
    expect_ok(mld_log(e, "info", "text", 4, NULL, 0, (double)NAN));
    expect_ok(mld_series_open(&series, e, MLD_METRIC, "loss", NULL));
    for (int i = 0; i < 3; i++)
        expect_ok(mld_series_append(series, &field, 1, (double)NAN, NULL));
    expect_ok(mld_series_open(&series, e, MLD_TRACK, "pose", NULL));
    expect_ok(mld_series_append(series, &field, 1, 1.0, NULL));
    end_folder(e);
    expect_clean(s);
    return f;
}

/* Verifies and expects this finding and, unless `more`, no other. */
static void expect_found(const struct scratch *s, bool quick, enum mld_problem problem,
                         const char *name, bool loss, bool more)
{
    struct mld_report *report = verify(s, quick);
    const struct mld_finding *f = find(report, problem, name);
    if (f == NULL || (!more && report->count != 1)) {
        print_report(report);
        fail_msg("%s %s is not the only finding", mld_problem_name(problem), name);
    }
    assert_int_equal(f->loss, loss);
    assert_true(f->detail != NULL && f->detail[0] != '\0');
    if (!more)
        assert_int_equal(report->n_losses, loss);
    mld_report_free(report);
}

/* Changes one byte of a file. */
static void flip(const struct scratch *s, const char *path, off_t offset)
{
    char byte;
    int fd = openat(s->fd, path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static void cut(const struct scratch *s, const char *path, off_t length)
{
    int fd = openat(s->fd, path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, length), 0);
    close(fd);
}

static void test_missing(void **state)
{
    const struct scratch *s = *state;
    struct saved f = make_folder(s);
    assert_int_equal(unlinkat(s->fd, f.path, 0), 0);
    expect_found(s, false, MLD_PROBLEM_MISSING, f.path, true, false);
    expect_found(s, true, MLD_PROBLEM_MISSING, f.path, true, false);
}

static void test_size(void **state)
{
    const struct scratch *s = *state;
    struct saved f = make_folder(s);
    append_text(s, f.path, "more");
    expect_found(s, false, MLD_PROBLEM_SIZE, f.path, true, false);
    expect_found(s, true, MLD_PROBLEM_SIZE, f.path, true, false);
}

static void test_checksum(void **state)
{
    const struct scratch *s = *state;
    struct saved f = make_folder(s);
    flip(s, f.path, 3);
    expect_found(s, false, MLD_PROBLEM_CHECKSUM, f.path, true, false);
    struct mld_report *report = verify(s, true); /* sizes only */
    assert_int_equal(report->count, 0);
    assert_int_equal(report->files_checked, 2);
    assert_int_equal(report->bytes_checked, 0);
    mld_report_free(report);
}

static void test_a_deleted_file_is_no_loss(void **state)
{
    const struct scratch *s = *state;
    struct saved f = make_folder(s);
    mld_experiment *e = open_folder(s, false);
    expect_ok(mld_file_delete(NULL, e, f.id));
    end_folder(e);
    flip(s, f.path, 3);
    expect_found(s, false, MLD_PROBLEM_CHECKSUM, f.path, false, false);
}

static void test_something_else_in_place(void **state)
{
    const struct scratch *s = *state;
    struct saved f = make_folder(s);
    assert_int_equal(unlinkat(s->fd, f.path, 0), 0);
    scratch_symlink(s, f.path, "/etc/hostname");
    expect_found(s, false, MLD_PROBLEM_FOREIGN, f.path, true, false);
    assert_int_equal(unlinkat(s->fd, f.path, 0), 0);
    assert_int_equal(mkfifoat(s->fd, f.path, 0666), 0);
    expect_found(s, false, MLD_PROBLEM_FOREIGN, f.path, true, false);
    assert_int_equal(unlinkat(s->fd, f.path, 0), 0);
    scratch_mkdir(s, f.path);
    expect_found(s, false, MLD_PROBLEM_FOREIGN, f.path, true, false);
}

static void test_strays(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    scratch_write(s, "files/note.txt", "a user's");
    expect_found(s, false, MLD_PROBLEM_FOREIGN, "files/note.txt", false, false);
    unlinkat(s->fd, "files/note.txt", 0);
    scratch_mkdir(s, "files/mine");
    scratch_symlink(s, "files/mine/link", "../..");
    expect_found(s, false, MLD_PROBLEM_FOREIGN, "files/mine/link", false, false);
}

static void test_garbled_lines(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    static const char *const FILES[] = {".mldash/records.jsonl", "metrics/loss/data.jsonl",
                                        "tracks/pose/data.jsonl", "logs/logs.jsonl"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        flip(s, FILES[i], 0); /* the brace: CRC and JSON are both wrong */
        expect_found(s, false, MLD_PROBLEM_GARBLED, FILES[i], true, true);
        expect_found(s, false, MLD_PROBLEM_MARK, FILES[i], true, true);
        flip(s, FILES[i], 0);
    }
    expect_clean(s);
}

/* A line that is JSON still, but not the one that was written. */
static void test_a_changed_record(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    char *text = read_text(s, ".mldash/records.jsonl");
    off_t at = strstr(text, "\"sizeBytes\":") - text + 12;
    free(text);
    flip(s, ".mldash/records.jsonl", at);
    struct mld_report *report = verify(s, false);
    const struct mld_finding *f = find(report, MLD_PROBLEM_GARBLED, "records.jsonl");
    assert_non_null(f);
    assert_true(f->offset > 0 && (off_t)f->offset < at);
    assert_non_null(find(report, MLD_PROBLEM_ORPHAN, "a.bin")); /* its record is gone */
    mld_report_free(report);
}

/* What the mark says was durable is shorter, or other lines of the same form are there. */
static void test_mark(void **state)
{
    const struct scratch *s = *state;
    const char *file = "metrics/loss/data.jsonl";
    make_folder(s);
    char *text = read_text(s, file);
    char *value = strstr(text, "1.5");
    flip(s, file, value - text + 2);
    expect_found(s, false, MLD_PROBLEM_MARK, file, true, false);
    cut(s, file, strchr(text, '\n') - text + 1);
    expect_found(s, false, MLD_PROBLEM_MARK, file, true, false);
    unlinkat(s->fd, file, 0);
    expect_found(s, false, MLD_PROBLEM_MARK, file, true, true);
    free(text);
}

static void test_an_unreadable_mark(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    flip(s, ".mldash/mark.0.json", 20);
    expect_found(s, false, MLD_PROBLEM_MARK, "mark.0.json", false, false);
}

static void test_torn(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    static const char *const FILES[] = {".mldash/records.jsonl", "metrics/loss/data.jsonl",
                                        "logs/logs.jsonl"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        off_t size = size_of(s, FILES[i]);
        append_text(s, FILES[i], "{\"half\":");
        expect_found(s, false, MLD_PROBLEM_TORN, FILES[i], true, false);
        cut(s, FILES[i], size);
    }
    expect_clean(s);
}

/* Beside a live writer an unterminated line may be finished yet, and a save is no orphan. */
static void test_beside_a_live_writer(void **state)
{
    const struct scratch *s = *state;
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    mld_writer *writer;
    make_folder(s);
    mld_experiment *e = open_folder(s, false);
    options.filename = "half.bin";
    expect_ok(mld_writer_open(&writer, e, &options, MLD_SEQUENTIAL));
    expect_ok(mld_writer_write(writer, "half", 4));
    off_t size = size_of(s, "metrics/loss/data.jsonl");
    append_text(s, "metrics/loss/data.jsonl", "{\"ind");
    expect_clean(s);
    cut(s, "metrics/loss/data.jsonl", size);
    mld_writer_abandon(writer);
    end_folder(e);
}

static void leave_orphan(const struct scratch *s, void *payload)
{
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    mld_writer *writer;
    (void)payload;
    mld_experiment *e = open_folder(s, false);
    options.filename = "half.bin";
    expect_ok(mld_writer_open(&writer, e, &options, MLD_SEQUENTIAL));
    expect_ok(mld_writer_write(writer, "half", 4));
}

static void test_orphan(void **state)
{
    const struct scratch *s = *state;
    in_dying_child(s, leave_orphan, NULL);
    expect_found(s, false, MLD_PROBLEM_ORPHAN, "half.bin", false, false);
    struct mld_report *report = verify(s, false);
    assert_int_equal(report->findings[0].bytes, 4);
    assert_int_equal(report->bytes_reclaimable, 0); /* too young for gc */
    mld_report_free(report);
}

static void test_views(void **state)
{
    const struct scratch *s = *state;
    make_folder(s);
    char *text = read_text(s, "parameters.json");
    text[strlen(text) - 3] = '\0';
    scratch_write(s, "parameters.json", text);
    free(text);
    expect_found(s, false, MLD_PROBLEM_VIEW, "parameters.json", false, false);
}

static void test_writes_nothing(void **state)
{
    const struct scratch *s = *state;
    struct stat before;
    struct stat after;
    make_folder(s);
    char *records = read_text(s, ".mldash/records.jsonl");
    assert_int_equal(fstatat(s->fd, ".mldash", &before, 0), 0);
    mld_report_free(verify(s, false));
    assert_int_equal(fstatat(s->fd, ".mldash", &after, 0), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    char *again = read_text(s, ".mldash/records.jsonl");
    assert_string_equal(records, again);
    free(records);
    free(again);
}

struct seen {
    uint64_t last, total;
    int calls, stop_at;
};

static bool note_progress(uint64_t done, uint64_t total, void *payload)
{
    struct seen *seen = payload;
    assert_true(done >= seen->last && done <= total);
    seen->last = done;
    seen->total = total;
    return ++seen->calls != seen->stop_at;
}

static void test_progress_and_counts(void **state)
{
    const struct scratch *s = *state;
    struct seen seen = {0};
    struct mld_report *report;
    make_folder(s);
    mld_experiment *e = open_folder(s, true);
    expect_ok(mld_verify(&report, e, false, note_progress, &seen));
    assert_true(seen.calls >= 2);
    assert_int_equal(seen.last, 16);
    assert_int_equal(seen.total, 16);
    assert_int_equal(report->files_checked, 2);
    assert_int_equal(report->bytes_checked, 16);
    assert_true(report->lines_checked >= 10);
    mld_report_free(report);
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(mld_verify(&report, e, false, note_progress, &seen), MLD_EINTERRUPTED);
    assert_null(report);
    mld_experiment_close(e);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_missing),
        T(test_size),
        T(test_checksum),
        T(test_a_deleted_file_is_no_loss),
        T(test_something_else_in_place),
        T(test_strays),
        T(test_garbled_lines),
        T(test_a_changed_record),
        T(test_mark),
        T(test_an_unreadable_mark),
        T(test_torn),
        T(test_beside_a_live_writer),
        T(test_orphan),
        T(test_views),
        T(test_writes_nothing),
        T(test_progress_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

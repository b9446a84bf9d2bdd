/* A power loss is played by giving a killed writer the boot id of another boot, and damaging what
 * it had not made durable. */
#include "run/folder_helpers.h"

#include "base/clock.h"
#include "base/hash.h"

#define OTHER_BOOT "00000000-0000-4000-8000-000000000000"
#define RECORDS ".mldash/records.jsonl"

/* Replaces our boot id in a text. */
static void exchange_boot(char *text)
{
    char boot[40];
    clock_boot_id(boot);
    for (char *at = text; (at = strstr(at, boot)) != NULL;)
        memcpy(at, OTHER_BOOT, strlen(OTHER_BOOT));
}

/* Makes the crc of each line right again. */
static void mend_crcs(char *text)
{
    for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        char digits[9];
        char *crc = strstr(line, ",\"crc\":\"");
        for (char *next = crc; next != NULL && next < strchr(line, '\n');
             next = strstr(crc + 1, ",\"crc\":\""))
            crc = next; /* a mark has one for each stream, and its own at the end */
        snprintf(digits, sizeof digits, "%08x", crc32c(0, line, (size_t)(crc - line)));
        memcpy(crc + strlen(",\"crc\":\""), digits, 8);
    }
}

static void write_in_another_boot(const struct scratch *s)
{
    static const char *const FILES[] = {RECORDS, ".mldash/mark.0.json", ".mldash/writers/0.json"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char *text = read_text(s, FILES[i]);
        exchange_boot(text);
        if (i < 2)
            mend_crcs(text);
        scratch_write(s, FILES[i], text);
        free(text);
    }
}

/* One file durable, three not; then death. */
static void save_and_die(const struct scratch *s, void *payload)
{
    char ids[256];
    struct saved f[4];
    (void)payload;
    mld_experiment *e = open_folder(s, false);
    f[0] = save(e, "/", "durable.bin", "durable");
    expect_ok(mld_flush(e));
    f[1] = save(e, "/", "zeroed.bin", "zeroed");
    f[2] = save(e, "/", "missing.bin", "missing");
    f[3] = save(e, "/", "intact.bin", "intact");
    snprintf(ids, sizeof ids, "%s %s %s %s", f[0].id, f[1].id, f[2].id, f[3].id);
    scratch_write(s, "ids", ids);
}

static void make_crashed(const struct scratch *s, struct saved f[4])
{
    static const char *const NAMES[] = {"durable.bin", "zeroed.bin", "missing.bin", "intact.bin"};
    in_dying_child(s, save_and_die, NULL);
    char *ids = read_text(s, "ids");
    assert_int_equal(sscanf(ids, "%23s %23s %23s %23s", f[0].id, f[1].id, f[2].id, f[3].id), 4);
    free(ids);
    unlinkat(s->fd, "ids", 0);
    for (int i = 0; i < 4; i++)
        snprintf(f[i].path, sizeof f[i].path, "files/%s/%s", f[i].id, NAMES[i]);
    scratch_write(s, f[0].path, "DURABLE"); /* not looked at: it was durable */
    int fd = openat(s->fd, f[1].path, O_WRONLY);
    assert_int_equal(pwrite(fd, "\0\0\0\0\0\0", 6, 0), 6);
    close(fd);
    assert_int_equal(unlinkat(s->fd, f[2].path, 0), 0);
}

static bool is_damaged(mld_experiment *e, const struct saved *f)
{
    struct mld_file *file;
    expect_ok(mld_file_get(&file, e, f->id));
    bool damaged = file->damaged;
    mld_file_free(file);
    return damaged;
}

static size_t count(const struct scratch *s, const char *file, const char *what)
{
    size_t n = 0;
    char *text = read_text(s, file);
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    free(text);
    return n;
}

static void test_after_another_boot(void **state)
{
    const struct scratch *s = *state;
    struct saved f[4];
    struct mld_experiment_info *info;
    make_crashed(s, f);
    write_in_another_boot(s);
    mld_experiment *e = open_folder(s, false); /* slot 1: the dead one's boot is not ours */
    assert_false(is_damaged(e, &f[0]));
    assert_true(is_damaged(e, &f[1]));
    assert_true(is_damaged(e, &f[2]));
    assert_false(is_damaged(e, &f[3]));
    expect_ok(mld_experiment_info(&info, e));
    assert_int_equal(info->n_problems, 2);
    assert_non_null(info->warning);
    mld_experiment_info_free(info);
    end_folder(e);
    assert_int_equal(count(s, ".mldash/records.1.jsonl", "\"type\":\"damaged\""), 2);
    assert_int_equal(count(s, ".mldash/records.1.jsonl", "\"type\":\"checked\""), 1);
    struct mld_report *report = verify(s, false);
    assert_non_null(find(report, MLD_PROBLEM_DAMAGED, f[1].id));
    assert_non_null(find(report, MLD_PROBLEM_DAMAGED, f[2].id));
    assert_non_null(find(report, MLD_PROBLEM_CHECKSUM, f[0].path));
    mld_report_free(report);
}

/* What was checked once is not checked again, but what a later writer finds is told by each open.
 */
static void test_only_once(void **state)
{
    const struct scratch *s = *state;
    struct saved f[4];
    make_crashed(s, f);
    write_in_another_boot(s);
    end_folder(open_folder(s, false));
    mld_experiment *e = open_folder(s, false);
    assert_true(is_damaged(e, &f[1]));
    end_folder(e);
    assert_int_equal(count(s, ".mldash/records.1.jsonl", "\"type\":\"damaged\""), 2);
    assert_int_equal(count(s, ".mldash/records.1.jsonl", "\"type\":\"checked\""), 1);
    e = open_folder(s, true);
    assert_true(is_damaged(e, &f[1]));
    mld_experiment_close(e);
}

/* A process that was killed lost nothing: the system writes its pages. */
static void test_the_same_boot(void **state)
{
    const struct scratch *s = *state;
    struct saved f[4];
    make_crashed(s, f);
    mld_experiment *e = open_folder(s, false);
    assert_false(is_damaged(e, &f[1]));
    end_folder(e);
    assert_int_equal(count(s, RECORDS, "\"type\":\"checked\""), 0);
}

/* Without a mark nothing counts as durable: all is looked at. */
static void test_without_a_mark(void **state)
{
    const struct scratch *s = *state;
    struct saved f[4];
    make_crashed(s, f);
    write_in_another_boot(s);
    scratch_write(s, ".mldash/mark.0.json", "{}\n");
    mld_experiment *e = open_folder(s, false);
    assert_true(is_damaged(e, &f[0]));
    assert_true(is_damaged(e, &f[1]));
    assert_false(is_damaged(e, &f[3]));
    end_folder(e);
}

/* A reader records nothing, and does not check: the next writer does. */
static void test_a_reader(void **state)
{
    const struct scratch *s = *state;
    struct saved f[4];
    make_crashed(s, f);
    write_in_another_boot(s);
    char *before = read_text(s, RECORDS);
    mld_experiment *e = open_folder(s, true);
    assert_false(is_damaged(e, &f[1]));
    mld_experiment_close(e);
    scratch_write(s, "before", before);
    char *after = read_text(s, RECORDS);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* A writer that ended had made all durable. */
static void test_after_a_clean_end(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/", "a.bin", "bytes");
    end_folder(e);
    scratch_write(s, ".mldash/mark.0.json", "{}\n");
    scratch_write(s, ".mldash/writers/0.json", "{}\n"); /* so that the slot is not taken again */
    char *text = read_text(s, RECORDS);
    exchange_boot(text);
    mend_crcs(text);
    scratch_write(s, RECORDS, text);
    free(text);
    scratch_write(s, f.path, "BYTES");
    e = open_folder(s, false);
    assert_false(is_damaged(e, &f));
    end_folder(e);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_after_another_boot), T(test_only_once), T(test_the_same_boot),
        T(test_without_a_mark),     T(test_a_reader),  T(test_after_a_clean_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

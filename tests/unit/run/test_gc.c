/* What gc removes, what it leaves, and what a kill at a bad moment does to it. */
#include "run/folder_helpers.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>

static struct mld_report *gc(mld_experiment *e, bool dry_run, bool offline, int64_t age_s)
{
    struct mld_gc_options options = MLD_GC_OPTIONS_INIT;
    struct mld_report *report = NULL;
    options.dry_run = dry_run;
    options.offline = offline;
    options.orphan_age_s = age_s;
    expect_ok(mld_gc(&report, e, &options));
    return report;
}

/* Opens, collects, ends; returns how many files went. */
static uint64_t gc_folder(const struct scratch *s)
{
    mld_experiment *e = open_folder(s, false);
    struct mld_report *report = gc(e, false, false, 0);
    uint64_t removed = report->files_removed;
    mld_report_free(report);
    end_folder(e);
    return removed;
}

static void test_deleted_files_go(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *e = open_folder(s, false);
    struct saved gone = save(e, "/models/deep", "a.bin", "twelve bytes");
    struct saved stays = save(e, "/models", "b.bin", "stays");
    expect_ok(mld_file_delete(NULL, e, gone.id));
    struct mld_report *report = gc(e, true, false, 0);
    assert_int_equal(report->files_removed, 1);
    assert_int_equal(report->bytes_freed, 12);
    assert_true(is_there(s, gone.path));
    mld_report_free(report);
    expect_ok(mld_verify(&report, e, false, NULL, NULL));
    assert_int_equal(report->bytes_reclaimable, 12);
    mld_report_free(report);
    report = gc(e, false, false, 0);
    assert_int_equal(report->files_removed, 1);
    assert_int_equal(report->bytes_freed, 12);
    mld_report_free(report);
    assert_false(is_there(s, gone.path));
    assert_false(is_there(s, "files/models/deep"));
    assert_true(is_there(s, stays.path));
    assert_int_equal(mld_file_restore(NULL, e, gone.id), MLD_ENOTFOUND);
    end_folder(e);
    expect_clean(s);
    assert_int_equal(gc_folder(s), 0);
}

static void test_a_restored_file_stays(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/", "a.bin", "x");
    expect_ok(mld_file_delete(NULL, e, f.id));
    expect_ok(mld_file_restore(NULL, e, f.id));
    mld_report_free(gc(e, false, false, 0));
    assert_true(is_there(s, f.path));
    end_folder(e);
}

/* Two versions with keep 1, and death before the first could go. */
static void save_twice(const struct scratch *s, void *payload)
{
    struct saved *ids = payload;
    mld_experiment *e = open_folder(s, false);
    ids[0] = save(e, "/", "v.txt", "first");
    ids[1] = save(e, "/", "v.txt", "second");
    char text[128];
    snprintf(text, sizeof text, "%s %s", ids[0].id, ids[1].id);
    scratch_write(s, "ids", text);
}

static void read_ids(const struct scratch *s, struct saved out[2])
{
    char *text = read_text(s, "ids");
    assert_int_equal(sscanf(text, "%23s %23s", out[0].id, out[1].id), 2);
    free(text);
    unlinkat(s->fd, "ids", 0);
    for (int i = 0; i < 2; i++)
        snprintf(out[i].path, sizeof out[i].path, "files/%s/v.txt", out[i].id);
}

static void test_versions_of_a_dead_writer_go(void **state)
{
    const struct scratch *s = *state;
    struct saved v[2];
    in_dying_child(s, save_twice, v);
    read_ids(s, v);
    assert_true(is_there(s, v[0].path));
    assert_int_equal(gc_folder(s), 1);
    assert_false(is_there(s, v[0].path));
    assert_true(is_there(s, v[1].path));
    mld_experiment *e = open_folder(s, true);
    struct mld_file *file;
    assert_int_equal(mld_file_get(&file, e, v[0].id), MLD_ESUPERSEDED);
    mld_experiment_close(e);
    expect_clean(s);
}

static void test_a_version_with_an_alias_stays(void **state)
{
    const struct scratch *s = *state;
    struct saved v[2];
    in_dying_child(s, save_twice, v);
    read_ids(s, v);
    mld_experiment *e = open_folder(s, false);
    expect_ok(mld_file_set_alias(e, v[0].id, "best"));
    mld_report_free(gc(e, false, false, 0));
    assert_true(is_there(s, v[0].path));
    expect_ok(mld_file_remove_alias(e, "/", "v.txt", "best"));
    mld_report_free(gc(e, false, false, 0));
    assert_false(is_there(s, v[0].path));
    end_folder(e);
}

static void test_bytes_that_outlived_their_unlink_go(void **state)
{
    const struct scratch *s = *state;
    char dir[300];
    mld_experiment *e = open_folder(s, false);
    struct saved old = save(e, "/", "v.txt", "first");
    save(e, "/", "v.txt", "second");
    expect_ok(mld_flush(e));
    assert_false(is_there(s, old.path));
    end_folder(e);
    snprintf(dir, sizeof dir, "files/%s", old.id); /* as if the kill had come before */
    scratch_mkdir(s, dir);
    scratch_write(s, old.path, "first");
    assert_int_equal(gc_folder(s), 1);
    assert_false(is_there(s, dir));
}

static void leave_orphan(const struct scratch *s, void *payload)
{
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    mld_writer *writer;
    mld_experiment *e = open_folder(s, false);
    (void)payload;
    options.filename = "half.bin";
    options.prefix = "/deep/er";
    expect_ok(mld_writer_open(&writer, e, &options, MLD_SEQUENTIAL));
    expect_ok(mld_writer_write(writer, "half", 4));
}

static void test_orphans_go_when_old(void **state)
{
    const struct scratch *s = *state;
    in_dying_child(s, leave_orphan, NULL);
    mld_experiment *e = open_folder(s, false);
    struct mld_report *report = gc(e, false, false, 0);
    assert_int_equal(report->files_removed, 0);
    assert_non_null(find(report, MLD_PROBLEM_ORPHAN, "half.bin"));
    assert_int_equal(report->n_losses, 0);
    mld_report_free(report);
    usleep(1100 * 1000);
    report = gc(e, false, false, 1);
    assert_int_equal(report->files_removed, 1);
    assert_int_equal(report->bytes_freed, 4);
    assert_int_equal(report->count, 0);
    mld_report_free(report);
    assert_false(is_there(s, "files/deep"));
    end_folder(e);
    expect_clean(s);
}

static void test_offline_takes_young_orphans(void **state)
{
    const struct scratch *s = *state;
    in_dying_child(s, leave_orphan, NULL);
    mld_experiment *e = open_folder(s, false);
    struct mld_report *report = gc(e, false, true, 0);
    assert_int_equal(report->files_removed, 1);
    mld_report_free(report);
    end_folder(e);
}

/* What a writer of this process, or a live one of another, has not committed is no orphan. */
static void test_saves_in_progress_stay(void **state)
{
    const struct scratch *s = *state;
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    mld_writer *writer;
    int ready[2];
    int leave[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(leave), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(leave[1]);
        leave_orphan(s, NULL);
        _exit(write(ready[1], "x", 1) == 1 && read(leave[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(leave[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    mld_experiment *e = open_folder(s, false);
    options.filename = "own.bin";
    expect_ok(mld_writer_open(&writer, e, &options, MLD_SEQUENTIAL));
    expect_ok(mld_writer_write(writer, "own", 3));
    usleep(1100 * 1000);
    struct mld_report *report = gc(e, false, true, 1);
    assert_int_equal(report->files_removed, 0);
    mld_report_free(report);
    struct mld_file *file;
    expect_ok(mld_writer_commit(&file, writer));
    mld_file_free(file);
    close(leave[1]);
    waitpid(child, NULL, 0);
    report = gc(e, false, false, 1);
    assert_int_equal(report->files_removed, 1);
    mld_report_free(report);
    end_folder(e);
    expect_clean(s);
    close(ready[0]);
    close(ready[1]);
}

static void test_strays_and_links_stay(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *e = open_folder(s, false);
    save(e, "/", "a.txt", "a");
    scratch_mkdir(s, "files/mine");
    scratch_write(s, "files/mine/notes.txt", "a user's");
    scratch_symlink(s, "files/link", "/etc/passwd");
    scratch_mkdir(s, "files/7354310332325644"); /* an id of a published client */
    scratch_write(s, "files/7354310332325644/half.bin", "being saved");
    struct mld_report *report = gc(e, false, true, -1);
    assert_int_equal(report->files_removed, 0);
    mld_report_free(report);
    assert_true(is_there(s, "files/mine/notes.txt"));
    assert_true(is_there(s, "files/link"));
    assert_true(is_there(s, "files/7354310332325644/half.bin"));
    end_folder(e);
}

static void test_temporary_files_and_empty_directories_go(void **state)
{
    const struct scratch *s = *state;
    const char *temp = ".mldash.0123456789abcdef0123456789abcdef.tmp";
    char path[128];
    mld_experiment *e = open_folder(s, false);
    save(e, "/m", "a.txt", "a");
    scratch_write(s, temp, "half a view");
    snprintf(path, sizeof path, "files/%s", temp);
    scratch_write(s, path, "half a view");
    scratch_write(s, ".mldash/writers/.0123456789abcdef0123456789abcdef.tmp", "{");
    scratch_mkdir(s, "files/empty");
    scratch_mkdir(s, "files/empty/inside");
    mld_report_free(gc(e, false, false, 0));
    assert_true(is_there(s, temp)); /* young: somebody may be writing it */
    usleep(1100 * 1000);
    struct mld_report *report = gc(e, false, false, 1);
    assert_int_equal(report->files_removed, 3);
    mld_report_free(report);
    assert_false(is_there(s, temp));
    assert_false(is_there(s, path));
    assert_false(is_there(s, "files/empty"));
    end_folder(e);
}

/* --- records --- */

#define MANY 700 /* with a good 2 KB a record */

static void write_many(mld_experiment *e, struct saved *last)
{
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    struct mld_field lr = mld_number("lr", 0.0);
    char tag[201];
    const char *const tags[] = {tag, tag, tag, tag, tag, tag, tag, tag, tag, tag};
    memset(tag, 't', sizeof tag - 1);
    tag[sizeof tag - 1] = '\0';
    options.filename = "model.bin";
    options.tags = tags;
    options.n_tags = 10;
    for (int i = 0; i < MANY; i++) {
        struct mld_file *file;
        expect_ok(mld_file_save_bytes(&file, e, "x", 1, &options));
        snprintf(last->id, sizeof last->id, "%s", file->id);
        mld_file_free(file);
        lr.number = i;
        expect_ok(mld_params_set(e, &lr, 1));
    }
    expect_ok(mld_file_set_alias(e, last->id, "best"));
    struct saved deleted = save(e, "/", "deleted.txt", "d");
    expect_ok(mld_file_delete(NULL, e, deleted.id));
    save(e, "/", "other.txt", "o");
    expect_ok(mld_flush(e));
}

static void expect_state(const struct scratch *s, const struct saved *last)
{
    struct mld_file_list *list;
    struct mld_file *file;
    char *params;
    mld_experiment *e = open_folder(s, true);
    expect_ok(mld_file_list(&list, e, NULL));
    assert_int_equal(list->count, 2);
    assert_string_equal(list->files[0].id, last->id);
    assert_string_equal(list->files[1].filename, "other.txt");
    assert_int_equal(list->files[0].n_tags, 10);
    mld_file_list_free(list);
    expect_ok(mld_file_find(&file, e, "/", "model.bin", "best"));
    assert_string_equal(file->id, last->id);
    mld_file_free(file);
    expect_ok(mld_params_get(&params, e));
    assert_string_equal(params, "{\"lr\":699.0}");
    mld_free(params);
    struct mld_experiment_info *info;
    expect_ok(mld_experiment_info(&info, e));
    assert_int_equal(info->status, MLD_COMPLETED);
    assert_int_equal(info->n_problems, 0);
    mld_experiment_info_free(info);
    mld_experiment_close(e);
    expect_clean(s);
}

static off_t records_size(const struct scratch *s)
{
    static const char *const NAMES[] = {".mldash/records.jsonl", ".mldash/records.0-1.jsonl",
                                        ".mldash/records.0-2.jsonl", ".mldash/records.1.jsonl",
                                        ".mldash/records.1-1.jsonl"};
    off_t sum = 0;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        sum += size_of(s, NAMES[i]) < 0 ? 0 : size_of(s, NAMES[i]);
    return sum;
}

static void test_records_are_rewritten(void **state)
{
    const struct scratch *s = *state;
    struct saved last;
    mld_experiment *e = open_folder(s, false);
    write_many(e, &last);
    end_folder(e);
    off_t before = records_size(s);
    assert_true(before > 3 << 19);
    mld_experiment *reader = open_folder(s, true); /* reads on, across the rewriting */
    assert_int_equal(gc_folder(s), 1);
    assert_false(is_there(s, ".mldash/records.jsonl"));
    assert_true(records_size(s) < 100000);
    expect_state(s, &last);
    e = open_folder(s, false); /* the next writer goes on in the new shard */
    struct saved more = save(e, "/", "more.txt", "m");
    end_folder(e);
    assert_false(is_there(s, ".mldash/records.jsonl"));
    struct mld_file *file;
    expect_ok(mld_file_get(&file, reader, more.id));
    mld_file_free(file);
    expect_ok(mld_file_find(&file, reader, "/", "model.bin", "best"));
    assert_string_equal(file->id, last.id);
    mld_file_free(file);
    mld_experiment_close(reader);
    e = open_folder(s, false);
    expect_ok(mld_file_delete(NULL, e, more.id));
    end_folder(e);
    assert_int_equal(gc_folder(s), 1);
    expect_state(s, &last);
}

/* Names of parts are not used again: a reader may have read one of that name up to an offset. */
static void test_records_are_rewritten_again(void **state)
{
    const struct scratch *s = *state;
    struct saved last;
    mld_experiment *reader = NULL;
    for (int round = 0; round < 2; round++) {
        mld_experiment *e = open_folder(s, false);
        write_many(e, &last);
        end_folder(e);
        if (reader == NULL)
            reader = open_folder(s, true);
        gc_folder(s);
        assert_true(records_size(s) < 100000);
    }
    mld_experiment *e = open_folder(s, false);
    struct saved more = save(e, "/", "more.txt", "m");
    end_folder(e);
    assert_false(is_there(s, ".mldash/records.jsonl"));
    assert_false(is_there(s, ".mldash/records.0-1.jsonl"));
    assert_true(is_there(s, ".mldash/records.0-2.jsonl"));
    struct mld_file *file;
    expect_ok(mld_file_get(&file, reader, more.id));
    mld_file_free(file);
    expect_ok(mld_file_find(&file, reader, "/", "model.bin", NULL));
    assert_string_equal(file->id, last.id);
    mld_file_free(file);
    mld_experiment_close(reader);
    expect_clean(s);
}

/* Killed when the new shard was there and the old one still, too. */
static void test_a_kill_before_the_old_shard_went(void **state)
{
    const struct scratch *s = *state;
    struct saved last;
    mld_experiment *e = open_folder(s, false);
    write_many(e, &last);
    end_folder(e);
    assert_int_equal(linkat(s->fd, ".mldash/records.jsonl", s->fd, "kept", 0), 0);
    gc_folder(s);
    assert_int_equal(renameat(s->fd, "kept", s->fd, ".mldash/records.jsonl"), 0);
    expect_state(s, &last);
    assert_int_equal(gc_folder(s), 0);
    assert_false(is_there(s, ".mldash/records.jsonl"));
    expect_state(s, &last);
}

/* A slot that another process holds is left alone; when it is gone, its records are rewritten. */
static void write_many_in_child(const struct scratch *s, void *payload)
{
    mld_experiment *e = open_folder(s, false);
    write_many(e, payload);
    scratch_write(s, "ids", ((struct saved *)payload)->id);
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
}

static void test_records_of_another_slot(void **state)
{
    const struct scratch *s = *state;
    struct saved last = {"", ""};
    mld_experiment *e = open_folder(s, false); /* slot 0 */
    expect_ok(
        mld_flush(e)); /* without a second thread: a sanitizer's allocator may not be forked */
    usleep(50 * 1000);
    in_dying_child(s, write_many_in_child, &last);
    char *id = read_text(s, "ids");
    snprintf(last.id, sizeof last.id, "%s", id);
    free(id);
    unlinkat(s->fd, "ids", 0);
    assert_true(size_of(s, ".mldash/records.1.jsonl") > 3 << 19);
    mld_report_free(gc(e, false, false, 0));
    assert_false(is_there(s, ".mldash/records.1.jsonl"));
    assert_true(is_there(s, ".mldash/records.1-1.jsonl"));
    assert_false(is_there(s, ".mldash/writers/1.json"));
    end_folder(e);
    expect_state(s, &last);
}

/* gc in the middle of a run: it goes on writing behind the rewritten records. */
static void test_a_run_goes_on_after_gc(void **state)
{
    const struct scratch *s = *state;
    struct saved last;
    mld_experiment *e = open_folder(s, false);
    write_many(e, &last);
    mld_report_free(gc(e, false, false, 0));
    assert_true(records_size(s) < 100000);
    struct saved more = save(e, "/", "more.txt", "m");
    expect_ok(mld_flush(e));
    expect_ok(mld_file_delete(NULL, e, more.id));
    end_folder(e);
    expect_state(s, &last);
    gc_folder(s);
    expect_state(s, &last);
}

/* --- a full disk --- */

#define SMALL_FILES 60

/* Returns 77 when the system lets us mount nothing. */
static int on_full_disk(const struct scratch *s)
{
    struct mld_experiment_options all = MLD_EXPERIMENT_OPTIONS_INIT;
    char block[4096] = {0};
    if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", s->path, "tmpfs", 0, "size=4m") != 0)
        return 77;
    struct scratch full = *s;
    full.fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    all.keep = MLD_KEEP_ALL;
    mld_experiment *e = open_with(&full, false, all);
    char *megabyte = malloc((1 << 20) + 1);
    memset(megabyte, 'x', 1 << 20);
    megabyte[1 << 20] = '\0';
    struct saved big = save(e, "/", "big.bin", megabyte);
    struct saved small[SMALL_FILES];
    free(megabyte);
    for (int i = 0; i < SMALL_FILES; i++)
        small[i] = save(e, "/", "small.bin", "x");
    expect_ok(mld_flush(e));
    int fd = openat(full.fd, "ballast", O_WRONLY | O_CREAT | O_APPEND, 0666);
    while (write(fd, block, sizeof block) > 0)
        continue;
    while (write(fd, block, 1) > 0)
        continue;
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    options.filename = "more.bin";
    assert_int_equal(mld_file_save_bytes(NULL, e, block, sizeof block, &options), MLD_ENOSPACE);
    expect_ok(mld_file_delete(NULL, e, big.id));
    for (int i = 0; i < SMALL_FILES; i++) /* more than fits into the last block of the records */
        expect_ok(mld_file_delete(NULL, e, small[i].id));
    struct mld_report *report = gc(e, false, false, 0);
    assert_int_equal(report->files_removed, 1 + SMALL_FILES);
    assert_int_equal(report->bytes_freed, (1 << 20) + SMALL_FILES);
    mld_report_free(report);
    expect_ok(mld_file_save_bytes(NULL, e, block, sizeof block, &options));
    end_folder(e);
    return 0;
}

static void test_works_on_a_full_disk(void **state)
{
    const struct scratch *s = *state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(on_full_disk(s));
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        scratch_left_out("mounting is not allowed here");
        return;
    }
    assert_int_equal(status, 0);
}

/* Another process looks while gc is at work. */
static enum mld_status status_now(const struct scratch *s)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct mld_experiment_info *info = NULL;
        expect_ok(mld_experiment_info(&info, open_folder(s, true)));
        _exit((int)info->status);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return (enum mld_status)WEXITSTATUS(status);
}

/* gc waits for the guard, which this process holds: so it is at work when we look. */
static void test_a_run_that_ended_does_not_run_again_for_gc(void **state)
{
    const struct scratch *s = *state;
    int status;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/", "x.bin", "bytes");
    expect_ok(mld_file_delete(NULL, e, f.id));
    end_folder(e);
    int guard = openat(s->fd, ".mldash/format.json", O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(guard, LOCK_EX), 0);
    pid_t child = fork();
    if (child == 0) {
        close(guard);
        mld_experiment *reader = open_folder(s, true);
        struct mld_report *report = gc(reader, false, false, 0);
        _exit(report->files_removed == 1 ? 0 : 1);
    }
    while (!is_there(s, ".mldash/writers/0.json"))
        usleep(1000);
    usleep(20000); /* it has written that it is there, most likely */
    assert_int_equal(status_now(s), MLD_COMPLETED);
    assert_true(is_there(s, f.path));
    close(guard);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(is_there(s, f.path));
}

static void test_bad_options(void **state)
{
    const struct scratch *s = *state;
    struct mld_gc_options options = {.version = 99};
    struct mld_report *report;
    mld_experiment *e = open_folder(s, false);
    assert_int_equal(mld_gc(&report, e, &options), MLD_EINVALID);
    assert_null(report);
    end_folder(e);
}

/* ml-dash gc does so: what has ended stays as it ended. */
static void test_by_a_reader(void **state)
{
    const struct scratch *s = *state;
    struct mld_experiment_info *before;
    struct mld_experiment_info *after;
    mld_experiment *e = open_folder(s, false);
    struct saved f = save(e, "/", "a.bin", "x");
    expect_ok(mld_file_delete(NULL, e, f.id));
    end_folder(e);
    e = open_folder(s, true);
    expect_ok(mld_experiment_info(&before, e));
    struct mld_report *report = gc(e, false, false, 0);
    assert_int_equal(report->files_removed, 1);
    mld_report_free(report);
    expect_ok(mld_experiment_info(&after, e));
    assert_int_equal(after->status, MLD_COMPLETED);
    assert_string_equal(after->ended_at, before->ended_at);
    mld_experiment_info_free(before);
    mld_experiment_info_free(after);
    mld_experiment_close(e);
    assert_false(is_there(s, f.path));
    expect_clean(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        T(test_deleted_files_go),
        T(test_a_restored_file_stays),
        T(test_versions_of_a_dead_writer_go),
        T(test_a_version_with_an_alias_stays),
        T(test_bytes_that_outlived_their_unlink_go),
        T(test_orphans_go_when_old),
        T(test_offline_takes_young_orphans),
        T(test_saves_in_progress_stay),
        T(test_strays_and_links_stay),
        T(test_temporary_files_and_empty_directories_go),
        T(test_records_are_rewritten),
        T(test_records_are_rewritten_again),
        T(test_a_kill_before_the_old_shard_went),
        T(test_records_of_another_slot),
        T(test_a_run_goes_on_after_gc),
        T(test_works_on_a_full_disk),
        T(test_a_run_that_ended_does_not_run_again_for_gc),
        T(test_bad_options),
        T(test_by_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

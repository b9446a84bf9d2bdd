#include "file_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The library's calls that make things durable, as letters: F file, D directory, S stream; W a
 * record's write. Only while `tracing`, and not those of the keeper's thread. */
static _Thread_local bool tracing;
static char trace[256];
static int fault_fdatasync;
static int fault_fsync;

static void note(char letter)
{
    size_t used = strlen(trace);
    if (tracing && used + 1 < sizeof(trace))
        trace[used] = letter;
}

int fsync(int fd)
{
    struct stat st;
    fstat(fd, &st);
    note(S_ISDIR(st.st_mode) ? 'D' : 'F');
    if (fault_fsync == 0)
        return (int)syscall(SYS_fsync, fd);
    errno = fault_fsync;
    return -1;
}

/* Called once at the next fdatasync of this thread, when it holds no lock. */
static _Thread_local void (*meanwhile)(void);

int fdatasync(int fd)
{
    void (*now)(void) = meanwhile;

    note('S');
    meanwhile = NULL;
    if (now != NULL)
        now();
    if (fault_fdatasync == 0)
        return (int)syscall(SYS_fdatasync, fd);
    errno = fault_fdatasync;
    return -1;
}

ssize_t write(int fd, const void *data, size_t len)
{
    if (len > 2 && memcmp(data, "{\"", 2) == 0)
        note('W');
    return syscall(SYS_write, fd, data, len);
}

static void test_a_saved_file_is_there_with_its_record(void **state)
{
    const struct scratch *scratch = *state;
    const char *tags[] = {"best", "näive"};
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    struct mld_file *file = NULL;
    mld_experiment *e = open_run(scratch);
    char want[SHA256_HEX_LEN + 1];
    char *bytes = make_bytes(5000);
    char *path = NULL;

    options.prefix = "models/deep/";
    options.tags = tags;
    options.n_tags = 2;
    options.description = "a \"model\"";
    options.metadata_json = "{\"epoch\": 3}";
    expect_ok(mld_file_save(&file, e, make_source(scratch, "model.pt", 5000), &options));
    hash_of(want, bytes, 5000);
    assert_string_equal(file->path, "/models/deep");
    assert_string_equal(file->filename, "model.pt");
    assert_string_equal(file->description, "a \"model\"");
    assert_string_equal(file->checksum, want);
    assert_string_equal(file->tags[1], "näive");
    assert_string_equal(file->metadata_json, "{\"epoch\":3}");
    assert_int_equal(file->size_bytes, 5000);
    assert_true(file->newest);
    expect_ok(mld_file_stored_path(&path, e, file->id));
    FILE *in = fopen(path, "rb");
    char stored[5001];
    assert_int_equal(fread(stored, 1, sizeof(stored), in), 5000);
    assert_memory_equal(stored, bytes, 5000);
    fclose(in);
    free(bytes);
    mld_free(path);
    mld_file_free(file);
    expect_ok(mld_file_save(NULL, e, in_scratch(scratch, "model.pt"), &options));
    mld_experiment_close(e);
}

static void test_bad_input_is_refused_and_leaves_nothing(void **state)
{
    const struct scratch *scratch = *state;
    struct mld_experiment_options limited = MLD_EXPERIMENT_OPTIONS_INIT;
    limited.max_file_bytes = 1000;
    mld_experiment *e = open_run_with(scratch, limited);
    const char *source = make_source(scratch, "source", 100);
    const char *large = make_source(scratch, "large", 1001);
    const char *bad_tag = "a\nb";
    struct mld_file *out = (struct mld_file *)&limited;
    struct mld_save_options o = named("ok");

    expect_error(mld_file_save(&out, e, in_scratch(scratch, "none"), &o), MLD_ENOTFOUND, "none");
    assert_null(out);
    expect_error(mld_file_save(NULL, e, scratch->path, &o), MLD_EINVALID, "directory");
    expect_error(mld_file_save(NULL, e, "", &o), MLD_EINVALID, "source");
    expect_error(mld_file_save(NULL, e, "/proc/version", &o), MLD_ECHANGED, "version");
    expect_error(mld_file_save(NULL, e, large, &o), MLD_ETOOLARGE, "1001");
    o.filename = "a/b";
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ENAME, "a/b");
    o.filename = "..";
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ENAME, "..");
    o = named("ok");
    o.prefix = "../x";
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ENAME, "..");
    o = named("ok");
    o.metadata_json = "{\"a\": NaN}";
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINVALID, "metadata");
    o.metadata_json = "[]";
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINVALID, "metadata");
    o = named("ok");
    o.tags = &bad_tag;
    o.n_tags = 1;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ENAME, "tag");
    o = named("ok");
    o.keep = -2;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINVALID, "keep");
    o = named(NULL);
    expect_error(mld_file_save_bytes(NULL, e, "x", 1, &o), MLD_ENAME, "file name");
    o = named("ok");
    o.version = 9;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINVALID, "version 9");
    assert_int_equal(count_stored(scratch), 0);
    assert_int_equal(count_listed(e, NULL), 0);
    mld_experiment_close(e);
}

static void test_bytes_of_any_size_are_saved(void **state)
{
    static const size_t sizes[] = {0, 1, 300000, 3000001, (17u << 20) + 1};
    mld_experiment *e = open_run(*state);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct mld_save_options o = named("bytes.bin");
        struct mld_file *file = NULL;
        char want[SHA256_HEX_LEN + 1];
        char *bytes = make_bytes(sizes[i]);

        expect_ok(mld_file_save_bytes(&file, e, bytes, sizes[i], &o));
        hash_of(want, bytes, sizes[i]);
        assert_string_equal(file->checksum, want);
        assert_int_equal(file->size_bytes, sizes[i]);
        free(bytes);
        mld_file_free(file);
    }
    mld_experiment_close(e);
}

/* What a callback of progress does on its first call. */
struct meddling {
    const char *path;
    mld_experiment *end;
    bool stop;
};

static bool meddle(uint64_t done, uint64_t total, void *payload)
{
    struct meddling *m = payload;

    (void)done;
    (void)total;
    if (m->path != NULL) {
        usleep(20000);
        int fd = open(m->path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "!", 1, 0), 1);
        close(fd);
    }
    if (m->end != NULL)
        expect_ok(mld_experiment_end(m->end, MLD_COMPLETED));
    m->path = NULL;
    m->end = NULL;
    return !m->stop;
}

static void test_what_happens_meanwhile_leaves_nothing_behind(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *e = open_run(scratch);
    const char *source = make_source(scratch, "source", 9u << 20);
    struct meddling m = {.path = source};
    struct mld_save_options o = named("x");

    o.progress = meddle;
    o.payload = &m;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ECHANGED, "source");
    m.stop = true;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINTERRUPTED, "source");
    char *bytes = make_bytes(20u << 20);
    expect_error(mld_file_save_bytes(NULL, e, bytes, 20u << 20, &o), MLD_EINTERRUPTED, "x");
    free(bytes);
    assert_int_equal(count_listed(e, NULL), 0);
    m = (struct meddling){.end = e};
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ESTATE, "ended");
    assert_int_equal(count_text(scratch, ".mldash/records.jsonl", "\"type\":\"file\""), 0);
    unlink(in_scratch(scratch, "run/run/files/.files_metadata.json"));
    assert_int_equal(count_stored(scratch), 0);
    mld_experiment_close(e);
}

/* A file system of 4 MB of the test's own; false when the system does not let us. */
static bool mount_small(const struct scratch *scratch)
{
    const char *path = in_scratch(scratch, "run");

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    assert_int_equal(mkdir(path, 0777), 0);
    return mount("small", path, "tmpfs", 0, "size=4m") == 0;
}

static void test_a_full_disk_loses_nothing(void **state)
{
    const struct scratch *scratch = *state;
    struct mld_save_options o = named("x");

    o.keep = MLD_KEEP_ALL;
    if (!mount_small(scratch)) {
        scratch_left_out("mounting is not allowed here");
        return;
    }
    const char *half = make_source(scratch, "half", 2u << 20);
    const char *large = make_source(scratch, "large", 3u << 20);
    const char *small = make_source(scratch, "small", 900u << 10);
    char *bytes = make_bytes(3u << 20);
    mld_experiment *e = open_run(scratch);
    expect_ok(mld_file_save(NULL, e, half, &o));
    expect_error(mld_file_save(NULL, e, large, &o), MLD_ENOSPACE, "x");
    expect_error(mld_file_save_bytes(NULL, e, bytes, 3u << 20, &o), MLD_ENOSPACE, "x");
    o.durable = true;
    expect_error(mld_file_save(NULL, e, large, &o), MLD_ENOSPACE, "x");
    assert_int_equal(count_stored(scratch), 2); /* the first file and its directory */
    expect_ok(mld_file_save(NULL, e, small, &o));
    assert_int_equal(count_listed(e, "x"), 2);
    mld_experiment_close(e);
    free(bytes);
    assert_int_equal(umount(in_scratch(scratch, "run")), 0);
}

static void test_a_file_size_limit_of_the_system_is_an_error(void **state)
{
    const struct scratch *scratch = *state;
    struct rlimit before;
    struct mld_save_options o = named("x");
    mld_experiment *e = open_run(scratch);
    const char *large = make_source(scratch, "large", 2u << 20);

    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {1u << 20, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    expect_error(mld_file_save(NULL, e, large, &o), MLD_ETOOLARGE, "x");
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(count_stored(scratch), 0);
    expect_ok(mld_file_save(NULL, e, large, &o));
    mld_experiment_close(e);
}

static void test_moving_takes_the_file_itself(void **state)
{
    const struct scratch *scratch = *state;
    const char *source = make_source(scratch, "source", 3u << 20);
    struct mld_save_options o = named("moved");
    struct mld_file *file = NULL;
    struct stat before;
    struct stat after;
    char *path = NULL;
    mld_experiment *e = open_run(scratch);

    o.move = true;
    assert_int_equal(stat(source, &before), 0);
    expect_ok(mld_file_save(&file, e, source, &o));
    assert_int_equal(access(source, F_OK), -1);
    expect_ok(mld_file_stored_path(&path, e, file->id));
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_nlink, 1);
    mld_free(path);
    mld_file_free(file);
    mld_experiment_close(e);
}

static void test_moving_is_refused_when_the_source_would_not_be_safe(void **state)
{
    const struct scratch *scratch = *state;
    const char *source = make_source(scratch, "source", 3u << 20);
    const char *other = in_scratch(scratch, "other");
    struct meddling m = {.path = source};
    struct mld_save_options o = named("moved");
    mld_experiment *e = open_run(scratch);

    o.move = true;
    assert_int_equal(link(source, other), 0);
    expect_error(mld_file_save(NULL, e, source, &o), MLD_EINVALID, "links");
    assert_int_equal(unlink(other), 0);
    assert_int_equal(symlink(source, other), 0);
    expect_error(mld_file_save(NULL, e, other, &o), MLD_EINVALID, "symlink");
    source = make_source(scratch, "long", 9u << 20);
    m.path = source;
    o.progress = meddle;
    o.payload = &m;
    expect_error(mld_file_save(NULL, e, source, &o), MLD_ECHANGED, "long");
    assert_int_equal(access(source, F_OK), 0);
    assert_int_equal(count_stored(scratch), 0);
    mld_experiment_close(e);
}

static void test_moving_from_another_file_system_copies(void **state)
{
    const struct scratch *scratch = *state;
    struct mld_save_options o = named("moved");
    char source[] = "/dev/shm/mldash-test-XXXXXX";
    int fd = mkstemp(source);

    if (fd < 0) {
        scratch_left_out("there is no other file system at /dev/shm");
        return;
    }
    assert_int_equal(write(fd, "abc", 3), 3);
    close(fd);
    mld_experiment *e = open_run(scratch);
    o.move = true;
    expect_ok(mld_file_save(NULL, e, source, &o));
    assert_int_equal(access(source, F_OK), -1);
    assert_int_equal(count_stored(scratch), 2);
    mld_experiment_close(e);
}

static void test_durable_means_bytes_then_record_before_it_returns(void **state)
{
    const struct scratch *scratch = *state;
    const char *source = make_source(scratch, "source", 100);
    struct mld_save_options o = named("x");
    mld_experiment *e = open_run(scratch);

    o.prefix = "a";
    expect_ok(mld_flush(e));
    o.durable = true;
    expect_ok(mld_file_save(NULL, e, source, &o)); /* directories on the way, once */
    memset(trace, 0, sizeof(trace));
    tracing = true;
    o.filename = "y";
    expect_ok(mld_file_save(NULL, e, source, &o));
    tracing = false;
    assert_string_equal(trace, "FDDWS");
    mld_experiment_close(e);
}

static void test_a_failed_fsync_is_a_failed_save(void **state)
{
    const struct scratch *scratch = *state;
    const char *source = make_source(scratch, "source", 100);
    struct mld_save_options o = named("x");
    struct mld_file *file = NULL;
    mld_experiment *e = open_run(scratch);

    expect_ok(mld_flush(e));
    o.durable = true;
    fault_fsync = EIO;
    expect_error(mld_file_save(&file, e, source, &o), MLD_EIO, "durable");
    fault_fsync = 0;
    assert_null(file);
    assert_int_equal(count_text(scratch, ".mldash/records.jsonl", "\"type\":\"file\""), 0);
    fault_fdatasync = ENOSPC;
    expect_error(mld_file_save(&file, e, source, &o), MLD_EIO, "durable");
    fault_fdatasync = 0;
    assert_null(file);
    assert_int_equal(count_listed(e, NULL), 0);
    assert_int_equal(count_stored(scratch), 0);
    /* Others' lines were in the same stream: one call learns of it, and a new shard begins. */
    expect_error(mld_file_save(&file, e, source, &o), MLD_EIO, "power loss");
    expect_ok(mld_file_save(NULL, e, source, &o));
    assert_int_equal(count_text(scratch, ".mldash/records.0-1.jsonl", "\"type\":\"unsafe\""), 1);
    assert_int_equal(count_text(scratch, ".mldash/records.0-1.jsonl", "\"type\":\"file\""), 1);
    assert_int_equal(count_listed(e, NULL), 1);
    mld_experiment_close(e);
}

static char *save_version(mld_experiment *e, const char *text, int keep)
{
    struct mld_save_options o = named("model");
    struct mld_file *file = NULL;

    o.keep = keep;
    expect_ok(mld_file_save_bytes(&file, e, text, strlen(text), &o));
    char *id = strdup(file->id);
    mld_file_free(file);
    return id;
}

static void test_older_versions_go_after_the_newer_is_durable(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *e = open_run(scratch);
    char *ids[6];

    ids[0] = save_version(e, "0", MLD_KEEP_DEFAULT);
    ids[1] = save_version(e, "1", MLD_KEEP_ALL);
    expect_ok(mld_flush(e));
    assert_int_equal(count_listed(e, "model"), 2);
    expect_ok(mld_file_set_alias(e, ids[0], "best"));
    ids[2] = save_version(e, "2", MLD_KEEP_DEFAULT);
    assert_int_equal(count_listed(e, "model"), 3); /* not yet */
    expect_ok(mld_flush(e));
    assert_int_equal(count_listed(e, "model"), 2);
    assert_true(is_stored(e, ids[0])); /* named */
    assert_false(is_stored(e, ids[1]));
    assert_true(is_stored(e, ids[2]));
    assert_int_equal(count_stored(scratch), 4);
    ids[3] = save_version(e, "3", 2);
    expect_ok(mld_flush(e));
    assert_true(is_stored(e, ids[2]));
    expect_ok(mld_file_delete(NULL, e, ids[3])); /* does not count any more */
    ids[4] = save_version(e, "4", 2);
    expect_ok(mld_flush(e));
    assert_true(is_stored(e, ids[2]));
    ids[5] = save_version(e, "5", 2);
    expect_ok(mld_flush(e));
    assert_false(is_stored(e, ids[2]));
    expect_ok(mld_file_restore(NULL, e, ids[3]));
    assert_true(is_stored(e, ids[3]));
    struct mld_file *file = NULL;
    expect_error(mld_file_get(&file, e, ids[2]), MLD_ESUPERSEDED, ids[5]);
    mld_experiment_close(e);
    for (size_t i = 0; i < 6; i++)
        free(ids[i]);
}

static mld_experiment *shared;
static const char *named_meanwhile;

/* Another process names the version, which this one has not read yet when it retires. */
static void name_in_another_process(void)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(mld_file_set_alias(shared, named_meanwhile, "best") == MLD_OK ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Takes the lock without which nothing is retired that other writers left, and records are not read
 * again before. */
static int take_guard(const struct scratch *scratch)
{
    int fd = open(in_scratch(scratch, "run/run/.mldash/format.json"), O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

static void test_a_version_that_gets_a_name_meanwhile_stays(void **state)
{
    shared = open_run(*state);
    int guard = take_guard(*state);
    char *old = save_version(shared, "old", MLD_KEEP_DEFAULT);

    expect_ok(mld_flush(shared));
    char *new = save_version(shared, "new", MLD_KEEP_DEFAULT);
    named_meanwhile = old;
    meanwhile = name_in_another_process;
    expect_ok(mld_flush(shared));
    assert_null(meanwhile);
    assert_true(is_stored(shared, old));
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "\"type\":\"unretire\""), 1);
    char *newer = save_version(shared, "newer", MLD_KEEP_DEFAULT);
    expect_ok(mld_flush(shared));
    assert_true(is_stored(shared, old));
    assert_false(is_stored(shared, new));
    assert_int_equal(count_text(*state, ".mldash/records.jsonl", "\"type\":\"retire\""), 2);
    mld_experiment_close(shared);
    close(guard);
    free(old);
    free(new);
    free(newer);
}

/* A writer that is killed. */
static void save_and_die(const struct scratch *scratch, const char *text)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        mld_experiment *e = open_run(scratch);
        free(save_version(e, text, MLD_KEEP_DEFAULT));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_versions_of_writers_that_are_gone_go_too(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *e = open_run(scratch);
    char *named_one = save_version(e, "named", MLD_KEEP_ALL);
    char *first = save_version(e, "first", MLD_KEEP_ALL);

    expect_ok(mld_file_set_alias(e, named_one, "best"));
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    mld_experiment_close(e);
    save_and_die(scratch, "killed");
    e = open_run(scratch);
    assert_int_equal(count_listed(e, "model"), 3);
    char *second = save_version(e, "second", 2);
    expect_ok(mld_flush(e));
    assert_true(is_stored(e, named_one));
    assert_false(is_stored(e, first));
    assert_int_equal(count_listed(e, "model"), 3); /* the killed writer's is the second */
    char *third = save_version(e, "third", MLD_KEEP_DEFAULT);
    expect_ok(mld_flush(e));
    assert_true(is_stored(e, named_one));
    assert_false(is_stored(e, second));
    assert_true(is_stored(e, third));
    assert_int_equal(count_listed(e, "model"), 2);
    mld_experiment_close(e);
    free(named_one);
    free(first);
    free(second);
    free(third);
}

static void test_versions_of_a_living_writer_wait_for_its_end(void **state)
{
    const struct scratch *scratch = *state;
    int ready[2];
    int done[2];
    int status;
    char byte = 0;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        mld_experiment *other = open_run(scratch);
        free(save_version(other, "other", MLD_KEEP_DEFAULT));
        if (write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1)
            _exit(0);
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    mld_experiment *e = open_run(scratch);
    free(save_version(e, "ours", MLD_KEEP_DEFAULT));
    expect_ok(mld_flush(e));
    assert_int_equal(count_listed(e, "model"), 2);
    assert_int_equal(write(done[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    assert_int_equal(count_listed(e, "model"), 1);
    mld_experiment_close(e);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
}

static void test_one_process_at_a_time_retires_what_others_left(void **state)
{
    const struct scratch *scratch = *state;

    save_and_die(scratch, "left");
    mld_experiment *e = open_run(scratch);
    int guard = take_guard(scratch);
    free(save_version(e, "ours", MLD_KEEP_DEFAULT));
    free(save_version(e, "ours", MLD_KEEP_DEFAULT));
    expect_ok(mld_flush(e));
    assert_int_equal(count_listed(e, "model"), 2); /* its own older one went */
    close(guard);
    expect_ok(mld_experiment_end(e, MLD_COMPLETED));
    assert_int_equal(count_listed(e, "model"), 1);
    mld_experiment_close(e);
}

static void test_a_forked_child_saves_for_itself(void **state)
{
    const struct scratch *scratch = *state;
    mld_experiment *e = open_run(scratch);
    struct mld_save_options o = named("x");

    o.keep = MLD_KEEP_ALL;
    expect_ok(mld_file_save_bytes(NULL, e, "parent", 6, &o));
    pid_t child = fork();
    if (child == 0)
        _exit(mld_file_save_bytes(NULL, e, "child", 5, &o) == MLD_OK ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_ok(mld_file_save_bytes(NULL, e, "parent", 6, &o));
    assert_int_equal(count_listed(e, "x"), 3);
    mld_experiment_close(e);
}

struct saver {
    mld_experiment *experiment;
    const char *source;
    int number;
};

static void *save_many(void *argument)
{
    const struct saver *saver = argument;

    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%d-%d", saver->number, i % 25);
        struct mld_save_options o = named(name);
        expect_ok(mld_file_save(NULL, saver->experiment, saver->source, &o));
        if (i % 20 == 19)
            expect_ok(mld_flush(saver->experiment));
    }
    return NULL;
}

static void test_threads_save_at_the_same_time(void **state)
{
    const struct scratch *scratch = *state;
    struct saver savers[4];
    pthread_t threads[4];
    mld_experiment *e = open_run(scratch);
    const char *source = make_source(scratch, "source", 4096);

    for (int i = 0; i < 4; i++) {
        savers[i] = (struct saver){e, source, i};
        assert_int_equal(pthread_create(&threads[i], NULL, save_many, &savers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    expect_ok(mld_flush(e));
    assert_int_equal(count_listed(e, NULL), 100);
    assert_int_equal(count_stored(scratch), 200);
    mld_experiment_close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_saved_file_is_there_with_its_record),
        TEST(test_bad_input_is_refused_and_leaves_nothing),
        TEST(test_bytes_of_any_size_are_saved),
        TEST(test_what_happens_meanwhile_leaves_nothing_behind),
        TEST(test_a_full_disk_loses_nothing),
        TEST(test_a_file_size_limit_of_the_system_is_an_error),
        TEST(test_moving_takes_the_file_itself),
        TEST(test_moving_is_refused_when_the_source_would_not_be_safe),
        TEST(test_moving_from_another_file_system_copies),
        TEST(test_durable_means_bytes_then_record_before_it_returns),
        TEST(test_a_failed_fsync_is_a_failed_save),
        TEST(test_older_versions_go_after_the_newer_is_durable),
        TEST(test_a_version_that_gets_a_name_meanwhile_stays),
        TEST(test_versions_of_writers_that_are_gone_go_too),
        TEST(test_versions_of_a_living_writer_wait_for_its_end),
        TEST(test_one_process_at_a_time_retires_what_others_left),
        TEST(test_a_forked_child_saves_for_itself),
        TEST(test_threads_save_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

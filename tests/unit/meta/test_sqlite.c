#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "meta/sqlite.h"
#include "scratch.h"

static const char *in_scratch(void **state, const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", ((struct scratch *)*state)->path, name);
    return path;
}

static struct meta *open_store(void **state)
{
    struct meta *m;
    assert_int_equal(meta_sqlite_open(&m, in_scratch(state, "m.sqlite")), MLD_OK);
    return m;
}

/* Changes a database in ways that the store would not. */
static void change(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static enum mld_error insert(struct meta *m, const char *id, const char *const *tokens, size_t n)
{
    struct meta_doc doc = {.partition = "p", .id = id, .tokens = tokens, .n_tokens = n};
    return meta_insert(m, &doc);
}

static void expect_refused(const char *path, enum mld_error error, const char *words)
{
    struct meta *m = (struct meta *)1;
    assert_int_equal(meta_sqlite_open(&m, path), error);
    assert_null(m);
    assert_non_null(strstr(mld_error_message(), words));
}

static void keeps_its_files_from_others(void **state)
{
    static const char *const names[] = {"m.sqlite", "m.sqlite-wal", "m.sqlite-shm"};
    struct stat st;
    mode_t mask = umask(0);
    struct meta *m = open_store(state);
    assert_int_equal(insert(m, "a", NULL, 0), MLD_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(in_scratch(state, names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    meta_close(m);
    umask(mask);
}

static void leaves_other_databases_alone(void **state)
{
    struct stat before, after;
    const char *path = in_scratch(state, "other.sqlite");
    change(path, "CREATE TABLE theirs(x)");
    assert_int_equal(stat(path, &before), 0);
    expect_refused(path, MLD_EFORMAT, "another program");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    change(path, "PRAGMA application_id=1");
    expect_refused(path, MLD_EFORMAT, "another program");
}

static void refuses_a_newer_format(void **state)
{
    meta_close(open_store(state));
    const char *path = in_scratch(state, "m.sqlite");
    change(path, "PRAGMA user_version=2");
    expect_refused(path, MLD_EFORMAT, "format 2");
}

static void refuses_what_is_no_database(void **state)
{
    struct meta *m;
    scratch_write(*state, "text",
                  "This is not a database, though it is longer than nothing. "
                  "It has more than the hundred bytes of the header, too.");
    scratch_mkdir(*state, "folder");
    expect_refused(in_scratch(state, "text"), MLD_EDAMAGED, "backup");
    expect_refused(in_scratch(state, "folder"), MLD_EACCESS, "folder");
    expect_refused(in_scratch(state, "missing/m.sqlite"), MLD_ENOTFOUND, "missing");
    assert_int_equal(chdir(((struct scratch *)*state)->path), 0);
    assert_int_equal(meta_sqlite_open(&m, ":memory:"), MLD_EINVALID);
    assert_int_equal(meta_sqlite_open(&m, ""), MLD_ENOTFOUND);
    assert_int_equal(chdir("/"), 0);
}

static void tells_an_emptied_file_from_a_new_one(void **state)
{
    struct meta *m = open_store(state);
    const char *path = in_scratch(state, "m.sqlite");
    meta_close(m);
    assert_int_equal(truncate(path, 0), 0);
    scratch_write(*state, "m.sqlite-wal", "something");
    expect_refused(path, MLD_EDAMAGED, "empty");
    scratch_expect(*state, "m.sqlite-wal", "something");
}

/* SQLite's locks are the process's: closing any descriptor of the file would drop them. */
static void opening_again_drops_no_lock(void **state)
{
    struct meta *m = open_store(state);
    meta_close(open_store(state));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(in_scratch(state, "m.sqlite"), O_RDWR | O_CLOEXEC);
        _exit(fd < 0 || fcntl(fd, F_GETLK, &lock) != 0 ? 2 : lock.l_type == F_UNLCK);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(insert(m, "a", NULL, 0), MLD_OK);
    meta_close(m);
}

#define PROCESSES 8
#define EACH 20

static int use_it(const char *path, int number)
{
    struct meta *m;
    char id[32];
    if (meta_sqlite_open(&m, path) != MLD_OK) {
        fprintf(stderr, "%s\n", mld_error_message());
        return 1;
    }
    for (int i = 0; i < EACH; i++) {
        snprintf(id, sizeof id, "%d-%d", number, i);
        if (insert(m, id, NULL, 0) != MLD_OK || insert(m, id, NULL, 0) != MLD_EEXISTS) {
            fprintf(stderr, "%s\n", mld_error_message());
            return 1;
        }
    }
    meta_close(m);
    return 0;
}

static void processes_may_make_and_use_it_at_once(void **state)
{
    pid_t children[PROCESSES];
    const char *path = in_scratch(state, "m.sqlite");
    struct meta_docs docs = {0};
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(use_it(path, i));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    struct meta *m = open_store(state);
    for (int i = 0; i < PROCESSES * EACH; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d-%d", i / EACH, i % EACH);
        assert_int_equal(meta_get(m, &docs, "p", id), MLD_OK);
    }
    meta_docs_free(&docs);
    meta_close(m);
}

/* The steps of SQLite's machine that the last use of a reader's statement took. */
static int steps_of(struct meta *m, enum statement which)
{
    struct sqlite_store *s = (struct sqlite_store *)m;
    int steps = 0;
    for (int i = 0; i < SQLITE_READERS; i++) {
        if (s->readers[i].statements[which] != NULL)
            steps +=
                sqlite3_stmt_status(s->readers[i].statements[which], SQLITE_STMTSTATUS_VM_STEP, 1);
    }
    return steps;
}

#define MANY 2000

static void reads_only_what_is_behind_the_cursor(void **state)
{
    struct meta *m = open_store(state);
    static struct meta_write writes[MANY];
    static char ids[MANY][16];
    static const char *const token = "t";
    struct meta_docs docs = {0};
    uint64_t count;
    for (int i = 0; i < MANY; i++) { /* the first half by order, the other by id */
        snprintf(ids[i], sizeof ids[i], "%06d", i);
        writes[i] = (struct meta_write){.op = META_INSERT,
                                        .doc = {.partition = "p",
                                                .id = ids[i],
                                                .order = i < MANY / 2 ? i : MANY,
                                                .tokens = &token,
                                                .n_tokens = 1}};
    }
    assert_int_equal(meta_write(m, writes, MANY), MLD_OK);
    for (int at = 0; at < MANY; at += 300) {
        struct meta_range range = {.partition = "p",
                                   .token = token,
                                   .min_order = INT64_MIN,
                                   .max_order = INT64_MAX,
                                   .after = {writes[at].doc.order, ids[at]},
                                   .limit = 2};
        for (int down = 0; down < 2; down++) {
            range.descending = down;
            steps_of(m, down ? ST_FIND_DOWN : ST_FIND_UP);
            assert_int_equal(meta_find(m, &docs, &range), MLD_OK);
            assert_in_range(steps_of(m, down ? ST_FIND_DOWN : ST_FIND_UP), 1, 300);
            assert_int_equal(meta_count(m, &count, &range, 10), MLD_OK);
            assert_in_range(steps_of(m, ST_COUNT), 1, 300);
        }
    }
    meta_docs_free(&docs);
    meta_close(m);
}

static void a_replacement_touches_only_tokens_that_changed(void **state)
{
    struct meta *m = open_store(state);
    static const char *const tokens[] = {"a", "b", "c", "d", "e", "f"};
    sqlite3 *db = ((struct sqlite_store *)m)->writer.db;
    struct meta_doc doc = {.partition = "p", .id = "x", .tokens = tokens, .n_tokens = 5};
    assert_int_equal(meta_insert(m, &doc), MLD_OK);
    int before = sqlite3_total_changes(db);
    doc.tokens = tokens + 1;
    doc.revision = 1;
    assert_int_equal(meta_replace(m, &doc), MLD_OK);
    assert_int_equal(sqlite3_total_changes(db) - before, 3); /* itself, "a" gone, "f" come */
    meta_close(m);
}

static void tells_damage_and_does_the_others(void **state)
{
    struct meta *m = open_store(state);
    struct meta_docs docs = {0};
    static const char *const token = "t";
    const char *path = in_scratch(state, "m.sqlite");
    assert_int_equal(insert(m, "a", &token, 1), MLD_OK);
    assert_int_equal(insert(m, "b", &token, 1), MLD_OK);
    change(path, "UPDATE docs SET tokens = x'74' WHERE id = 'a';"
                 "INSERT INTO tokens SELECT partition, token, ord, 'c', 99 FROM tokens LIMIT 1");
    assert_int_equal(meta_get(m, &docs, "p", "a"), MLD_EDAMAGED);
    assert_non_null(strstr(mld_error_message(), path));
    assert_int_equal(insert(m, "c", &token, 1), MLD_EDAMAGED);
    assert_non_null(strstr(mld_error_message(), path));
    assert_int_equal(meta_get(m, &docs, "p", "c"), MLD_ENOTFOUND);
    assert_int_equal(insert(m, "d", &token, 1), MLD_OK);
    assert_int_equal(meta_get(m, &docs, "p", "b"), MLD_OK);
    meta_docs_free(&docs);
    meta_close(m);
}

/* Another process that holds the file longer than SQLITE_BUSY_MS. */
static void gives_up_on_a_lock_and_recovers(void **state)
{
    struct meta *m = open_store(state);
    sqlite3 *db;
    struct meta_docs docs = {0};
    assert_int_equal(sqlite3_open(in_scratch(state, "m.sqlite"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(insert(m, "a", NULL, 0), MLD_EUNAVAILABLE);
    assert_int_equal(meta_health(m), MLD_EUNAVAILABLE);
    assert_int_equal(meta_get(m, &docs, "p", "a"), MLD_ENOTFOUND);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 600 && meta_health(m) != MLD_OK; i++) /* by itself */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    assert_int_equal(meta_health(m), MLD_OK);
    assert_int_equal(insert(m, "a", NULL, 0), MLD_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    meta_docs_free(&docs);
    meta_close(m);
}

static void its_log_stays_small(void **state)
{
    struct meta *m = open_store(state);
    static char body[META_MAX_BODY_BYTES];
    struct stat st;
    for (int i = 0; i < 16; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        struct meta_doc doc = {.partition = "p", .id = id, .data = body, .data_len = sizeof body};
        assert_int_equal(meta_insert(m, &doc), MLD_OK);
    }
    assert_int_equal(meta_health(m), MLD_OK);
    assert_int_equal(stat(in_scratch(state, "m.sqlite-wal"), &st), 0);
    assert_in_range(st.st_size, 1, 100 << 20);
    assert_int_equal(stat(in_scratch(state, "m.sqlite"), &st), 0);
    assert_true(st.st_size > 16 << 20);
    meta_close(m);
    assert_int_equal(stat(in_scratch(state, "m.sqlite-wal"), &st), -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(keeps_its_files_from_others),
        CASE(leaves_other_databases_alone),
        CASE(refuses_a_newer_format),
        CASE(refuses_what_is_no_database),
        CASE(tells_an_emptied_file_from_a_new_one),
        CASE(opening_again_drops_no_lock),
        CASE(processes_may_make_and_use_it_at_once),
        CASE(reads_only_what_is_behind_the_cursor),
        CASE(a_replacement_touches_only_tokens_that_changed),
        CASE(tells_damage_and_does_the_others),
        CASE(gives_up_on_a_lock_and_recovers),
        CASE(its_log_stays_small),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}

/* A reader with a mirror: what another folder's streams say, and what they cannot do. The scratch
 * directory holds two run folders, "a" and "b"; b's mirror gets the streams of a. */
#include "run/folder_helpers.h"

#include "base/fs.h"
#include "run/record.h"
#include "run/run.h"

#define MIRROR RUN_MIRROR_ROOT "/1"
#define ID "0123456789abcdef0123456789abcdef"

static mld_experiment *open_in(const struct scratch *s, const char *root, bool mirrored)
{
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    char path[4096];
    mld_experiment *e = NULL;
    snprintf(path, sizeof path, "%s/%s", s->path, root);
    o.root = path;
    o.name = "run";
    o.project = "proj";
    o.read_only = o.mirrored = mirrored;
    expect_ok(mld_experiment_open(&e, &o));
    return e;
}

static void append_points(mld_experiment *e, const char *name, int from, int to)
{
    mld_series *series;
    expect_ok(mld_series_open(&series, e, MLD_METRIC, name, NULL));
    for (int i = from; i < to; i++) {
        struct mld_field field = mld_number("value", i);
        expect_ok(mld_series_append(series, &field, 1, (double)NAN, NULL));
    }
}

/* Copies one file of a's into b's mirror. */
static void mirror_file(const mld_experiment *a, const mld_experiment *b, const char *file,
                        const char *stream, const char *suffix)
{
    struct buf data;
    char path[256];
    buf_init(&data, 1 << 20);
    expect_ok(fs_read_file(a->run->dir_fd, file, &data));
    snprintf(path, sizeof path, MIRROR "/%s%s", stream, suffix);
    expect_ok(fs_make_dirs(b->run->dir_fd, MIRROR, false));
    expect_ok(fs_replace_file(b->run->dir_fd, path, data.data, data.len, false));
    buf_free(&data);
}

/* All of a's streams, as a refresh would. */
static void mirror_all(const mld_experiment *a, mld_experiment *b)
{
    char path[256];
    for (const struct shard_cursor *c = a->run->cursors; c != NULL; c = c->next) {
        snprintf(path, sizeof path, ".mldash/%s", c->name);
        mirror_file(a, b, path, c->mine ? a->run->records->id : c->stream, RUN_MIRROR_RECORDS);
    }
    for (const struct series_entry *s = a->run->state.series; s != NULL; s = s->next)
        for (const struct shard_entry *shard = s->shards; shard != NULL; shard = shard->next)
            mirror_file(a, b, shard->file, shard->stream, ".jsonl");
    snprintf(b->run->mirror, sizeof b->run->mirror, MIRROR);
}

static size_t count_files(mld_experiment *e)
{
    struct mld_file_list *list;
    expect_ok(mld_file_list(&list, e, NULL));
    size_t count = list->count;
    mld_file_list_free(list);
    return count;
}

static int64_t count_points(mld_experiment *e, const char *name)
{
    struct mld_points *points;
    mld_series *series;
    expect_ok(mld_series_open(&series, e, MLD_METRIC, name, NULL));
    expect_ok(mld_series_read(&points, series, 0, 0));
    int64_t total = points->total;
    mld_points_free(points);
    return total;
}

static void expect_status(mld_experiment *e, enum mld_status expected)
{
    struct mld_experiment_info *info;
    expect_ok(mld_experiment_info(&info, e));
    assert_int_equal(info->status, expected);
    assert_string_equal(info->name, "run");
    assert_int_equal(info->n_problems, 0);
    mld_experiment_info_free(info);
}

static void test_both_folders_are_one(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *a = open_in(s, "a", false);
    mld_experiment *b = open_in(s, "b", false);
    save(a, "/", "x.bin", "of a");
    save(b, "/", "x.bin", "of b, later");
    save(a, "/", "y.bin", "of a");
    append_points(a, "loss", 0, 10);
    append_points(b, "loss", 10, 15);
    mld_experiment *reader = open_in(s, "b", true);
    assert_int_equal(count_files(reader), 1);
    assert_int_equal(count_points(reader, "loss"), 5);
    mirror_all(a, reader);
    assert_int_equal(count_files(reader), 2);
    assert_int_equal(count_points(reader, "loss"), 15);
    struct mld_file *file;
    expect_ok(mld_file_find(&file, reader, "/", "x.bin", NULL));
    assert_int_equal(file->size_bytes, strlen("of b, later"));
    mld_file_free(file);
    /* The slot that both writers have is nobody's reason to be gone. */
    expect_status(reader, MLD_RUNNING);
    expect_ok(mld_experiment_end(b, MLD_COMPLETED));
    expect_status(reader, MLD_RUNNING);
    expect_ok(mld_experiment_end(a, MLD_FAILED));
    mirror_all(a, reader);
    expect_status(reader, MLD_FAILED);
    /* The folder's other handles know nothing of it. */
    assert_int_equal(count_files(b), 1);
    assert_int_equal(count_points(b, "loss"), 5);
    mld_experiment_close(reader);
    mld_experiment_close(a);
    mld_experiment_close(b);
}

static void test_a_folder_that_is_only_a_mirror(void **state)
{
    const struct scratch *s = *state;
    mld_experiment *a = open_in(s, "a", false);
    save(a, "/", "x.bin", "of a");
    append_points(a, "loss", 0, 10);
    expect_ok(mld_experiment_end(a, MLD_COMPLETED));
    mld_experiment *reader = open_in(s, "b", true);
    expect_status(reader, MLD_UNKNOWN);
    mirror_all(a, reader);
    assert_int_equal(count_files(reader), 1);
    assert_int_equal(count_points(reader, "loss"), 10);
    expect_status(reader, MLD_COMPLETED);
    mld_experiment_close(reader);
    mld_experiment_close(a);
}

/* Records that are made by hand, one by one. */
struct records {
    struct buf all, line;
};

static struct buf *begin(struct records *r, const char *type, int clock)
{
    buf_clear(&r->line);
    record_begin(&r->line, type, 1700000000000000 + clock);
    return &r->line;
}

static void end(struct records *r)
{
    record_end(&r->line);
    buf_put(&r->all, r->line.data, r->line.len);
}

static void put_file(struct records *r, int clock, const char *id, const char *path,
                     const char *filename)
{
    struct buf *line = begin(r, "file", clock);
    record_put_text(line, "id", id);
    record_put_text(line, "path", path);
    record_put_text(line, "filename", filename);
    record_put_json(line, "sizeBytes", "1");
    record_put_text(line, "checksum", ID ID);
    end(r);
}

/* Names that no save can make, stream ids that are paths, and what a folder says of itself. */
static void test_records_that_mean_harm(void **state)
{
    const struct scratch *s = *state;
    struct records r;
    mld_experiment *reader = open_in(s, "b", true);
    buf_init(&r.all, 1 << 20);
    buf_init(&r.line, 1 << 20);
    struct buf *line = begin(&r, "stream", 1);
    record_put_text(line, "stream", ID);
    record_put_text(line, "writer", ID);
    record_put_json(line, "slot", "77777");
    record_put_json(line, "replaces", "[\"records.jsonl\"]");
    end(&r);
    put_file(&r, 2, "1", "/", "../x");
    put_file(&r, 3, "2", "/../..", "x");
    put_file(&r, 4, "3", "models", "x");
    put_file(&r, 5, "4", "/", "good");
    line = begin(&r, "series", 6);
    record_put_text(line, "kind", "metric");
    record_put_text(line, "name", "loss");
    record_put_text(line, "dir", "metrics/loss");
    record_put_text(line, "file", "metrics/loss/data.jsonl");
    record_put_text(line, "stream", "../../../records");
    end(&r);
    line = begin(&r, "view", 7);
    record_put_text(line, "file", "experiment.json");
    record_put_text(line, "checksum", ID ID);
    record_put_json(line, "size", "1");
    end(&r);
    expect_ok(fs_make_dirs(reader->run->dir_fd, MIRROR, false));
    expect_ok(fs_replace_file(reader->run->dir_fd, MIRROR "/" ID RUN_MIRROR_RECORDS, r.all.data,
                              r.all.len, false));
    snprintf(reader->run->mirror, sizeof reader->run->mirror, MIRROR);
    assert_int_equal(count_files(reader), 1);
    assert_int_equal(reader->run->state.n_problems, 4);
    assert_null(reader->run->state.views);
    assert_int_equal(count_points(reader, "loss"), 0);
    buf_free(&r.all);
    buf_free(&r.line);
    mld_experiment_close(reader);
}

/* A stream of the mirror with one file, which has the id "5" in it. */
static void mirror_one(mld_experiment *reader, const char *stream, const char *filename)
{
    struct records r;
    char path[256];
    buf_init(&r.all, 1 << 20);
    buf_init(&r.line, 1 << 20);
    struct buf *line = begin(&r, "stream", 1);
    record_put_text(line, "stream", stream);
    record_put_text(line, "writer", stream);
    end(&r);
    put_file(&r, 2, "5", "/", filename);
    line = begin(&r, "delete", 3);
    record_put_text(line, "id", "5");
    record_put_text(line, "at", filename);
    end(&r);
    snprintf(path, sizeof path, MIRROR "/%s" RUN_MIRROR_RECORDS, stream);
    expect_ok(fs_make_dirs(reader->run->dir_fd, MIRROR, false));
    expect_ok(fs_replace_file(reader->run->dir_fd, path, r.all.data, r.all.len, false));
    snprintf(reader->run->mirror, sizeof reader->run->mirror, MIRROR);
    buf_free(&r.all);
    buf_free(&r.line);
}

/* Each is there, deleted by its own stream; the lower stream's has the id, whatever came first. */
static void expect_contested(mld_experiment *reader)
{
    struct mld_list_options o = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list;
    bool found[2] = {false, false};
    o.deleted = true;
    expect_ok(mld_file_list(&list, reader, &o));
    assert_int_equal(list->count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct mld_file *f = &list->files[i];
        bool lower = strcmp(f->filename, "lower") == 0;
        found[lower] = true;
        assert_string_equal(f->deleted_at, f->filename);
        assert_int_equal(strcmp(f->id, "5") == 0, lower);
    }
    assert_true(found[0] && found[1]);
    mld_file_list_free(list);
}

static void test_two_folders_made_the_same_id(void **state)
{
    static const char *const names[] = {"lower", "higher"};
    static const char *const streams[] = {ID, "f123456789abcdef0123456789abcdef"};
    const struct scratch *s = *state;
    for (int first = 0; first < 2; first++) {
        mld_experiment *reader = open_in(s, names[first], true);
        mirror_one(reader, streams[first], names[first]);
        assert_int_equal(count_files(reader), 0);
        mirror_one(reader, streams[1 - first], names[1 - first]);
        expect_contested(reader);
        mld_experiment_close(reader);
        reader = open_in(s, names[first], true); /* both at once */
        snprintf(reader->run->mirror, sizeof reader->run->mirror, MIRROR);
        expect_contested(reader);
        mld_experiment_close(reader);
    }
}

/* A source: gives "bytes", or fails, or gives something else. */
struct source {
    const char *bytes;
    enum mld_error error;
    int freed;
};

static enum mld_error give(void *payload, const struct run_wanted *wanted, mld_sink *sink,
                           void *sink_payload)
{
    const struct source *source = payload;
    assert_int_equal(wanted->size, 4);
    assert_null(wanted->stream);
    if (!sink(source->bytes, strlen(source->bytes), sink_payload))
        return error_set(MLD_EINTERRUPTED, "stopped");
    return source->error == MLD_OK ? MLD_OK : error_set(source->error, "the source failed");
}

static void note_freed(void *payload)
{
    ((struct source *)payload)->freed++;
}

static bool take_nothing(const void *data, size_t len, void *payload)
{
    (void)data;
    (void)len;
    return payload != NULL;
}

static void test_bytes_from_elsewhere(void **state)
{
    const struct scratch *s = *state;
    struct source source = {.bytes = "of a"};
    struct mld_download_options o = MLD_DOWNLOAD_OPTIONS_INIT;
    char destination[4200];
    mld_experiment *a = open_in(s, "a", false);
    struct saved saved = save(a, "/", "x.bin", "of a");
    mld_experiment *reader = open_in(s, "b", true);
    mirror_all(a, reader);
    snprintf(destination, sizeof destination, "%s/out", s->path);
    o.id = saved.id;
    o.destination = destination;
    assert_int_equal(mld_file_download(NULL, reader, &o), MLD_EDAMAGED); /* there is no source */
    reader->source = (struct run_source){.fetch = give, .free = note_freed, .payload = &source};
    expect_ok(mld_file_download(NULL, reader, &o));
    assert_true(is_there(s, "out"));
    expect_ok(mld_file_read(reader, saved.id, take_nothing, (void *)&source));
    assert_int_equal(mld_file_read(reader, saved.id, take_nothing, NULL), MLD_EINTERRUPTED);
    o.destination = destination;
    expect_ok(fs_unlink(s->fd, "out"));
    source.bytes = "OF A";
    assert_int_equal(mld_file_download(NULL, reader, &o), MLD_ECHECKSUM);
    assert_int_equal(mld_file_read(reader, saved.id, take_nothing, (void *)&source), MLD_ECHECKSUM);
    source.error = MLD_EUNAVAILABLE;
    assert_int_equal(mld_file_download(NULL, reader, &o), MLD_EUNAVAILABLE);
    assert_false(is_there(s, "out"));
    mld_experiment_close(reader);
    assert_int_equal(source.freed, 1);
    mld_experiment_close(a);
}

static void test_a_mirror_is_for_reading(void **state)
{
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    const struct scratch *s = *state;
    mld_experiment *e;
    o.directory = s->path;
    o.mirrored = true;
    assert_int_equal(mld_experiment_open(&e, &o), MLD_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_folders_are_one, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_that_is_only_a_mirror, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_records_that_mean_harm, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_two_folders_made_the_same_id, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_bytes_from_elsewhere, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_a_mirror_is_for_reading, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests_name("mirrored", tests, NULL, NULL);
}

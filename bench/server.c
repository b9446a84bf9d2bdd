/* server.c: how fast the server's core is on SQLite and a directory, without HTTP:
 *   server DIR [FILES]
 *   server DIR fill NAMESPACE FILES
 *
 * The first: DIR must not exist before. FILES (1,000,000) is how many files the project has at the
 * end; each line of the result is one figure. The second makes the documents of FILES files
 * (without their bytes) in a server's data directory, in project p of the namespace with that id,
 * and prints the experiment's id: for bench/server.py. Built by hand: meson compile -C
 * build/release bench_server */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/hash.h"
#include "server/experiments.h"
#include "server/file_list.h"
#include "server/files.h"
#include "server/lane.h"

#define BATCH 1000
#define SAMPLES 200
#define POINTS 1000000
#define SMALL 20000

struct bench {
    struct meta *meta;
    struct blob *blob;
    struct lanes *lanes;
    struct arena arena;
    struct experiment_doc experiment;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(enum mld_error error)
{
    if (error == MLD_OK)
        return;
    fprintf(stderr, "%s: %s\n", mld_error_name(error), mld_error_message());
    exit(1);
}

static void open_all(struct bench *b, const char *dir, const char *namespace_id)
{
    char path[4096];
    bool created;
    struct registration r = {.namespace_id = namespace_id,
                             .project = "p",
                             .name = "e",
                             .run = "0123456789abcdef0123456789abcdef"};
    mkdir(dir, 0777);
    snprintf(path, sizeof path, "%s/meta.sqlite", dir);
    must(meta_sqlite_open(&b->meta, path));
    snprintf(path, sizeof path, "%s/blobs", dir);
    must(blob_dir_open(&b->blob, path));
    must(lanes_open(&b->lanes, b->meta, b->blob, NULL));
    must(experiment_register(&b->experiment, &created, &b->arena, b->meta, &r));
}

/* A document of a listed file, as records and bytes would leave it. */
static void fill_one(struct bench *b, struct meta_write *write, struct arena *arena, int i)
{
    char text[256];
    char stream[33] = "0123456789abcdef0123456789abcdef";
    const char **tags = arena_alloc(arena, 2 * sizeof *tags);
    struct file_doc f = {.experiment = b->experiment.id, .stream = stream};
    tags[0] = i % 2 ? "odd" : "even";
    snprintf(text, sizeof text, "m%d", i % 1000);
    tags[1] = arena_strdup(arena, text);
    snprintf(text, sizeof text, "%d", 1000000 + i);
    f.id = f.record_id = arena_strdup(arena, text);
    f.doc_id = file_doc_id(arena, f.experiment, f.id, NULL);
    f.stamp = doc_stamp_of(1795564800000000 + i, 0, stream);
    f.path = "/checkpoints";
    snprintf(text, sizeof text, "model-%d.pt", i);
    f.filename = arena_strdup(arena, text);
    f.content_type = "application/octet-stream";
    f.checksum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    f.size = 3;
    f.uploaded_at = f.updated_at = "2026-01-01T00:00:00.000000Z";
    snprintf(text, sizeof text, "{\"epoch\":%d,\"loss\":%d.25}", i, i % 10000);
    f.metadata = arena_strdup(arena, text);
    f.tags = (struct text_list){tags, 2};
    f.newest = true;
    f.bytes = (struct file_bytes){
        .state = BYTES_LIVE, .key = f.filename, .size = 3, .checksum = f.checksum, .life = 1};
    char *partition = arena_alloc(arena, 64);
    file_partition(partition, b->experiment.project);
    *write = (struct meta_write){.op = META_INSERT};
    must(file_doc_write(&f, arena, partition, &write->doc));
}

static void fill(struct bench *b, int from, int to)
{
    static struct meta_write writes[BATCH];
    for (int i = from; i < to; i += BATCH) {
        struct arena arena = {0};
        for (int k = 0; k < BATCH; k++)
            fill_one(b, &writes[k], &arena, i + k);
        must(meta_write(b->meta, writes, BATCH));
        arena_free(&arena);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* One page, again and again: median and 95 % in ms. */
static void measure(struct bench *b, const char *what, struct file_query query, int files)
{
    static double times[SAMPLES];
    size_t n = 0;
    query.project = b->experiment.project;
    for (int i = 0; i < SAMPLES; i++) {
        struct file_page page;
        double start = now_s();
        must(files_list(&page, b->meta, &query, (struct meta_cursor){0}, 50));
        times[i] = 1e3 * (now_s() - start);
        n = page.n;
        arena_free(&page.arena);
    }
    qsort(times, SAMPLES, sizeof *times, by_value);
    printf("%-28s %8d files  %5zu found  median %7.3f ms  95%% %7.3f ms\n", what, files, n,
           times[SAMPLES / 2], times[SAMPLES * 95 / 100]);
}

static void measure_all(struct bench *b, int files)
{
    char epoch[32];
    snprintf(epoch, sizeof epoch, "%d", files / 2);
    measure(b, "first page", (struct file_query){0}, files);
    measure(b, "tag, half of all", (struct file_query){.tags = {"odd"}, .n_tags = 1}, files);
    measure(b, "tag, 1 in 1,000", (struct file_query){.tags = {"m7"}, .n_tags = 1}, files);
    measure(b, "metadata value, one",
            (struct file_query){.metadata = {{"epoch", epoch}}, .n_metadata = 1}, files);
    measure(b, "experiment and tag",
            (struct file_query){.experiment = b->experiment.id, .tags = {"m7"}, .n_tags = 1},
            files);
    measure(b, "all of two tags", (struct file_query){.tags = {"odd", "m7"}, .n_tags = 2}, files);
    measure(b, "all of two that never meet",
            (struct file_query){.tags = {"odd", "even"}, .n_tags = 2}, files);
    measure(b, "glob that matches none", (struct file_query){.glob = "*.none"}, files);
}

static void append_points(struct bench *b)
{
    struct sha256_state state;
    struct buf data;
    int i = 0;
    double took = 0;
    sha256_state_init(&state);
    buf_init(&data, 16 << 20);
    while (i < POINTS) {
        char sha[65];
        buf_clear(&data);
        while (i < POINTS && data.len < (7 << 20)) {
            buf_printf(&data,
                       "{\"index\":%d,\"data\":{\"loss\":%.6f,\"step\":%d},"
                       "\"createdAt\":\"2026-01-01T00:00:00.%06dZ\"}\n",
                       i, 1.0 / (i + 1), i, i % 1000000);
            i++;
        }
        sha256_state_digest(&state, sha);
        struct lane_append a = {.stream = "000102030405060708090a0b0c0d0e0f",
                                .kind = STREAM_METRIC,
                                .file = "metrics/loss/data.jsonl",
                                .offset = state.len,
                                .sha256 = sha,
                                .data = data.data,
                                .len = data.len};
        double start = now_s();
        must(lane_append(b->lanes, b->experiment.id, &a, 1));
        took += now_s() - start;
        sha256_state_update(&state, data.data, data.len);
    }
    printf("append of points             %8d points, %.0f MB: %.0f points/s\n", POINTS,
           (double)state.len / 1e6, POINTS / took);
    bool rest;
    double start = now_s();
    must(lane_seal(b->lanes, b->experiment.id, true, &rest));
    printf("seal of them                 %.2f s\n", now_s() - start);
    buf_free(&data);
}

static void put_small(struct bench *b)
{
    static struct file_offer offers[BATCH];
    static char ids[BATCH][32];
    static char shas[BATCH][65];
    static char bytes[BATCH][4096];
    struct files_place place = {b->meta,     b->blob, b->experiment.id, b->experiment.project,
                                "namespace", "p"};
    double took = 0;
    for (int i = 0; i < SMALL; i += BATCH) {
        for (int k = 0; k < BATCH; k++) {
            struct sha256_state state;
            snprintf(ids[k], sizeof ids[k], "%d", 900000000 + i + k);
            memset(bytes[k], i + k, sizeof bytes[k]);
            snprintf(bytes[k], sizeof bytes[k], "%d", i + k);
            sha256_state_init(&state);
            sha256_state_update(&state, bytes[k], sizeof bytes[k]);
            sha256_state_digest(&state, shas[k]);
            offers[k] = (struct file_offer){.id = ids[k],
                                            .path = "/small",
                                            .filename = ids[k],
                                            .size = sizeof bytes[k],
                                            .sha256 = shas[k],
                                            .data = bytes[k]};
        }
        double start = now_s();
        must(files_put_small(&place, offers, BATCH));
        took += now_s() - start;
    }
    printf("small files of 4 KiB         %8d files: %.0f files/s\n", SMALL, SMALL / took);
}

static void append_records(struct bench *b)
{
    struct buf data;
    char sha[65];
    double took = 0;
    struct sha256_state state;
    sha256_state_init(&state);
    buf_init(&data, 16 << 20);
    for (int i = 0; i < SMALL; i += BATCH) {
        buf_clear(&data);
        for (int k = i; k < i + BATCH; k++) {
            size_t from = data.len;
            buf_printf(&data,
                       "{\"type\":\"file\",\"clock\":%d,\"id\":\"%d\",\"path\":\"/small\","
                       "\"filename\":\"%d\",\"sizeBytes\":4096,\"tags\":[\"a\",\"b\"],"
                       "\"metadata\":{\"epoch\":%d}",
                       k + 1, 900000000 + k, 900000000 + k, k);
            buf_printf(&data, ",\"crc\":\"%08x\"}\n", crc32c(0, data.data + from, data.len - from));
        }
        sha256_state_digest(&state, sha);
        struct lane_append a = {.stream = "100102030405060708090a0b0c0d0e0f",
                                .kind = STREAM_RECORDS,
                                .file = ".mldash/records.jsonl",
                                .offset = state.len,
                                .sha256 = sha,
                                .data = data.data,
                                .len = data.len};
        double start = now_s();
        must(lane_append(b->lanes, b->experiment.id, &a, 1));
        took += now_s() - start;
        sha256_state_update(&state, data.data, data.len);
    }
    printf("their records, 1,000 at once %8d records: %.0f records/s\n", SMALL, SMALL / took);
    buf_free(&data);
}

static void close_all(struct bench *b)
{
    lanes_close(b->lanes);
    blob_close(b->blob);
    meta_close(b->meta);
    arena_free(&b->arena);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: server DIR [FILES] | server DIR fill NAMESPACE FILES\n");
        return 2;
    }
    if (argc == 5 && strcmp(argv[2], "fill") == 0) {
        open_all(&b, argv[1], argv[3]);
        fill(&b, 0, (int)strtol(argv[4], NULL, 10));
        printf("%s\n", b.experiment.id);
        close_all(&b);
        return 0;
    }
    int files = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1000000;
    open_all(&b, argv[1], "n");
    append_points(&b);
    put_small(&b);
    append_records(&b);
    fill(&b, 0, 10000);
    measure_all(&b, 10000 + SMALL);
    double start = now_s();
    fill(&b, 10000, files);
    printf("filled in %.0f s\n", now_s() - start);
    measure_all(&b, files + SMALL);
    close_all(&b);
    return 0;
}

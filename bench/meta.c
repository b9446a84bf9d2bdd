/* meta.c: how fast a metadata store of SQLite writes, finds and counts: meta FILE [DOCUMENTS]
 *
 * DOCUMENTS (1,000,000) is the size of the partition at the end; it must not exist before. Each
 * line of the result is one figure. Built by hand:
 *   meson compile -C build/release bench_meta */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "meta/meta.h"

#define TOKENS 5
#define BATCH 1000
#define MAX_THREADS 64
#define SAMPLES 500

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

struct writer {
    struct meta *m;
    int number;
    int count;
    pthread_t thread;
};

static void *insert_singly(void *payload)
{
    struct writer *w = payload;
    static const char *const tokens[] = {"file", "tag:best"};
    for (int i = 0; i < w->count; i++) {
        char id[64];
        int len = snprintf(id, sizeof id, "%d-%d", w->number, i);
        struct meta_doc doc = {.partition = "single",
                               .id = id,
                               .order = i,
                               .tokens = tokens,
                               .n_tokens = 2,
                               .text = id,
                               .text_len = (size_t)len};
        must(meta_insert(w->m, &doc));
    }
    return NULL;
}

static void single_inserts(struct meta *m, int threads, int total, int first)
{
    static struct writer writers[MAX_THREADS];
    double start = now_s();
    for (int i = 0; i < threads; i++) {
        writers[i] = (struct writer){.m = m, .number = first + i, .count = total / threads};
        if (pthread_create(&writers[i].thread, NULL, insert_singly, &writers[i]) != 0)
            exit(1);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(writers[i].thread, NULL);
    double seconds = now_s() - start;
    printf("single inserts, %2d threads: %8.0f/s\n", threads, total / seconds);
}

/* One document in 100 has the token "rare"; all have "file". 300 bytes of text. */
static void insert_batch(struct meta *m, int first)
{
    static struct meta_write writes[BATCH];
    static char ids[BATCH][32], named[BATCH][TOKENS][32], text[300];
    static const char *tokens[BATCH][TOKENS];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < BATCH; i++) {
        int number = first + i;
        snprintf(ids[i], sizeof ids[i], "%08x", (unsigned)number * 2654435761u);
        snprintf(named[i][0], 32, "file");
        snprintf(named[i][1], 32, "experiment:%d", number / 100);
        snprintf(named[i][2], 32, number % 100 == 0 ? "rare" : "tag:%d", number % 50);
        snprintf(named[i][3], 32, "type:%d", number % 7);
        snprintf(named[i][4], 32, "prefix:%d", number % 1000);
        for (int j = 0; j < TOKENS; j++)
            tokens[i][j] = named[i][j];
        writes[i] = (struct meta_write){.op = META_INSERT,
                                        .doc = {.partition = "p",
                                                .id = ids[i],
                                                .order = number,
                                                .tokens = tokens[i],
                                                .n_tokens = TOKENS,
                                                .text = text,
                                                .text_len = sizeof text}};
    }
    must(meta_write(m, writes, BATCH));
    for (int i = 0; i < BATCH; i++)
        must(writes[i].result);
}

static void grow(struct meta *m, int from, int to)
{
    double start = now_s();
    for (int i = from; i < to; i += BATCH)
        insert_batch(m, i);
    double seconds = now_s() - start;
    printf("batches of %d with %d tokens, %d to %d: %.0f documents/s, %.1f ms each\n", BATCH,
           TOKENS, from, to, (to - from) / seconds, seconds * 1000 * BATCH / (to - from));
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *times)
{
    qsort(times, SAMPLES, sizeof *times, by_value);
    printf("  %-44s median %.3f ms, 99 %% %.3f ms\n", what, times[SAMPLES / 2] * 1e3,
           times[SAMPLES * 99 / 100] * 1e3);
}

static void time_find(struct meta *m, const char *what, struct meta_range range, int documents)
{
    static double times[SAMPLES];
    struct meta_docs docs = {0};
    for (int i = 0; i < SAMPLES; i++) {
        if (range.after.id != NULL)
            range.after.order = (int64_t)((double)documents / SAMPLES * i);
        double start = now_s();
        must(meta_find(m, &docs, &range));
        times[i] = now_s() - start;
    }
    meta_docs_free(&docs);
    print_times(what, times);
}

static void time_count(struct meta *m, uint64_t max)
{
    static double times[SAMPLES];
    struct meta_range range = {
        .partition = "p", .token = "file", .min_order = INT64_MIN, .max_order = INT64_MAX};
    uint64_t count = 0;
    char what[64];
    for (int i = 0; i < SAMPLES; i++) {
        double start = now_s();
        must(meta_count(m, &count, &range, max));
        times[i] = now_s() - start;
    }
    snprintf(what, sizeof what, "count up to %d", (int)max);
    print_times(what, times);
}

static void time_reads(struct meta *m, int documents)
{
    static double times[SAMPLES];
    struct meta_docs docs = {0};
    struct meta_range range = {.partition = "p",
                               .token = "file",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = 50};
    printf("at %d documents:\n", documents);
    time_find(m, "first 50 of a token that all have", range, documents);
    range.descending = true;
    time_find(m, "last 50 of it", range, documents);
    range.descending = false;
    range.after.id = "0";
    time_find(m, "50 behind a cursor anywhere in it", range, documents);
    range.after.id = NULL;
    range.token = "rare";
    time_find(m, "first 50 of a rare token", range, documents);
    for (int i = 0; i < SAMPLES; i++) {
        char id[32];
        snprintf(id, sizeof id, "%08x", (unsigned)(documents / SAMPLES * i) * 2654435761u);
        double start = now_s();
        must(meta_get(m, &docs, "p", id));
        times[i] = now_s() - start;
    }
    meta_docs_free(&docs);
    print_times("one document by its id", times);
    time_count(m, 1000);
    time_count(m, 10000);
}

int main(int argc, char **argv)
{
    struct meta *m;
    int documents = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1000000;
    if (argc < 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    must(meta_sqlite_open(&m, argv[1]));
    single_inserts(m, 1, 1000, 0);
    single_inserts(m, 8, 8000, 100);
    single_inserts(m, 64, 64000, 200);
    grow(m, 0, 10000);
    time_reads(m, 10000);
    grow(m, 10000, documents);
    time_reads(m, documents);
    single_inserts(m, 64, 64000, 1000);
    meta_close(m);
    return 0;
}

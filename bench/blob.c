/* blob.c: measures the directory store of blobs: blob FOLDER upload MB THREADS |
 * blob FOLDER small THREADS FILES BYTES BATCH. FOLDER must not exist; remove it afterwards. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blob/blob.h"

#define MB ((size_t)1 << 20)
#define PIECE_BYTES (512u << 10) /* what a request hands over at a time */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(enum mld_error error, const char *what)
{
    if (error == MLD_OK)
        return;
    fprintf(stderr, "%s: %s %s\n", what, mld_error_name(error), mld_error_message());
    exit(1);
}

static long status_kb(const char *name)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtol(line + strlen(name) + 1, NULL, 10);
    }
    if (f != NULL)
        fclose(f);
    return kb;
}

struct work {
    struct blob *b;
    struct blob_upload upload;
    const unsigned char *data; /* of one part: all parts are alike */
    char part_sha256[SHA256_HEX_LEN + 1];
    unsigned n_parts;
    atomic_uint next;
    unsigned files;
    size_t file_bytes;
    unsigned batch;
};

static void *send_parts(void *argument)
{
    struct work *w = argument;
    unsigned number;
    while ((number = atomic_fetch_add(&w->next, 1)) < w->n_parts) {
        struct blob_part *part;
        uint64_t len = w->upload.part_size_bytes;
        must(blob_part_begin(&part, w->b, &w->upload, number, len, w->part_sha256), "begin");
        for (uint64_t done = 0; done < len; done += PIECE_BYTES)
            must(blob_part_write(part, w->data + done, PIECE_BYTES), "write");
        must(blob_part_finish(part), "finish");
    }
    return NULL;
}

static double run(struct work *w, unsigned n, void *(*work)(void *))
{
    pthread_t threads[256];
    double start = now_s();
    for (unsigned i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, work, w);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return now_s() - start;
}

static void fill(unsigned char *data, size_t len)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (unsigned char)(x >> 24);
    }
}

static void hash_of(const void *data, size_t len, unsigned times, char *out)
{
    struct sha256 hash = {.context = NULL};
    must(sha256_begin(&hash), "sha256");
    for (unsigned i = 0; i < times; i++)
        sha256_update(&hash, data, len);
    must(sha256_end(&hash, out), "sha256");
    sha256_free(&hash);
}

static void upload(struct work *w, size_t mb, unsigned threads)
{
    char whole[SHA256_HEX_LEN + 1];
    struct buf name;
    uint64_t part_bytes = blob_part_size(w->b, mb * MB);
    unsigned char *data = malloc(part_bytes);
    fill(data, part_bytes);
    w->data = data;
    w->n_parts = (unsigned)(mb * MB / part_bytes);
    hash_of(data, part_bytes, 1, w->part_sha256);
    double start = now_s();
    hash_of(data, part_bytes, w->n_parts, whole);
    double hash_s = now_s() - start;
    buf_init(&name, 1000);
    long before = status_kb("VmRSS:");
    start = now_s();
    must(blob_create(w->b, &name, "bench", w->n_parts * part_bytes), "create");
    double create_s = now_s() - start;
    w->upload = (struct blob_upload){.key = "bench",
                                     .name = buf_text(&name),
                                     .size_bytes = w->n_parts * part_bytes,
                                     .part_size_bytes = part_bytes};
    double parts_s = run(w, threads, send_parts);
    must(blob_commit(w->b, &w->upload, whole, NULL), "commit");
    double all_s = now_s() - start;
    printf("{\"what\":\"upload\",\"mb\":%zu,\"threads\":%u,\"part_mb\":%llu,\"mb_per_s\":%.0f,"
           "\"create_s\":%.3f,\"parts_s\":%.3f,\"commit_s\":%.3f,\"sha256_mb_per_s\":%.0f,"
           "\"rss_growth_kb\":%ld}\n",
           mb, threads, (unsigned long long)(part_bytes / MB), (double)mb / all_s, create_s,
           parts_s, all_s - parts_s - create_s, (double)mb / hash_s, status_kb("VmHWM:") - before);
    buf_free(&name);
    free(data);
}

static void *put_small(void *argument)
{
    struct work *w = argument;
    struct blob_put *puts = calloc(w->batch, sizeof(*puts));
    char(*keys)[64] = calloc(w->batch, sizeof(*keys));
    unsigned first;
    while ((first = atomic_fetch_add(&w->next, w->batch)) < w->files) {
        for (unsigned i = 0; i < w->batch; i++) {
            snprintf(keys[i], sizeof(keys[i]), "files/ns/project/run/%u/checkpoint.bin", first + i);
            puts[i] = (struct blob_put){.key = keys[i], .data = w->data, .len = w->file_bytes};
        }
        must(blob_put_small(w->b, puts, w->batch), "put");
        for (unsigned i = 0; i < w->batch; i++)
            must(puts[i].result, "put");
    }
    free(puts);
    free(keys);
    return NULL;
}

static void small(struct work *w, unsigned threads)
{
    unsigned char *data = malloc(w->file_bytes + 1);
    fill(data, w->file_bytes);
    w->data = data;
    double s = run(w, threads, put_small);
    printf("{\"what\":\"small\",\"threads\":%u,\"files\":%u,\"bytes\":%zu,\"batch\":%u,"
           "\"files_per_s\":%.0f}\n",
           threads, w->files, w->file_bytes, w->batch, w->files / s);
    free(data);
}

int main(int argc, char **argv)
{
    struct work w = {.n_parts = 0};
    bool is_upload = argc == 5 && strcmp(argv[2], "upload") == 0;
    bool is_small = argc == 7 && strcmp(argv[2], "small") == 0;
    if (!is_upload && !is_small) {
        fprintf(stderr, "usage: %s FOLDER upload MB THREADS | small THREADS FILES BYTES BATCH\n",
                argv[0]);
        return 2;
    }
    must(blob_dir_open(&w.b, argv[1]), "open");
    if (is_upload) {
        upload(&w, strtoul(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10));
    } else {
        w.files = (unsigned)strtoul(argv[4], NULL, 10);
        w.file_bytes = strtoul(argv[5], NULL, 10);
        w.batch = (unsigned)strtoul(argv[6], NULL, 10);
        small(&w, (unsigned)strtoul(argv[3], NULL, 10));
    }
    blob_close(w.b);
    return 0;
}

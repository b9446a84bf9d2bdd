/* crowd.c: many processes write one experiment while another reads it.
 *
 *   crowd ROOT PROCESSES SAVES
 *
 * Each process saves SAVES files of its own and appends a point for each; every tenth time it saves
 * a file that all of them save. The reader lists and downloads all the while: what was acknowledged
 * before it looked has to be there. At the end all is counted. Prints one JSON object; each failure
 * is a line on stderr. */
#include <mldash/mldash.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROCESSES 256
#define SHARED_EVERY 10
#define READS_PER_LIST 20

struct board {
    atomic_int acked[MAX_PROCESSES]; /* files, and points, of each process */
    atomic_int shared;               /* saves of the common file */
    atomic_int ready;
    atomic_int failures;
    atomic_int lists, reads;
    atomic_bool done;
};

static struct board *board;
static const char *root;
static int n_processes;
static int n_saves;

static void fail(const char *what, const char *why)
{
    if (atomic_fetch_add(&board->failures, 1) < 10)
        fprintf(stderr, "%s: %s\n", what, why);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static mld_experiment *open_run(bool read_only)
{
    mld_experiment *e = NULL;
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    o.root = root;
    o.project = "crash";
    o.name = "run";
    o.read_only = read_only;
    if (mld_experiment_open(&e, &o) != MLD_OK)
        fail("open", mld_error_message());
    return e;
}

static void save(mld_experiment *e, const char *prefix, const char *name, int seed)
{
    char data[512];
    struct mld_save_options o = MLD_SAVE_OPTIONS_INIT;
    o.prefix = prefix;
    o.filename = name;
    memset(data, 'a' + seed % 26, sizeof data);
    if (mld_file_save_bytes(NULL, e, data, sizeof data - (size_t)(seed % 100), &o) != MLD_OK)
        fail(name, mld_error_message());
}

/* One writer. The file is "P-I.bin", the point is P * n_saves + I. */
static void write_all(int process)
{
    char prefix[32];
    char name[64];
    mld_series *series;
    mld_experiment *e = open_run(false);
    if (e == NULL || mld_series_open(&series, e, MLD_METRIC, "loss", NULL) != MLD_OK)
        return;
    snprintf(prefix, sizeof prefix, "/p%d", process % 8);
    atomic_fetch_add(&board->ready, 1);
    while (atomic_load(&board->ready) < n_processes)
        usleep(1000);
    for (int i = 0; i < n_saves; i++) {
        const struct mld_field field[] = {mld_integer("v", (int64_t)process * n_saves + i)};
        snprintf(name, sizeof name, "%d-%d.bin", process, i);
        save(e, prefix, name, i);
        if (mld_series_append(series, field, 1, 0.0, NULL) != MLD_OK)
            fail("append", mld_error_message());
        atomic_store(&board->acked[process], i + 1);
        if (i % SHARED_EVERY == 0) {
            save(e, "/shared", "last.bin", i);
            atomic_fetch_add(&board->shared, 1);
        }
    }
    if (mld_experiment_end(e, MLD_COMPLETED) != MLD_OK)
        fail("end", mld_error_message());
    mld_experiment_close(e);
}

static bool swallow(const void *data, size_t len, void *payload)
{
    (void)data;
    *(size_t *)payload += len;
    return true;
}

/* Some of the listed files; those of one process only are never replaced. */
static void read_some(mld_experiment *e, const struct mld_file_list *list)
{
    for (int i = 0; i < READS_PER_LIST && list->count > 0; i++) {
        const struct mld_file *f = &list->files[(size_t)rand() % list->count];
        size_t len = 0;
        if (strcmp(f->path, "/shared") == 0)
            continue;
        enum mld_error error = mld_file_read(e, f->id, swallow, &len);
        if (error != MLD_OK)
            fail(f->filename, mld_error_message());
        else if (len != f->size_bytes)
            fail(f->filename, "read another size");
        atomic_fetch_add(&board->reads, 1);
    }
}

/* By name there is always a newest version. */
static void download_shared(mld_experiment *e, const char *destination)
{
    char *path = NULL;
    struct mld_download_options o = MLD_DOWNLOAD_OPTIONS_INIT;
    o.prefix = "/shared";
    o.filename = "last.bin";
    o.destination = destination;
    if (mld_file_download(&path, e, &o) != MLD_OK)
        fail("download of the common file", mld_error_message());
    mld_free(path);
}

/* Marks what is listed; false: not a file of one process. */
static bool count_file(const struct mld_file *f, unsigned char *seen)
{
    int process;
    int i;
    if (sscanf(f->filename, "%d-%d.bin", &process, &i) != 2)
        return false;
    seen[(size_t)process * (size_t)n_saves + (size_t)i]++;
    return true;
}

/* What was acknowledged before the list is in it. */
static void look_once(mld_experiment *e, unsigned char *seen, const char *destination)
{
    int before[MAX_PROCESSES];
    struct mld_file_list *list;
    for (int p = 0; p < n_processes; p++)
        before[p] = atomic_load(&board->acked[p]);
    bool shared = atomic_load(&board->shared) > 0;
    if (mld_file_list(&list, e, NULL) != MLD_OK) {
        fail("list", mld_error_message());
        return;
    }
    memset(seen, 0, (size_t)n_processes * (size_t)n_saves);
    for (size_t i = 0; i < list->count; i++)
        count_file(&list->files[i], seen);
    for (int p = 0; p < n_processes; p++)
        for (int i = 0; i < before[p]; i++)
            if (seen[p * n_saves + i] != 1)
                fail("list", "an acknowledged file is not in it, or twice");
    read_some(e, list);
    mld_file_list_free(list);
    if (shared)
        download_shared(e, destination);
    atomic_fetch_add(&board->lists, 1);
}

static void read_all_the_while(void)
{
    char destination[4096];
    unsigned char *seen = malloc((size_t)n_processes * (size_t)n_saves);
    snprintf(destination, sizeof destination, "%s/downloaded.bin", root);
    while (atomic_load(&board->ready) < n_processes)
        usleep(1000);
    mld_experiment *e = open_run(true);
    while (e != NULL && seen != NULL && !atomic_load(&board->done))
        look_once(e, seen, destination);
    mld_experiment_close(e);
    free(seen);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp((*(const struct mld_file *const *)a)->id,
                  (*(const struct mld_file *const *)b)->id);
}

static void check_files(mld_experiment *e, unsigned char *seen, size_t total)
{
    struct mld_file_list *list;
    struct mld_list_options o = MLD_LIST_OPTIONS_INIT;
    o.all_versions = true;
    if (mld_file_list(&list, e, &o) != MLD_OK) {
        fail("list", mld_error_message());
        return;
    }
    const struct mld_file **sorted = calloc(list->count + 1, sizeof *sorted);
    memset(seen, 0, total);
    for (size_t i = 0; i < list->count; i++) {
        sorted[i] = &list->files[i];
        count_file(&list->files[i], seen);
    }
    qsort(sorted, list->count, sizeof *sorted, compare_ids);
    for (size_t i = 1; i < list->count; i++)
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0)
            fail(sorted[i]->id, "two files have this id");
    for (size_t i = 0; i < total; i++)
        if (seen[i] != 1)
            fail("at the end", "a file is missing or there twice");
    free(sorted);
    mld_file_list_free(list);
}

static void check_points(mld_experiment *e, unsigned char *seen, size_t total)
{
    mld_series *series;
    struct mld_points *points;
    long value;
    if (mld_series_open(&series, e, MLD_METRIC, "loss", NULL) != MLD_OK ||
        mld_series_read(&points, series, 0, 0) != MLD_OK) {
        fail("points", mld_error_message());
        return;
    }
    memset(seen, 0, total);
    for (size_t i = 0; i < points->count; i++)
        if (sscanf(points->points[i].data_json, "{\"v\":%ld", &value) == 1 && (size_t)value < total)
            seen[value]++;
    for (size_t i = 0; i < total; i++)
        if (seen[i] != 1)
            fail("at the end", "a point is missing or there twice");
    if (points->count != total)
        fail("at the end", "another number of points");
    mld_points_free(points);
}

static void check_verify(mld_experiment *e)
{
    struct mld_report *report;
    if (mld_verify(&report, e, false, NULL, NULL) != MLD_OK) {
        fail("verify", mld_error_message());
        return;
    }
    for (size_t i = 0; i < report->count; i++)
        fail(report->findings[i].name, report->findings[i].detail);
    mld_report_free(report);
}

static void check_all(void)
{
    size_t total = (size_t)n_processes * (size_t)n_saves;
    unsigned char *seen = malloc(total);
    mld_experiment *e = open_run(true);
    if (e != NULL && seen != NULL) {
        check_files(e, seen, total);
        check_points(e, seen, total);
        check_verify(e);
    }
    mld_experiment_close(e);
    free(seen);
}

static pid_t start(void (*work)(int), int argument)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    work(argument);
    _exit(0);
}

static void read_process(int unused)
{
    (void)unused;
    read_all_the_while();
}

static void await(pid_t child)
{
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail("a process", "did not start, or died");
}

int main(int argc, char **argv)
{
    pid_t writers[MAX_PROCESSES];
    if (argc != 4)
        return 2;
    root = argv[1];
    n_processes = atoi(argv[2]);
    n_saves = atoi(argv[3]);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || n_processes < 1 || n_processes > MAX_PROCESSES || n_saves < 1)
        return 2;
    double began = now();
    for (int i = 0; i < n_processes; i++)
        writers[i] = start(write_all, i);
    pid_t reader = start(read_process, 0);
    for (int i = 0; i < n_processes; i++)
        await(writers[i]);
    double seconds = now() - began;
    atomic_store(&board->done, true);
    await(reader);
    check_all();
    printf("{\"failures\":%d,\"lists\":%d,\"reads\":%d,\"seconds\":%.2f,\"check_seconds\":%.2f}\n",
           board->failures, board->lists, board->reads, seconds, now() - began - seconds);
    return 0;
}

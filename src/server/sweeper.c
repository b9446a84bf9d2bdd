#include "server/sweeper.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/experiment_doc.h"
#include "server/files.h"
#include "server/work.h"

#define EVERY_MS 5000
#define STRAYS_EVERY_MS 3600000
#define AT_ONCE 100
#define AGAIN_US (INT64_C(60) * 1000000) /* after a failure */
#define IDLE_US (INT64_C(1800) * 1000000)

struct sweeper {
    struct meta *meta;
    struct blob *blob;
    struct lanes *lanes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    char queue[SWEEPER_QUEUE][ID_FILE_MAX + 1];
    size_t n;
};

/* One thing that is due. */
struct job {
    struct meta *meta;
    struct blob *blob;
    struct lanes *lanes;
    const struct meta_doc *doc;
    const char *text;
    int64_t now;
    int64_t again; /* set: when to come again; 0: done */
};

/* A lane that nobody has written to for long is sealed although it is not due. */
static enum mld_error sweep_lane(struct job *job, const char *experiment)
{
    struct arena arena = {0};
    struct experiment_doc e;
    bool rest = false;
    enum mld_error error = experiment_doc_get(&e, &arena, job->meta, experiment);
    bool idle = error == MLD_OK && job->now - e.last_seen > IDLE_US;
    if (error == MLD_OK)
        error = lane_seal(job->lanes, experiment, idle, &rest);
    if (error == MLD_ENOTFOUND)
        error = MLD_OK; /* the experiment is gone */
    job->again = rest ? job->now + WORK_LANE_US : 0;
    arena_free(&arena);
    return error;
}

/* "{project}/{document's id}" */
static enum mld_error sweep_file(struct job *job, const char *name, bool upload)
{
    char project[ID_FILE_MAX + 1];
    const char *slash = strchr(name, '/');
    struct files_place place = {.meta = job->meta, .blob = job->blob, .project = project};
    if (slash == NULL || (size_t)(slash - name) >= sizeof project)
        return MLD_OK;
    snprintf(project, sizeof project, "%.*s", (int)(slash - name), name);
    if (upload)
        return files_finish_upload(&place, slash + 1, job->now, &job->again);
    return files_finish_retired(&place, slash + 1);
}

static enum mld_error run(struct job *job)
{
    const char *id = job->doc->id;
    struct files_place place = {.meta = job->meta, .blob = job->blob};
    if (strncmp(id, "lane:", 5) == 0)
        return sweep_lane(job, id + 5);
    if (strncmp(id, "seal:", 5) == 0)
        return lane_finish_seal(job->lanes, id + 5);
    if (strncmp(id, "files:", 6) == 0)
        return files_finish_put(&place, job->text);
    if (strncmp(id, "upload:", 7) == 0)
        return sweep_file(job, id + 7, true);
    if (strncmp(id, "retired:", 8) == 0)
        return sweep_file(job, id + 8, false);
    job->again = job->now + WORK_LANE_US; /* of a newer server */
    return MLD_OK;
}

/* Does it, then takes it off the list, unless it was put there again meanwhile. */
static enum mld_error sweep_one(struct job *job)
{
    struct meta_doc next;
    enum mld_error error = run(job);
    int64_t again = error == MLD_OK ? job->again : job->now + AGAIN_US;
    if (again == 0)
        meta_delete(job->meta, WORK_PARTITION, job->doc->id, job->doc->revision);
    if (again != 0) {
        work_document(&next, job->doc->id, 0, job->text);
        next.order = again;
        next.revision = job->doc->revision;
        struct error_copy first;
        error_save(error, &first);
        meta_replace(job->meta, &next);
        error = error == MLD_OK ? MLD_OK : error_restore(&first);
    }
    return error;
}

enum mld_error sweep(struct meta *meta, struct blob *blob, struct lanes *lanes, int64_t now_us,
                     size_t max, size_t *out_n)
{
    struct meta_docs docs = {0};
    struct error_copy first = {0};
    struct meta_range range = {.partition = WORK_PARTITION,
                               .token = WORK_TOKEN,
                               .min_order = INT64_MIN,
                               .max_order = now_us,
                               .limit = max};
    enum mld_error error = meta_find(meta, &docs, &range);
    *out_n = docs.n;
    for (size_t i = 0; i < docs.n && error == MLD_OK; i++) {
        const char *text = arena_strndup(&docs.arena, docs.docs[i].text, docs.docs[i].text_len);
        struct job job = {meta, blob, lanes, &docs.docs[i], text == NULL ? "{}" : text, now_us, 0};
        enum mld_error failed = sweep_one(&job); /* one that fails does not keep others waiting */
        if (failed != MLD_OK && first.code == MLD_OK)
            error_save(failed, &first);
    }
    meta_docs_free(&docs);
    return error != MLD_OK || first.code == MLD_OK ? error : error_restore(&first);
}

static void on_due(const char *experiment, void *payload)
{
    struct sweeper *s = payload;
    pthread_mutex_lock(&s->lock);
    bool known = s->n == SWEEPER_QUEUE;
    for (size_t i = 0; i < s->n && !known; i++)
        known = strcmp(s->queue[i], experiment) == 0;
    if (!known)
        snprintf(s->queue[s->n++], sizeof s->queue[0], "%s", experiment);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static bool wait_for_work(struct sweeper *s, char experiment[ID_FILE_MAX + 1])
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += EVERY_MS / 1000;
    experiment[0] = '\0';
    pthread_mutex_lock(&s->lock);
    int timed_out = 0;
    while (!s->stop && s->n == 0 && timed_out == 0)
        timed_out = pthread_cond_timedwait(&s->wake, &s->lock, &until);
    if (s->n > 0)
        memcpy(experiment, s->queue[--s->n], ID_FILE_MAX + 1);
    bool go_on = !s->stop;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* Uploads that are in no document: a server died before it had written it. */
static void drop_strays(struct sweeper *s, int64_t *next_ms)
{
    size_t n;
    if (clock_monotonic_ms() < *next_ms)
        return;
    if (blob_drop_idle(s->blob, clock_now_us() - WORK_STRAY_US, &n) == MLD_OK)
        *next_ms = clock_monotonic_ms() + STRAYS_EVERY_MS;
}

static void *thread_main(void *payload)
{
    struct sweeper *s = payload;
    char experiment[ID_FILE_MAX + 1];
    int64_t looked = 0;
    int64_t strays = 0;
    while (wait_for_work(s, experiment)) {
        bool rest;
        size_t n = AT_ONCE;
        if (experiment[0] != '\0')
            lane_seal(s->lanes, experiment, false, &rest);
        if (clock_monotonic_ms() - looked < EVERY_MS)
            continue;
        drop_strays(s, &strays);
        /* What fails is logged by nobody here: it stays due and is tried again. */
        if (sweep(s->meta, s->blob, s->lanes, clock_now_us(), AT_ONCE, &n) != MLD_OK || n < AT_ONCE)
            looked = clock_monotonic_ms();
    }
    return NULL;
}

enum mld_error sweeper_start(struct sweeper **out, struct meta *meta, struct blob *blob,
                             struct lanes *lanes)
{
    struct sweeper *s = calloc(1, sizeof *s);
    pthread_condattr_t attributes;
    sigset_t all;
    sigset_t before;
    *out = NULL;
    if (s == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the sweeper");
    s->meta = meta;
    s->blob = blob;
    s->lanes = lanes;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&s->thread, NULL, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        free(s);
        return error_set_errno(failed, "cannot start the sweeper's thread");
    }
    lanes_on_due(lanes, on_due, s);
    *out = s;
    return MLD_OK;
}

void sweeper_stop(struct sweeper *sweeper)
{
    if (sweeper == NULL)
        return;
    lanes_on_due(sweeper->lanes, NULL, NULL);
    pthread_mutex_lock(&sweeper->lock);
    sweeper->stop = true;
    pthread_cond_signal(&sweeper->wake);
    pthread_mutex_unlock(&sweeper->lock);
    pthread_join(sweeper->thread, NULL);
    pthread_cond_destroy(&sweeper->wake);
    pthread_mutex_destroy(&sweeper->lock);
    free(sweeper);
}

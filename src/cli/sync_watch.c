#include "cli/sync_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/map.h"
#include "cli/cli.h"

#define MAX_LIVE 32    /* threads; further folders wait for their turn */
#define REST_MS 60000  /* so long after the last change a folder rests */
#define AGAIN_MS 30000 /* one that failed for good is tried again after that */
#define PATH_MAX_BYTES 4096

struct watched {
    const char *folder;
    struct timespec stamp; /* of what was synced */
    mld_sync *sync;        /* NULL: it rests */
    int64_t until_ms;      /* live: it rests then. Resting: not looked at before */
    struct watched *next;
};
struct sync_watch {
    const struct mld_sync_options *options;
    void (*told)(const char *folder, const struct mld_sync_status *status, void *payload);
    void *payload;
    struct watched *first;
    struct map by_folder;
    size_t live;
    struct arena arena;
};

/* Each second that something is written, the mark is replaced, and with it the time of the folder
 * that it lies in. */
static struct timespec stamp_of(const char *folder)
{
    static const char *const names[] = {".mldash", ".mldash/writers", ".mldash/records.jsonl"};
    struct timespec newest = {0, 0};
    char path[PATH_MAX_BYTES];
    struct stat st;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= (int)sizeof path ||
            stat(path, &st) != 0)
            continue;
        if (st.st_ctim.tv_sec > newest.tv_sec ||
            (st.st_ctim.tv_sec == newest.tv_sec && st.st_ctim.tv_nsec > newest.tv_nsec))
            newest = st.st_ctim;
    }
    return newest;
}

struct sync_watch *sync_watch_new(const struct mld_sync_options *options,
                                  void (*told)(const char *folder,
                                               const struct mld_sync_status *status, void *payload),
                                  void *payload)
{
    struct sync_watch *w = calloc(1, sizeof *w);
    if (w != NULL) {
        w->options = options;
        w->told = told;
        w->payload = payload;
    }
    return w;
}

static struct watched *find(struct sync_watch *w, const char *folder, bool is_synced)
{
    struct watched *it = map_get(&w->by_folder, folder, strlen(folder));
    if (it != NULL)
        return it;
    it = arena_alloc(&w->arena, sizeof *it);
    const char *key = arena_strdup(&w->arena, folder);
    if (it == NULL || key == NULL || map_put(&w->by_folder, key, strlen(key), it) != MLD_OK)
        return NULL;
    it->folder = key;
    it->next = w->first;
    w->first = it;
    /* A writer that is alive now may have written between; a folder that was written within the
     * last moments is taken as changed. */
    struct timespec stamp = stamp_of(folder), now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (is_synced && now.tv_sec - stamp.tv_sec > REST_MS / 1000)
        it->stamp = stamp;
    return it;
}

void sync_watch_look(struct sync_watch *w, const char *folder, bool is_synced)
{
    int64_t now = clock_monotonic_ms();
    struct watched *it = find(w, folder, is_synced);
    if (it == NULL)
        return;
    struct timespec stamp = stamp_of(folder);
    bool changed = stamp.tv_sec != it->stamp.tv_sec || stamp.tv_nsec != it->stamp.tv_nsec;
    if (!changed || (it->sync == NULL && (w->live == MAX_LIVE || now < it->until_ms)))
        return;
    if (it->sync == NULL) {
        if (mld_sync_start(&it->sync, folder, w->options) != MLD_OK) {
            cli_message("%s: %s", folder, mld_error_message());
            it->until_ms = now + AGAIN_MS;
            return;
        }
        w->live++;
    }
    it->stamp = stamp;
    it->until_ms = now + REST_MS;
}

static void end(struct sync_watch *w, struct watched *it)
{
    struct mld_sync_status status;
    mld_sync_get_status(it->sync, &status);
    mld_sync_stop(it->sync);
    it->sync = NULL;
    w->live--;
    w->told(it->folder, &status, w->payload);
}

void sync_watch_turn(struct sync_watch *w, struct mld_sync_status *out_sum, size_t *out_live)
{
    int64_t now = clock_monotonic_ms();
    *out_sum = (struct mld_sync_status){.done = true};
    for (struct watched *it = w->first; it != NULL; it = it->next) {
        struct mld_sync_status status;
        if (it->sync == NULL)
            continue;
        mld_sync_get_status(it->sync, &status);
        out_sum->files_sent += status.files_sent;
        out_sum->files_there += status.files_there;
        out_sum->files_left += status.files_left;
        out_sum->bytes_sent += status.bytes_sent;
        out_sum->bytes_left += status.bytes_left;
        out_sum->lines_bytes_sent += status.lines_bytes_sent;
        out_sum->lines_bytes_left += status.lines_bytes_left;
        if (status.failed) { /* what it is was said; the folder counts as not sent */
            end(w, it);
            it->stamp = (struct timespec){0, 0};
            it->until_ms = now + AGAIN_MS;
        } else if (status.done && now >= it->until_ms) {
            end(w, it);
            it->until_ms = 0;
        }
    }
    *out_live = w->live;
}

void sync_watch_free(struct sync_watch *w)
{
    if (w == NULL)
        return;
    for (struct watched *it = w->first; it != NULL; it = it->next) {
        if (it->sync != NULL)
            end(w, it);
    }
    map_free(&w->by_folder);
    arena_free(&w->arena);
    free(w);
}

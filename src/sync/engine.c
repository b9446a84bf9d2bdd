#include "sync/engine.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "sync/credentials.h"
#include "sync/pack.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 30000
#define SAID_MAX_S 300 /* a server that asks for more is asked again earlier */

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory to sync");
}

/* Who and where: as given, else the environment's, else the login's. */
static enum mld_error find_credentials(struct engine *e, const struct mld_sync_options *o)
{
    struct credentials found;
    enum mld_error error = credentials_find(&found, o->url, o->token);
    if (error != MLD_OK)
        return error;
    e->url = found.url;
    e->token = found.token;
    if (e->url == NULL)
        return error_set(MLD_EINVALID, "no server is known: give its URL, set ML_DASH_URL, or log "
                                       "in: ml-dash login --url http://host:3000");
    if (e->token == NULL)
        return error_set(MLD_EAUTH,
                         "no token for %.200s: set ML_DASH_TOKEN, or log in: ml-dash "
                         "login --url %.200s",
                         e->url, e->url);
    size_t len = strlen(e->url);
    while (len > 0 && e->url[len - 1] == '/')
        e->url[--len] = '\0';
    return MLD_OK;
}

static enum mld_error set_up(struct engine *e, const char *directory,
                             const struct mld_sync_options *o)
{
    enum mld_error error = find_credentials(e, o);
    if (error == MLD_OK && o->namespace_name != NULL &&
        (e->namespace_name = strdup(o->namespace_name)) == NULL)
        error = no_memory();
    if (error != MLD_OK)
        return error;
    e->server = (struct http_server){.url = e->url, .token = e->token, .stop = &e->stop};
    e->remote.pack = pack_is_worth(e->url);
    e->body_bytes = REMOTE_MAX_BODY_BYTES;
    e->interval_ms = o->interval_ms == 0 ? ENGINE_INTERVAL_MS : o->interval_ms;
    e->part_threads = o->part_threads == 0 ? 2 : o->part_threads;
    e->progress = o->progress;
    e->payload = o->payload;
    error = sync_folder_open(&e->folder, directory);
    if (error == MLD_OK)
        e->folder->stop = &e->stop;
    return error == MLD_OK ? http_client_new(&e->remote.client, &e->server) : error;
}

enum mld_error engine_open(struct engine **out, const char *directory,
                           const struct mld_sync_options *options)
{
    struct engine *e = calloc(1, sizeof *e);
    pthread_condattr_t monotonic;
    *out = NULL;
    if (options->version != MLD_SYNC_OPTIONS_VERSION) {
        free(e);
        return error_set(MLD_EINVALID, "options of version %u; begin with MLD_SYNC_OPTIONS_INIT",
                         options->version);
    }
    if (e == NULL)
        return no_memory();
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    enum mld_error error = set_up(e, directory, options);
    if (error == MLD_OK)
        *out = e;
    else
        engine_free(e);
    return error;
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    http_client_free(e->remote.client);
    sync_folder_free(e->folder);
    engine_forget_files(e);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->changed);
    if (e->token != NULL)
        explicit_bzero(e->token, strlen(e->token));
    free(e->url);
    free(e->token);
    free(e->namespace_name);
    free(e);
}

/* The namespace: as given; else the prefix's first part, if the caller may write there; else his
 * own. */
static enum mld_error register_place(struct engine *e)
{
    enum mld_error error;
    if (e->namespace_name == NULL && e->folder->owner != NULL) {
        error = remote_register(&e->remote, e->folder->owner, e->folder, e->from);
        if (error == MLD_OK) {
            e->namespace_name = strdup(e->folder->owner);
            return e->namespace_name == NULL ? no_memory() : MLD_OK;
        }
        if (error != MLD_ENOTFOUND && error != MLD_EINVALID)
            return error;
    }
    error =
        e->namespace_name == NULL ? remote_own_namespace(&e->remote, &e->namespace_name) : MLD_OK;
    return error == MLD_OK ? remote_register(&e->remote, e->namespace_name, e->folder, e->from)
                           : error;
}

static enum mld_error register_folder(struct engine *e)
{
    enum mld_error error = register_place(e);
    if (error != MLD_OK)
        return error;
    const struct sync_folder *f = e->folder;
    bool nested = f->folder != NULL && f->folder[0] != '\0';
    pthread_mutex_lock(&e->lock);
    snprintf(e->status.experiment, sizeof e->status.experiment, "%s", e->remote.experiment);
    snprintf(e->status.place, sizeof e->status.place, "%.100s/%.100s/%.150s%s%.100s",
             e->namespace_name, f->project, nested ? f->folder : "", nested ? "/" : "", f->name);
    pthread_mutex_unlock(&e->lock);
    return MLD_OK;
}

static void say_foreign(const char *file, void *payload)
{
    char line[512];
    snprintf(line, sizeof line,
             "%.300s is not sent: another tool wrote it; append to it once with ML-Dash", file);
    engine_say(payload, line);
}

/* While a writer lives, the record of a new shard may be on its way. */
static enum mld_error look_for_foreign(struct engine *e)
{
    if (e->looked || e->folder->alive)
        return MLD_OK;
    e->looked = true;
    return sync_folder_find_foreign(e->folder, say_foreign, e);
}

static enum mld_error send_folder(struct engine *e, bool all)
{
    enum mld_error error = sync_folder_scan(e->folder);
    if (error == MLD_OK && !e->folder->begun)
        return MLD_OK; /* it is being made: where it belongs is not written yet */
    if (error == MLD_OK && e->remote.experiment[0] == '\0')
        error = register_folder(e);
    /* Reading records stops where many files wait: until they are settled, then it goes on. */
    for (bool more = true; error == MLD_OK && more;) {
        error = engine_send_streams(e, all);
        more = error == MLD_OK && e->folder->n_pending > 0;
        if (more)
            error = engine_send_files(e);
        if (error == MLD_OK && more)
            error = sync_folder_scan(e->folder);
        if (atomic_load(&e->stop))
            error = error_set(MLD_EINTERRUPTED, "syncing was stopped");
    }
    return error == MLD_OK ? look_for_foreign(e) : error;
}

enum mld_error engine_round(struct engine *e, bool all)
{
    enum mld_error error;
    do { /* again for each copy that is another history; there are ENGINE_MAX_COPIES at most */
        e->diverging = false;
        error = send_folder(e, all);
    } while (e->diverging && !atomic_load(&e->stop));
    engine_report(e);
    pthread_mutex_lock(&e->lock);
    e->status.error = error;
    e->status.done =
        error == MLD_OK && e->status.lines_bytes_left == 0 && e->status.files_left == 0;
    snprintf(e->status.message, sizeof e->status.message, "%s",
             error == MLD_OK ? "" : mld_error_message());
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return error;
}

bool engine_is_passing(enum mld_error error)
{
    return error == MLD_EUNAVAILABLE || error == MLD_ENOSPACE || error == MLD_ECONFLICT ||
           error == MLD_EBUSY || error == MLD_ENOMEM || error == MLD_EIO;
}

void engine_sleep(const struct engine *e, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms;
    while (!atomic_load(&e->stop) && clock_monotonic_ms() < until) {
        struct timespec step = {0, 50 * 1000000};
        nanosleep(&step, NULL);
    }
}

/* `ms` and up to a quarter more, so that many clients do not come back at once. */
static int64_t some_more(int64_t ms)
{
    unsigned char random = 128;
    RAND_bytes(&random, 1);
    return ms + ms * random / 1024;
}

int64_t engine_pause_ms(int64_t retry_after_s, unsigned failures)
{
    unsigned char random = 128;
    int64_t pause = PAUSE_FIRST_MS;
    for (unsigned i = 1; i < failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    if (pause > PAUSE_MAX_MS)
        pause = PAUSE_MAX_MS;
    RAND_bytes(&random, 1);
    pause = pause / 2 + pause * random / 256; /* half to one and a half */
    if (retry_after_s > SAID_MAX_S)
        retry_after_s = SAID_MAX_S;
    return retry_after_s * 1000 > pause ? some_more(retry_after_s * 1000) : pause;
}

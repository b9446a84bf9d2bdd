/* mirror.c: a handle's server: attaching it, patience with it, and a refresh. */
#include "sync/mirror.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sync/credentials.h"
#include "sync/folder_internal.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 2000
#define STEP_MS 50

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for reading from the server");
}

void mirror_patience_begin(struct mirror_patience *p, uint64_t patience_ms, mld_progress *progress,
                           void *payload)
{
    *p = (struct mirror_patience){.patience_ms = patience_ms,
                                  .moved_ms = clock_monotonic_ms(),
                                  .progress = progress,
                                  .payload = payload};
}

static bool ask_caller(struct mirror_patience *p)
{
    if (p->progress != NULL && !p->stopped &&
        !p->progress(p->done_bytes, p->total_bytes, p->payload))
        p->stopped = true;
    return !p->stopped;
}

bool mirror_moved(struct mirror_patience *p, size_t bytes)
{
    p->moved_ms = clock_monotonic_ms();
    p->done_bytes += bytes;
    return ask_caller(p);
}

static bool is_over(struct mirror_patience *p)
{
    if (clock_monotonic_ms() - p->moved_ms >= (int64_t)p->patience_ms)
        p->over = true;
    return p->over;
}

static bool keep_going(void *payload)
{
    struct mirror_patience *p = payload;
    return !is_over(p) && ask_caller(p);
}

enum mld_error mirror_client(struct http_client **out, const struct mirror *m,
                             struct mirror_patience *p)
{
    const struct http_server server = {
        .url = m->url, .token = m->token, .keep_going = keep_going, .payload = p};
    return http_client_new(out, &server);
}

/* Half to one and a half of a pause that doubles, or what the server said. */
static int64_t pause_ms(unsigned failures, int64_t retry_after_s)
{
    int64_t pause = PAUSE_FIRST_MS;
    for (unsigned i = 1; i < failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    pause = pause / 2 + clock_now_us() % pause;
    return retry_after_s * 1000 > pause ? retry_after_s * 1000 : pause;
}

static enum mld_error give_up(const struct mirror *m, const struct mirror_patience *p)
{
    struct error_copy last;
    error_save(MLD_EUNAVAILABLE, &last);
    return error_set(MLD_EUNAVAILABLE,
                     "%.200s did not answer within %.1f s, and what was asked for is not here "
                     "(%.400s)",
                     m->url, (double)p->patience_ms / 1000, last.message);
}

enum mld_error mirror_again(const struct mirror *m, struct mirror_patience *p, enum mld_error error,
                            unsigned failures, int64_t retry_after_s)
{
    if (p->stopped)
        return error_set(MLD_EINTERRUPTED, "reading from %.200s was stopped", m->url);
    if (error == MLD_EINTERRUPTED && p->over)
        return give_up(m, p);
    if (error != MLD_EUNAVAILABLE)
        return error;
    struct error_copy last;
    error_save(error, &last);
    int64_t until = clock_monotonic_ms() + pause_ms(failures, retry_after_s);
    while (clock_monotonic_ms() < until && keep_going(p)) {
        struct timespec step = {0, STEP_MS * 1000000L};
        nanosleep(&step, NULL);
    }
    error_restore(&last);
    if (p->stopped)
        return error_set(MLD_EINTERRUPTED, "reading from %.200s was stopped", m->url);
    return is_over(p) ? give_up(m, p) : MLD_OK;
}

/* --- making and freeing ------------------------------------------------------------------------
 */

/* Of a forked child nothing is freed that another thread of the parent may have held. */
static void mirror_free(void *payload)
{
    struct mirror *m = payload;
    if (m == NULL || m->pid != getpid())
        return;
    http_client_free(m->remote.client);
    sync_folder_free(m->place);
    map_free(&m->streams);
    arena_free(&m->arena);
    pthread_mutex_destroy(&m->lock);
    if (m->token != NULL)
        explicit_bzero(m->token, strlen(m->token));
    free(m->url);
    free(m->token);
    free(m->namespace_name);
    free(m);
}

static struct mirror *mirror_new(mld_experiment *experiment, uint64_t patience_ms)
{
    struct mirror *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->experiment = experiment;
    m->patience_ms = patience_ms == 0 ? MLD_MIRROR_PATIENCE_MS : patience_ms;
    m->pid = getpid();
    pthread_mutex_init(&m->lock, NULL);
    m->place = calloc(1, sizeof *m->place);
    if (m->place == NULL) {
        mirror_free(m);
        return NULL;
    }
    m->place->dir_fd = -1;
    return m;
}

/* NULL stays NULL. False: out of memory. */
static bool copy_text(char **out, const char *text)
{
    *out = text == NULL ? NULL : strdup(text);
    return text == NULL || *out != NULL;
}

static struct mirror *mirror_copy(const struct mirror *from)
{
    struct mirror *m = mirror_new(from->experiment, from->patience_ms);
    if (m != NULL && copy_text(&m->url, from->url) && copy_text(&m->token, from->token) &&
        copy_text(&m->place->project, from->place->project) &&
        copy_text(&m->place->folder, from->place->folder) &&
        copy_text(&m->place->name, from->place->name) &&
        copy_text(&m->place->owner, from->place->owner)) {
        memcpy(m->remote.experiment, from->remote.experiment, sizeof m->remote.experiment);
        return m; /* its namespace is asked for again */
    }
    mirror_free(m);
    return NULL;
}

struct mirror *mirror_of(mld_experiment *experiment)
{
    void *was = __atomic_load_n(&experiment->source.payload, __ATOMIC_ACQUIRE);
    struct mirror *m = was;
    if (m->pid == getpid())
        return m;
    struct mirror *own = mirror_copy(m);
    if (own == NULL)
        return NULL;
    if (__atomic_compare_exchange_n(&experiment->source.payload, &was, (void *)own, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return own;
    mirror_free(own); /* another thread of the child was first */
    return was;
}

static enum mld_error take_credentials(struct mirror *m, const struct mld_mirror_options *o)
{
    struct credentials found;
    enum mld_error error = credentials_find(&found, o->url, o->token);
    if (error != MLD_OK)
        return error;
    m->url = found.url;
    m->token = found.token;
    if (m->url == NULL)
        return error_set(MLD_EINVALID, "no server is known: give its URL, or set ML_DASH_URL");
    if (m->token == NULL)
        return error_set(MLD_EAUTH, "no token for %.200s: log in, or set ML_DASH_TOKEN", m->url);
    size_t len = strlen(m->url);
    while (len > 0 && m->url[len - 1] == '/')
        m->url[--len] = '\0';
    return copy_text(&m->namespace_name, o->namespace_name) ? MLD_OK : no_memory();
}

/* As the folder's records say, or as it was opened. */
static enum mld_error take_place(struct mirror *m)
{
    struct run *run;
    enum mld_error error = run_enter(&run, m->experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    const struct experiment_entry *x = &run->state.experiment;
    if (x->prefix != NULL)
        folder_take_prefix(m->place, x->prefix);
    else if (!copy_text(&m->place->project, x->project) ||
             !copy_text(&m->place->folder, x->folder) || !copy_text(&m->place->name, x->name))
        error = no_memory();
    run_leave(run);
    return error;
}

enum mld_error mld_mirror_attach(mld_experiment *e, const struct mld_mirror_options *options)
{
    if (options->version != MLD_MIRROR_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "options of version %u; begin with MLD_MIRROR_OPTIONS_INIT",
                         options->version);
    if (!e->mirrored)
        return error_set(MLD_EINVALID, "%s was not opened with `mirrored`", e->dir);
    if (e->source.payload != NULL)
        return error_set(MLD_ESTATE, "%s has a server already", e->dir);
    struct mirror *m = mirror_new(e, options->patience_ms);
    if (m == NULL)
        return no_memory();
    enum mld_error error = take_credentials(m, options);
    if (error == MLD_OK)
        error = take_place(m);
    if (error != MLD_OK) {
        mirror_free(m);
        return error;
    }
    e->source = (struct run_source){.fetch = mirror_file, .free = mirror_free, .payload = m};
    return MLD_OK;
}

/* --- which experiment --------------------------------------------------------------------------
 */

/* In the given namespace; else in that of the prefix's first part, when there is one and it is
 * there, else in the caller's own: as the sender does. */
static enum mld_error find_place(struct mirror *m, const struct sync_folder *f)
{
    struct remote_place place = {.namespace_name = m->namespace_name,
                                 .project = f->project,
                                 .folder = f->folder == NULL ? "" : f->folder,
                                 .name = f->name};
    if (place.namespace_name == NULL && f->owner != NULL) {
        place.namespace_name = f->owner;
        enum mld_error error = remote_find_experiment(&m->remote, &place);
        if (error != MLD_ENOTFOUND && error != MLD_EINVALID)
            return error;
    }
    if (m->namespace_name == NULL) {
        enum mld_error error = remote_own_namespace(&m->remote, &m->namespace_name);
        if (error != MLD_OK)
            return error;
    }
    place.namespace_name = m->namespace_name;
    return remote_find_experiment(&m->remote, &place);
}

/* MLD_ENOTFOUND: the server has no such experiment. */
static enum mld_error find_experiment(struct mirror *m)
{
    enum mld_error error = MLD_OK;
    if (m->place->project == NULL || m->place->name == NULL)
        return error_set(MLD_ENOTFOUND, "%s does not say where it belongs", m->experiment->dir);
    for (unsigned failures = 1; error == MLD_OK; failures++) {
        enum mld_error met = find_place(m, m->place);
        if (met == MLD_OK)
            break;
        error = mirror_again(m, &m->patience, met, failures, m->remote.retry_after_s);
    }
    return error;
}

static enum mld_error settle_experiment(struct mirror *m, const char *remote_id)
{
    char *known = m->remote.experiment;
    if (remote_id == NULL)
        return known[0] != '\0' ? MLD_OK : find_experiment(m);
    if (known[0] != '\0' && strcmp(known, remote_id) != 0)
        return error_set(MLD_ESTATE, "the experiment is %.40s at the server now, not %.40s",
                         remote_id, known);
    if (strlen(remote_id) >= REMOTE_ID_MAX || strchr(remote_id, '/') != NULL)
        return error_set(MLD_EINVALID, "%.40s is no experiment's id", remote_id);
    memcpy(known, remote_id, strlen(remote_id) + 1);
    return MLD_OK;
}

/* Whether the folder has a run of its own. */
static bool is_run_folder(const mld_experiment *e)
{
    return e->run->experiment_id[0] != '\0';
}

enum mld_error mld_mirror_refresh(mld_experiment *e, const char *remote_id, uint64_t patience_ms,
                                  mld_progress *progress, void *payload)
{
    if (e->source.payload == NULL)
        return error_set(MLD_ESTATE, "%s has no server", e->dir);
    struct mirror *m = mirror_of(e);
    if (m == NULL)
        return no_memory();
    enum mld_error error = MLD_OK;
    pthread_mutex_lock(&m->lock);
    mirror_patience_begin(&m->patience, patience_ms == 0 ? m->patience_ms : patience_ms, progress,
                          payload);
    if (m->remote.client == NULL)
        error = mirror_client(&m->remote.client, m, &m->patience);
    if (error == MLD_OK)
        error = settle_experiment(m, remote_id);
    if (error == MLD_OK)
        error = mirror_streams(m);
    else if (error == MLD_ENOTFOUND && remote_id == NULL && is_run_folder(e))
        error = MLD_OK; /* nothing was sent yet */
    pthread_mutex_unlock(&m->lock);
    return error;
}

/* http.c: starting and stopping. */
#include "server/http.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "server/http_internal.h"

#define CONNECTION_MEMORY_BYTES \
    ((size_t)64 << 10) /* of the library, for head and pieces of bodies */
#define QUICK_QUEUE 1024
#define WAIT_MS 20

static unsigned or_default(unsigned value, unsigned otherwise)
{
    return value ? value : otherwise;
}

static enum mld_error own_texts(const char *const **out, struct arena *arena,
                                const char *const *texts, size_t n)
{
    const char **own = arena_alloc(arena, (n + 1) * sizeof *own);
    *out = own;
    for (size_t i = 0; own && i < n; i++) {
        own[i] = arena_strdup(arena, texts[i]);
        if (own[i] == NULL)
            own = NULL;
    }
    return own ? MLD_OK : error_set(MLD_ENOMEM, "out of memory");
}

/* Origins are compared as browsers send them. */
static enum mld_error check_origins(const struct http_options *options)
{
    for (size_t i = 0; i < options->n_cors_origins; i++) {
        const char *origin = options->cors_origins[i];
        const char *host = strstr(origin, "://");
        if (strcmp(origin, "*") == 0)
            return error_set(MLD_EINVALID, "a cross-origin of * would let every page use the "
                                           "server: name the origins, like https://example.org");
        if (host == NULL || host[3] == '\0' || strchr(host + 3, '/') != NULL)
            return error_set(MLD_EINVALID,
                             "'%s' is no origin: one is like https://example.org "
                             "or http://localhost:5173, without a path",
                             origin);
    }
    return MLD_OK;
}

static enum mld_error take_proxies(struct http *h, const struct http_options *options)
{
    h->proxies = arena_alloc(&h->arena, (options->n_trusted_proxies + 1) * sizeof *h->proxies);
    enum mld_error error = h->proxies ? MLD_OK : error_set(MLD_ENOMEM, "out of memory");
    for (size_t i = 0; error == MLD_OK && i < options->n_trusted_proxies; i++)
        error = proxy_parse(&h->proxies[i], options->trusted_proxies[i]);
    return error;
}

static enum mld_error take_options(struct http *h, const struct http_options *options)
{
    struct http_options *own = &h->options;
    *own = *options;
    own->threads = or_default(own->threads, 2);
    own->quick_workers = or_default(own->quick_workers, 8);
    own->stream_workers = or_default(own->stream_workers, 32);
    own->max_connections = or_default(own->max_connections, 4096);
    own->header_timeout_ms = or_default(own->header_timeout_ms, 10000);
    own->idle_timeout_ms = or_default(own->idle_timeout_ms, 60000);
    own->min_bytes_per_s = or_default(own->min_bytes_per_s, 1024);
    own->rate_window_ms = or_default(own->rate_window_ms, HTTP_RATE_WINDOW_MS);
    if (own->threads > 64 || own->quick_workers > POOL_MAX_WORKERS ||
        own->stream_workers > POOL_MAX_WORKERS)
        return error_set(MLD_EINVALID, "more than 64 threads or %d workers", POOL_MAX_WORKERS);
    own->listen = arena_strdup(&h->arena, options->listen ? options->listen : "127.0.0.1:3000");
    enum mld_error error = own->listen ? MLD_OK : error_set(MLD_ENOMEM, "out of memory");
    if (error == MLD_OK)
        error = check_origins(options);
    if (error == MLD_OK)
        error =
            own_texts(&h->names.origins, &h->arena, options->cors_origins, options->n_cors_origins);
    if (error == MLD_OK)
        error = own_texts(&h->names.hosts, &h->arena, options->hosts, options->n_hosts);
    h->names.n_origins = options->n_cors_origins;
    h->names.n_hosts = options->n_hosts;
    return error == MLD_OK ? take_proxies(h, options) : error;
}

/* Who has a place among the transfers waits at most for a worker that is about to be free. */
static enum mld_error start_workers(struct http *h)
{
    enum mld_error error =
        pool_start(&h->quick, "quick", h->options.quick_workers, QUICK_QUEUE, work_run);
    if (error == MLD_OK)
        error = pool_start(&h->stream, "stream", h->options.stream_workers,
                           h->options.stream_workers, work_run);
    h->transfers.total = h->options.stream_workers;
    return error;
}

static void library_message(void *http, const char *format, va_list arguments)
{
    struct http *h = http;
    (void)format;
    (void)arguments;
    counts_library_message(h->counts);
}

/* Paths and queries are decoded by http_route.c. */
static size_t leave_escaped(void *http, struct MHD_Connection *mhd, char *text)
{
    (void)http;
    (void)mhd;
    return strlen(text);
}

static enum mld_error start_library(struct http *h)
{
    const char *certificate = NULL;
    const char *key = NULL;
    enum mld_error error = tls_read(&certificate, &key, &h->arena, &h->options);
    if (error != MLD_OK)
        return error;
    h->tls = certificate != NULL;
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)library_message, h},
        {MHD_OPTION_CONNECTION_LIMIT, h->options.max_connections + 256, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, 0, NULL},
        {MHD_OPTION_THREAD_POOL_SIZE, h->options.threads, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)cycle_completed, h},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)gate_connection, h},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)cycle_target, h},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)leave_escaped, NULL},
        {h->tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(intptr_t)certificate},
        {h->tls ? MHD_OPTION_HTTPS_MEM_KEY : MHD_OPTION_END, 0, (void *)(intptr_t)key},
        {h->tls ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, 0,
         (void *)(intptr_t)"NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG | (h->tls ? MHD_USE_TLS : 0);
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, cycle_call, h, MHD_OPTION_ARRAY, items,
                                 MHD_OPTION_END);
    if (h->daemon == NULL)
        return error_set(MLD_EIO, "the HTTP library did not start");
    return MLD_OK;
}

static enum mld_error start(struct http *h, const struct http_options *options)
{
    char id[ID_RANDOM_LEN + 1];
    enum mld_error error = route_check(h->routes);
    if (error == MLD_OK)
        error = take_options(h, options);
    if (error == MLD_OK)
        error = id_random(id);
    if (error == MLD_OK)
        error = counts_new(&h->counts, h->routes);
    if (error != MLD_OK)
        return error;
    memcpy(h->id_prefix, id, sizeof h->id_prefix - 1);
    error = log_open(&h->log, options->log_path);
    if (error == MLD_OK)
        error = http_listen(h);
    if (error == MLD_OK)
        error = start_workers(h);
    if (error == MLD_OK)
        error = start_library(h);
    if (error == MLD_OK)
        error = gate_start(h);
    return error;
}

enum mld_error http_start(struct http **out, struct server *server, const struct route *routes,
                          const struct http_options *options)
{
    *out = NULL;
    struct http *h = calloc(1, sizeof *h);
    sigset_t all;
    sigset_t before;
    if (h == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    h->server = server;
    h->routes = routes;
    h->listen_fd = h->wake_fd = -1;
    pthread_mutex_init(&h->conns_lock, NULL);
    share_init(&h->memory, HTTP_MEMORY_BYTES);
    share_init(&h->transfers, 1);
    /* Signals are for the caller's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum mld_error error = start(h, options);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != MLD_OK) {
        struct error_copy copy;
        error_save(error, &copy);
        http_stop(h, 0);
        return error_restore(&copy);
    }
    *out = h;
    return MLD_OK;
}

unsigned http_port(const struct http *h)
{
    return h->port;
}

/* New connections are not taken, idle ones are shut by the gate, and each answer closes its own. */
static void wait_for_requests(struct http *h, unsigned grace_ms)
{
    const struct timespec nap = {.tv_nsec = WAIT_MS * 1000000L};
    int64_t until_ms = clock_monotonic_ms() + grace_ms;
    atomic_store(&h->closing, true);
    while (atomic_load(&h->active) > 0 && clock_monotonic_ms() < until_ms)
        nanosleep(&nap, NULL);
}

void http_stop(struct http *h, unsigned grace_ms)
{
    if (h == NULL)
        return;
    wait_for_requests(h, grace_ms);
    atomic_store(&h->aborting, true);
    gate_cut_all(h);
    /* Once no worker is left, no connection is suspended: the library insists on that. */
    pool_stop(h->quick);
    pool_stop(h->stream);
    gate_stop(h);
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    log_close(h->log);
    counts_free(h->counts);
    pthread_mutex_destroy(&h->conns_lock);
    share_destroy(&h->memory);
    share_destroy(&h->transfers);
    arena_free(&h->arena);
    free(h);
}

void http_note(struct http *h, const char *level, const char *message)
{
    log_event(h->log, level, NULL, message);
}

static void put_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name,
               (unsigned long long)value);
}

void http_metrics(struct http *h, struct buf *out)
{
    unsigned busy;
    unsigned waiting;
    counts_put(h->counts, out);
    put_gauge(out, "mldash_http_connections", "Connections open.", atomic_load(&h->n_conns));
    put_gauge(out, "mldash_http_active_requests", "Requests under way.", atomic_load(&h->active));
    put_gauge(out, "mldash_http_memory_bytes", "Bodies and answers held in memory.",
              share_used(&h->memory));
    put_gauge(out, "mldash_http_log_dropped", "Log lines dropped.", log_dropped(h->log));
    pool_load(h->quick, &busy, &waiting);
    put_gauge(out, "mldash_http_quick_busy", "Quick workers at work.", busy);
    put_gauge(out, "mldash_http_quick_waiting", "Requests waiting for one.", waiting);
    pool_load(h->stream, &busy, &waiting);
    put_gauge(out, "mldash_http_stream_busy", "Streaming workers at work.", busy);
}

/* server.c: the HTTP layer with routes made for its tests. Prints its port and serves until SIGTERM
 * or SIGINT. Usage: http_test_server [NAME=VALUE...]; names: see set(). */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "server/access.h"
#include "server/http.h"

#define MAX_ORIGINS 4

static void sleep_ms(int64_t ms)
{
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* "good" is ada's token, "slow" too but it takes 200 ms to decide; "bob" is another's. */
enum mld_error access_decide(struct caller *out, struct arena *arena, struct server *server,
                             const struct access_question *question)
{
    const char *token = question->authorization;
    (void)arena;
    (void)server;
    *out = (struct caller){0};
    if (question->permission == PERMISSION_PUBLIC)
        return MLD_OK;
    if (token && strcmp(token, "Bearer slow") == 0)
        sleep_ms(200);
    else if (token == NULL ||
             (strcmp(token, "Bearer good") != 0 && strcmp(token, "Bearer bob") != 0))
        return error_set(MLD_EAUTH, "the token %s is wrong", token ? token : "(none)");
    bool bob = strcmp(token, "Bearer bob") == 0;
    *out = (struct caller){
        .user_id = bob ? "2" : "1", .username = bob ? "bob" : "ada", .role = ROLE_OWNER};
    if (question->namespace_name && strcmp(question->namespace_name, "foreign") == 0)
        return error_set(MLD_ENOTFOUND, "there is no such namespace");
    return MLD_OK;
}

static void answer_text(struct request *r, const char *text)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_puts(&body, text);
    respond_bytes(r, 200, "text/plain", &body);
}

static void get_hello(struct request *r)
{
    answer_text(r, "hello");
}

static void get_me(struct request *r)
{
    answer_text(r, request_caller(r)->username);
}

static void get_item(struct request *r)
{
    respond_json(
        r, 200,
        json_pack("{s:s, s:s*}", "item", request_param(r, "item"), "q", request_query(r, "q")));
}

static void get_rest(struct request *r)
{
    answer_text(r, request_param(r, "rest"));
}

static void post_echo(struct request *r)
{
    size_t len;
    const char *data = request_body(r, &len);
    struct buf body;
    buf_init(&body, 16 << 20);
    buf_put(&body, data, len);
    respond_bytes(r, 200, "application/octet-stream", &body);
}

static void post_json(struct request *r)
{
    json_t *json;
    enum mld_error error = request_json(r, &json);
    if (error != MLD_OK)
        respond_error(r, error, NULL);
    else
        respond_json(r, 200, json_incref(json));
}

/* Reads up to `most` bytes of the body; *out is how many there were. */
static enum mld_error read_some(struct request *r, struct sha256 *hash, uint64_t most, int64_t nap,
                                uint64_t *out)
{
    static _Thread_local char block[256 << 10];
    size_t n = 1;
    enum mld_error error = MLD_OK;
    for (*out = 0; error == MLD_OK && n > 0 && *out < most; *out += n) {
        size_t want = most - *out < sizeof block ? (size_t)(most - *out) : sizeof block;
        error = request_read(r, block, want, &n);
        if (hash)
            sha256_update(hash, block, n);
        if (nap)
            sleep_ms(nap);
    }
    return error;
}

static void put_upload(struct request *r)
{
    struct sha256 hash = {0};
    char hex[SHA256_HEX_LEN + 1];
    uint64_t bytes;
    int64_t nap;
    bool hashes = request_query(r, "plain") == NULL;
    request_query_int(r, "nap", 0, 0, 1000, &nap);
    sha256_begin(&hash);
    enum mld_error error = read_some(r, hashes ? &hash : NULL, UINT64_MAX, nap, &bytes);
    sha256_end(&hash, hex);
    sha256_free(&hash);
    if (error == MLD_OK)
        respond_json(r, 200, json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "sha256", hex));
}

/* Refuses by Content-Length, before a byte of the body. */
static void put_limited(struct request *r)
{
    error_set(MLD_ETOOLARGE, "at most 1000 bytes");
    if (request_body_bytes(r) > 1000)
        respond_error(r, MLD_ETOOLARGE, "Content-Length");
    else
        put_upload(r);
}

/* Reads ?n bytes and answers 422 without the rest. */
static void put_half(struct request *r)
{
    int64_t n;
    uint64_t bytes;
    request_query_int(r, "n", 0, 0, INT64_MAX, &n);
    if (read_some(r, NULL, (uint64_t)n, 0, &bytes) == MLD_OK)
        respond_problem(r, 422, "checksum", "not those bytes",
                        json_pack("{s:I}", "read", (json_int_t)bytes));
}

/* Streams ?bytes bytes, of which it makes only ?made. */
static void get_download(struct request *r)
{
    static const char block[256 << 10];
    int64_t bytes, made;
    request_query_int(r, "bytes", 0, 0, INT64_MAX, &bytes);
    request_query_int(r, "made", bytes, 0, INT64_MAX, &made);
    enum mld_error error = respond_begin(r, 200, "application/octet-stream", (uint64_t)bytes);
    while (error == MLD_OK && made > 0) {
        size_t n = made < (int64_t)sizeof block ? (size_t)made : sizeof block;
        error = respond_write(r, block, n);
        made -= (int64_t)n;
    }
}

/* ?bytes from memory in one go. */
static void get_memory(struct request *r)
{
    int64_t bytes;
    struct buf body;
    request_query_int(r, "bytes", 0, 0, 64 << 20, &bytes);
    buf_init(&body, 64 << 20);
    char *room = buf_reserve(&body, (size_t)bytes);
    if (room) {
        memset(room, 'm', (size_t)bytes);
        buf_advance(&body, (size_t)bytes);
    }
    respond_bytes(r, 200, "application/octet-stream", &body);
}

static void get_sleep(struct request *r)
{
    int64_t ms;
    request_query_int(r, "ms", 0, 0, 60000, &ms);
    sleep_ms(ms);
    answer_text(r, "slept");
}

static void get_nothing(struct request *r)
{
    (void)r;
}

static void get_fail(struct request *r)
{
    error_set(MLD_EIO, "the disk /secret/path broke");
    respond_error(r, MLD_EIO, NULL);
}

static void get_header(struct request *r)
{
    response_header(r, "X-Value", request_query(r, "value"));
    answer_text(r, "header");
}

static void get_metrics(struct request *r)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    http_metrics(request_http(r), &body);
    respond_bytes(r, 200, "text/plain; version=0.0.4", &body);
}

static const struct route routes[] = {
    {"GET", "/hello", PERMISSION_PUBLIC, get_hello, 1},
    {"GET", "/me", PERMISSION_USER, get_me, 1},
    {"GET", "/items/{item}", PERMISSION_PUBLIC, get_item, 1},
    {"GET", "/items/special", PERMISSION_PUBLIC, get_hello, 1},
    {"GET", "/rest/{rest...}", PERMISSION_PUBLIC, get_rest, 1},
    {"GET", "/namespaces/{namespace}", PERMISSION_READ, get_me, 1},
    {"POST", "/echo", PERMISSION_USER, post_echo, 1 << 20},
    {"POST", "/json", PERMISSION_PUBLIC, post_json, 4 << 20},
    {"PUT", "/upload", PERMISSION_USER, put_upload, 0},
    {"PUT", "/limited", PERMISSION_USER, put_limited, 0},
    {"PUT", "/half", PERMISSION_USER, put_half, 0},
    {"GET", "/download", PERMISSION_PUBLIC, get_download, 0},
    {"GET", "/memory", PERMISSION_PUBLIC, get_memory, 1},
    {"GET", "/sleep", PERMISSION_PUBLIC, get_sleep, 1},
    {"GET", "/nothing", PERMISSION_PUBLIC, get_nothing, 1},
    {"GET", "/fail", PERMISSION_PUBLIC, get_fail, 1},
    {"GET", "/header", PERMISSION_PUBLIC, get_header, 1},
    {"GET", "/metrics", PERMISSION_PUBLIC, get_metrics, 1},
    {0},
};

struct settings {
    struct http_options http;
    const char *origins[MAX_ORIGINS];
    const char *hosts[MAX_ORIGINS];
    const char *proxies[MAX_ORIGINS];
    unsigned grace_ms;
};

static int set(struct settings *s, const char *name, const char *value)
{
    const struct {
        const char *name;
        unsigned *into;
    } numbers[] = {
        {"threads", &s->http.threads},
        {"quick", &s->http.quick_workers},
        {"stream", &s->http.stream_workers},
        {"connections", &s->http.max_connections},
        {"header_ms", &s->http.header_timeout_ms},
        {"idle_ms", &s->http.idle_timeout_ms},
        {"rate", &s->http.min_bytes_per_s},
        {"window_ms", &s->http.rate_window_ms},
        {"grace_ms", &s->grace_ms},
    };
    const struct {
        const char *name;
        const char **into;
    } texts[] = {
        {"listen", &s->http.listen},
        {"certificate", &s->http.tls_certificate},
        {"key", &s->http.tls_key},
        {"log", &s->http.log_path},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(numbers[i].name, name) == 0) {
            *numbers[i].into = (unsigned)strtoul(value, NULL, 10);
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i].name, name) == 0) {
            *texts[i].into = value;
            return 0;
        }
    }
    if (strcmp(name, "origin") == 0 && s->http.n_cors_origins < MAX_ORIGINS)
        s->origins[s->http.n_cors_origins++] = value;
    else if (strcmp(name, "host") == 0 && s->http.n_hosts < MAX_ORIGINS)
        s->hosts[s->http.n_hosts++] = value;
    else if (strcmp(name, "proxy") == 0 && s->http.n_trusted_proxies < MAX_ORIGINS)
        s->proxies[s->http.n_trusted_proxies++] = value;
    else
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.grace_ms = 5000};
    struct http *http;
    sigset_t signals;
    int signal_number;
    settings.http.listen = "127.0.0.1:0";
    settings.http.cors_origins = settings.origins;
    settings.http.hosts = settings.hosts;
    settings.http.trusted_proxies = settings.proxies;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value)
            *value++ = '\0';
        if (value == NULL || set(&settings, argv[i], value) != 0) {
            fprintf(stderr, "no such setting: %s\n", argv[i]);
            return 2;
        }
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (http_start(&http, NULL, routes, &settings.http) != MLD_OK) {
        fprintf(stderr, "%s\n", mld_error_message());
        return 1;
    }
    printf("%u\n", http_port(http));
    fflush(stdout);
    sigwait(&signals, &signal_number);
    http_stop(http, settings.grace_ms);
    return 0;
}

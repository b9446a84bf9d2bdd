#include "cli/serve.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/num.h"

#define MAX_SECRET_BYTES 4096
#define MAX_TEXT_BYTES 65536
#define MAX_LIST 64

/* The number in front; *out_unit is what follows it, without blanks. */
static bool leading_number(const char *text, int64_t *out, const char **out_unit)
{
    size_t digits = strspn(text, "0123456789");
    *out_unit = text + digits + strspn(text + digits, " ");
    return digits > 0 && digits <= 18 && num_parse_int64(text, digits, out) && *out > 0;
}

bool serve_parse_size(const char *text, uint64_t *out)
{
    static const char letters[] = "kmgt";
    int64_t number;
    const char *unit;
    unsigned shift = 0;
    if (!leading_number(text, &number, &unit))
        return false;
    const char *letter = unit[0] ? strchr(letters, tolower((unsigned char)unit[0])) : NULL;
    if (letter) {
        shift = (unsigned)(letter - letters + 1) * 10;
        unit++;
    }
    if (unit[0] != '\0' && strcasecmp(unit, "b") != 0 && (!letter || strcasecmp(unit, "ib") != 0))
        return false;
    if (number > INT64_MAX >> shift)
        return false;
    *out = (uint64_t)number << shift;
    return true;
}

bool serve_parse_duration(const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    int64_t number;
    const char *unit;
    if (!leading_number(text, &number, &unit))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(unit, units[i].name) == 0 && number < INT64_MAX / units[i].seconds) {
            *out = number * units[i].seconds;
            return true;
        }
    }
    return false;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

/* Settings of the published server whose silence would lose data in another place than wanted. */
static enum cli_exit refuse_other_stores(void)
{
    static const char *const names[] = {
        "MONGODB_URI",      "S3_BUCKET",     "S3_BUCKET_NAME",       "S3_ENDPOINT", "S3_ACCESS_KEY",
        "S3_ACCESS_KEY_ID", "S3_SECRET_KEY", "S3_SECRET_ACCESS_KEY", "S3_REGION"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (environment(names[i]))
            return cli_usage("%s is set, but this build keeps metadata in SQLite and bytes in the "
                             "directory of --data: unset it (`env -u %s ml-dash serve ...`)",
                             names[i], names[i]);
    }
    return CLI_OK;
}

static enum cli_exit read_secret_file(struct buf *out, const char *path)
{
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cli_fail(error_set_errno(errno, "could not read %s", path));
    char *room = buf_reserve(out, MAX_SECRET_BYTES);
    enum mld_error error =
        room ? fs_pread(fd, room, MAX_SECRET_BYTES, 0, &len, path) : buf_check(out, path);
    close(fd);
    if (error != MLD_OK)
        return cli_fail(error);
    if (len == MAX_SECRET_BYTES)
        return cli_usage("%s is too long for a secret", path);
    while (len > 0 && isspace((unsigned char)room[len - 1]))
        len--;
    buf_advance(out, len);
    return CLI_OK;
}

static bool is_guessable(const char *secret)
{
    static const char *const words[] = {"secret",  "changeme", "change-me", "change_me",
                                        "default", "password", "example",   "your-"};
    bool same = true;
    for (const char *p = secret; *p; p++)
        same = same && *p == secret[0];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(secret) < 40 && strcasestr(secret, words[i]))
            return true;
    }
    return same;
}

static enum cli_exit take_secret(struct serve *s, const struct serve_flags *flags)
{
    const char *secret = getenv("JWT_SECRET");
    if (flags->jwt_secret_file) {
        enum cli_exit code = read_secret_file(&s->secret, flags->jwt_secret_file);
        if (code != CLI_OK)
            return code;
        secret = buf_text(&s->secret);
    }
    if (secret == NULL)
        return CLI_OK;
    if (strlen(secret) < SERVE_MIN_SECRET_BYTES || is_guessable(secret))
        return cli_usage(
            "the JWT secret is empty, shorter than %d bytes, or easy to guess: make one "
            "with `openssl rand -base64 32`, or unset JWT_SECRET to take no foreign "
            "JWTs",
            SERVE_MIN_SECRET_BYTES);
    s->server.jwt_secret = secret;
    return CLI_OK;
}

static enum cli_exit take_limits(struct serve *s, const struct serve_flags *flags)
{
    const char *size = flags->max_file_size ? flags->max_file_size : environment("MAX_FILE_SIZE");
    const char *age = flags->jwt_expiration ? flags->jwt_expiration : environment("JWT_EXPIRATION");
    if (size && !serve_parse_size(size, &s->server.max_file_bytes))
        return cli_usage("the largest file size '%s' is none: bytes, or like 500M or 5G", size);
    if (age && !serve_parse_duration(age, &s->server.jwt_expiration_s))
        return cli_usage("the expiration '%s' is none: seconds, or like 12h or 7d", age);
    return CLI_OK;
}

/* 127.0.0.1 unless asked: whoever wants the world to reach it says so. */
static enum cli_exit take_address(struct serve *s, const struct serve_flags *flags)
{
    const char *port = environment("PORT");
    int64_t number = 3000;
    if (flags->listen) {
        s->http.listen = flags->listen;
        return CLI_OK;
    }
    if (port && (!num_parse_int64(port, strlen(port), &number) || number < 0 || number > 65535))
        return cli_usage("PORT is '%s', and no port", port);
    buf_printf(&s->texts, "127.0.0.1:%d", (int)number);
    s->http.listen = buf_text(&s->texts);
    return CLI_OK;
}

static bool add(struct cli_texts *list, const char *text)
{
    if (list->items == NULL)
        list->items = calloc(MAX_LIST, sizeof *list->items);
    if (list->items == NULL || list->count == MAX_LIST)
        return false;
    list->items[list->count++] = text;
    return true;
}

/* CORS_ORIGIN may name several, with commas between them. They are cut in memory of our own. */
static enum cli_exit take_origins(struct serve *s, const struct serve_flags *flags)
{
    const char *listed = flags->origins.count == 0 ? environment("CORS_ORIGIN") : NULL;
    bool fits = true;
    for (size_t i = 0; i < flags->origins.count; i++)
        fits = fits && add(&s->origins, flags->origins.items[i]);
    if (listed) {
        s->origin_words = strdup(listed);
        fits = s->origin_words != NULL;
    }
    char *rest = s->origin_words;
    for (char *word = rest ? strtok_r(rest, ", ", &rest) : NULL; word;
         word = strtok_r(NULL, ", ", &rest))
        fits = fits && add(&s->origins, word);
    if (!fits)
        return cli_usage("more than %d origins", MAX_LIST);
    s->http.cors_origins = s->origins.items;
    s->http.n_cors_origins = s->origins.count;
    return CLI_OK;
}

/* The host of the public address is one of ours. */
static enum cli_exit take_hosts(struct serve *s, const struct serve_flags *flags)
{
    const char *url = flags->public_url;
    bool fits = true;
    for (size_t i = 0; i < flags->hosts.count; i++)
        fits = fits && add(&s->hosts, flags->hosts.items[i]);
    if (url) {
        const char *host = strstr(url, "://");
        size_t len = host ? strcspn(host + 3, "/") : 0;
        if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || len == 0)
            return cli_usage("'%s' is no address: one is like https://dash.example.org", url);
        s->public_host = strndup(host + 3, host[3] == '[' ? len : strcspn(host + 3, ":/"));
        fits = fits && s->public_host && add(&s->hosts, s->public_host);
    }
    if (!fits)
        return cli_usage("more than %d hosts", MAX_LIST);
    s->http.hosts = s->hosts.items;
    s->http.n_hosts = s->hosts.count;
    return CLI_OK;
}

enum cli_exit serve_settings(struct serve *out, const struct serve_flags *flags)
{
    *out = (struct serve){0};
    buf_init(&out->texts, MAX_TEXT_BYTES);
    buf_init(&out->secret, MAX_SECRET_BYTES + 1);
    out->server.data_dir = flags->data;
    out->server.public_url = flags->public_url;
    out->http.tls_certificate = flags->certificate;
    out->http.tls_key = flags->key;
    out->http.log_path = flags->log;
    out->http.trusted_proxies = flags->proxies.items;
    out->http.n_trusted_proxies = flags->proxies.count;
    out->http.quick_workers = (unsigned)flags->workers;
    out->http.stream_workers = (unsigned)flags->stream_workers;
    out->http.max_connections = (unsigned)flags->max_connections;
    if (flags->workers > 1024 || flags->stream_workers > 1024 || flags->max_connections > 1000000)
        return cli_usage("more than 1024 workers or 1,000,000 connections");
    enum cli_exit code = refuse_other_stores();
    if (code == CLI_OK)
        code = take_secret(out, flags);
    if (code == CLI_OK)
        code = take_limits(out, flags);
    if (code == CLI_OK)
        code = take_address(out, flags);
    if (code == CLI_OK)
        code = take_origins(out, flags);
    if (code == CLI_OK)
        code = take_hosts(out, flags);
    return code;
}

void serve_free(struct serve *serve)
{
    if (serve->secret.data)
        explicit_bzero(serve->secret.data, serve->secret.len);
    buf_free(&serve->texts);
    buf_free(&serve->secret);
    free(serve->origin_words);
    free(serve->public_host);
    cli_texts_free(&serve->origins);
    cli_texts_free(&serve->hosts);
}

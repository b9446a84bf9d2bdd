/* serve.h: the settings of `ml-dash serve`, from flags and from the environment. */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "cli/options.h"
#include "server/http.h"
#include "server/server.h"

#define SERVE_MIN_SECRET_BYTES 16

/* What the command line says; NULL: not there. */
struct serve_flags {
    const char *data, *listen, *certificate, *key, *public_url, *max_file_size, *log, *ready_file;
    const char *jwt_secret_file, *jwt_expiration;
    struct cli_texts origins, hosts, proxies;
    size_t workers, stream_workers, max_connections, grace_s;
};

struct serve {
    struct server_options server;
    struct http_options http;
    struct buf texts; /* memory of what is not the command line's or the environment's */
    struct buf secret;
    struct cli_texts origins, hosts; /* own lists of borrowed words */
    char *origin_words;              /* of CORS_ORIGIN, cut */
    char *public_host;
};

/* Fills *out from flags and environment, flags first; fails by name with CLI_USAGE. Free with
 * serve_free in either case. */
enum cli_exit serve_settings(struct serve *out, const struct serve_flags *flags);
void serve_free(struct serve *serve);

/* "5368709121", "5G", "5GiB", "100 MB": bytes, all by 1024. False: none, or zero. */
bool serve_parse_size(const char *text, uint64_t *out);
/* "7d", "12h", "30m", "3600", "3600s": seconds. False: none, or zero. */
bool serve_parse_duration(const char *text, int64_t *out);

#endif

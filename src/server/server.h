/* server.h: one running server: its stores, its limits and the services that handlers use. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "blob/blob.h"
#include "meta/meta.h"

struct accounts; /* accounts.h: users, namespaces, tokens; caches */
struct lanes;    /* lane.h: the streams of experiments */
struct sweeper;  /* sweeper.h: what is finished in the background */

struct server_options {
    const char *data_dir;     /* made when missing: meta.sqlite, blobs/, secret */
    const char *jwt_secret;   /* NULL: foreign JWTs are refused */
    int64_t jwt_expiration_s; /* longest age of a foreign JWT without exp; 0: 7 days */
    uint64_t max_file_bytes;  /* 0: 5 GiB */
    const char *public_url;   /* as users reach it, for the login page; NULL: http://{listen} */
};

struct server {
    struct meta *meta;
    struct blob *blob;
    struct accounts *accounts;
    struct lanes *lanes;
    struct sweeper *sweeper;
    struct http *http; /* NULL until it listens */
    uint64_t max_file_bytes;
    const char *public_url;
    unsigned char secret[32]; /* of this server: signs cookies and CSRF tokens */
    char *own_memory;         /* that of the texts above */
};

/* Opens the stores and starts the services, not HTTP. */
enum mld_error server_open(struct server **out, const struct server_options *options);
/* After http_stop: finishes what is under way, closes the stores. NULL is fine. */
void server_close(struct server *server);

#endif

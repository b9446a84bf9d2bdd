/* remote_read.h: the reading side of the protocol (docs/protocol.md) as calls. Each is one request;
 * errors are those of http_client_call and http_reply_check, and those named here. */
#ifndef SYNC_REMOTE_READ_H
#define SYNC_REMOTE_READ_H

#include "base/arena.h"
#include "sync/remote.h"

#define REMOTE_AFTER_MAX 1024

/* Where an experiment is at a server. */
struct remote_place {
    const char *namespace_name;
    const char *project;
    const char *folder; /* "": none */
    const char *name;
};
/* r->experiment is set; MLD_ENOTFOUND: there is none, or none that the caller may see. */
enum mld_error remote_find_experiment(struct remote *r, const struct remote_place *place);

struct remote_stream {
    char id[ID_RANDOM_LEN + 1];
    bool records;    /* else a metric, track or log */
    uint64_t offset; /* bytes that the server has */
    struct remote_stream *next;
};
/* One page of the experiment's streams, put before *out (memory of `arena`). *after: "" for the
 * first page, then what the page before set; "" again: it was the last. */
enum mld_error remote_list_streams(struct remote *r, struct arena *arena,
                                   struct remote_stream **out, char after[REMOTE_AFTER_MAX]);

/* Bytes [from, to) of a stream into `sink`; fewer than asked is MLD_EUNAVAILABLE. */
enum mld_error remote_read_stream(struct remote *r, const char *stream, uint64_t from, uint64_t to,
                                  http_sink *sink, void *payload);
/* Whether the server's file of this id is one with these bytes. */
enum mld_error remote_file_is(struct remote *r, const char *file_id, const char *checksum,
                              bool *out);
/* The bytes of a file from `from` on. MLD_ESUPERSEDED: a newer version took its place.
 * MLD_ENOTFOUND: the server does not have them. */
enum mld_error remote_read_file(struct remote *r, const char *file_id, uint64_t from,
                                http_sink *sink, void *payload);

#endif

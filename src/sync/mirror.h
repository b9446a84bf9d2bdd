/* mirror.h: the source of a read-only handle: a server, and what was taken from it so far. */
#ifndef SYNC_MIRROR_H
#define SYNC_MIRROR_H

#include <pthread.h>
#include <sys/types.h>

#include "base/map.h"
#include "mldash/sync.h"
#include "run/run.h"
#include "sync/remote_read.h"

/* How long a call goes on without anything arriving. */
struct mirror_patience {
    uint64_t patience_ms;
    int64_t moved_ms;       /* when the call began, or something last arrived */
    bool over;              /* it ended a request, or a wait between two */
    bool stopped;           /* the caller said so */
    mld_progress *progress; /* NULL: none */
    void *payload;
    uint64_t done_bytes, total_bytes;
};

/* A stream of another folder, as far as the mirror has it. */
struct mirror_stream {
    char id[ID_RANDOM_LEN + 1];
    uint64_t offset;          /* whole and checked up to here ... */
    struct sha256_state hash; /* ... and the hash of that */
};

struct mirror {
    mld_experiment *experiment;         /* whose source this is */
    char *url, *token, *namespace_name; /* namespace_name: NULL until it is known */
    struct sync_folder *place;          /* only the place is in it */
    uint64_t patience_ms;
    pid_t pid; /* a forked child makes a mirror of its own */

    pthread_mutex_t lock;            /* guards all below; held during a refresh */
    struct remote remote;            /* client NULL: not made yet; experiment "": not known yet */
    struct mirror_patience patience; /* of the refresh that is going on */
    struct map streams;              /* id -> struct mirror_stream */
    struct arena arena;              /* its values */
};

/* The handle's mirror; in a forked child a new one. NULL: out of memory. */
struct mirror *mirror_of(mld_experiment *experiment);
void mirror_patience_begin(struct mirror_patience *p, uint64_t patience_ms, mld_progress *progress,
                           void *payload);
/* Something arrived. False: the caller wants no more. */
bool mirror_moved(struct mirror_patience *p, size_t bytes);
/* A client whose requests end when the patience is over. */
enum mld_error mirror_client(struct http_client **out, const struct mirror *m,
                             struct mirror_patience *p);
/* After a failed request, the `failures`th in a row: MLD_OK once it may be tried again, after a
 * pause; else the error to give up with. */
enum mld_error mirror_again(const struct mirror *m, struct mirror_patience *p, enum mld_error error,
                            unsigned failures, int64_t retry_after_s);

/* With the lock, the client made and the experiment known: fetches what is new of all streams that
 * are not the folder's own, and shows it to the handle. (mirror_streams.c) */
enum mld_error mirror_streams(struct mirror *m);
/* The fetch of struct run_source. (mirror_file.c) */
enum mld_error mirror_file(void *payload, const struct run_wanted *wanted, mld_sink *sink,
                           void *sink_payload);

#endif

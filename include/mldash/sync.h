/* mldash/sync.h: send run folders to a server, and keep sending while a run goes on.
 *
 * A run folder is synced from what lies on the disk, by any process, on any machine that sees it,
 * live or dead, as often as one likes: the server is asked what it has, and only the rest is sent.
 * A file or point that was acknowledged is on the server once. Only what survives power loss here
 * is sent (about a second after it was written).
 *
 * In the background (mld_sync_start) a thread of its own does this; no call that saves or appends
 * ever waits for it. After fork() the child has no such thread, and must not use the handle but to
 * close it.
 */
#ifndef MLDASH_SYNC_H
#define MLDASH_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mldash/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What has been done and what is left, at one moment. */
struct mld_sync_status {
    uint64_t files_sent;  /* bytes arrived and were checked; small and large */
    uint64_t files_there; /* the server had them already */
    uint64_t files_left;  /* known here and not there yet */
    uint64_t bytes_sent;  /* of files, so far */
    uint64_t bytes_left;
    uint64_t lines_bytes_sent; /* of records, metrics, tracks and logs */
    uint64_t lines_bytes_left;
    uint64_t files_failed; /* will not be sent: damaged, missing, too large, refused; each was
                              reported. Streams that cannot go on count, too */
    uint64_t requests;
    bool done;            /* all that is known here, but what failed, is there */
    bool failed;          /* it has stopped for good; `message` says why */
    enum mld_error error; /* of the last failed try; MLD_OK: the last one went well */
    char message[512];    /* its message; "" when there was none */
    char experiment[40];  /* the experiment's id at the server; "" until it is known */
    char place[512];      /* "namespace/project/folder/name" */
};

/* Zero or NULL means the default. Everything is copied. */
struct mld_sync_options {
    unsigned version;           /* MLD_SYNC_OPTIONS_VERSION */
    const char *url;            /* "https://dash.example.org"; NULL: $ML_DASH_URL, then the login */
    const char *token;          /* NULL: $ML_DASH_TOKEN, then the login (ml-dash login) */
    const char *namespace_name; /* NULL: the user's own, or the prefix's first part */
    uint64_t interval_ms;       /* how long new lines may wait for others; 10 s unless told */
    unsigned part_threads;      /* parts of one file on the way at once; 2 unless told */
    /* Called now and then, and for each problem (`problem` not NULL: one line), on the thread that
     * works; must be quick. Returning false stops a call of mld_sync_folder. */
    bool (*progress)(const struct mld_sync_status *status, const char *problem, void *payload);
    void *payload;
};
#define MLD_SYNC_OPTIONS_VERSION 1
#define MLD_SYNC_OPTIONS_INIT MLD_INIT(MLD_SYNC_OPTIONS_VERSION)

/* Sends all that the run folder at `directory` holds now, and returns. `out` (NULL: not wanted)
 * gets the final numbers. Interrupted connections are tried again for `patience_ms` without any
 * progress (0: 30 s), then MLD_EUNAVAILABLE: what arrived stays, and the next call goes on from
 * there. MLD_EAUTH, MLD_EACCESS: who asks may not. MLD_EDAMAGED: everything that could be was sent,
 * and some files could not. Blocks. */
MLD_API enum mld_error mld_sync_folder(struct mld_sync_status *out, const char *directory,
                                       const struct mld_sync_options *options,
                                       uint64_t patience_ms);

typedef struct mld_sync mld_sync;

/* Starts a background thread that sends the folder until mld_sync_stop. Never waits for the
 * network. MLD_EINVALID: no URL is known; MLD_EAUTH: no token. */
MLD_API enum mld_error mld_sync_start(mld_sync **out, const char *directory,
                                      const struct mld_sync_options *options);
/* Returns once all that survived power loss here when it was called is acknowledged there, or after
 * `timeout_ms` (UINT64_MAX: never): MLD_ETIMEOUT. (mld_flush the experiment first.) MLD_EDAMAGED,
 * with `failed` of the status not set: all else is there, but some files or streams cannot be sent;
 * the message names one, mld_sync_get_failures all, and each further flush says so again. Any other
 * error: what stops it. */
MLD_API enum mld_error mld_sync_flush(mld_sync *sync, uint64_t timeout_ms);
/* The same in two steps, for who must look around while waiting: asks once, and waits for that
 * ticket as often as one likes. Asking does not block. */
MLD_API enum mld_error mld_sync_ask(mld_sync *sync, uint64_t *out_ticket);
MLD_API enum mld_error mld_sync_wait(mld_sync *sync, uint64_t ticket, uint64_t timeout_ms);
/* What cannot be sent, as found so far: the first `max` of status.files_failed, in the order in
 * which they were found; `out_n` gets how many were written. MLD_SYNC_MAX_FAILURES are kept. Does
 * not block. */
#define MLD_SYNC_MAX_FAILURES 100
struct mld_sync_failure {
    char name[600];   /* "/models/a.bin (ID) is not sent": one line, cut when it is long */
    char reason[512]; /* one line */
};
MLD_API void mld_sync_get_failures(mld_sync *sync, struct mld_sync_failure *out, size_t max,
                                   size_t *out_n);
/* Whether this file's bytes are acknowledged; with `timeout_ms` it waits that long. */
MLD_API enum mld_error mld_sync_file_is_there(mld_sync *sync, const char *file_id,
                                              uint64_t timeout_ms, bool *out);
MLD_API void mld_sync_get_status(mld_sync *sync, struct mld_sync_status *out);
/* Ends the thread, within two seconds whatever the network does; what was not sent stays in the
 * folder. NULL is fine. In a forked child only the memory goes. */
MLD_API void mld_sync_stop(mld_sync *sync);

/* --- reading what others sent
 *
 * A read-only handle that was opened with `mirrored` sees, besides its folder, what
 * mld_mirror_refresh took from a server: files, parameters, metrics, tracks and logs of all other
 * folders that are this experiment there. Lines are kept in the folder, in a cache that may be
 * deleted (docs/run-folder.md); bytes of files that are not in the folder come from the server when
 * mld_file_download or mld_file_read want them, and are checked against their SHA-256. */

#define MLD_MIRROR_PATIENCE_MS 10000

/* Zero or NULL means the default. Everything is copied. */
struct mld_mirror_options {
    unsigned version; /* MLD_MIRROR_OPTIONS_VERSION */
    const char *url;  /* as of mld_sync_options, as the next two */
    const char *token;
    const char *namespace_name;
    /* How long a call waits for a server that does not answer, or sends nothing, all tries
     * together; MLD_MIRROR_PATIENCE_MS unless told. */
    uint64_t patience_ms;
};
#define MLD_MIRROR_OPTIONS_VERSION 1
#define MLD_MIRROR_OPTIONS_INIT MLD_INIT(MLD_MIRROR_OPTIONS_VERSION)

/* Gives the handle a server. No request is made yet. Not while another thread uses the handle;
 * lasts until it is closed. MLD_EINVALID: not opened with `mirrored`, or no URL is known;
 * MLD_EAUTH: no token; MLD_ESTATE: it has one. */
MLD_API enum mld_error mld_mirror_attach(mld_experiment *experiment,
                                         const struct mld_mirror_options *options);

/* Brings the mirror up to date: one request when nothing is new. `remote_id`: the experiment's id
 * at the server (mld_sync_status); NULL: the one at this experiment's place, and when there is none
 * there is nothing to see, which is MLD_ENOTFOUND only when the folder is not a run folder either.
 * `patience_ms`: 0: that of attaching. `progress` (NULL: none) is called about once a second, and
 * for each piece, with bytes received and expected; returning false is MLD_EINTERRUPTED.
 * MLD_EUNAVAILABLE, MLD_EAUTH, MLD_EACCESS; MLD_ECHECKSUM: what arrives is not what the server has,
 * twice; MLD_ESTATE: another `remote_id` than before: open a new handle. After an error what the
 * handle shows may be older than what the server has. Blocks; one call at a time works, others
 * wait. */
MLD_API enum mld_error mld_mirror_refresh(mld_experiment *experiment, const char *remote_id,
                                          uint64_t patience_ms, mld_progress *progress,
                                          void *payload);

#ifdef __cplusplus
}
#endif
#endif

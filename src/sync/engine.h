/* engine.h: one folder on its way to one server. Everything here runs on the thread that syncs;
 * `shared` is what others may look at. */
#ifndef SYNC_ENGINE_H
#define SYNC_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "mldash/sync.h"
#include "sync/remote.h"

#define ENGINE_LINES_AT_ONCE (64u << 10) /* so many unsent bytes are sent without waiting */
#define ENGINE_INTERVAL_MS 10000
#define ENGINE_FILE_TRIES 3
#define ENGINE_MIN_BODY_BYTES (128u << 10) /* more than one small file and what is said of it */
#define ENGINE_OTHER_IDS 8
#define ENGINE_MAX_COPIES 1000 /* of one run folder, each of them resumed */

struct engine {
    char *url, *token, *namespace_name; /* own memory; namespace_name may be NULL at first */
    struct http_server server;
    struct remote remote;
    struct sync_folder *folder;
    /* Experiments that this folder was found to differ from, and the last of them: it becomes
     * another one beside that. */
    unsigned copies;
    char from[REMOTE_ID_MAX];
    bool diverging;    /* just found: the round begins anew */
    bool looked;       /* for what other tools wrote */
    size_t body_bytes; /* of lines or small files in one request */
    uint64_t interval_ms;
    unsigned part_threads;
    bool (*progress)(const struct mld_sync_status *status, const char *problem, void *payload);
    void *payload;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct mld_sync_status status;
    uint64_t part_requests; /* of threads that send parts */
    struct map there;       /* ids of files that are acknowledged */
    struct arena there_ids;
    struct mld_sync_failure *failures[MLD_SYNC_MAX_FAILURES]; /* own memory */
    size_t n_failures;
};

/* Looks up URL and token; opens the folder. Nothing is sent yet. */
enum mld_error engine_open(struct engine **out, const char *directory,
                           const struct mld_sync_options *options);
void engine_free(struct engine *e); /* NULL is fine */

/* Looks at the folder and sends what is due; with `all` everything that may be sent. MLD_OK: it was
 * sent (status.done tells whether anything is left). MLD_EUNAVAILABLE, MLD_ENOSPACE, MLD_ECONFLICT:
 * worth trying again later. */
enum mld_error engine_round(struct engine *e, bool all);
/* Whether a further round could help after this error. */
bool engine_is_passing(enum mld_error error);
/* How long to wait before it, after `failures` in a row: with jitter, and as the server said. */
int64_t engine_pause_ms(int64_t retry_after_s, unsigned failures);

/* For the engine's own files. */
/* Streams: new ones are asked for, due ones sent (engine_streams.c). */
enum mld_error engine_send_streams(struct engine *e, bool all);
/* After a 413: a proxy in between takes less than the protocol says. Halves body_bytes; false: it
 * is as small as it gets. */
bool engine_send_less(struct engine *e);
/* Files whose records were read (engine_files.c), and one large one (engine_upload.c). */
enum mld_error engine_send_files(struct engine *e);
/* MLD_EEXISTS: the id is another file's. MLD_ECHECKSUM, MLD_EIO, MLD_EINVALID, MLD_ETOOLARGE: this
 * file will never be there. MLD_ESUPERSEDED: the server has given it up. `fd`: its bytes. */
enum mld_error engine_upload(struct engine *e, const struct sync_file *file, int fd);
/* Another id for a file whose own another machine has used: made of the record's stream and id, so
 * that whoever sends it, and however often, comes upon the same. False: no more of them. */
bool engine_take_other_id(struct sync_file *file);
/* Sleeps, until it is told to stop. */
void engine_sleep(const struct engine *e, int64_t ms);

/* What others see (engine_status.c). */
/* `file` is acknowledged; or will never be, for a reason that is said. */
void engine_file_is_there(struct engine *e, const struct sync_file *file, bool sent);
void engine_file_failed(struct engine *e, const struct sync_file *file, const char *reason);
/* Nothing of this stream can go on: it is said once, and all others go on. */
void engine_stream_failed(struct engine *e, struct sync_stream *s, const char *reason);
/* With the lock: MLD_EDAMAGED when something failed so. */
enum mld_error engine_check_failures(const struct engine *e);
/* Which files are there and which failed: of another experiment. */
void engine_forget_files(struct engine *e);
/* Tells the user: one line. */
void engine_say(struct engine *e, const char *problem);
/* Counts what is left, wakes who waits, calls `progress`. */
void engine_report(struct engine *e);
/* Adds to a counter of the status. */
void engine_count(struct engine *e, uint64_t *counter, uint64_t n);
/* A path of stored bytes below the folder; false when it does not fit. */
enum mld_error engine_open_bytes(struct engine *e, const struct sync_file *file, int *out_fd);

#endif

/* run.h: one open run folder of this process, shared by all handles to it.
 *
 * Every public function has this form: run_enter (fork check, state check, lock), work on
 * run->state and run->records, run_leave. Long work (copying bytes, fsync, hashing) is done without
 * the lock. Lock order: registry, run->lock, keeper->lock. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/json.h"
#include "mldash/file.h"
#include "run/keeper.h"
#include "run/slot.h"
#include "run/state.h"
#include "run/stream.h"

#define RUN_MIRROR_ROOT ".mldash/remote"
#define RUN_MIRROR_MAX 64
#define RUN_MIRROR_RECORDS ".records.jsonl" /* behind a stream's id */

/* How far one records shard has been read. */
struct shard_cursor {
    struct record_origin origin;
    char name[SHARD_NAME_MAX];      /* of the mirror's: stream id and RUN_MIRROR_RECORDS */
    char stream[ID_RANDOM_LEN + 1]; /* its id; "" until its first line was read */
    off_t offset;                   /* of the first byte not read yet */
    bool mine;     /* this writer's own: never read, its records are applied when written */
    bool ended;    /* its last record is `end` */
    bool replaced; /* gc put what matters of it into another shard */
    struct shard_cursor *next;
};

struct open_series; /* series.c */
struct run {
    /* constant after open */
    dev_t device;
    ino_t inode;
    int dir_fd;
    char *dir; /* absolute */
    bool read_only;
    bool tidies;   /* opened for gc alone: says so in its `stream` record */
    bool mirrored; /* a reader that counts the mirror in */
    bool
        network; /* a file system shared by machines: other writers' and old versions wait for gc */
    char experiment_id[ID_RANDOM_LEN + 1]; /* "" when there is no format.json */

    pthread_mutex_t lock; /* guards all below */
    unsigned handles;
    unsigned running; /* handles that have not ended the run; with the last one the writer ends */
    enum mld_status worst; /* of those that ended */
    char *failure;         /* why the first of them FAILED; NULL: unknown */
    bool ended;
    struct slot slot; /* number -1 when read_only */
    struct state state;
    struct shard_cursor *cursors;
    struct stream_set streams;
    struct stream *records; /* NULL when read_only */
    struct stream *logs;    /* NULL until the first line */
    struct open_series *series;
    struct keeper *keeper;       /* NULL when read_only */
    struct json_doc doc;         /* scratch for parsing */
    struct buf line;             /* scratch for one record or line; cleared by its user */
    char mirror[RUN_MIRROR_MAX]; /* ".mldash/remote/{experiment}"; "": nothing is mirrored yet */
};

/* Where the bytes of files come from that are not in the folder. */
struct run_wanted {
    const char *id; /* of its record */
    const char *checksum;
    uint64_t size;
    const char *stream; /* of its record, when another file has this id, too; else NULL */
};
struct run_source {
    /* All bytes of a file, in order; ends when `sink` returns false. NULL: there is none. */
    enum mld_error (*fetch)(void *payload, const struct run_wanted *wanted, mld_sink *sink,
                            void *sink_payload);
    void (*free)(void *payload);
    void *payload;
};

struct mld_experiment {
    struct run *run;
    uint64_t generation; /* of forks, when `run` was opened */
    pid_t opened_by;     /* only this process ends the run */
    bool ended;          /* by this handle */
    int keep;            /* normalised: >= 1 or MLD_KEEP_ALL */
    uint64_t max_file_bytes;
    bool read_only;
    bool mirrored;
    char *dir; /* absolute: to open it again in a child */
    struct run_source source;
};

enum run_need { RUN_READ, RUN_WRITE };

/* Begins a call: opens the folder anew in a forked child, refuses writes on a read-only or ended
 * run (MLD_ESTATE), reports a failure of the background fsync once (RUN_WRITE), and takes the lock.
 * On MLD_OK, *out is locked: run_leave it. */
enum mld_error run_enter(struct run **out, mld_experiment *experiment, enum run_need need);
void run_leave(struct run *run);

/* Both need the lock. A clock for the next record: above all seen. */
int64_t run_clock(struct run *run);
/* Reads what other writers have added to their records shards since the last look. */
enum mld_error run_refresh(struct run *run);
/* Writes one record (record_begin ... record_end) to this writer's shard and applies it to the
 * state. When the shard is broken, goes on in a new one. */
enum mld_error run_write_record(struct run *run, const struct buf *line);
/* Opens this writer's shard of a stream in folder `dir` ("logs", "metrics/loss") with this stem
 * ("logs", "data"): continues the slot's last part or, when that is broken, begins the next. Its id
 * is the one that earlier records gave it, else new; *out_is_new: no record names it yet, so the
 * caller writes one before its first line. `known`: the list of shards in which earlier records are
 * looked up. */
enum mld_error run_open_stream(struct run *run, struct stream **out, bool *out_is_new,
                               const char *dir, const char *stem, const struct shard_entry *known);
/* Tells the keeper that the stream has lines that are not durable. */
void run_stream_written(struct run *run, struct stream *stream);
/* True when the writer of this slot is certainly gone, its own current one is not. */
bool run_slot_is_gone(struct run *run, unsigned slot);
/* Status of the whole run as its records say; needs the lock. `without_us`: as if this writer had
 * ended. */
struct run_status run_status(struct run *run, bool without_us);

/* Opening and closing, for experiment.c. `dir`: absolute or relative path of the run folder, made
 * when missing, for writing. */
enum run_purpose { RUN_FOR_READING, RUN_FOR_MIRRORED, RUN_FOR_WRITING, RUN_FOR_GC };
static inline bool run_purpose_reads(enum run_purpose purpose)
{
    return purpose == RUN_FOR_READING || purpose == RUN_FOR_MIRRORED;
}
enum mld_error run_acquire(struct run **out, const char *dir, enum run_purpose purpose);
/* Drops one handle; the last one flushes, gives the slot back (`clean`) and frees. */
void run_release(struct run *run);
/* The last handle of this writer ended: status and views (when it has one), `end`, all durable,
 * then the slot. */
enum mld_error run_end_writer(struct run *run, bool owns_status);
uint64_t run_fork_generation(void);

#endif

/* mldash/experiment.h: open, resume and end an experiment's run folder.
 *
 * An open experiment is a handle to one folder. Within a process, opening the same folder again
 * gives a second handle to the same writer. Every function of this library may be called from any
 * thread; calls on one experiment that write are put in order by a lock inside. After fork(), the
 * child's handle is a new writer as soon as it is used; the child never ends the run.
 */
#ifndef MLDASH_EXPERIMENT_H
#define MLDASH_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mldash/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mld_experiment mld_experiment;

enum mld_status {
    MLD_UNKNOWN, /* a folder of another tool, which stores none */
    MLD_RUNNING,
    MLD_COMPLETED,
    MLD_FAILED,
    MLD_CANCELLED
};

#define MLD_KEEP_DEFAULT 0
#define MLD_KEEP_ALL (-1)
#define MLD_MAX_REASON_BYTES 4096
#define MLD_MAX_FILE_BYTES (UINT64_C(5) * 1024 * 1024 * 1024)

/* Zero or NULL means the default. Everything is copied. */
struct mld_experiment_options {
    unsigned version; /* MLD_EXPERIMENT_OPTIONS_VERSION */
    const char
        *root; /* NULL: ".ml-dash" with name and project, ".dash" with prefix; made when missing */
    const char *name; /* with project: {root}/[{folder}/]{project}/{name} */
    const char *project;
    const char *folder;    /* "a/b", NULL: none */
    const char *prefix;    /* instead of the three: "owner/project/.../name" below root */
    const char *directory; /* instead of all above: the experiment's own folder, which must exist */

    /* What is not NULL replaces what the experiment has. */
    const char *description;
    const char *const *tags; /* n_tags strings; NULL: keep */
    size_t n_tags;
    const char *const *bindrs;
    size_t n_bindrs;
    const char *metadata_json; /* a JSON object without NaN */

    int keep; /* versions of a file that stay: 1 unless told (the newest only); MLD_KEEP_ALL */
    uint64_t max_file_bytes; /* a larger file is MLD_ETOOLARGE; MLD_MAX_FILE_BYTES unless told */
    bool read_only;          /* nothing is written, the folder may be read-only; the status stays */
    bool mirrored; /* with read_only: what mld_mirror_refresh (sync.h) took from a server counts as
                      part of the folder, which is made when missing */
};
#define MLD_EXPERIMENT_OPTIONS_VERSION 1
#define MLD_EXPERIMENT_OPTIONS_INIT MLD_INIT(MLD_EXPERIMENT_OPTIONS_VERSION)

/* Opens (makes, or resumes) an experiment; unless read_only its status becomes RUNNING. *out is
 * owned by the caller until mld_experiment_close. MLD_ENAME, MLD_EINVALID: bad options, nothing was
 * made. MLD_ENOTFOUND: `directory` or, with read_only, the experiment does not exist. MLD_EFORMAT:
 * written by a newer version. Blocks on I/O: reads the folder's records. */
MLD_API enum mld_error mld_experiment_open(mld_experiment **out,
                                           const struct mld_experiment_options *options);

/* Ends the run: everything is made durable, views for other tools are written, the status is
 * recorded (COMPLETED, FAILED or CANCELLED). With other writers still alive, theirs decides: the
 * run is COMPLETED when the last one ended, and any FAILED wins. Ending twice is fine, the first
 * counts. In a forked child it ends the child's own writing only. Blocks on fsync. An error means
 * that something may not be durable: the message says what. */
MLD_API enum mld_error mld_experiment_end(mld_experiment *experiment, enum mld_status status);

/* mld_experiment_end with MLD_FAILED, and why: `reason` ("ValueError: no such layer") is kept with
 * the status, see mld_experiment_info.error, as one line: control characters become spaces, and
 * what is beyond MLD_MAX_REASON_BYTES is cut. NULL or empty: no reason. */
MLD_API enum mld_error mld_experiment_fail(mld_experiment *experiment, const char *reason);

/* Gives the handle back (NULL is fine). An experiment that was not ended stays RUNNING, as after a
 * crash; what was written is made durable first, as by mld_flush; failures of that are reported by
 * the next open. Blocks on fsync. */
MLD_API void mld_experiment_close(mld_experiment *experiment);

/* Returns once everything acknowledged so far survives power loss. The first failure of the
 * background fsync is reported here, too. Blocks. */
MLD_API enum mld_error mld_flush(mld_experiment *experiment);

/* Writes the views that other tools read: experiment.json, parameters.json, metadata.json of
 * series, files/.files_metadata.json. The end of the run does it, too. */
MLD_API enum mld_error mld_experiment_write_views(mld_experiment *experiment);

/* A snapshot; free with mld_experiment_info_free. */
struct mld_experiment_info {
    const char *id; /* 32 hex digits; "" for a folder of another tool */
    const char *name;
    const char *project;
    const char *folder;      /* NULL: none */
    const char *prefix;      /* NULL: the name/project layout */
    const char *directory;   /* absolute path */
    const char *description; /* NULL: none */
    const char *const *tags;
    size_t n_tags;
    const char *const *bindrs;
    size_t n_bindrs;
    const char *metadata_json; /* NULL: none */
    enum mld_status status;
    const char *created_at; /* ISO 8601, UTC; NULL: unknown */
    const char *started_at; /* of the last RUNNING */
    const char *ended_at;   /* NULL while running */
    const char *error;      /* why it FAILED, by the first writer that did; NULL: not, or unknown */
    bool lost;              /* RUNNING, but no sign of life for 5 minutes; for display */
    size_t n_files, n_metrics, n_tracks; /* newest, not deleted files */
    uint64_t file_bytes;
    uint64_t n_problems; /* torn, garbled or damaged lines and files met at opening or while
                            reading since: mld_verify lists them */
    const char *warning; /* one line for people when n_problems > 0, else NULL */
};
MLD_API enum mld_error mld_experiment_info(struct mld_experiment_info **out,
                                           mld_experiment *experiment);
MLD_API void mld_experiment_info_free(struct mld_experiment_info *info);

/* Changes what is not NULL; see the options of the same names. */
MLD_API enum mld_error mld_experiment_update(mld_experiment *experiment,
                                             const struct mld_experiment_options *options);

/* "RUNNING" and so on: a constant string. */
MLD_API const char *mld_status_name(enum mld_status status);

#ifdef __cplusplus
}
#endif
#endif

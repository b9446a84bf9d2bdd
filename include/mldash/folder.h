/* mldash/folder.h: find, verify and tidy run folders. */
#ifndef MLDASH_FOLDER_H
#define MLDASH_FOLDER_H

#include "mldash/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The run folders at or below `root`, by path. Free with mld_folders_free. MLD_ENOTFOUND: no such
 * folder. */
struct mld_folders {
    size_t count;
    const char *const *paths;
};
MLD_API enum mld_error mld_folders_find(struct mld_folders **out, const char *root);
MLD_API void mld_folders_free(struct mld_folders *folders);

/* What verify and gc found, or did. Every problem has the name of what it concerns. */
enum mld_problem {
    MLD_PROBLEM_MISSING,  /* a record whose bytes are gone */
    MLD_PROBLEM_SIZE,     /* stored bytes of another size */
    MLD_PROBLEM_CHECKSUM, /* stored bytes that changed */
    MLD_PROBLEM_UNREADABLE,
    MLD_PROBLEM_GARBLED, /* a line in a stream that does not parse or whose CRC is wrong */
    MLD_PROBLEM_TORN,    /* an unterminated last line of a writer that is gone */
    MLD_PROBLEM_MARK,    /* a stream that differs from what was made durable */
    MLD_PROBLEM_DAMAGED, /* recorded as damaged before */
    MLD_PROBLEM_UNSAFE,  /* an fsync failed: it may not have survived */
    MLD_PROBLEM_ORPHAN,  /* bytes without a record; no loss */
    MLD_PROBLEM_VIEW,    /* a view of another tool that could not be read */
    MLD_PROBLEM_FOREIGN  /* something in the folder that does not belong: a symlink, a device, a
                            stray file */
};
struct mld_finding {
    enum mld_problem problem;
    const char *name;   /* path relative to the run folder */
    const char *detail; /* one line */
    uint64_t offset;    /* in the file, where that means something */
    uint64_t bytes;     /* concerned, or freed by gc */
    bool loss;          /* data was lost or changed; false: only noted */
};
struct mld_report {
    size_t count;
    const struct mld_finding *findings;
    size_t n_losses; /* findings with `loss` */
    uint64_t files_checked, bytes_checked, lines_checked;
    uint64_t files_removed, bytes_freed; /* gc */
    uint64_t bytes_reclaimable;          /* verify: what gc would free now */
};
MLD_API void mld_report_free(struct mld_report *report);
/* "missing", "checksum" ...: a constant string. */
MLD_API const char *mld_problem_name(enum mld_problem problem);

/* Checks every record, line and stored byte. Writes nothing. MLD_OK means that the check ran, not
 * that all is well: see n_losses. With `quick`, sizes only. */
MLD_API enum mld_error mld_verify(struct mld_report **out, mld_experiment *experiment, bool quick,
                                  mld_progress *progress, void *payload);

struct mld_gc_options {
    unsigned version; /* MLD_GC_OPTIONS_VERSION */
    bool offline;     /* the caller knows that nobody writes: orphans of unknown writers go, too,
                         whatever their age */
    bool dry_run;     /* only report */
    int64_t orphan_age_s; /* an orphan is left alone when younger; 0: 3,600 */
};
#define MLD_GC_OPTIONS_VERSION 1
#define MLD_GC_OPTIONS_INIT MLD_INIT(MLD_GC_OPTIONS_VERSION)
/* Frees the bytes of deleted files, of versions that `keep` let go, and of orphans whose writer is
 * gone; rewrites record streams of writers that are gone. Works on a full disk. `experiment` may be
 * read_only: then the run's status and times stay as they are. */
MLD_API enum mld_error mld_gc(struct mld_report **out, mld_experiment *experiment,
                              const struct mld_gc_options *options);

/* The library's version: "0.1.0". */
MLD_API const char *mld_version(void);

#ifdef __cplusplus
}
#endif
#endif

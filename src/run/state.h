/* state.h: what all records of a folder say together, in memory. Records are applied one by one, in
 * any order: for each member the highest (clock, slot) wins, and an update of an unknown id waits
 * for it. Not thread-safe: the run's lock guards it. */
#ifndef RUN_STATE_H
#define RUN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/map.h"
#include "mldash/experiment.h"
#include "mldash/folder.h"
#include "mldash/series.h"

/* When and by whom something was said: compares as one number, (clock << 10) | slot. */
typedef uint64_t state_stamp;
static inline state_stamp state_stamp_of(int64_t clock, unsigned slot)
{
    return ((uint64_t)clock << 10) | slot;
}

struct string_list {
    const char *const *items;
    size_t count;
};

struct file_entry {
    const char *id;
    const char *path;
    const char *filename;
    const char *description;
    struct string_list tags;
    struct string_list bindrs;
    const char *content_type;
    uint64_t size_bytes;
    const char *checksum;
    const char *metadata; /* JSON text */
    const char *uploaded_at;
    const char *updated_at;
    const char *deleted_at; /* NULL: not deleted */
    const char *retired_by; /* id; NULL: not retired */
    int keep;               /* versions to keep, as given at its save; 0: default */
    unsigned slot;
    state_stamp stamp; /* of the file record; 0: not known yet, only updates so far */
    state_stamp description_stamp, tags_stamp, bindrs_stamp, metadata_stamp, deleted_stamp,
        retired_stamp, removed_stamp;
    bool removed; /* bytes were collected */
    bool gone;    /* replaced or removed by another tool */
    bool damaged;
    bool mine;      /* saved by this writer */
    bool foreign;   /* saved by another tool: its id does not tell a slot */
    bool mirrored;  /* another folder's */
    bool contested; /* another file has the id of its record, too; at the server either may */
    const char *recorded_id; /* contested: the id of its record, when it is not `id` */
    const char *shard; /* records shard of the file record, e.g. "records.7.jsonl"; NULL: only a
                          view tells of it, and the folder is open for reading */
    struct name_entry *name;
    struct file_entry *older; /* the next older version of the same name */
};

/* One (path, filename). */
struct alias_entry {
    const char *alias;
    const char *id; /* NULL: taken away */
    state_stamp stamp;
    struct alias_entry *next;
};
struct name_entry {
    const char *path;
    const char *filename;
    struct file_entry *versions; /* newest first, in whatever state */
    struct alias_entry *aliases;
};

struct param_entry {
    const char *name;
    size_t name_len;
    const char *json;
    state_stamp stamp;
};

/* One shard of a series or of the logs. */
struct shard_entry {
    const char *file;   /* relative to the run folder: "metrics/loss/data.jsonl" */
    const char *stream; /* its id; NULL: a file without record (another tool's) */
    uint64_t base;
    state_stamp first; /* of its first record: the merged order; 0 without record */
    unsigned slot;
    struct shard_entry *next; /* of the same series, in merged order */
};
struct series_entry {
    enum mld_series_kind kind;
    const char *name; /* NULL: unnamed */
    const char *dir;
    const char *description;
    struct string_list tags;
    const char *metadata;
    state_stamp
        info_stamp; /* the lowest that gave a description, tags or metadata: the first stays */
    struct shard_entry *shards;
    struct series_entry *next;
    void *reader; /* cached line offsets, owned by series_read.c */
};

struct status_entry { /* one per writer */
    const char *writer;
    unsigned slot;
    const char *mirrored; /* the mirror's shard that it wrote: another folder's; NULL: ours */
    enum mld_status status;
    const char *started_at;
    const char *ended_at;
    const char *error;   /* why it FAILED; NULL: unknown */
    state_stamp started; /* of its `stream` record */
    state_stamp stamp;   /* of its last status or end */
    bool ended;          /* its `end` was seen, or its slot was taken by another */
    bool tidies;         /* opened only for gc: no sign that the run goes on */
    const char *boot;
    const char *host;
    struct status_entry *next;
};

struct problem_entry {
    enum mld_problem problem;
    const char *name;
    const char *detail;
    uint64_t offset;
    bool found_again; /* by verify, which need not be told of it */
    struct problem_entry *next;
};

/* A view as this library last wrote it. */
struct view_entry {
    const char *file;
    uint64_t size;
    const char *checksum;
    state_stamp stamp;
    struct view_entry *next;
};

/* How far a records shard was checked after another boot. */
struct checked_entry {
    const char *stream;
    uint64_t length;
    struct checked_entry *next;
};

struct experiment_entry {
    const char *name, *project, *folder, *prefix, *description, *metadata;
    const char *created_at; /* from format.json, or another tool's */
    struct string_list tags, bindrs;
    state_stamp place_stamp, description_stamp, tags_stamp, bindrs_stamp, metadata_stamp;
    bool has_tags, has_bindrs;
};

struct state {
    struct arena arena;       /* everything above lives here until state_free */
    struct map files;         /* id -> struct file_entry */
    struct map names;         /* path NUL filename -> struct name_entry */
    struct map params;        /* name -> struct param_entry */
    struct map series_by_key; /* 'm' or 't', name -> struct series_entry */
    struct map series_by_dir; /* "metrics/loss" -> the first struct series_entry there */
    struct map shards;        /* file -> struct shard_entry */
    struct map interned;
    struct map renamed; /* shard "/" id, as its records say -> the file's id here */
    struct file_entry *
        *all_files; /* with stamp != 0, in order of stamp once state_sort_files was called */
    size_t n_files, files_capacity;
    bool files_sorted;
    struct param_entry **all_params; /* in order of first use */
    size_t n_params, params_capacity;
    struct series_entry *series; /* in order of first record */
    struct series_entry *last_series;
    struct shard_entry *log_shards;
    struct status_entry *statuses;
    struct problem_entry *problems; /* met while reading or recorded; newest first */
    struct map lost_lines;          /* those of them that are lines, by place */
    size_t n_problems;
    struct view_entry *views;
    struct checked_entry *checked;
    struct experiment_entry experiment;
    int64_t max_clock;
};

/* Where a record comes from. */
struct record_origin {
    unsigned slot;
    const char *shard;  /* file name of the records shard, interned by the state */
    const char *writer; /* set by the last `stream` record of the shard; NULL before */
    bool mine;          /* written by this writer itself */
    const char *mirror; /* folder of the mirror it lies in: another run folder's; NULL: our own */
};

void state_init(struct state *s);
void state_free(struct state *s);
/* Applies one parsed record. A `stream` record sets origin->writer. Unknown types and members are
 * skipped. Only MLD_ENOMEM; a record whose members have wrong types is MLD_EDAMAGED with the
 * reason, and applied not at all. */
enum mld_error state_apply(struct state *s, const struct json_doc *doc,
                           struct record_origin *origin);
/* The same line (garbled or torn, by name and offset) is told of once, in the last words. */
enum mld_error state_problem(struct state *s, enum mld_problem problem, const char *name,
                             uint64_t offset, const char *detail);

/* Lookups; NULL when there is none. state_file finds only ids whose file record is known. */
struct file_entry *state_file(const struct state *s, const char *id);
struct name_entry *state_name(const struct state *s, const char *path, const char *filename);
struct series_entry *state_series(const struct state *s, enum mld_series_kind kind,
                                  const char *name);
/* The version that a name stands for; NULL when all are deleted or gone. */
struct file_entry *state_newest(const struct name_entry *name);
/* True when the version can be listed: known, not retired, not gone. Deleted ones, too. */
bool state_is_listed(const struct file_entry *f);
bool state_has_alias(const struct file_entry *f);
void state_sort_files(struct state *s);

/* Status of the whole run, from the writers': RUNNING while one that has not ended is alive, or
 * when the last to open never ended. Else it is decided by the last to open and those that ended
 * after it opened: any FAILED wins, then CANCELLED. `is_alive` is asked for slots. Out-parameters
 * may be NULL. */
typedef bool state_is_alive(unsigned slot, void *payload);
struct run_status {
    enum mld_status status;
    bool alive; /* a writer is alive or unknown */
    const char *started_at;
    const char *ended_at;
    const char *error; /* of the first writer that FAILED and said why */
};
struct run_status state_status(const struct state *s, state_is_alive *is_alive, void *payload);

/* A copy in the arena, one per different text: for paths and content types. */
const char *state_intern(struct state *s, const char *text, size_t len);
struct series_entry *state_add_series(struct state *s, enum mld_series_kind kind, const char *name,
                                      const char *dir);
/* Adds a shard without record (another tool's file) if it is not known yet; `list` is
 * &series->shards or &state->log_shards. */
enum mld_error state_add_shard(struct state *s, struct shard_entry **list, const char *file,
                               unsigned slot);

#endif

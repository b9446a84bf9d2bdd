/* apply_internal.h: what the parts of apply.h share.
 *
 * Records are parsed first; each names its targets, the documents that it changes. All targets are
 * read together, changed in memory, and written together; those that another changed meanwhile are
 * read and changed again. apply.c does that; apply_file.c and apply_run.c know what records mean.
 */
#ifndef SERVER_APPLY_INTERNAL_H
#define SERVER_APPLY_INTERNAL_H

#include "base/json.h"
#include "base/map.h"
#include "server/apply.h"
#include "server/doc.h"
#include "server/experiment_doc.h"
#include "server/file_doc.h"

#define APPLY_MAX_TRIES 64

struct apply_record {
    struct json_doc json; /* nodes in the arena */
    struct doc_stamp stamp;
    const char *stream;
    unsigned slot;
    const char *writer; /* NULL: none yet */
};

struct apply;
struct target;
/* One change of one target by one record. */
struct change {
    const struct apply_record *record;
    /* Changes the target's document in memory. MLD_EDAMAGED: the record's members have wrong types;
     * it is skipped. */
    enum mld_error (*run)(struct apply *a, struct target *t, const struct change *c);
    const char *name;             /* of a parameter */
    const struct json_node *node; /* its value */
    struct change *next;
};

enum target_kind {
    TARGET_FILE,
    TARGET_NAME,
    TARGET_PARAM,
    TARGET_SERIES,
    TARGET_SHARD,
    TARGET_WRITER,
    TARGET_EXPERIMENT,
    TARGET_KINDS
};

struct param_doc {
    const char *name, *value;
    struct doc_stamp stamp;
    int64_t first;
};
struct series_doc {
    const char *kind, *name; /* name NULL: unnamed */
    const char *description, *metadata;
    struct text_list tags;
    struct doc_stamp info_stamp; /* the lowest that gave one of these */
    int64_t first;
};
struct shard_doc {
    const char *kind, *series, *file; /* series: the hash of its kind and name; NULL for logs */
    int64_t base;
    int64_t first;
};
struct writer_doc {
    int64_t slot;
    const char *status; /* NULL: it never said one */
    const char *started_at, *ended_at;
    const char *failure; /* why, when FAILED and known */
    struct doc_stamp started, stamp;
    bool ended;
};
struct alias {
    const char *name;
    const char *id; /* NULL: taken away */
    const char *stream;
    struct doc_stamp stamp;
};
struct name_doc {
    const char *experiment, *path, *filename;
    struct alias aliases[FILE_MAX_ALIASES];
    size_t n;
};

/* One document that records change. */
struct target {
    enum target_kind kind;
    const char *partition, *id; /* in the apply's arena */
    const char *key; /* of a shard: the hash of its series; of a file: its id in records */
    const char *moved[FILE_MAX_TWINS]; /* streams whose changes went to a twin */
    size_t n_moved;
    struct change *changes, **last_change;
    struct change *newest_change; /* the one added last */
    struct target *next;
    bool done;
    /* As read in this try, in `scratch`. */
    const struct meta_doc *stored; /* NULL: there is none */
    union {
        struct file_doc file;
        struct name_doc name;
        struct param_doc param;
        struct series_doc series;
        struct shard_doc shard;
        struct writer_doc writer;
        struct experiment_doc experiment;
    } doc;
};

struct apply {
    struct meta *meta;
    const struct apply_place *place;
    struct arena arena;   /* records, targets: until the end */
    struct arena scratch; /* documents: of one try */
    struct map by_key;    /* partition NUL id */
    struct target *targets, **last_target;
    size_t n_targets;
    char exp_partition[64], files_partition[64];
};

/* The target, made when missing; NULL when out of memory. */
struct target *apply_target(struct apply *a, enum target_kind kind, const char *partition,
                            const char *id);
enum mld_error apply_change(struct apply *a, struct target *t, const struct apply_record *record,
                            enum mld_error (*run)(struct apply *, struct target *,
                                                  const struct change *));
static inline struct doc_reader apply_reader(struct apply *a, const struct apply_record *record)
{
    return (struct doc_reader){&record->json, json_root(&record->json), &a->arena, MLD_OK};
}
/* True, and *stamp raised, when the record is the later word. */
bool apply_later(struct doc_stamp *stamp, const struct apply_record *record);

/* What each record type changes: adds targets and changes. MLD_EDAMAGED: skip the record. */
enum mld_error apply_plan_file(struct apply *a, const struct apply_record *record,
                               const char *type);
enum mld_error apply_plan_run(struct apply *a, const struct apply_record *record, const char *type);

/* Reads and writes documents of each kind. A target without document starts empty. */
enum mld_error apply_read_target(struct apply *a, struct target *t);
enum mld_error apply_write_target(struct apply *a, struct target *t, struct meta_doc *out);
enum mld_error name_doc_read(struct name_doc *out, struct arena *arena, const struct meta_doc *doc);
enum mld_error name_doc_write(const struct name_doc *n, struct arena *arena, const char *partition,
                              const char *id, int64_t revision, struct meta_doc *out);
enum mld_error writer_doc_read(struct writer_doc *out, struct arena *arena,
                               const struct meta_doc *doc);

/* Sends changes of twins to their own documents: for all file targets that were read. *out_more:
 * there are targets that were not read yet. */
enum mld_error apply_split_twins(struct apply *a, bool *out_more);
/* After all writes. */
enum mld_error apply_settle_files(struct apply *a);
enum mld_error apply_status(struct apply *a, bool *out_ended);

#endif

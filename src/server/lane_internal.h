/* lane_internal.h: what the parts of lane.h share.
 *
 * lane.c: the cache and appending. lane_batch.c: batch documents as text. lane_load.c: a lane's
 * state from the store. lane_seal.c: sealed ranges, written. lane_table.c: their tables.
 * lane_read.c: bytes, read. */
#ifndef SERVER_LANE_INTERNAL_H
#define SERVER_LANE_INTERNAL_H

#include <pthread.h>

#include "base/buf.h"
#include "base/map.h"
#include "server/apply.h"
#include "server/lane.h"

#define LANE_PARTITION_BYTES 64
#define LANE_FIND_BATCHES 16 /* documents of up to META_MAX_BODY_BYTES each are read at once */
#define LANE_APPLIED_EVERY 64
#define LANE_MAX_TRIES 64
#define LANE_DAMAGED_LOOKS 8
#define LANE_LOOK_PAUSE_NS 5000000
#define LANE_BUCKETS 1024

/* One stream as the lane has it. */
struct lane_stream {
    char id[ID_RANDOM_LEN + 1];
    enum stream_kind kind;
    unsigned slot;
    const char *file;
    uint64_t lines;
    uint64_t garbled;
    struct sha256_state at;         /* its len is the offset */
    struct sha256_state before;     /* as it was before its last append */
    char writer[ID_RANDOM_LEN + 1]; /* records: of the last `stream` line; "": none yet */
};

/* The state of a lane after some batch: streams by id. */
struct lane_state {
    struct arena arena;
    struct map by_id;
    struct lane_stream **streams;
    size_t n, capacity;
};
void lane_state_free(struct lane_state *s);
struct lane_stream *lane_state_find(const struct lane_state *s, const char *id);
/* The stream, made when missing. MLD_ENOMEM. */
enum mld_error lane_state_add(struct lane_state *s, struct lane_stream **out, const char *id,
                              enum stream_kind kind, unsigned slot, const char *file);

/* One stream's part of a batch. */
struct batch_entry {
    const char *id;
    uint64_t offset;
    uint64_t length;
    uint64_t lines;   /* in this batch */
    uint64_t garbled; /* in this batch */
    struct sha256_state after;
    const char *writer; /* after this batch; NULL: none */
    enum stream_kind kind;
    unsigned slot;
    const char *file;
    const char *data; /* NULL unless the bytes were asked for */
};
/* A batch document, read. */
struct batch {
    uint64_t number;
    struct batch_entry *entries;
    size_t n;
    const char *nonce; /* of whom inserted it */
    struct buf bytes;
};
void lane_batch_free(struct batch *batch);
/* Writes its text. */
void lane_batch_write(struct buf *text, const struct batch *batch);
/* Reads the text, and with `bytes` also unpacks the data. Texts live in `arena`. */
enum mld_error lane_batch_read(struct batch *out, struct arena *arena, const struct meta_doc *doc,
                               bool bytes);
/* Moves the state over a batch. MLD_EDAMAGED when it does not continue it. */
enum mld_error lane_state_advance(struct lane_state *s, const struct batch *batch);

/* A sealed range's document. Its blob begins with `table_bytes` of packed table. */
struct seal {
    bool exists;
    uint64_t first, last;
    const char *key;
    uint64_t table_bytes;
};
/* One stream in such a table: its state at the end of the range, and where its bytes of the range
 * are. */
struct seal_stream {
    struct lane_stream stream;
    uint64_t start;                  /* offset of its first byte in this blob */
    struct sha256_state start_state; /* of the bytes before it */
    uint64_t length;                 /* 0: none here */
    uint64_t position, packed;       /* bytes in the blob, counted from the table's end */
};
struct seal_table {
    struct arena arena;
    struct seal_stream *streams;
    size_t n;
};
enum mld_error seal_table_write(struct buf *out, const struct seal_table *table);
enum mld_error seal_table_load(struct seal_table *out, struct blob *blob, const struct seal *seal);
void seal_table_free(struct seal_table *table);
/* The last sealed range with last < `below` (UINT64_MAX: any). Texts live in `arena`. */
enum mld_error seal_last(struct seal *out, struct arena *arena, struct meta *meta,
                         const char *experiment, uint64_t below);
/* The one that begins with this number; `exists` is false when there is none. */
enum mld_error seal_at(struct seal *out, struct arena *arena, struct meta *meta,
                       const char *experiment, uint64_t first);
void seal_id(char out[32], uint64_t first);

struct lane {
    char experiment[ID_FILE_MAX + 1];
    struct lanes *lanes;
    unsigned users;             /* guarded by lanes->lock, as is what follows up to `lock` */
    struct lane *next;          /* in its bucket */
    struct lane *newer, *older; /* of those without users, by when they were used */
    pthread_mutex_t lock;
    /* Guarded by `lock`. */
    bool loaded;
    char project[ID_FILE_MAX + 1];
    bool ended;
    struct lane_state state;
    uint64_t last;                  /* number of the last batch; 0: none */
    uint64_t sealed;                /* the last that is sealed */
    uint64_t applied;               /* applied by this server, or said to be */
    uint64_t noted;                 /* what the document `applied` says at least */
    uint64_t lines, bytes, batches; /* that are not sealed */
    bool announced;                 /* the sweeper has a document that names this lane */
    int64_t seen;                   /* when last_seen was written, monotonic ms */
};

struct lanes {
    struct meta *meta;
    struct blob *blob;
    struct lanes_options options;
    pthread_mutex_t lock;
    struct lane *buckets[LANE_BUCKETS]; /* by experiment id */
    size_t n_unused;
    struct lane *newest, *oldest;
};

void lane_partition(char out[LANE_PARTITION_BYTES], const char *experiment);
void lane_batch_id(char out[32], uint64_t number);
/* Finds a lane's batches from number `from` on, LANE_FIND_BATCHES at most. */
enum mld_error lane_find_batches(struct meta *meta, const char *experiment, uint64_t from,
                                 struct meta_docs *out);
/* Visits all batches with numbers >= from in order, until `visit` fails. */
typedef enum mld_error lane_visit(const struct meta_doc *doc, uint64_t number, void *payload);
enum mld_error lane_each_batch(struct meta *meta, const char *experiment, uint64_t from,
                               lane_visit *visit, void *payload);

/* All below: the lane's lock is held. */

/* Reads the lane's state unless it is loaded. */
enum mld_error lane_load(struct lane *lane);
void lane_unload(struct lane *lane);
/* Takes in what other servers appended. */
enum mld_error lane_catch_up(struct lane *lane);
/* Applies the batches past lane->applied, as read from the store. */
enum mld_error lane_apply_pending(struct lane *lane);
/* Applies the records of one batch. `before`: the state before it. */
enum mld_error lane_apply_batch(struct lane *lane, const struct batch *batch,
                                const struct lane_state *before);
/* Writes the document `applied` when it is `every` batches behind. */
enum mld_error lane_note_applied(struct lane *lane, uint64_t every);
/* Makes sure that the sweeper comes by. */
enum mld_error lane_announce(struct lane *lane);
bool lane_is_due(const struct lane *lane);

/* A lane of the cache with its lock held; give it back. MLD_ENOMEM. */
enum mld_error lane_take(struct lane **out, struct lanes *lanes, const char *experiment);
void lane_give(struct lane *lane);

/* Where bytes [start, start + length) of a stream are, with the SHA-256 state at their begin. */
struct lane_piece {
    uint64_t start, length;
    struct sha256_state start_state;
    const char *key;           /* of the sealed blob; NULL: `data` has them */
    uint64_t position, packed; /* bytes in the blob */
    const char *data;
};
struct lane_plan {
    struct arena arena;
    struct lane_piece *pieces; /* in order, without gaps */
    size_t n, capacity;
    bool found; /* the stream is known */
    uint64_t end;
};
/* Plans reading a stream from `from` on. */
enum mld_error lane_plan(struct lane_plan *out, struct lanes *lanes, const char *experiment,
                         const char *stream, uint64_t from);
void lane_plan_free(struct lane_plan *plan);
enum mld_error lane_piece_read(struct lanes *lanes, const struct lane_piece *piece,
                               struct buf *out);
/* Whether bytes at an earlier offset are those that are stored: *out_same is how it stands, for
 * [offset, offset + len), all of which must be below the stream's end. */
enum mld_error lane_compare(struct lanes *lanes, const char *experiment,
                            const struct lane_append *append, size_t len, bool *out_same);

#endif

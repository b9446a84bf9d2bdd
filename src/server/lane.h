/* lane.h: the streams of experiments. All appends to one experiment are one sequence, its lane
 * (docs/server-data.md, "Streams"). What is here is right with any number of servers on one store:
 * the insertion of a numbered batch document decides who was first; the cache of lanes only saves
 * reading.
 *
 * All functions may be called from any thread and block on the stores. Errors of all:
 * MLD_ENOTFOUND (no such experiment), MLD_EUNAVAILABLE and the other errors of the stores,
 * MLD_EDAMAGED (what is stored does not fit together). */
#ifndef SERVER_LANE_H
#define SERVER_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/id.h"
#include "base/sha256_state.h"
#include "blob/blob.h"
#include "meta/meta.h"

#define LANE_MAX_STREAMS 10000                   /* of one request */
#define LANE_MAX_FILE_BYTES 2048                 /* of a stream's file name */
#define LANE_MAX_REQUEST_BYTES ((size_t)8 << 20) /* of the bytes of one append */
#define LANE_MAX_SLOT 1023

enum stream_kind { STREAM_RECORDS, STREAM_METRIC, STREAM_TRACK, STREAM_LOG };
#define STREAM_KINDS 4
const char *stream_kind_name(enum stream_kind kind); /* "records", "metric", "track", "log" */
bool stream_kind_parse(const char *name, enum stream_kind *out);

struct lanes;
struct lanes_options {
    unsigned max_lanes;    /* kept in memory when nobody uses them; 0: 256 */
    uint64_t seal_lines;   /* a lane is due to be sealed after so many; 0: 10,000 */
    uint64_t seal_bytes;   /* 0: 4 MiB */
    unsigned seal_batches; /* 0: 1,000 */
    /* Called, without locks, after an append that made a lane due; NULL is fine. */
    void (*due)(const char *experiment, void *payload);
    void *payload;
};
/* `options` NULL: all default. The stores must outlive the lanes. */
enum mld_error lanes_open(struct lanes **out, struct meta *meta, struct blob *blob,
                          const struct lanes_options *options);
void lanes_on_due(struct lanes *lanes, void (*due)(const char *experiment, void *payload),
                  void *payload);
/* Nobody may be using it. NULL is fine. */
void lanes_close(struct lanes *lanes);

/* What came of one stream of an append. */
enum lane_outcome {
    LANE_DONE,    /* its bytes are there */
    LANE_OFFSET,  /* it goes on elsewhere: at out_offset */
    LANE_DIVERGED /* the bytes before `offset`, or at it, are others */
};
struct lane_append {
    const char *stream; /* 32 hex digits */
    enum stream_kind kind;
    unsigned slot;
    const char *file;
    uint64_t offset;
    const char *sha256; /* of the bytes before `offset` */
    const char *data;   /* `len` >= 1 bytes, the last one a newline */
    size_t len;
    enum lane_outcome outcome; /* set by the call, as what follows */
    uint64_t out_offset;       /* the stream's bytes now */
    char out_sha256[SHA256_HEX_LEN + 1];
};
/* Appends to several streams at once, or to none. MLD_OK: all of it is durable, and its records are
 * applied. MLD_ECONFLICT: nothing was appended; outcomes say why. MLD_EINVALID: an argument, or a
 * stream twice. MLD_ETOOLARGE: more than one document holds. */
enum mld_error lane_append(struct lanes *lanes, const char *experiment, struct lane_append *appends,
                           size_t n);

struct lane_head {
    const char *stream; /* asked for */
    uint64_t offset;
    char sha256[SHA256_HEX_LEN + 1];
};
enum mld_error lane_heads(struct lanes *lanes, const char *experiment, struct lane_head *heads,
                          size_t n);

struct lane_info {
    char stream[ID_RANDOM_LEN + 1];
    enum stream_kind kind;
    unsigned slot;
    const char *file;
    uint64_t offset;
    uint64_t lines;
    uint64_t garbled; /* lines of records that were skipped */
};
struct lane_infos {
    struct arena arena;
    struct lane_info *items;
    size_t n;
    bool more;
};
/* A page of the streams in order of their ids; `kind` -1: all. `after` NULL: from the beginning.
 * End with arena_free(&out->arena), also after a failure. */
enum mld_error lane_list(struct lanes *lanes, const char *experiment, int kind, const char *after,
                         size_t limit, struct lane_infos *out);

/* Bytes of a stream on their way out. */
struct lane_reader;
/* Opens [from, to) of a stream; `to` UINT64_MAX: what there is now. MLD_ENOTFOUND: no such stream;
 * MLD_EINVALID: the range leaves it. *out_end is how many bytes it has. */
enum mld_error lane_reader_open(struct lane_reader **out, struct lanes *lanes,
                                const char *experiment, const char *stream, uint64_t from,
                                uint64_t to, uint64_t *out_end);
uint64_t lane_reader_len(const struct lane_reader *r);
/* The next bytes, borrowed until the next call; *out_len is 0 at the end only. */
enum mld_error lane_reader_next(struct lane_reader *r, const void **out, size_t *out_len);
void lane_reader_close(struct lane_reader *r); /* NULL is fine */

/* Puts what is applied of a lane into one blob, when it is due (or always, with `force`), and
 * deletes the batches. *out_rest: there are batches that are in no blob. Harmless while others
 * append, read or seal. */
enum mld_error lane_seal(struct lanes *lanes, const char *experiment, bool force, bool *out_rest);
/* For the sweeper: a sealed range with this blob was begun, and perhaps never finished. Deletes the
 * blob once the range is sealed with another, and sees to it that it is sealed. */
enum mld_error lane_finish_seal(struct lanes *lanes, const char *key);

#endif

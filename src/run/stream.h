/* stream.h: one append-only file of this writer: a shard of records, logs, a metric or a track.
 * Each append is one write(2) of whole lines. A short write (full disk) is cut back; when even that
 * fails the stream is broken and its user goes on in a new shard. */
#ifndef RUN_STREAM_H
#define RUN_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id.h"
#include "base/map.h"

/* Descriptors of streams at a time in one run; less when that is more than a quarter of what the
 * process may open. */
#define STREAM_MAX_OPEN 4096
#define STREAM_RESERVE_BYTES (64u << 10)

struct stream {
    char *path; /* relative to the run folder; own memory */
    char id[ID_RANDOM_LEN + 1];
    int fd;       /* -1: closed to save descriptors, opened again at the next append */
    off_t length; /* bytes of whole lines */
    int64_t lines;
    uint32_t crc;                 /* CRC-32C of [0, length) */
    off_t safe_length;            /* durable up to here (set by the keeper) */
    uint32_t safe_crc;            /* CRC-32C of [0, safe_length) */
    off_t reserved;               /* blocks are reserved up to here; -1: none are, ever */
    bool broken;                  /* nothing can be appended any more */
    bool sync_failed;             /* an fsync failed: further ones would say that all is well */
    bool listed;                  /* in the keeper's list of streams with unsafe lines */
    struct stream *newer, *older; /* those that are open, by last use */
    struct stream *next_dirty;
    struct stream *next; /* all streams of the set */
};

/* The streams of one run, and how many are open. */
struct stream_set {
    int dir_fd; /* the run folder; borrowed */
    struct stream *first;
    struct map by_path;
    struct stream *newest, *oldest; /* of those that are open */
    int open_count;
};

/* Opens (makes) the stream at `path`, which this writer owns: its whole lines are counted and
 * hashed, a torn last line is cut and, when there was one, *out_cut_bytes (may be NULL) says how
 * long it was. `id`: the shard's known id, or NULL for a new random one. The stream belongs to the
 * set until stream_set_close. */
enum mld_error stream_open(struct stream **out, struct stream_set *set, const char *path,
                           const char *id, off_t *out_cut_bytes);
/* Appends `len` bytes that are `lines` whole lines. On error nothing of them stays. */
enum mld_error stream_append(struct stream_set *set, struct stream *s, const void *data, size_t len,
                             int64_t lines);
/* From now on blocks are reserved behind the end, so that a few more lines fit on a full disk. */
void stream_reserve(struct stream *s);
/* Gives these blocks back, while the file is still this writer's. NULL is fine. */
void stream_release_reserve(struct stream *s);
/* A descriptor for the keeper to fsync: dup of the open one, or a new one. The caller closes it. */
enum mld_error stream_dup_fd(int *out_fd, const struct stream_set *set, const struct stream *s);
/* The stream of this path; NULL: it was not opened. */
struct stream *stream_set_find(const struct stream_set *set, const char *path);
void stream_set_close(struct stream_set *set);
/* In the child of fork(): only closes the descriptors. */
void stream_set_forget(struct stream_set *set);

/* The file name of a shard: shard_name(out, "data", 0, 0) is "data.jsonl"; slot 7: "data.7.jsonl";
 * its second part: "data.7-1.jsonl". */
#define SHARD_NAME_MAX 64
void shard_name(char out[SHARD_NAME_MAX], const char *stem, unsigned slot, unsigned part);
/* True, and slot and part set, when `name` is a shard of `stem`. */
bool shard_parse(const char *name, const char *stem, unsigned *out_slot, unsigned *out_part);

#endif

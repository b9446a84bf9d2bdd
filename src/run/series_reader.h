/* series_reader.h: what is known of a series' lines: how many, where, their field names. Kept in
 * series_entry->reader; each look reads only what is new. Needs the run's lock. */
#ifndef RUN_SERIES_READER_H
#define RUN_SERIES_READER_H

#include "run/shard_index.h"

#define SERIES_MAX_COLUMNS 100000 /* field names beyond are not listed */

struct series_shard {
    const struct shard_entry *entry;
    struct shard_index index;
    unsigned rank;  /* place in the merged order */
    int64_t before; /* good lines of the shards before it */
    bool timed;     /* the three below are of a line; else NaN and -1 */
    double first_s, last_s;
    int64_t created_us, updated_us; /* of the first and last line; -1: unknown */
    off_t last_line;
};

/* One line of a track. */
struct track_entry {
    double time_s;
    off_t offset;
    uint32_t len;
    uint32_t shard; /* index into reader->shards */
};

struct series_reader {
    enum mld_series_kind kind;
    struct series_shard **shards; /* as they became known */
    size_t n_shards, shards_capacity;
    struct series_shard **order; /* merged order; room as for `shards` */
    int64_t lines;               /* good ones in all shards */
    struct arena arena;          /* names of columns */
    struct map columns;
    /* tracks only */
    struct track_entry *entries;
    size_t n_entries, entries_capacity;
    size_t *groups; /* first entry of each time, and n_entries at the end; series_track.c */
    size_t n_groups;
    bool sorted; /* `entries` are in order of time and `groups` are right */
};

/* Brings the reader of a series up to date. */
enum mld_error series_reader_update(struct series_reader **out, struct run *run,
                                    struct series_entry *series);
/* Of tracks: sorts the entries and finds those of equal time. */
enum mld_error series_track_sort(struct series_reader *reader);
/* Points of the series now. For tracks after series_track_sort. */
int64_t series_reader_total(const struct series_reader *reader);
void series_readers_free(struct state *state);

#endif

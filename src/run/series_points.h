/* series_points.h: the result of reading a series while it is being made. */
#ifndef RUN_SERIES_POINTS_H
#define RUN_SERIES_POINTS_H

#include "base/arena.h"
#include "mldash/series.h"
#include "run/series_reader.h"

/* What mld_points_free gets: the public part and its memory. */
struct points_box {
    struct mld_points points; /* first */
    struct arena arena;       /* texts of the points */
    struct mld_point *items;
    size_t capacity;
};

/* Room for `count` points in all. */
enum mld_error points_reserve(struct points_box *box, size_t count);
enum mld_error points_add(struct points_box *box, const struct mld_point *point);

/* series_track.c: adds the groups [start, end) of a sorted track; entries of equal time are one
 * point, of whose fields the last one stays. */
enum mld_error series_track_read(struct points_box *box, struct run *run,
                                 const struct series_reader *reader, size_t start, size_t end);
/* The first group whose time is not below time_s or, with `above`, is above it. */
size_t series_track_search(const struct series_reader *reader, double time_s, bool above);

#endif

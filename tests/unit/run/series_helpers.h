/* series_helpers.h: what the tests of series, logs and parameters share. */
#ifndef TESTS_SERIES_HELPERS_H
#define TESTS_SERIES_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "mldash/mldash.h"
#include "scratch.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static inline void expect_ok(enum mld_error error)
{
    if (error != MLD_OK)
        fail_msg("%s: %s", mld_error_name(error), mld_error_message());
}

static inline void expect_message(const char *part)
{
    if (strstr(mld_error_message(), part) == NULL)
        fail_msg("'%s' is not in: %s", part, mld_error_message());
}

/* The scratch directory itself as a run folder. */
static inline mld_experiment *open_run(const struct scratch *scratch, bool read_only)
{
    struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
    mld_experiment *experiment = NULL;

    if (faccessat(scratch->fd, "experiment.json", F_OK, 0) != 0)
        scratch_write(scratch, "experiment.json", "{}");
    options.directory = scratch->path;
    options.read_only = read_only;
    expect_ok(mld_experiment_open(&experiment, &options));
    return experiment;
}

static inline mld_series *series_of(mld_experiment *experiment, enum mld_series_kind kind,
                                    const char *name)
{
    mld_series *series = NULL;

    expect_ok(mld_series_open(&series, experiment, kind, name, NULL));
    return series;
}

/* Appends {"value": value}; returns the index. */
static inline int64_t append_value(mld_series *series, double value, double time_s)
{
    struct mld_field field = mld_number("value", value);
    int64_t index = -2;

    expect_ok(mld_series_append(series, &field, 1, time_s, &index));
    return index;
}

/* Fails unless the series reads as these texts of data, in this order. */
static inline void expect_data(mld_series *series, const char *const *texts, size_t n)
{
    struct mld_points *points = NULL;

    expect_ok(mld_series_read(&points, series, 0, 0));
    assert_int_equal(points->count, n);
    assert_int_equal(points->total, n);
    assert_false(points->has_more);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(points->points[i].data_json, texts[i]);
        assert_int_equal(points->points[i].data_len, strlen(texts[i]));
        assert_int_equal(points->points[i].index, i);
    }
    mld_points_free(points);
}

static inline uint64_t problems_of(mld_experiment *experiment)
{
    struct mld_experiment_info *info = NULL;

    expect_ok(mld_experiment_info(&info, experiment));
    uint64_t n = info->n_problems;
    mld_experiment_info_free(info);
    return n;
}

#endif

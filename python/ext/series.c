/* series.c: the type _core.Series: one metric or track. The hot path of a training loop: append()
 * keeps the GIL, makes no object but its answer, and goes from keyword arguments straight into
 * fields. Python's MetricBuilder and TrackBuilder are subclasses, so that their append is this one.
 */
#include "core.h"

#include <math.h>
#include <time.h>

struct core_series {
    PyObject_HEAD struct core_experiment *experiment;
    mld_series *handle; /* of the process with this fork count */
    unsigned long fork_count;
    enum mld_series_kind kind;
    PyObject *name;   /* str or None: the unnamed metric */
    PyObject *answer; /* metrics: the dict that append() copies */
};

/* The time of this thread's last append, for `_ts=-1`. */
static _Thread_local double last_time_s = NAN;

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A time for an entry that has none. No two are equal, as entries of one time are merged. Under the
 * GIL. */
static double fresh_time(void)
{
    static double last_fresh_s;
    double time_s = now_s();
    if (time_s <= last_fresh_s)
        time_s = last_fresh_s + 1e-6;
    last_fresh_s = time_s;
    return time_s;
}

/* The time to record. A metric's point without `_ts` gets none, but -1 may still refer to it. */
static double settle_time(enum mld_series_kind kind, const struct fields *fields)
{
    double time_s = fields->time_s;
    if (isnan(time_s) && kind == MLD_METRIC) {
        last_time_s = now_s();
        return NAN;
    }
    if (isnan(time_s) || (time_s == -1.0 && isnan(last_time_s)))
        time_s = fresh_time();
    else if (time_s == -1.0)
        time_s = last_time_s;
    last_time_s = time_s;
    return time_s;
}

static struct core_series *series_of(PyObject *object)
{
    return (struct core_series *)object;
}

static int series_reopen(struct core_series *self, const struct mld_series_options *options)
{
    mld_experiment *experiment = experiment_readable(self->experiment);
    const char *name = NULL;
    PyObject *text = self->name == Py_None ? NULL : self->name;
    if (experiment == NULL || args_text(self->experiment->state, text, "the name", &name) < 0)
        return -1;
    enum mld_error code = mld_series_open(&self->handle, experiment, self->kind, name, options);
    if (code != MLD_OK) {
        core_raise(self->experiment->state, code);
        return -1;
    }
    self->fork_count = core_fork_count();
    return 0;
}

/* The handle, or NULL with an exception. A forked child opens its own. */
static mld_series *series_ready(struct core_series *self, bool write)
{
    mld_experiment *experiment =
        write ? experiment_writable(self->experiment) : experiment_readable(self->experiment);
    if (experiment == NULL)
        return NULL;
    if (self->fork_count != core_fork_count() && series_reopen(self, NULL) < 0)
        return NULL;
    return self->handle;
}

static PyObject *make_answer(PyObject *name)
{
    PyObject *answer = PyDict_New();
    if (answer != NULL &&
        (convert_set(answer, "metricId", PyUnicode_FromFormat("local-metric-%S", name)) < 0 ||
         convert_set(answer, "chunkSize", PyLong_FromLong(10000)) < 0))
        Py_CLEAR(answer);
    return answer;
}

static int series_fill(struct core_series *self, PyObject *const *values)
{
    struct core_state *state = self->experiment->state;
    struct mld_series_options options = MLD_SERIES_OPTIONS_INIT;
    struct args_list tags = ARGS_LIST_INIT;
    PyObject *metadata = NULL;
    int result = -1;
    self->answer = make_answer(self->name);
    if (self->answer == NULL ||
        args_text(state, values[3], "description", &options.description) < 0 ||
        args_list_take(state, values[4], "tags", &tags) < 0 ||
        convert_to_json(state, values[5], true, "metadata", &metadata, &options.metadata_json) < 0)
        goto out;
    options.tags = tags.items;
    options.n_tags = tags.count;
    result = series_reopen(self, &options);
out:
    args_list_free(&tags);
    Py_XDECREF(metadata);
    return result;
}

CORE_METHOD(data_series)
{
    static const char *const names[] = {"type", "kind", "name", "description", "tags", "metadata"};
    static const struct args_spec spec = {"series", names, 6, 2, 3};
    struct core_experiment *experiment = (struct core_experiment *)object;
    PyObject *values[6];
    int64_t kind = 0;
    if (args_bind(&spec, args, nargs, kwnames, values) < 0 || args_integer(values[1], &kind) < 0)
        return NULL;
    PyTypeObject *type = (PyTypeObject *)values[0];
    if (!PyType_Check(values[0]) || !PyType_IsSubtype(type, experiment->state->series_type))
        return PyErr_Format(PyExc_TypeError, "series() needs a subclass of Series");
    struct core_series *self = (struct core_series *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(experiment);
    self->experiment = experiment;
    self->kind = kind == MLD_TRACK ? MLD_TRACK : MLD_METRIC;
    self->name = values[2] == NULL ? Py_None : values[2];
    Py_INCREF(self->name);
    if (series_fill(self, values) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *series_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return PyErr_Format(PyExc_TypeError,
                        "%.100s is made by experiment.metrics(name) or experiment.tracks(topic)",
                        type->tp_name);
}

static void series_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct core_series *self = series_of(object);
    Py_XDECREF(self->name);
    Py_XDECREF(self->answer);
    Py_XDECREF(self->experiment);
    type->tp_free(object);
    Py_DECREF(type);
}

/* "12" from 12: the published clients answer with digit strings. By hand: printf would be a tenth
 * of append(). */
static int put_digits(PyObject *dict, PyObject *key, int64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t left = number < 0 ? 0 : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    PyObject *text = PyUnicode_FromStringAndSize(digits + at, (Py_ssize_t)(sizeof digits - at));
    if (text == NULL)
        return -1;
    int result = PyDict_SetItem(dict, key, text);
    Py_DECREF(text);
    return result;
}

static PyObject *append_answer(struct core_series *self, int64_t index)
{
    struct core_state *state = self->experiment->state;
    if (self->kind == MLD_TRACK) {
        Py_INCREF(self);
        return (PyObject *)self;
    }
    PyObject *answer = PyDict_Copy(self->answer);
    if (answer != NULL && (put_digits(answer, state->index, index) < 0 ||
                           put_digits(answer, state->buffered, index + 1) < 0))
        Py_CLEAR(answer);
    return answer;
}

static PyObject *append_fields(struct core_series *self, struct fields *fields)
{
    mld_series *handle = series_ready(self, true);
    if (handle == NULL)
        return NULL;
    int64_t index = 0;
    struct unlocked call;
    double time_s = settle_time(self->kind, fields);
    unlocked_begin(&call, self->experiment, NULL, fields->bytes >= CORE_SMALL_BYTES);
    enum mld_error code = mld_series_append(handle, fields->items, fields->count, time_s, &index);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->experiment->state, code);
    return append_answer(self, index);
}

static CORE_METHOD(series_append)
{
    struct core_series *self = series_of(object);
    if (nargs > 0)
        return PyErr_Format(PyExc_TypeError,
                            "append() takes fields by name: append(value=0.5, epoch=3)");
    struct fields fields;
    fields_init(&fields);
    fields.timed = true;
    fields.flatten = self->kind == MLD_TRACK;
    Py_ssize_t count = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *result = NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        if (fields_add(self->experiment->state, &fields, PyTuple_GET_ITEM(kwnames, i), args[i]) < 0)
            goto out;
    if (fields.count == 0) {
        core_fail(self->experiment->state, MLD_EINVALID,
                  "append() needs at least one field: append(value=0.5)");
        goto out;
    }
    result = append_fields(self, &fields);
out:
    fields_free(&fields);
    return result;
}

static int batch_add_all(struct core_series *self, mld_batch *batch, PyObject *points)
{
    struct core_state *state = self->experiment->state;
    struct fields fields;
    fields_init(&fields);
    fields.timed = true;
    fields.flatten = self->kind == MLD_TRACK;
    int result = -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(points); i++) {
        PyObject *point = PySequence_Fast_GET_ITEM(points, i);
        Py_INCREF(point);
        int added = fields_add_dict(state, &fields, point);
        enum mld_error code = MLD_OK;
        if (added == 0)
            code =
                mld_batch_add(batch, fields.items, fields.count, settle_time(self->kind, &fields));
        Py_DECREF(point);
        if (added < 0)
            goto out;
        if (code != MLD_OK) {
            core_raise(state, code);
            goto out;
        }
        fields_reset(&fields);
    }
    result = 0;
out:
    fields_free(&fields);
    return result;
}

static PyObject *batch_answer(struct core_series *self, int64_t first, int64_t last)
{
    if (self->kind == MLD_TRACK)
        return append_answer(self, last);
    int64_t count = first < 0 ? 0 : last - first + 1;
    PyObject *answer = PyDict_Copy(self->answer);
    if (answer != NULL &&
        (convert_set(answer, "startIndex", PyUnicode_FromFormat("%lld", (long long)first)) < 0 ||
         convert_set(answer, "endIndex", PyUnicode_FromFormat("%lld", (long long)last)) < 0 ||
         convert_set(answer, "count", PyLong_FromLongLong(count)) < 0 ||
         put_digits(answer, self->experiment->state->buffered, last + 1) < 0))
        Py_CLEAR(answer);
    return answer;
}

static PyObject *series_append_batch(PyObject *object, PyObject *data)
{
    struct core_series *self = series_of(object);
    mld_series *handle = series_ready(self, true);
    if (handle == NULL)
        return NULL;
    PyObject *points = PySequence_Fast(data, "append_batch() needs a list of dicts");
    mld_batch *batch = NULL;
    PyObject *result = NULL;
    if (points == NULL)
        return NULL;
    enum mld_error code = mld_batch_new(&batch, handle);
    if (code != MLD_OK) {
        core_raise(self->experiment->state, code);
        goto out;
    }
    if (batch_add_all(self, batch, points) < 0)
        goto out;
    int64_t first = -1, last = -1;
    struct unlocked call;
    unlocked_begin(&call, self->experiment, NULL, PySequence_Fast_GET_SIZE(points) > 1000);
    code = mld_batch_commit(batch, &first, &last);
    unlocked_end(&call);
    result = code == MLD_OK ? batch_answer(self, first, last)
                            : core_raise(self->experiment->state, code);
out:
    mld_batch_free(batch);
    Py_DECREF(points);
    return result;
}

static PyObject *point_dict(enum mld_series_kind kind, const struct mld_point *point,
                            PyObject *data)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    int failed = 0;
    if (kind == MLD_TRACK)
        failed = convert_set(dict, "timestamp", PyFloat_FromDouble(point->time_s)) < 0 ||
                 PyDict_Merge(dict, data, 0) < 0;
    else
        failed = convert_set(dict, "index", PyLong_FromLongLong(point->index)) < 0 ||
                 PyDict_SetItemString(dict, "data", data) < 0 ||
                 convert_set(dict, "createdAt", convert_text(point->created_at)) < 0;
    if (failed)
        Py_CLEAR(dict);
    return dict;
}

static PyObject *point_dicts(struct core_series *self, const struct mld_points *points)
{
    struct json_piece *pieces = PyMem_New(struct json_piece, points->count + 1);
    if (pieces == NULL)
        return PyErr_NoMemory();
    for (size_t i = 0; i < points->count; i++)
        pieces[i] = (struct json_piece){points->points[i].data_json, points->points[i].data_len};
    PyObject *list = convert_from_json_many(self->experiment->state, pieces, points->count);
    PyMem_Free(pieces);
    for (size_t i = 0; list != NULL && i < points->count; i++) {
        PyObject *data = PyList_GET_ITEM(list, (Py_ssize_t)i);
        PyObject *dict = point_dict(self->kind, &points->points[i], data);
        if (dict == NULL)
            Py_CLEAR(list);
        else
            (void)PyList_SetItem(list, (Py_ssize_t)i, dict);
    }
    return list;
}

/* Takes over the points: (list of dicts, total, has_more). */
static PyObject *points_answer(struct core_series *self, enum mld_error code,
                               struct mld_points *points)
{
    if (code != MLD_OK)
        return core_raise(self->experiment->state, code);
    PyObject *list = point_dicts(self, points);
    PyObject *result = NULL;
    if (list != NULL)
        result = Py_BuildValue("NLO", list, (long long)points->total,
                               points->has_more ? Py_True : Py_False);
    mld_points_free(points);
    return result;
}

static CORE_METHOD(series_read)
{
    static const char *const names[] = {"start", "limit"};
    static const struct args_spec spec = {"read_points", names, 2, 0, 2};
    struct core_series *self = series_of(object);
    PyObject *values[2];
    int64_t start = 0;
    uint64_t limit = 0;
    mld_series *handle = series_ready(self, false);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_integer(values[0], &start) < 0 ||
        args_size(self->experiment->state, values[1], "limit", &limit) < 0)
        return NULL;
    struct mld_points *points = NULL;
    struct unlocked call;
    unlocked_begin(&call, self->experiment, NULL, true);
    enum mld_error code = mld_series_read(&points, handle, start, (size_t)limit);
    unlocked_end(&call);
    return points_answer(self, code, points);
}

static CORE_METHOD(series_slice)
{
    static const char *const names[] = {"start", "end"};
    static const struct args_spec spec = {"slice_points", names, 2, 0, 2};
    struct core_series *self = series_of(object);
    PyObject *values[2];
    double start_s = NAN, end_s = NAN;
    mld_series *handle = series_ready(self, false);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_seconds(values[0], &start_s) < 0 || args_seconds(values[1], &end_s) < 0)
        return NULL;
    struct mld_points *points = NULL;
    struct unlocked call;
    unlocked_begin(&call, self->experiment, NULL, true);
    enum mld_error code = mld_series_slice(&points, handle, start_s, end_s);
    unlocked_end(&call);
    return points_answer(self, code, points);
}

/* A time, or None for NaN. */
static PyObject *seconds_or_none(double time_s)
{
    return isnan(time_s) ? core_none() : PyFloat_FromDouble(time_s);
}

PyObject *series_info_dict(struct core_state *state, const struct mld_series_info *info)
{
    const char *json = info->metadata_json;
    size_t json_len = json == NULL ? 0 : strlen(json);
    PyObject *dict = PyDict_New();
    if (dict != NULL &&
        (convert_set(dict, "name", convert_text(info->name)) < 0 ||
         convert_set(dict, "description", convert_text(info->description)) < 0 ||
         convert_set(dict, "tags", convert_text_list(info->tags, info->n_tags)) < 0 ||
         convert_set(dict, "metadata", convert_from_json(state, json, json_len)) < 0 ||
         convert_set(dict, "total", PyLong_FromLongLong(info->total)) < 0 ||
         convert_set(dict, "bytes", PyLong_FromUnsignedLongLong(info->bytes)) < 0 ||
         convert_set(dict, "createdAt", convert_text(info->created_at)) < 0 ||
         convert_set(dict, "updatedAt", convert_text(info->updated_at)) < 0 ||
         convert_set(dict, "firstTime", seconds_or_none(info->first_s)) < 0 ||
         convert_set(dict, "lastTime", seconds_or_none(info->last_s)) < 0 ||
         convert_set(dict, "columns", convert_text_list(info->columns, info->n_columns)) < 0))
        Py_CLEAR(dict);
    return dict;
}

static PyObject *series_info(PyObject *object, PyObject *unused)
{
    struct core_series *self = series_of(object);
    (void)unused;
    mld_series *handle = series_ready(self, false);
    if (handle == NULL)
        return NULL;
    struct mld_series_list *one = NULL;
    struct unlocked call;
    unlocked_begin(&call, self->experiment, NULL, true);
    enum mld_error code = mld_series_stats(&one, handle);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->experiment->state, code);
    PyObject *dict = series_info_dict(self->experiment->state, &one->series[0]);
    mld_series_list_free(one);
    return dict;
}

static enum mld_error summarize(struct metric *metric, struct mld_series_list **one,
                                struct core_series *self, mld_series *handle)
{
    enum mld_error code = mld_series_stats(one, handle);
    return code == MLD_OK ? metric_read(metric, self->experiment->handle, &(*one)->series[0])
                          : code;
}

/* (info, fields): both of one look at the points. */
static PyObject *series_summary(PyObject *object, PyObject *unused)
{
    struct core_series *self = series_of(object);
    struct core_state *state = self->experiment->state;
    (void)unused;
    mld_series *handle = series_ready(self, false);
    if (handle == NULL)
        return NULL;
    struct mld_series_list *one = NULL;
    struct metric metric = {0};
    struct unlocked call;
    unlocked_begin(&call, self->experiment, NULL, true);
    enum mld_error code = summarize(&metric, &one, self, handle);
    unlocked_end(&call);
    PyObject *info = NULL, *fields = NULL, *both = NULL;
    if (code != MLD_OK)
        core_raise(state, code);
    else
        info = series_info_dict(state, &one->series[0]);
    if (info != NULL)
        fields = records_fields(state, &metric);
    if (fields != NULL)
        both = PyTuple_Pack(2, info, fields);
    Py_XDECREF(info);
    Py_XDECREF(fields);
    metric_free(&metric);
    mld_series_list_free(one);
    return both;
}

static PyObject *series_get_name(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *name = series_of(object)->name;
    Py_INCREF(name);
    return name;
}

#define SERIES_ENTRY(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(doc)}

static PyMethodDef series_methods[] = {
    SERIES_ENTRY("append", series_append,
                 "Appends one point: append(value=0.5, epoch=3). `_ts` is its time in seconds\n"
                 "since the epoch, or -1: that of this thread's last append. What was appended\n"
                 "survives a kill -9 when the call returns."),
    {"append_batch", series_append_batch, METH_O,
     PyDoc_STR("append_batch($self, data_points, /)\n--\n\n"
               "Appends a list of dicts, one a point: all of them, or none after an error.")},
    SERIES_ENTRY("read_points", series_read, "Points by index: (list of dicts, total, has_more)."),
    SERIES_ENTRY("slice_points", series_slice,
                 "Points by time, both ends included: (list of dicts, total, has_more)."),
    {"info", series_info, METH_NOARGS,
     PyDoc_STR("info($self)\n--\n\nWhat the series is and holds now, as a dict.")},
    {"summary", series_summary, METH_NOARGS,
     PyDoc_STR("summary($self)\n--\n\n"
               "(info, fields): what info() says, and of each field the last value and the least,\n"
               "greatest and mean of its finite numbers. Reads all points.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef series_getset[] = {
    {"name", series_get_name, NULL, PyDoc_STR("Its name; None for the unnamed metric."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot series_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One metric or track of an experiment.")},
    {Py_tp_new, series_new},
    {Py_tp_dealloc, series_dealloc},
    {Py_tp_methods, series_methods},
    {Py_tp_getset, series_getset},
    {0, NULL},
};

PyType_Spec series_spec = {
    .name = "ml_dash._core.Series",
    .basicsize = sizeof(struct core_series),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = series_slots,
};

/* experiment_data.c: methods of _core.Experiment for parameters, logs, series and the health of the
 * folder. */
#include "core.h"

#include <math.h>

CORE_METHOD(data_params_set)
{
    static const char *const names[] = {"params"};
    static const struct args_spec spec = {"params_set", names, 1, 1, 1};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *params = NULL, *result = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, &params) < 0)
        return NULL;
    struct fields fields;
    fields_init(&fields);
    fields.flatten = true;
    if (fields_add_dict(self->state, &fields, params) == 0) {
        enum mld_error code = mld_params_set(handle, fields.items, fields.count);
        result = code == MLD_OK ? core_none() : core_raise(self->state, code);
    }
    fields_free(&fields);
    return result;
}

CORE_METHOD(data_params_get)
{
    static const struct args_spec spec = {"params_get", NULL, 0, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, NULL) < 0)
        return NULL;
    char *json = NULL;
    enum mld_error code = mld_params_get(&json, handle);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    PyObject *result = convert_from_json(self->state, json, strlen(json));
    mld_free(json);
    return result;
}

CORE_METHOD(data_log)
{
    static const char *const names[] = {"level", "message", "fields", "time"};
    static const struct args_spec spec = {"log", names, 4, 2, 4};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[4];
    const char *level = NULL;
    double time_s = NAN;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the level", &level) < 0 ||
        args_seconds(values[3], &time_s) < 0)
        return NULL;
    if (!PyUnicode_Check(values[1]))
        return PyErr_Format(PyExc_TypeError, "the message must be a string, not %.100s",
                            Py_TYPE(values[1])->tp_name);
    PyObject *message = PyUnicode_AsEncodedString(values[1], "utf-8", "surrogatepass");
    if (message == NULL)
        return NULL;
    PyObject *result = NULL;
    struct fields fields;
    fields_init(&fields);
    if (values[2] == NULL || fields_add_dict(self->state, &fields, values[2]) == 0) {
        enum mld_error code =
            mld_log(handle, level, PyBytes_AS_STRING(message), (size_t)PyBytes_GET_SIZE(message),
                    fields.items, fields.count, time_s);
        result = code == MLD_OK ? core_none() : core_raise(self->state, code);
    }
    fields_free(&fields);
    Py_DECREF(message);
    return result;
}

static PyObject *log_line_dict(struct core_state *state, const struct mld_log_line *line)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    const char *json = line->metadata_json;
    if (convert_set(dict, "sequenceNumber", PyLong_FromLongLong(line->sequence)) < 0 ||
        convert_set(dict, "timestamp", convert_text(line->timestamp)) < 0 ||
        convert_set(dict, "level", convert_text(line->level)) < 0 ||
        convert_set(dict, "message", convert_text_len(line->message, line->message_len)) < 0 ||
        (json != NULL &&
         convert_set(dict, "metadata", convert_from_json(state, json, strlen(json))) < 0))
        Py_CLEAR(dict);
    return dict;
}

CORE_METHOD(data_log_read)
{
    static const char *const names[] = {"level", "start", "limit"};
    static const struct args_spec spec = {"log_read", names, 3, 0, 3};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[3];
    const char *level = NULL;
    int64_t start = 0;
    uint64_t limit = 0;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the level", &level) < 0 ||
        args_integer(values[1], &start) < 0 ||
        args_size(self->state, values[2], "limit", &limit) < 0)
        return NULL;
    struct mld_log_lines *lines = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = mld_log_read(&lines, handle, level, start, (size_t)limit);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < lines->count; i++) {
        PyObject *dict = log_line_dict(self->state, &lines->lines[i]);
        if (dict == NULL || PyList_Append(list, dict) < 0)
            Py_CLEAR(list);
        Py_XDECREF(dict);
    }
    PyObject *more = PyBool_FromLong(lines->has_more);
    mld_log_lines_free(lines);
    if (list != NULL)
        return Py_BuildValue("NN", list, more);
    Py_DECREF(more);
    return NULL;
}

CORE_METHOD(data_series_list)
{
    static const char *const names[] = {"kind"};
    static const struct args_spec spec = {"series_list", names, 1, 1, 1};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *value = NULL;
    int64_t kind = 0;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, &value) < 0 ||
        args_integer(value, &kind) < 0)
        return NULL;
    struct mld_series_list *found = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code =
        mld_series_list(&found, handle, kind == MLD_TRACK ? MLD_TRACK : MLD_METRIC);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < found->count; i++) {
        PyObject *dict = series_info_dict(self->state, &found->series[i]);
        if (dict == NULL || PyList_Append(list, dict) < 0)
            Py_CLEAR(list);
        Py_XDECREF(dict);
    }
    mld_series_list_free(found);
    return list;
}

static PyObject *finding_dict(const struct mld_finding *finding)
{
    PyObject *dict = PyDict_New();
    if (dict != NULL &&
        (convert_set(dict, "problem", convert_text(mld_problem_name(finding->problem))) < 0 ||
         convert_set(dict, "name", convert_text(finding->name)) < 0 ||
         convert_set(dict, "detail", convert_text(finding->detail)) < 0 ||
         convert_set(dict, "offset", PyLong_FromUnsignedLongLong(finding->offset)) < 0 ||
         convert_set(dict, "bytes", PyLong_FromUnsignedLongLong(finding->bytes)) < 0 ||
         convert_set(dict, "loss", PyBool_FromLong(finding->loss)) < 0))
        Py_CLEAR(dict);
    return dict;
}

static int put_counts(PyObject *dict, const struct mld_report *report)
{
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"losses", report->n_losses},
        {"filesChecked", report->files_checked},
        {"bytesChecked", report->bytes_checked},
        {"linesChecked", report->lines_checked},
        {"filesRemoved", report->files_removed},
        {"bytesFreed", report->bytes_freed},
        {"bytesReclaimable", report->bytes_reclaimable},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (convert_set(dict, counts[i].key, PyLong_FromUnsignedLongLong(counts[i].value)) < 0)
            return -1;
    return 0;
}

/* Takes over the report. */
static PyObject *report_dict(struct core_state *state, enum mld_error code,
                             struct mld_report *report)
{
    if (code != MLD_OK)
        return core_raise(state, code);
    PyObject *dict = PyDict_New();
    PyObject *findings = PyList_New(0);
    for (size_t i = 0; findings != NULL && i < report->count; i++) {
        PyObject *item = finding_dict(&report->findings[i]);
        if (item == NULL || PyList_Append(findings, item) < 0)
            Py_CLEAR(findings);
        Py_XDECREF(item);
    }
    if (dict == NULL || convert_set(dict, "findings", findings) < 0 || put_counts(dict, report) < 0)
        Py_CLEAR(dict);
    mld_report_free(report);
    return dict;
}

CORE_METHOD(data_verify)
{
    static const char *const names[] = {"quick", "progress"};
    static const struct args_spec spec = {"verify", names, 2, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[2];
    bool quick = false;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_flag(values[0], &quick) < 0)
        return NULL;
    struct mld_report *report = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, values[1], true);
    enum mld_error code = mld_verify(&report, handle, quick, unlocked_progress, &call);
    unlocked_end(&call);
    return report_dict(self->state, code, report);
}

CORE_METHOD(data_gc)
{
    static const char *const names[] = {"offline", "dry_run", "orphan_age"};
    static const struct args_spec spec = {"gc", names, 3, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[3];
    struct mld_gc_options options = MLD_GC_OPTIONS_INIT;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_flag(values[0], &options.offline) < 0 || args_flag(values[1], &options.dry_run) < 0 ||
        args_integer(values[2], &options.orphan_age_s) < 0)
        return NULL;
    struct mld_report *report = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = mld_gc(&report, handle, &options);
    unlocked_end(&call);
    return report_dict(self->state, code, report);
}

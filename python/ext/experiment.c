/* experiment.c: the type _core.Experiment: open, end, close, flush, info, update. */
#include "core.h"

/* Everything that options of mld_experiment_open and _update point into. */
struct open_args {
    struct mld_experiment_options options;
    struct args_list tags, bindrs;
    PyObject *root, *directory; /* bytes */
    PyObject *metadata;         /* str */
};

static const char *const open_names[] = {
    "name", "project", "folder",   "prefix", "root",           "directory", "description",
    "tags", "bindrs",  "metadata", "keep",   "max_file_bytes", "read_only", "mirrored"};
#define OPEN_COUNT 14

static void open_args_free(struct open_args *args)
{
    args_list_free(&args->tags);
    args_list_free(&args->bindrs);
    Py_XDECREF(args->root);
    Py_XDECREF(args->directory);
    Py_XDECREF(args->metadata);
}

/* values[6 .. 9]: description, tags, bindrs, metadata. */
static int take_described(struct core_state *state, PyObject *const *values, struct open_args *out)
{
    struct mld_experiment_options *options = &out->options;
    if (args_text(state, values[6], "description", &options->description) < 0 ||
        args_list_take(state, values[7], "tags", &out->tags) < 0 ||
        args_list_take(state, values[8], "bindrs", &out->bindrs) < 0 ||
        convert_to_json(state, values[9], true, "metadata", &out->metadata,
                        &options->metadata_json) < 0)
        return -1;
    options->tags = out->tags.items;
    options->n_tags = out->tags.count;
    options->bindrs = out->bindrs.items;
    options->n_bindrs = out->bindrs.count;
    return 0;
}

static int take_place(struct core_state *state, PyObject *const *values, struct open_args *out)
{
    struct mld_experiment_options *options = &out->options;
    if (args_text(state, values[0], "the experiment's name", &options->name) < 0 ||
        args_text(state, values[1], "the project", &options->project) < 0 ||
        args_text(state, values[2], "the folder", &options->folder) < 0 ||
        args_text(state, values[3], "the prefix", &options->prefix) < 0)
        return -1;
    return args_path(values[4], &out->root, &options->root) < 0 ||
                   args_path(values[5], &out->directory, &options->directory) < 0
               ? -1
               : 0;
}

/* "{project}/{name}" or "{project}/{prefix}", as the published clients write it. */
static PyObject *make_files_id(mld_experiment *handle)
{
    struct mld_experiment_info *info = NULL;
    if (mld_experiment_info(&info, handle) != MLD_OK)
        return PyUnicode_FromString("");
    const char *last = info->prefix != NULL ? info->prefix : info->name;
    PyObject *id = PyUnicode_FromFormat("%s/%s", info->project == NULL ? "" : info->project,
                                        last == NULL ? "" : last);
    mld_experiment_info_free(info);
    return id;
}

static enum mld_error open_unlocked(struct core_experiment *self,
                                    const struct mld_experiment_options *options)
{
    enum mld_error code = MLD_OK;
    mld_experiment *handle = NULL;
    Py_BEGIN_ALLOW_THREADS code = mld_experiment_open(&handle, options);
    Py_END_ALLOW_THREADS self->handle = handle;
    return code;
}

/* tp_new gets a tuple and a dict: one way to sort arguments is enough, so they become a vectorcall.
 */
static int bind_options(PyObject *args, PyObject *kwargs, PyObject **values)
{
    static const struct args_spec spec = {"Experiment", open_names, OPEN_COUNT, 0, 0};
    PyObject *given[OPEN_COUNT] = {NULL};
    Py_ssize_t n_given = kwargs == NULL ? 0 : PyDict_GET_SIZE(kwargs);
    if (PyTuple_GET_SIZE(args) > 0 || n_given > OPEN_COUNT) {
        PyErr_SetString(PyExc_TypeError, "Experiment() takes keyword arguments only");
        return -1;
    }
    PyObject *names = PyTuple_New(n_given);
    if (names == NULL)
        return -1;
    Py_ssize_t position = 0;
    PyObject *name = NULL, *value = NULL;
    for (Py_ssize_t i = 0; kwargs != NULL && PyDict_Next(kwargs, &position, &name, &value); i++) {
        Py_INCREF(name);
        PyTuple_SET_ITEM(names, i, name);
        given[i] = value; /* borrowed from kwargs, which outlives the call */
    }
    int result = args_bind(&spec, given, 0, names, values);
    Py_DECREF(names);
    return result;
}

static PyObject *open_new(PyTypeObject *type, struct core_state *state,
                          const struct mld_experiment_options *options)
{
    struct core_experiment *self = (struct core_experiment *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    enum mld_error code = open_unlocked(self, options);
    if (code != MLD_OK)
        core_raise(state, code);
    else
        self->files_id = make_files_id(self->handle);
    if (self->files_id == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *experiment_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct core_state *state = PyType_GetModuleState(type);
    PyObject *values[OPEN_COUNT] = {NULL};
    struct open_args open = {.options = MLD_EXPERIMENT_OPTIONS_INIT};
    PyObject *self = NULL;
    if (state != NULL && bind_options(args, kwargs, values) == 0 &&
        take_place(state, values, &open) == 0 && take_described(state, values, &open) == 0 &&
        args_keep(state, values[10], &open.options.keep) == 0 &&
        args_size(state, values[11], "max_file_bytes", &open.options.max_file_bytes) == 0 &&
        args_flag(values[12], &open.options.read_only) == 0 &&
        args_flag(values[13], &open.options.mirrored) == 0)
        self = open_new(type, state, &open.options);
    open_args_free(&open);
    return self;
}

static void close_unlocked(struct core_experiment *self)
{
    mld_experiment *handle = self->handle;
    self->handle = NULL;
    if (handle == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS mld_experiment_close(handle);
    Py_END_ALLOW_THREADS
}

static void experiment_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *type_was = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type_was, &value, &traceback);
    close_unlocked(self);
    PyErr_Restore(type_was, value, traceback);
    Py_XDECREF(self->files_id);
    type->tp_free(object);
    Py_DECREF(type);
}

void experiment_release(struct core_experiment *self)
{
    assert(self->users > 0);
    if (--self->users == 0 && self->closing)
        close_unlocked(self);
}

mld_experiment *experiment_readable(struct core_experiment *self)
{
    if (self->handle != NULL && !self->closing)
        return self->handle;
    core_fail(self->state, MLD_ESTATE, "the experiment is closed: start it again");
    return NULL;
}

mld_experiment *experiment_writable(struct core_experiment *self)
{
    if (!self->ended)
        return experiment_readable(self);
    core_fail(self->state, MLD_ESTATE,
              "the run has ended: start it again (run.start()) to write more");
    return NULL;
}

static enum mld_status status_of(PyObject *name)
{
    static const enum mld_status ends[] = {MLD_COMPLETED, MLD_FAILED, MLD_CANCELLED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (PyUnicode_CompareWithASCIIString(name, mld_status_name(ends[i])) == 0)
            return ends[i];
    return MLD_UNKNOWN;
}

static CORE_METHOD(experiment_end)
{
    static const char *const names[] = {"status", "error"};
    static const struct args_spec spec = {"end", names, 2, 1, 2};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[2];
    const char *reason = NULL;
    if (args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[1], "the error", &reason) < 0)
        return NULL;
    enum mld_status status = PyUnicode_Check(values[0]) ? status_of(values[0]) : MLD_UNKNOWN;
    if (status == MLD_UNKNOWN)
        return core_fail(self->state, MLD_EINVALID,
                         "a run ends as COMPLETED, FAILED or CANCELLED, not as %R", values[0]);
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL)
        return NULL;
    struct unlocked call;
    self->ended = true;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = status == MLD_FAILED ? mld_experiment_fail(handle, reason)
                                               : mld_experiment_end(handle, status);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

static PyObject *experiment_close(PyObject *object, PyObject *unused)
{
    struct core_experiment *self = (struct core_experiment *)object;
    (void)unused;
    self->closing = true;
    if (self->users == 0)
        close_unlocked(self);
    Py_RETURN_NONE;
}

/* Calls that take only the handle and may wait for the disk. */
static PyObject *call_plain(PyObject *object, enum mld_error (*function)(mld_experiment *))
{
    struct core_experiment *self = (struct core_experiment *)object;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL)
        return NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = function(handle);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

static PyObject *experiment_flush(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_plain(object, mld_flush);
}

static PyObject *experiment_write_views(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_plain(object, mld_experiment_write_views);
}

static int put_place(PyObject *dict, const struct mld_experiment_info *info)
{
    return convert_set(dict, "id", convert_text(info->id)) < 0 ||
                   convert_set(dict, "name", convert_text(info->name)) < 0 ||
                   convert_set(dict, "project", convert_text(info->project)) < 0 ||
                   convert_set(dict, "folder", convert_text(info->folder)) < 0 ||
                   convert_set(dict, "prefix", convert_text(info->prefix)) < 0 ||
                   convert_set(dict, "directory", PyUnicode_DecodeFSDefault(info->directory)) < 0
               ? -1
               : 0;
}

static int put_state(struct core_state *state, PyObject *dict,
                     const struct mld_experiment_info *info)
{
    const char *json = info->metadata_json;
    size_t json_len = json == NULL ? 0 : strlen(json);
    return convert_set(dict, "description", convert_text(info->description)) < 0 ||
                   convert_set(dict, "tags", convert_text_list(info->tags, info->n_tags)) < 0 ||
                   convert_set(dict, "bindrs", convert_text_list(info->bindrs, info->n_bindrs)) <
                       0 ||
                   convert_set(dict, "metadata", convert_from_json(state, json, json_len)) < 0 ||
                   convert_set(dict, "status", convert_text(mld_status_name(info->status))) < 0 ||
                   convert_set(dict, "createdAt", convert_text(info->created_at)) < 0 ||
                   convert_set(dict, "startedAt", convert_text(info->started_at)) < 0 ||
                   convert_set(dict, "endedAt", convert_text(info->ended_at)) < 0 ||
                   convert_set(dict, "error", convert_text(info->error)) < 0
               ? -1
               : 0;
}

static int put_counts(PyObject *dict, const struct mld_experiment_info *info)
{
    return convert_set(dict, "lost", PyBool_FromLong(info->lost)) < 0 ||
                   convert_set(dict, "files", PyLong_FromSize_t(info->n_files)) < 0 ||
                   convert_set(dict, "metrics", PyLong_FromSize_t(info->n_metrics)) < 0 ||
                   convert_set(dict, "tracks", PyLong_FromSize_t(info->n_tracks)) < 0 ||
                   convert_set(dict, "fileBytes", PyLong_FromUnsignedLongLong(info->file_bytes)) <
                       0 ||
                   convert_set(dict, "problems", PyLong_FromUnsignedLongLong(info->n_problems)) <
                       0 ||
                   convert_set(dict, "warning", convert_text(info->warning)) < 0
               ? -1
               : 0;
}

static PyObject *experiment_info(PyObject *object, PyObject *unused)
{
    struct core_experiment *self = (struct core_experiment *)object;
    (void)unused;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL)
        return NULL;
    struct mld_experiment_info *info = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = mld_experiment_info(&info, handle);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    PyObject *dict = PyDict_New();
    if (dict != NULL && (put_place(dict, info) < 0 || put_state(self->state, dict, info) < 0 ||
                         put_counts(dict, info) < 0))
        Py_CLEAR(dict);
    mld_experiment_info_free(info);
    return dict;
}

static CORE_METHOD(experiment_update)
{
    static const struct args_spec spec = {"update", open_names + 6, 4, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    struct open_args update = {.options = MLD_EXPERIMENT_OPTIONS_INIT};
    PyObject *values[OPEN_COUNT] = {NULL};
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values + 6) < 0)
        return NULL;
    PyObject *result = NULL;
    if (take_described(self->state, values, &update) == 0) {
        enum mld_error code = mld_experiment_update(handle, &update.options);
        result = code == MLD_OK ? core_none() : core_raise(self->state, code);
    }
    open_args_free(&update);
    return result;
}

#define CORE_ENTRY(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(doc)}

PyMethodDef experiment_methods[] = {
    CORE_ENTRY("end", experiment_end, "Ends the run: COMPLETED, FAILED or CANCELLED."),
    {"close", experiment_close, METH_NOARGS,
     PyDoc_STR("close($self)\n--\n\nGives the handle back; the status stays.")},
    {"flush", experiment_flush, METH_NOARGS,
     PyDoc_STR("flush($self)\n--\n\nReturns once everything so far survives power loss.")},
    {"write_views", experiment_write_views, METH_NOARGS,
     PyDoc_STR("write_views($self)\n--\n\nWrites the files that other tools read.")},
    {"info", experiment_info, METH_NOARGS,
     PyDoc_STR("info($self)\n--\n\nWhat the experiment is and holds now, as a dict.")},
    CORE_ENTRY("update", experiment_update, "Changes description, tags, bindrs or metadata."),
    CORE_ENTRY("save", files_save, "Saves a copy of a file by its path."),
    CORE_ENTRY("save_bytes", files_save_bytes, "Saves bytes of memory."),
    CORE_ENTRY("writer", files_writer, "Opens a Writer: a file written piece by piece."),
    CORE_ENTRY("list", files_list, "File records that fit all conditions."),
    CORE_ENTRY("get", files_get, "One file record by id."),
    CORE_ENTRY("find", files_find, "One file record by prefix and name."),
    CORE_ENTRY("download", files_download, "Copies a file out, checked; returns its path."),
    CORE_ENTRY("read", files_read, "Streams a file's bytes into a callable."),
    CORE_ENTRY("read_bytes", files_read_bytes, "A file's bytes, checked."),
    CORE_ENTRY("stored_path", files_stored_path, "Where the stored bytes are."),
    CORE_ENTRY("update_file", files_update, "Changes a record."),
    CORE_ENTRY("delete", files_delete, "Marks a file as deleted."),
    CORE_ENTRY("restore", files_restore, "Takes a deletion back."),
    CORE_ENTRY("duplicate", files_duplicate, "The same bytes under another name."),
    CORE_ENTRY("set_alias", files_set_alias, "Names a version."),
    CORE_ENTRY("remove_alias", files_remove_alias, "Removes a version's name."),
    CORE_ENTRY("params_set", data_params_set, "Sets parameters from a dict, flattened."),
    CORE_ENTRY("params_get", data_params_get, "All parameters as a flat dict."),
    CORE_ENTRY("log", data_log, "Writes a log line."),
    CORE_ENTRY("log_read", data_log_read, "Reads log lines: (lines, has_more)."),
    CORE_ENTRY("series", data_series, "A metric or track by name."),
    CORE_ENTRY("series_list", data_series_list, "What metrics or tracks there are."),
    CORE_ENTRY("verify", data_verify, "Checks every record, line and stored byte."),
    CORE_ENTRY("gc", data_gc, "Frees bytes that nothing needs."),
    CORE_ENTRY("attach", mirror_attach, "Gives a mirrored reader its server."),
    CORE_ENTRY("refresh", mirror_refresh, "Takes what is new at the server."),
    {NULL, NULL, 0, NULL},
};

static PyObject *experiment_get_closed(PyObject *object, void *unused)
{
    struct core_experiment *self = (struct core_experiment *)object;
    (void)unused;
    return PyBool_FromLong(self->handle == NULL || self->closing);
}

static PyObject *experiment_get_ended(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct core_experiment *)object)->ended);
}

static PyGetSetDef experiment_getset[] = {
    {"closed", experiment_get_closed, NULL, PyDoc_STR("Whether the handle was given back."), NULL},
    {"ended", experiment_get_ended, NULL, PyDoc_STR("Whether the run was ended here."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot experiment_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An open run folder.")},
    {Py_tp_new, experiment_new},
    {Py_tp_dealloc, experiment_dealloc},
    {Py_tp_methods, experiment_methods},
    {Py_tp_getset, experiment_getset},
    {0, NULL},
};

PyType_Spec experiment_spec = {
    .name = "ml_dash._core.Experiment",
    .basicsize = sizeof(struct core_experiment),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = experiment_slots,
};

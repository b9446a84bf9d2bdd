/* experiment_files.c: methods of _core.Experiment that save, read and manage files. */
#include "core.h"

#include <sys/stat.h>

int save_args_take(struct core_state *state, PyObject *const *values, struct save_args *out)
{
    struct mld_save_options *options = &out->options;
    *options = (struct mld_save_options)MLD_SAVE_OPTIONS_INIT;
    if (args_text(state, values[0], "the file name", &options->filename) < 0 ||
        args_text(state, values[1], "the prefix", &options->prefix) < 0 ||
        args_text(state, values[2], "description", &options->description) < 0 ||
        args_list_take(state, values[3], "tags", &out->tags) < 0 ||
        args_list_take(state, values[4], "bindrs", &out->bindrs) < 0 ||
        convert_to_json(state, values[5], true, "metadata", &out->metadata,
                        &options->metadata_json) < 0 ||
        args_text(state, values[6], "content_type", &options->content_type) < 0 ||
        args_keep(state, values[7], &options->keep) < 0 ||
        args_flag(values[8], &options->durable) < 0)
        return -1;
    options->tags = out->tags.items;
    options->n_tags = out->tags.count;
    options->bindrs = out->bindrs.items;
    options->n_bindrs = out->bindrs.count;
    out->callback = values[9];
    return 0;
}

void save_args_free(struct save_args *args)
{
    args_list_free(&args->tags);
    args_list_free(&args->bindrs);
    Py_CLEAR(args->metadata);
}

/* Whether saving `path` is long enough to give the GIL away. */
static bool is_large_file(const char *path)
{
    struct stat info;
    return stat(path, &info) != 0 || !S_ISREG(info.st_mode) ||
           (uint64_t)info.st_size >= CORE_SMALL_BYTES;
}

CORE_METHOD(files_save)
{
    static const char *const names[] = {"path", SAVE_ARGS_NAMES, "move"};
    static const struct args_spec spec = {"save", names, SAVE_ARGS_COUNT + 2, 1, 1};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[SAVE_ARGS_COUNT + 2];
    struct save_args save = {.metadata = NULL};
    PyObject *owner = NULL, *result = NULL;
    const char *path = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (save_args_take(self->state, values + 1, &save) < 0 ||
        args_path(values[0], &owner, &path) < 0 ||
        args_flag(values[SAVE_ARGS_COUNT + 1], &save.options.move) < 0)
        goto out;
    struct mld_file *file = NULL;
    struct unlocked call;
    save.options.progress = unlocked_progress;
    save.options.payload = &call;
    bool slow = save.options.durable || save.options.move || is_large_file(path);
    unlocked_begin(&call, self, save.callback, slow);
    enum mld_error code = mld_file_save(&file, handle, path, &save.options);
    unlocked_end(&call);
    result = records_take(self, code, file);
out:
    save_args_free(&save);
    Py_XDECREF(owner);
    return result;
}

CORE_METHOD(files_save_bytes)
{
    static const char *const names[] = {"data", SAVE_ARGS_NAMES};
    static const struct args_spec spec = {"save_bytes", names, SAVE_ARGS_COUNT + 1, 2, 2};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[SAVE_ARGS_COUNT + 1];
    struct save_args save = {.metadata = NULL};
    Py_buffer data = {.obj = NULL};
    PyObject *result = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (save_args_take(self->state, values + 1, &save) < 0 ||
        PyObject_GetBuffer(values[0], &data, PyBUF_C_CONTIGUOUS) < 0)
        goto out;
    struct mld_file *file = NULL;
    struct unlocked call;
    save.options.progress = unlocked_progress;
    save.options.payload = &call;
    unlocked_begin(&call, self, save.callback,
                   save.options.durable || (size_t)data.len >= CORE_SMALL_BYTES);
    enum mld_error code =
        mld_file_save_bytes(&file, handle, data.buf, (size_t)data.len, &save.options);
    unlocked_end(&call);
    result = records_take(self, code, file);
out:
    if (data.obj != NULL)
        PyBuffer_Release(&data);
    save_args_free(&save);
    return result;
}

CORE_METHOD(files_writer)
{
    static const char *const names[] = {SAVE_ARGS_NAMES, "seekable"};
    static const struct args_spec spec = {"writer", names, SAVE_ARGS_COUNT + 1, 1, 1};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[SAVE_ARGS_COUNT + 1];
    struct save_args save = {.metadata = NULL};
    PyObject *result = NULL;
    bool seekable = false;
    if (experiment_writable(self) == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (save_args_take(self->state, values, &save) == 0 &&
        args_flag(values[SAVE_ARGS_COUNT], &seekable) == 0)
        result = writer_new(self, &save.options, seekable);
    save_args_free(&save);
    return result;
}

struct list_args {
    struct mld_list_options options;
    struct args_list any_tags, all_tags;
    PyObject *metadata;
};

static int list_args_take(struct core_state *state, PyObject *const *values, struct list_args *out)
{
    struct mld_list_options *options = &out->options;
    uint64_t offset = 0, limit = 0;
    if (args_text(state, values[0], "the prefix", &options->prefix) < 0 ||
        args_text(state, values[1], "the pattern", &options->glob) < 0 ||
        args_text(state, values[2], "the file name", &options->filename) < 0 ||
        args_list_take(state, values[3], "tags", &out->any_tags) < 0 ||
        args_list_take(state, values[4], "all_tags", &out->all_tags) < 0 ||
        args_text(state, values[5], "bindr", &options->bindr) < 0 ||
        convert_to_json(state, values[6], true, "metadata", &out->metadata,
                        &options->metadata_json) < 0 ||
        args_flag(values[7], &options->all_versions) < 0 ||
        args_flag(values[8], &options->deleted) < 0 ||
        args_size(state, values[9], "offset", &offset) < 0 ||
        args_size(state, values[10], "limit", &limit) < 0)
        return -1;
    options->any_tags = out->any_tags.items;
    options->n_any_tags = out->any_tags.count;
    options->all_tags = out->all_tags.items;
    options->n_all_tags = out->all_tags.count;
    options->offset = (size_t)offset;
    options->limit = (size_t)limit;
    return 0;
}

CORE_METHOD(files_list)
{
    static const char *const names[] = {"prefix",   "glob",   "filename", "any_tags",
                                        "all_tags", "bindr",  "metadata", "versions",
                                        "deleted",  "offset", "limit"};
    static const struct args_spec spec = {"list", names, 11, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[11];
    struct list_args list = {.options = MLD_LIST_OPTIONS_INIT};
    PyObject *result = NULL;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (list_args_take(self->state, values, &list) == 0) {
        struct mld_file_list *found = NULL;
        struct unlocked call;
        unlocked_begin(&call, self, NULL, true);
        enum mld_error code = mld_file_list(&found, handle, &list.options);
        unlocked_end(&call);
        result = code == MLD_OK ? records_files(self, found) : core_raise(self->state, code);
        mld_file_list_free(found);
    }
    args_list_free(&list.any_tags);
    args_list_free(&list.all_tags);
    Py_XDECREF(list.metadata);
    return result;
}

/* The one argument of calls by id. NULL with an exception. */
static const char *take_id(const char *function, struct core_experiment *self,
                           PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"id"};
    const struct args_spec spec = {function, names, 1, 1, 1};
    PyObject *value = NULL;
    const char *id = NULL;
    if (args_bind(&spec, args, nargs, kwnames, &value) < 0 ||
        args_text(self->state, value, "the file id", &id) < 0)
        return NULL;
    return id;
}

CORE_METHOD(files_get)
{
    struct core_experiment *self = (struct core_experiment *)object;
    const char *id = take_id("get", self, args, nargs, kwnames);
    mld_experiment *handle = id == NULL ? NULL : experiment_readable(self);
    if (handle == NULL)
        return NULL;
    struct mld_file *file = NULL;
    enum mld_error code = mld_file_get(&file, handle, id);
    return records_take(self, code, file);
}

CORE_METHOD(files_find)
{
    static const char *const names[] = {"prefix", "filename", "alias"};
    static const struct args_spec spec = {"find", names, 3, 2, 3};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[3];
    const char *prefix = NULL, *filename = NULL, *alias = NULL;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the prefix", &prefix) < 0 ||
        args_text(self->state, values[1], "the file name", &filename) < 0 ||
        args_text(self->state, values[2], "the alias", &alias) < 0)
        return NULL;
    struct mld_file *file = NULL;
    enum mld_error code = mld_file_find(&file, handle, prefix, filename, alias);
    return records_take(self, code, file);
}

static int download_args_take(struct core_state *state, PyObject *const *values,
                              struct mld_download_options *options, PyObject **owner)
{
    return args_text(state, values[0], "the file id", &options->id) < 0 ||
                   args_text(state, values[1], "the prefix", &options->prefix) < 0 ||
                   args_text(state, values[2], "the file name", &options->filename) < 0 ||
                   args_text(state, values[3], "the alias", &options->alias) < 0 ||
                   args_path(values[4], owner, &options->destination) < 0 ||
                   args_flag(values[5], &options->refuse_existing) < 0
               ? -1
               : 0;
}

CORE_METHOD(files_download)
{
    static const char *const names[] = {"id",          "prefix",          "filename", "alias",
                                        "destination", "refuse_existing", "progress"};
    static const struct args_spec spec = {"download", names, 7, 0, 0};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[7];
    struct mld_download_options options = MLD_DOWNLOAD_OPTIONS_INIT;
    PyObject *owner = NULL, *result = NULL;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (download_args_take(self->state, values, &options, &owner) == 0) {
        char *path = NULL;
        struct unlocked call;
        options.progress = unlocked_progress;
        options.payload = &call;
        unlocked_begin(&call, self, values[6], true);
        enum mld_error code = mld_file_download(&path, handle, &options);
        unlocked_end(&call);
        if (code == MLD_OK)
            result = PyUnicode_DecodeFSDefault(path);
        else
            core_raise(self->state, code);
        mld_free(path);
    }
    Py_XDECREF(owner);
    return result;
}

/* Hands pieces to a Python callable, with the GIL. */
static bool sink_to_callable(const void *data, size_t len, void *payload)
{
    struct unlocked *call = payload;
    PyEval_RestoreThread(call->thread);
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)len, PyBUF_READ);
    PyObject *answer = view == NULL ? NULL : PyObject_CallOneArg(call->callback, view);
    /* The memory is the library's: a view that the callable kept must not outlive this call. */
    PyObject *released = answer == NULL ? NULL : PyObject_CallMethod(view, "release", NULL);
    bool go_on = released != NULL && PyErr_CheckSignals() == 0;
    Py_XDECREF(released);
    Py_XDECREF(answer);
    Py_XDECREF(view);
    call->thread = PyEval_SaveThread();
    return go_on;
}

CORE_METHOD(files_read)
{
    static const char *const names[] = {"id", "sink"};
    static const struct args_spec spec = {"read", names, 2, 2, 2};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[2];
    const char *id = NULL;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the file id", &id) < 0)
        return NULL;
    struct unlocked call;
    unlocked_begin(&call, self, values[1], true);
    enum mld_error code = mld_file_read(handle, id, sink_to_callable, &call);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

struct memory_sink {
    char *next;
    size_t left;
    struct unlocked *call;
    size_t unwatched; /* bytes since signals were looked at */
};

static bool sink_to_memory(const void *data, size_t len, void *payload)
{
    struct memory_sink *sink = payload;
    if (len > sink->left)
        return false;
    memcpy(sink->next, data, len);
    sink->next += len;
    sink->left -= len;
    sink->unwatched += len;
    if (sink->unwatched < (size_t)64 * 1024 * 1024)
        return true;
    sink->unwatched = 0;
    return unlocked_progress(0, 0, sink->call);
}

CORE_METHOD(files_read_bytes)
{
    struct core_experiment *self = (struct core_experiment *)object;
    const char *id = take_id("read_bytes", self, args, nargs, kwnames);
    mld_experiment *handle = id == NULL ? NULL : experiment_readable(self);
    if (handle == NULL)
        return NULL;
    struct mld_file *file = NULL;
    enum mld_error code = mld_file_get(&file, handle, id);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    uint64_t size = file->size_bytes;
    mld_file_free(file);
    if (size > (uint64_t)PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes == NULL)
        return NULL;
    struct unlocked call;
    struct memory_sink sink = {PyBytes_AS_STRING(bytes), (size_t)size, &call, 0};
    unlocked_begin(&call, self, NULL, true);
    code = mld_file_read(handle, id, sink_to_memory, &sink);
    unlocked_end(&call);
    if (code != MLD_OK) {
        Py_DECREF(bytes);
        return core_raise(self->state, code);
    }
    return bytes;
}

CORE_METHOD(files_stored_path)
{
    struct core_experiment *self = (struct core_experiment *)object;
    const char *id = take_id("stored_path", self, args, nargs, kwnames);
    mld_experiment *handle = id == NULL ? NULL : experiment_readable(self);
    if (handle == NULL)
        return NULL;
    char *path = NULL;
    enum mld_error code = mld_file_stored_path(&path, handle, id);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    PyObject *result = PyUnicode_DecodeFSDefault(path);
    mld_free(path);
    return result;
}

CORE_METHOD(files_update)
{
    static const char *const names[] = {"id", "description", "tags", "bindrs", "metadata"};
    static const struct args_spec spec = {"update_file", names, 5, 1, 1};
    struct core_experiment *self = (struct core_experiment *)object;
    struct core_state *state = self->state;
    PyObject *values[5];
    struct mld_file_changes changes = MLD_FILE_CHANGES_INIT;
    struct args_list tags = ARGS_LIST_INIT, bindrs = ARGS_LIST_INIT;
    PyObject *metadata = NULL, *result = NULL;
    const char *id = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0)
        return NULL;
    if (args_text(state, values[0], "the file id", &id) == 0 &&
        args_text(state, values[1], "description", &changes.description) == 0 &&
        args_list_take(state, values[2], "tags", &tags) == 0 &&
        args_list_take(state, values[3], "bindrs", &bindrs) == 0 &&
        convert_to_json(state, values[4], true, "metadata", &metadata, &changes.metadata_json) ==
            0) {
        struct mld_file *file = NULL;
        changes.tags = tags.items;
        changes.n_tags = tags.count;
        changes.bindrs = bindrs.items;
        changes.n_bindrs = bindrs.count;
        enum mld_error code = mld_file_update(&file, handle, id, &changes);
        result = records_take(self, code, file);
    }
    args_list_free(&tags);
    args_list_free(&bindrs);
    Py_XDECREF(metadata);
    return result;
}

CORE_METHOD(files_delete)
{
    struct core_experiment *self = (struct core_experiment *)object;
    const char *id = take_id("delete", self, args, nargs, kwnames);
    mld_experiment *handle = id == NULL ? NULL : experiment_writable(self);
    if (handle == NULL)
        return NULL;
    struct mld_file *file = NULL;
    enum mld_error code = mld_file_delete(&file, handle, id);
    return records_take(self, code, file);
}

CORE_METHOD(files_restore)
{
    struct core_experiment *self = (struct core_experiment *)object;
    const char *id = take_id("restore", self, args, nargs, kwnames);
    mld_experiment *handle = id == NULL ? NULL : experiment_writable(self);
    if (handle == NULL)
        return NULL;
    struct mld_file *file = NULL;
    enum mld_error code = mld_file_restore(&file, handle, id);
    return records_take(self, code, file);
}

CORE_METHOD(files_duplicate)
{
    static const char *const names[] = {"id", "prefix", "filename"};
    static const struct args_spec spec = {"duplicate", names, 3, 3, 3};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[3];
    const char *id = NULL, *prefix = NULL, *filename = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the file id", &id) < 0 ||
        args_text(self->state, values[1], "the prefix", &prefix) < 0 ||
        args_text(self->state, values[2], "the file name", &filename) < 0)
        return NULL;
    struct mld_file *file = NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code = mld_file_duplicate(&file, handle, id, prefix, filename);
    unlocked_end(&call);
    return records_take(self, code, file);
}

CORE_METHOD(files_set_alias)
{
    static const char *const names[] = {"id", "alias"};
    static const struct args_spec spec = {"set_alias", names, 2, 2, 2};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[2];
    const char *id = NULL, *alias = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the file id", &id) < 0 ||
        args_text(self->state, values[1], "the alias", &alias) < 0)
        return NULL;
    enum mld_error code = mld_file_set_alias(handle, id, alias);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

CORE_METHOD(files_remove_alias)
{
    static const char *const names[] = {"prefix", "filename", "alias"};
    static const struct args_spec spec = {"remove_alias", names, 3, 3, 3};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[3];
    const char *prefix = NULL, *filename = NULL, *alias = NULL;
    mld_experiment *handle = experiment_writable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the prefix", &prefix) < 0 ||
        args_text(self->state, values[1], "the file name", &filename) < 0 ||
        args_text(self->state, values[2], "the alias", &alias) < 0)
        return NULL;
    enum mld_error code = mld_file_remove_alias(handle, prefix, filename, alias);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

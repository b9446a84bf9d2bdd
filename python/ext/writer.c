/* writer.c: the type _core.Writer: a file that is written piece by piece, as a Python binary file
 * object.
 *
 * write ... commit() makes the file exist; abandon(), an exception in the with block, or forgetting
 * the writer removes what was written. In a forked child the parent's writer is only forgotten.
 */
#include "core.h"

struct core_writer {
    PyObject_HEAD struct core_experiment *experiment;
    mld_writer *handle; /* NULL: committed or abandoned */
    PyObject *record;   /* what commit() returned */
    PyObject *name;
    unsigned long fork_count;
    bool seekable;
    bool busy; /* a call without the GIL is under way */
};

static struct core_writer *writer_of(PyObject *object)
{
    return (struct core_writer *)object;
}

PyObject *writer_new(struct core_experiment *experiment, const struct mld_save_options *options,
                     bool seekable)
{
    PyTypeObject *type = experiment->state->writer_type;
    mld_experiment *handle = experiment_writable(experiment);
    if (handle == NULL)
        return NULL;
    struct core_writer *self = (struct core_writer *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    enum mld_error code =
        mld_writer_open(&self->handle, handle, options, seekable ? MLD_SEEKABLE : MLD_SEQUENTIAL);
    if (code != MLD_OK) {
        Py_DECREF(self);
        return core_raise(experiment->state, code);
    }
    Py_INCREF(experiment);
    self->experiment = experiment;
    experiment->users++;
    self->seekable = seekable;
    self->fork_count = core_fork_count();
    self->name = convert_text(options->filename);
    if (self->name == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *writer_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)type;
    (void)args;
    (void)kwargs;
    return PyErr_Format(PyExc_TypeError, "a Writer is made by Experiment.writer()");
}

/* Gives up the handle; the caller commits or abandons it. In a child it is the parent's: nothing to
 * do. */
static mld_writer *writer_give_up(struct core_writer *self)
{
    mld_writer *handle = self->handle;
    self->handle = NULL;
    return self->fork_count == core_fork_count() ? handle : NULL;
}

static void writer_drop(struct core_writer *self)
{
    if (self->handle == NULL)
        return;
    mld_writer_abandon(writer_give_up(self));
    experiment_release(self->experiment);
}

static void writer_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct core_writer *self = writer_of(object);
    writer_drop(self);
    Py_XDECREF(self->record);
    Py_XDECREF(self->name);
    Py_XDECREF(self->experiment);
    type->tp_free(object);
    Py_DECREF(type);
}

/* -1 with an exception when nothing may be written or read now. */
static int writer_check(struct core_writer *self, bool seeks)
{
    struct core_state *state = self->experiment->state;
    if (self->handle == NULL)
        core_fail(state, MLD_ESTATE, "%R was committed or abandoned: open another writer",
                  self->name);
    else if (self->fork_count != core_fork_count())
        core_fail(state, MLD_ESTATE, "%R is written by the parent process: open another writer",
                  self->name);
    else if (self->busy)
        core_fail(state, MLD_ESTATE, "%R is being written by another thread: take turns",
                  self->name);
    else if (seeks && !self->seekable)
        PyErr_Format(state->not_seekable, "%R is written in order: open it with seekable=True",
                     self->name);
    else
        return 0;
    return -1;
}

static void writer_begin(struct core_writer *self, struct unlocked *call, bool release)
{
    self->busy = true;
    unlocked_begin(call, self->experiment, NULL, release);
}

static void writer_end(struct core_writer *self, struct unlocked *call)
{
    unlocked_end(call);
    self->busy = false;
}

static PyObject *writer_write(PyObject *object, PyObject *data)
{
    struct core_writer *self = writer_of(object);
    if (writer_check(self, false) < 0)
        return NULL;
    Py_buffer buffer;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    struct unlocked call;
    Py_ssize_t len = buffer.len;
    writer_begin(self, &call, (size_t)len >= CORE_SMALL_BYTES);
    enum mld_error code = mld_writer_write(self->handle, buffer.buf, (size_t)len);
    writer_end(self, &call);
    PyBuffer_Release(&buffer);
    if (code != MLD_OK)
        return core_raise(self->experiment->state, code);
    return PyLong_FromSsize_t(len);
}

static CORE_METHOD(writer_seek)
{
    static const char *const names[] = {"offset", "whence"};
    static const struct args_spec spec = {"seek", names, 2, 1, 2};
    struct core_writer *self = writer_of(object);
    struct core_state *state = self->experiment->state;
    PyObject *values[2];
    int64_t offset = 0, whence = 0;
    if (writer_check(self, true) < 0 || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_integer(values[0], &offset) < 0 || args_integer(values[1], &whence) < 0)
        return NULL;
    if (whence < 0 || whence > 2)
        return core_fail(state, MLD_EINVALID, "whence must be 0, 1 or 2");
    if (whence == 1)
        offset += (int64_t)mld_writer_tell(self->handle);
    else if (whence == 2)
        offset += (int64_t)mld_writer_size(self->handle);
    if (offset < 0)
        return core_fail(state, MLD_EINVALID, "cannot seek before the start of %R", self->name);
    enum mld_error code = mld_writer_seek(self->handle, (uint64_t)offset);
    if (code != MLD_OK)
        return core_raise(state, code);
    return PyLong_FromLongLong(offset);
}

static PyObject *writer_tell(PyObject *object, PyObject *unused)
{
    struct core_writer *self = writer_of(object);
    (void)unused;
    if (writer_check(self, false) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(mld_writer_tell(self->handle));
}

static CORE_METHOD(writer_read)
{
    static const char *const names[] = {"size"};
    static const struct args_spec spec = {"read", names, 1, 0, 1};
    struct core_writer *self = writer_of(object);
    PyObject *value = NULL;
    int64_t size = -1;
    if (writer_check(self, true) < 0 || args_bind(&spec, args, nargs, kwnames, &value) < 0 ||
        args_integer(value, &size) < 0)
        return NULL;
    uint64_t at = mld_writer_tell(self->handle), end = mld_writer_size(self->handle);
    uint64_t left = at < end ? end - at : 0;
    if (size < 0 || (uint64_t)size > left)
        size = (int64_t)left;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes == NULL)
        return NULL;
    size_t got = 0;
    struct unlocked call;
    writer_begin(self, &call, (size_t)size >= CORE_SMALL_BYTES);
    enum mld_error code =
        mld_writer_read(self->handle, PyBytes_AS_STRING(bytes), (size_t)size, &got);
    writer_end(self, &call);
    if (code != MLD_OK) {
        Py_DECREF(bytes);
        return core_raise(self->experiment->state, code);
    }
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)got);
    return bytes;
}

static CORE_METHOD(writer_truncate)
{
    static const char *const names[] = {"size"};
    static const struct args_spec spec = {"truncate", names, 1, 0, 1};
    struct core_writer *self = writer_of(object);
    struct core_state *state = self->experiment->state;
    PyObject *value = NULL;
    uint64_t size = 0;
    if (writer_check(self, true) < 0 || args_bind(&spec, args, nargs, kwnames, &value) < 0)
        return NULL;
    size = mld_writer_tell(self->handle);
    if (args_size(state, value, "size", &size) < 0)
        return NULL;
    enum mld_error code = mld_writer_truncate(self->handle, size);
    if (code != MLD_OK)
        return core_raise(state, code);
    return PyLong_FromUnsignedLongLong(size);
}

/* Binary files have it; what is written is in the system already. */
static PyObject *writer_flush(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (writer_check(writer_of(object), false) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *writer_commit(PyObject *object, PyObject *unused)
{
    struct core_writer *self = writer_of(object);
    (void)unused;
    if (writer_check(self, false) < 0)
        return NULL;
    struct mld_file *file = NULL;
    struct unlocked call;
    mld_writer *handle = writer_give_up(self);
    writer_begin(self, &call, true);
    enum mld_error code = mld_writer_commit(&file, handle);
    writer_end(self, &call);
    PyObject *record = records_take(self->experiment, code, file);
    experiment_release(self->experiment);
    if (record == NULL)
        return NULL;
    Py_INCREF(record);
    self->record = record;
    return record;
}

static PyObject *writer_abandon(PyObject *object, PyObject *unused)
{
    struct core_writer *self = writer_of(object);
    (void)unused;
    if (self->busy)
        return core_fail(self->experiment->state, MLD_ESTATE,
                         "%R is being written by another thread: wait for it", self->name);
    writer_drop(self);
    Py_RETURN_NONE;
}

static PyObject *writer_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (writer_check(writer_of(object), false) < 0)
        return NULL;
    Py_INCREF(object);
    return object;
}

static PyObject *writer_exit(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct core_writer *self = writer_of(object);
    if (self->handle == NULL)
        Py_RETURN_NONE;
    PyObject *done = nargs > 0 && args[0] != Py_None ? writer_abandon(object, NULL)
                                                     : writer_commit(object, NULL);
    if (done == NULL)
        return NULL;
    Py_DECREF(done);
    Py_RETURN_NONE;
}

static PyObject *writer_seekable(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(writer_of(object)->seekable);
}

static PyObject *writer_writable(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(writer_of(object)->handle != NULL);
}

static PyObject *writer_get_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(writer_of(object)->handle == NULL);
}

static PyObject *writer_get_record(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *record = writer_of(object)->record;
    if (record == NULL)
        record = Py_None;
    Py_INCREF(record);
    return record;
}

static PyObject *writer_get_name(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *name = writer_of(object)->name;
    Py_INCREF(name);
    return name;
}

#define WRITER_ENTRY(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(doc)}

static PyMethodDef writer_methods[] = {
    {"write", writer_write, METH_O,
     PyDoc_STR("write($self, data, /)\n--\n\nWrites a bytes-like object; returns its length.")},
    WRITER_ENTRY("seek", writer_seek, "Moves to a byte offset; only when seekable."),
    {"tell", writer_tell, METH_NOARGS, PyDoc_STR("tell($self)\n--\n\nThe byte offset now.")},
    WRITER_ENTRY("read", writer_read, "Reads back up to so many bytes; only when seekable."),
    WRITER_ENTRY("truncate", writer_truncate, "Cuts to a size; only when seekable."),
    {"flush", writer_flush, METH_NOARGS, PyDoc_STR("flush($self)\n--\n\nNothing to do.")},
    {"commit", writer_commit, METH_NOARGS,
     PyDoc_STR("commit($self)\n--\n\nMakes the file exist; returns its record.")},
    {"abandon", writer_abandon, METH_NOARGS,
     PyDoc_STR("abandon($self)\n--\n\nRemoves what was written. Twice is fine.")},
    {"seekable", writer_seekable, METH_NOARGS,
     PyDoc_STR("seekable($self)\n--\n\nWhether it was opened so.")},
    {"readable", writer_seekable, METH_NOARGS, PyDoc_STR("readable($self)\n--\n\nAs seekable().")},
    {"writable", writer_writable, METH_NOARGS, PyDoc_STR("writable($self)\n--\n\nUntil the end.")},
    {"__enter__", writer_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))writer_exit, METH_FASTCALL,
     PyDoc_STR("Commits, or abandons after an exception.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"closed", writer_get_closed, NULL, PyDoc_STR("Whether it was committed or abandoned."), NULL},
    {"record", writer_get_record, NULL, PyDoc_STR("What commit() returned, else None."), NULL},
    {"name", writer_get_name, NULL, PyDoc_STR("The file's name."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A file that is written piece by piece.")},
    {Py_tp_new, writer_tp_new},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

PyType_Spec writer_spec = {
    .name = "ml_dash._core.Writer",
    .basicsize = sizeof(struct core_writer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = writer_slots,
};

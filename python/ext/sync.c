/* sync.c: the type _core.Sync: a run folder that a thread of the library sends to a server.
 *
 * The thread tells its problems through a callback that must not wait for the GIL: they are kept
 * here, up to a number, until Python fetches them.
 */
#include "core.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "mldash/sync.h"
#include "sync/credentials.h"

#define PROBLEMS_MAX 100
#define WAIT_MAX_MS 86400000.0 /* one call; Python's loops call again */

struct problems {
    pthread_mutex_t lock;
    char *lines[PROBLEMS_MAX];
    size_t n;
    uint64_t dropped; /* came when it was full */
    atomic_bool some; /* to be asked without the lock */
};

struct core_sync {
    PyObject_HEAD struct core_state *state;
    mld_sync *handle; /* NULL: stopped */
    struct problems *problems;
    unsigned long fork_count; /* of the process that has the thread */
    unsigned users;           /* calls without the GIL: stopping waits for them */
    bool stopping;
};

static struct core_sync *sync_of(PyObject *object)
{
    return (struct core_sync *)object;
}

/* A mld_sync_options.progress: on the library's thread, without the GIL. */
static bool keep_problem(const struct mld_sync_status *status, const char *problem, void *payload)
{
    struct problems *p = payload;
    (void)status;
    if (problem == NULL)
        return true;
    pthread_mutex_lock(&p->lock);
    char *line = p->n < PROBLEMS_MAX ? strdup(problem) : NULL;
    if (line != NULL)
        p->lines[p->n++] = line;
    else
        p->dropped++;
    atomic_store(&p->some, true);
    pthread_mutex_unlock(&p->lock);
    return true;
}

static struct problems *problems_new(void)
{
    struct problems *p = calloc(1, sizeof *p);
    if (p == NULL)
        PyErr_NoMemory();
    else
        pthread_mutex_init(&p->lock, NULL);
    return p;
}

/* When no thread is left that writes to it. */
static void problems_free(struct problems *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++)
        free(p->lines[i]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static bool is_forked(const struct core_sync *self)
{
    return self->fork_count != core_fork_count();
}

/* Ends the thread, within two seconds. In a forked child there is none. */
static void stop_unlocked(struct core_sync *self)
{
    mld_sync *handle = self->handle;
    self->handle = NULL;
    if (handle == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS mld_sync_stop(handle);
    Py_END_ALLOW_THREADS
}

static void sync_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct core_sync *self = sync_of(object);
    PyObject *type_was = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type_was, &value, &traceback);
    stop_unlocked(self);
    PyErr_Restore(type_was, value, traceback);
    if (!is_forked(self)) /* a lock that the parent's thread held stays as it was */
        problems_free(self->problems);
    type->tp_free(object);
    Py_DECREF(type);
}

static enum mld_error start_unlocked(struct core_sync *self, const char *directory,
                                     const struct mld_sync_options *options)
{
    enum mld_error code = MLD_OK;
    mld_sync *handle = NULL;
    Py_BEGIN_ALLOW_THREADS code = mld_sync_start(&handle, directory, options);
    Py_END_ALLOW_THREADS self->handle = handle;
    return code;
}

static PyObject *start_new(PyTypeObject *type, struct core_state *state, const char *directory,
                           struct mld_sync_options *options)
{
    struct core_sync *self = (struct core_sync *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->fork_count = core_fork_count();
    self->problems = problems_new();
    if (self->problems != NULL) {
        options->progress = keep_problem;
        options->payload = self->problems;
        enum mld_error code = start_unlocked(self, directory, options);
        if (code == MLD_OK)
            return (PyObject *)self;
        core_raise(state, code);
    }
    Py_DECREF(self);
    return NULL;
}

static PyObject *sync_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"directory", "url", "token", "namespace", NULL};
    struct core_state *state = PyType_GetModuleState(type);
    struct mld_sync_options options = MLD_SYNC_OPTIONS_INIT;
    PyObject *directory = NULL, *result = NULL;
    if (state != NULL && PyArg_ParseTupleAndKeywords(
                             args, kwargs, "O&|$zzz:Sync", names, PyUnicode_FSConverter, &directory,
                             &options.url, &options.token, &options.namespace_name))
        result = start_new(type, state, PyBytes_AS_STRING(directory), &options);
    Py_XDECREF(directory);
    return result;
}

static mld_sync *sync_handle(struct core_sync *self)
{
    if (is_forked(self))
        core_fail(self->state, MLD_ESTATE,
                  "the process that sends this run to the server was forked: ask there");
    else if (self->handle == NULL || self->stopping)
        core_fail(self->state, MLD_ESTATE, "nothing is sent to the server any more");
    else
        return self->handle;
    return NULL;
}

static uint64_t milliseconds(double seconds)
{
    double ms = seconds * 1000;
    if (isnan(ms) || ms < 0)
        return 0;
    return (uint64_t)(ms > WAIT_MAX_MS ? WAIT_MAX_MS : ms);
}

/* Between the two the handle stays, and others may run. */
static PyThreadState *wait_begin(struct core_sync *self)
{
    Py_INCREF(self);
    self->users++;
    return PyEval_SaveThread();
}

static void wait_end(struct core_sync *self, PyThreadState *thread)
{
    PyEval_RestoreThread(thread);
    if (--self->users == 0 && self->stopping)
        stop_unlocked(self);
    Py_DECREF(self);
}

static PyObject *sync_ask(PyObject *object, PyObject *unused)
{
    struct core_sync *self = sync_of(object);
    mld_sync *handle = sync_handle(self);
    uint64_t ticket;
    (void)unused;
    if (handle == NULL)
        return NULL;
    enum mld_error code = mld_sync_ask(handle, &ticket);
    return code == MLD_OK ? PyLong_FromUnsignedLongLong(ticket) : core_raise(self->state, code);
}

static PyObject *sync_wait(PyObject *object, PyObject *args)
{
    struct core_sync *self = sync_of(object);
    mld_sync *handle = sync_handle(self);
    unsigned long long ticket;
    double timeout_s;
    if (handle == NULL || !PyArg_ParseTuple(args, "Kd:wait", &ticket, &timeout_s))
        return NULL;
    struct mld_sync_status status;
    PyThreadState *thread = wait_begin(self);
    enum mld_error code = mld_sync_wait(handle, ticket, milliseconds(timeout_s));
    mld_sync_get_status(handle, &status);
    wait_end(self, thread);
    if (code == MLD_EDAMAGED && !status.failed)
        code = MLD_OK; /* failures() has what did not */
    if (code != MLD_OK && code != MLD_ETIMEOUT)
        return core_raise(self->state, code);
    return PyBool_FromLong(code == MLD_OK);
}

static PyObject *failure_list(const struct mld_sync_failure *failures, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *name = convert_text(failures[i].name), *reason = convert_text(failures[i].reason);
        PyObject *pair = name == NULL || reason == NULL ? NULL : PyTuple_Pack(2, name, reason);
        Py_XDECREF(name);
        Py_XDECREF(reason);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    return list;
}

static PyObject *sync_failures(PyObject *object, PyObject *unused)
{
    struct core_sync *self = sync_of(object);
    mld_sync *handle = sync_handle(self);
    size_t n = 0;
    (void)unused;
    if (handle == NULL)
        return NULL;
    struct mld_sync_failure *failures = PyMem_Calloc(MLD_SYNC_MAX_FAILURES, sizeof *failures);
    if (failures == NULL)
        return PyErr_NoMemory();
    mld_sync_get_failures(handle, failures, MLD_SYNC_MAX_FAILURES, &n);
    PyObject *list = failure_list(failures, n);
    PyMem_Free(failures);
    return list;
}

static PyObject *sync_is_there(PyObject *object, PyObject *file_id)
{
    struct core_sync *self = sync_of(object);
    mld_sync *handle = sync_handle(self);
    const char *id;
    bool there;
    if (handle == NULL || args_text(self->state, file_id, "the file's id", &id) < 0)
        return NULL;
    PyThreadState *thread = wait_begin(self);
    enum mld_error code = mld_sync_file_is_there(handle, id, 0, &there);
    wait_end(self, thread);
    return code == MLD_OK ? PyBool_FromLong(there) : core_raise(self->state, code);
}

static PyObject *status_dict(const struct mld_sync_status *s)
{
    const struct {
        const char *key;
        uint64_t value;
    } counters[] = {
        {"filesSent", s->files_sent},
        {"filesThere", s->files_there},
        {"filesLeft", s->files_left},
        {"filesFailed", s->files_failed},
        {"bytesSent", s->bytes_sent},
        {"bytesLeft", s->bytes_left},
        {"linesBytesSent", s->lines_bytes_sent},
        {"linesBytesLeft", s->lines_bytes_left},
        {"requests", s->requests},
    };
    PyObject *dict = PyDict_New();
    int result = dict == NULL ? -1 : 0;
    for (size_t i = 0; result == 0 && i < sizeof counters / sizeof counters[0]; i++)
        result = convert_set(dict, counters[i].key, PyLong_FromUnsignedLongLong(counters[i].value));
    const char *error = s->error == MLD_OK ? NULL : mld_error_name(s->error);
    if (result == 0 && (convert_set(dict, "done", PyBool_FromLong(s->done)) < 0 ||
                        convert_set(dict, "failed", PyBool_FromLong(s->failed)) < 0 ||
                        convert_set(dict, "error", convert_text(error)) < 0 ||
                        convert_set(dict, "message", convert_text(s->message)) < 0 ||
                        convert_set(dict, "experiment", convert_text(s->experiment)) < 0 ||
                        convert_set(dict, "place", convert_text(s->place)) < 0))
        result = -1;
    if (result < 0)
        Py_CLEAR(dict);
    return dict;
}

static PyObject *sync_status(PyObject *object, PyObject *unused)
{
    struct core_sync *self = sync_of(object);
    mld_sync *handle = sync_handle(self);
    struct mld_sync_status status;
    (void)unused;
    if (handle == NULL)
        return NULL;
    PyThreadState *thread = wait_begin(self);
    mld_sync_get_status(handle, &status);
    wait_end(self, thread);
    return status_dict(&status);
}

static PyObject *sync_problems(PyObject *object, PyObject *unused)
{
    struct core_sync *self = sync_of(object);
    struct problems *p = self->problems;
    struct problems taken = {.n = 0};
    (void)unused;
    if (!is_forked(self)) {
        pthread_mutex_lock(&p->lock);
        taken.n = p->n;
        taken.dropped = p->dropped;
        memcpy(taken.lines, p->lines, sizeof taken.lines);
        p->n = 0;
        p->dropped = 0;
        atomic_store(&p->some, false);
        pthread_mutex_unlock(&p->lock);
    }
    PyObject *list = convert_text_list((const char *const *)taken.lines, taken.n);
    for (size_t i = 0; i < taken.n; i++)
        free(taken.lines[i]);
    return list == NULL ? NULL : Py_BuildValue("NK", list, (unsigned long long)taken.dropped);
}

static PyObject *sync_stop(PyObject *object, PyObject *unused)
{
    struct core_sync *self = sync_of(object);
    (void)unused;
    self->stopping = true;
    if (self->users == 0)
        stop_unlocked(self);
    Py_RETURN_NONE;
}

static PyMethodDef sync_methods[] = {
    {"ask", sync_ask, METH_NOARGS,
     PyDoc_STR("ask($self)\n--\n\nA ticket for wait(): all that is durable now.")},
    {"wait", sync_wait, METH_VARARGS,
     PyDoc_STR("wait($self, ticket, timeout, /)\n--\n\nWhether all of it arrived, in time.")},
    {"is_there", sync_is_there, METH_O,
     PyDoc_STR("is_there($self, file_id, /)\n--\n\nWhether a file's bytes are acknowledged.")},
    {"status", sync_status, METH_NOARGS,
     PyDoc_STR("status($self)\n--\n\nWhat was sent and is left, as a dict.")},
    {"problems", sync_problems, METH_NOARGS,
     PyDoc_STR("problems($self)\n--\n\nTakes the lines that are new, and how many had no place.")},
    {"failures", sync_failures, METH_NOARGS,
     PyDoc_STR("failures($self)\n--\n\nWhat cannot be sent: pairs of name and reason.")},
    {"stop", sync_stop, METH_NOARGS,
     PyDoc_STR("stop($self)\n--\n\nEnds the thread within two seconds. Twice is fine.")},
    {NULL, NULL, 0, NULL},
};

static PyObject *sync_get_troubled(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(atomic_load(&sync_of(object)->problems->some));
}

static PyGetSetDef sync_getset[] = {
    {"troubled", sync_get_troubled, NULL, PyDoc_STR("Whether problems() has any."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot sync_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A run folder on its way to a server.")},
    {Py_tp_new, sync_new},
    {Py_tp_dealloc, sync_dealloc},
    {Py_tp_methods, sync_methods},
    {Py_tp_getset, sync_getset},
    {0, NULL},
};

PyType_Spec sync_spec = {
    .name = "ml_dash._core.Sync",
    .basicsize = sizeof(struct core_sync),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sync_slots,
};

PyObject *sync_find_server(PyObject *module, PyObject *args)
{
    struct core_state *state = PyModule_GetState(module);
    struct credentials found;
    const char *url, *token;
    if (!PyArg_ParseTuple(args, "zz:find_server", &url, &token))
        return NULL;
    enum mld_error code = credentials_find(&found, url, token);
    if (code != MLD_OK)
        return core_raise(state, code);
    PyObject *result = Py_BuildValue("zN", found.url, PyBool_FromLong(found.token != NULL));
    credentials_free(&found);
    return result;
}

/* module.c: the module itself: its state, its exceptions, and how a process notices that it was
 * forked. */
#include "core.h"

#include <pthread.h>
#include <stdarg.h>

static unsigned long fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_noticed(void)
{
    fork_count++;
}

static void fork_watch(void)
{
    (void)pthread_atfork(NULL, NULL, fork_noticed);
}

unsigned long core_fork_count(void)
{
    return fork_count;
}

PyObject *core_raise(struct core_state *state, enum mld_error code)
{
    assert(code != MLD_OK && code < CORE_ERROR_COUNT);
    if (PyErr_Occurred())
        return NULL;
    const char *message = mld_error_message();
    if (message[0] == '\0')
        message = mld_error_words(code);
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "replace");
    if (text == NULL)
        return NULL;
    PyErr_SetObject(state->errors[code], text);
    Py_DECREF(text);
    return NULL;
}

PyObject *core_fail(struct core_state *state, enum mld_error code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    PyErr_FormatV(state->errors[code], format, list);
    va_end(list);
    return NULL;
}

static const char *const error_classes[CORE_ERROR_COUNT] = {
#define CORE_ERROR_CLASS(code, words, status, exception) [code] = #exception,
    MLD_ERRORS(CORE_ERROR_CLASS)
#undef CORE_ERROR_CLASS
};

static int load_exceptions(struct core_state *state)
{
    PyObject *module = PyImport_ImportModule("ml_dash.exceptions");
    if (module == NULL)
        return -1;
    int result = -1;
    for (int code = MLD_OK + 1; code < CORE_ERROR_COUNT; code++) {
        state->errors[code] = PyObject_GetAttrString(module, error_classes[code]);
        if (state->errors[code] == NULL)
            goto out;
    }
    state->not_json = PyObject_GetAttrString(module, "NotJsonError");
    state->not_seekable = PyObject_GetAttrString(module, "NotSeekableError");
    result = state->not_json == NULL || state->not_seekable == NULL ? -1 : 0;
out:
    Py_DECREF(module);
    return result;
}

static int intern(PyObject **slot, const char *text)
{
    *slot = PyUnicode_InternFromString(text);
    return *slot == NULL ? -1 : 0;
}

static int make_constants(struct core_state *state)
{
    if (intern(&state->empty, "") < 0 || intern(&state->underscore_ts, "_ts") < 0 ||
        intern(&state->tolist, "tolist") < 0 || intern(&state->index, "index") < 0 ||
        intern(&state->buffered, "bufferedDataPoints") < 0)
        return -1;
    state->file_template = PyDict_New();
    if (state->file_template == NULL)
        return -1;
#define CORE_FILE_KEY_INTERN(member, key)                                       \
    if (intern(&state->key_##member, key) < 0 ||                                \
        PyDict_SetItem(state->file_template, state->key_##member, Py_None) < 0) \
        return -1;
    CORE_FILE_KEYS(CORE_FILE_KEY_INTERN)
#undef CORE_FILE_KEY_INTERN
    return 0;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*out == NULL)
        return -1;
    return PyModule_AddType(module, *out);
}

static int core_exec(PyObject *module)
{
    struct core_state *state = PyModule_GetState(module);
    (void)pthread_once(&fork_once, fork_watch);
    if (load_exceptions(state) < 0 || make_constants(state) < 0)
        return -1;
    if (add_type(module, &experiment_spec, &state->experiment_type) < 0 ||
        add_type(module, &series_spec, &state->series_type) < 0 ||
        add_type(module, &writer_spec, &state->writer_type) < 0 ||
        add_type(module, &sync_spec, &state->sync_type) < 0)
        return -1;
    if (PyModule_AddIntConstant(module, "METRIC", MLD_METRIC) < 0 ||
        PyModule_AddIntConstant(module, "TRACK", MLD_TRACK) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "version", mld_version());
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct core_state *state = PyModule_GetState(module);
    Py_VISIT(state->experiment_type);
    Py_VISIT(state->series_type);
    Py_VISIT(state->writer_type);
    Py_VISIT(state->sync_type);
    for (int code = 0; code < CORE_ERROR_COUNT; code++)
        Py_VISIT(state->errors[code]);
    Py_VISIT(state->not_json);
    Py_VISIT(state->not_seekable);
    Py_VISIT(state->file_template);
    Py_VISIT(state->encode);
    Py_VISIT(state->encode_strict);
    Py_VISIT(state->decode);
    return 0;
}

static int core_clear(PyObject *module)
{
    struct core_state *state = PyModule_GetState(module);
    Py_CLEAR(state->experiment_type);
    Py_CLEAR(state->series_type);
    Py_CLEAR(state->writer_type);
    Py_CLEAR(state->sync_type);
    for (int code = 0; code < CORE_ERROR_COUNT; code++)
        Py_CLEAR(state->errors[code]);
    Py_CLEAR(state->not_json);
    Py_CLEAR(state->not_seekable);
    Py_CLEAR(state->file_template);
    Py_CLEAR(state->empty);
    Py_CLEAR(state->underscore_ts);
    Py_CLEAR(state->tolist);
    Py_CLEAR(state->index);
    Py_CLEAR(state->buffered);
    Py_CLEAR(state->encode);
    Py_CLEAR(state->encode_strict);
    Py_CLEAR(state->decode);
#define CORE_FILE_KEY_CLEAR(member, key) Py_CLEAR(state->key_##member);
    CORE_FILE_KEYS(CORE_FILE_KEY_CLEAR)
#undef CORE_FILE_KEY_CLEAR
    return 0;
}

static void core_free(void *module)
{
    (void)core_clear(module);
}

/* find_experiments(root) -> list[str]: the run folders at or below a folder. */
static PyObject *core_find_experiments(PyObject *module, PyObject *root)
{
    struct core_state *state = PyModule_GetState(module);
    PyObject *owner = NULL;
    const char *path = NULL;
    if (args_path(root, &owner, &path) < 0)
        return NULL;
    struct mld_folders *folders = NULL;
    enum mld_error code = MLD_OK;
    Py_BEGIN_ALLOW_THREADS code = mld_folders_find(&folders, path);
    Py_END_ALLOW_THREADS PyObject *result = NULL;
    if (code != MLD_OK) {
        core_raise(state, code);
        goto out;
    }
    result = PyList_New(0);
    for (size_t i = 0; result != NULL && i < folders->count; i++) {
        PyObject *item = PyUnicode_DecodeFSDefault(folders->paths[i]);
        if (item == NULL || PyList_Append(result, item) < 0)
            Py_CLEAR(result);
        Py_XDECREF(item);
    }
out:
    mld_folders_free(folders);
    Py_XDECREF(owner);
    return result;
}

static PyMethodDef core_methods[] = {
    {"find_experiments", core_find_experiments, METH_O,
     PyDoc_STR("find_experiments(root, /)\n--\n\nThe run folders at or below a folder, as paths.")},
    {"find_server", sync_find_server, METH_VARARGS,
     PyDoc_STR("find_server(url, token, /)\n--\n\nThe URL to use, or None, and whether a token is "
               "known.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* The library's state is per process: experiments are shared by folder. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ml_dash._core",
    .m_doc = PyDoc_STR("The run folder, in C. Use ml_dash; this module is its engine."),
    .m_size = sizeof(struct core_state),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}

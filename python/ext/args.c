/* args.c: arguments of Python calls, sorted and checked by hand. */
#include "core.h"

#include <math.h>

static int find_name(const struct args_spec *spec, PyObject *name)
{
    for (int i = 0; i < spec->count; i++)
        if (PyUnicode_CompareWithASCIIString(name, spec->names[i]) == 0)
            return i;
    return -1;
}

int args_bind(const struct args_spec *spec, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames, PyObject **out)
{
    for (int i = 0; i < spec->count; i++)
        out[i] = NULL;
    if (nargs > spec->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                     spec->function, spec->positional, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    Py_ssize_t n_named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < n_named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int at = find_name(spec, name);
        if (at < 0 || out[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got %s keyword argument '%U'", spec->function,
                         at < 0 ? "an unexpected" : "a repeated", name);
            return -1;
        }
        out[at] = args[nargs + i];
    }
    for (int i = 0; i < spec->count; i++) {
        if (out[i] == Py_None)
            out[i] = NULL;
        if (out[i] == NULL && i < spec->required) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", spec->function,
                         spec->names[i]);
            return -1;
        }
    }
    return 0;
}

int args_text(struct core_state *state, PyObject *value, const char *what, const char **out)
{
    *out = NULL;
    if (value == NULL)
        return 0;
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a string, not %.100s", what,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(value, &len);
    if (text == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            core_fail(state, MLD_ENAME, "%s %A is not valid Unicode: choose another", what, value);
        }
        return -1;
    }
    if (strlen(text) != (size_t)len) {
        core_fail(state, MLD_ENAME, "%s %A holds a NUL character: remove it", what, value);
        return -1;
    }
    *out = text;
    return 0;
}

int args_path(PyObject *value, PyObject **owner, const char **out)
{
    *owner = NULL;
    *out = NULL;
    if (value == NULL)
        return 0;
    if (!PyUnicode_FSConverter(value, owner))
        return -1;
    *out = PyBytes_AS_STRING(*owner);
    return 0;
}

int args_integer(PyObject *value, int64_t *out)
{
    if (value == NULL)
        return 0;
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    *out = number;
    return 0;
}

int args_size(struct core_state *state, PyObject *value, const char *what, uint64_t *out)
{
    int64_t number = 0;
    if (value == NULL)
        return 0;
    if (args_integer(value, &number) < 0)
        return -1;
    if (number < 0) {
        core_fail(state, MLD_EINVALID, "%s must not be negative: %lld", what, (long long)number);
        return -1;
    }
    *out = (uint64_t)number;
    return 0;
}

int args_seconds(PyObject *value, double *out)
{
    *out = NAN;
    if (value == NULL)
        return 0;
    *out = PyFloat_AsDouble(value);
    return *out == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int args_flag(PyObject *value, bool *out)
{
    *out = false;
    if (value == NULL)
        return 0;
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    *out = truth != 0;
    return 0;
}

int args_keep(struct core_state *state, PyObject *value, int *out)
{
    *out = MLD_KEEP_DEFAULT;
    if (value == NULL)
        return 0;
    if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "all") == 0) {
        *out = MLD_KEEP_ALL;
        return 0;
    }
    long number = PyLong_Check(value) ? PyLong_AsLong(value) : 0;
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < 1 || number > INT_MAX) {
        core_fail(state, MLD_EINVALID,
                  "keep must be a number of versions from 1 on, or \"all\": %R", value);
        return -1;
    }
    *out = (int)number;
    return 0;
}

int args_list_take(struct core_state *state, PyObject *value, const char *what,
                   struct args_list *out)
{
    if (value == NULL)
        return 0;
    if (PyUnicode_Check(value) || PyBytes_Check(value)) {
        core_fail(state, MLD_EINVALID, "%s must be a list of strings, not one string: [%R]", what,
                  value);
        return -1;
    }
    out->owner = PySequence_Tuple(value);
    if (out->owner == NULL)
        return -1;
    out->count = (size_t)PyTuple_GET_SIZE(out->owner);
    out->items = PyMem_New(const char *, out->count + 1);
    if (out->items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < out->count; i++) {
        PyObject *item = PyTuple_GET_ITEM(out->owner, (Py_ssize_t)i);
        if (!PyUnicode_Check(item)) {
            core_fail(state, MLD_EINVALID, "%s must be strings, not %.100s: %R", what,
                      Py_TYPE(item)->tp_name, item);
            return -1;
        }
        if (args_text(state, item, what, &out->items[i]) < 0)
            return -1;
    }
    return 0;
}

void args_list_free(struct args_list *list)
{
    PyMem_Free(list->items);
    Py_CLEAR(list->owner);
    list->items = NULL;
    list->count = 0;
}

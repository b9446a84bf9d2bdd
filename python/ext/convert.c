/* convert.c: Python values to named fields and JSON, and back. */
#include "core.h"

#include <math.h>

void fields_init(struct fields *fields)
{
    fields->items = fields->small;
    fields->count = 0;
    fields->capacity = FIELDS_SMALL;
    fields->bytes = 0;
    fields->flatten = false;
    fields->time_s = NAN;
    fields->timed = false;
    fields->kept = NULL;
}

void fields_free(struct fields *fields)
{
    if (fields->items != fields->small)
        PyMem_Free(fields->items);
    Py_CLEAR(fields->kept);
}

void fields_reset(struct fields *fields)
{
    fields->count = 0;
    fields->bytes = 0;
    fields->time_s = NAN;
    Py_CLEAR(fields->kept);
}

/* Takes over `object`, which fields point into. */
static int fields_keep(struct fields *fields, PyObject *object)
{
    if (object == NULL)
        return -1;
    if (fields->kept == NULL)
        fields->kept = PyList_New(0);
    int result = fields->kept == NULL ? -1 : PyList_Append(fields->kept, object);
    Py_DECREF(object);
    return result;
}

static struct mld_field *fields_next(struct fields *fields)
{
    if (fields->count == fields->capacity) {
        size_t capacity = fields->capacity * 2;
        size_t size = capacity * sizeof fields->items[0];
        bool inside = fields->items == fields->small;
        struct mld_field *items = PyMem_Realloc(inside ? NULL : fields->items, size);
        if (items == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (inside)
            memcpy(items, fields->small, sizeof fields->small);
        fields->items = items;
        fields->capacity = capacity;
    }
    return &fields->items[fields->count++];
}

/* ml_dash._json, whose import would slow `import ml_dash` down. */
static int load_json(struct core_state *state)
{
    if (state->decode != NULL)
        return 0;
    PyObject *module = PyImport_ImportModule("ml_dash._json");
    if (module == NULL)
        return -1;
    int result = -1;
    state->encode = PyObject_GetAttrString(module, "encode");
    state->encode_strict = PyObject_GetAttrString(module, "encode_strict");
    if (state->encode != NULL && state->encode_strict != NULL)
        state->decode = PyObject_GetAttrString(module, "decode");
    if (state->decode != NULL)
        result = 0;
    Py_DECREF(module);
    return result;
}

/* An encoder's exception, as one of ours that names what could not be encoded. */
static void blame_value(struct core_state *state, const char *what)
{
    bool type_error = PyErr_ExceptionMatches(PyExc_TypeError);
    if (!type_error && !PyErr_ExceptionMatches(PyExc_ValueError))
        return;
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyErr_Format(type_error ? state->not_json : state->errors[MLD_EINVALID],
                 "%s cannot be stored as JSON: %S", what, value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

int convert_to_json(struct core_state *state, PyObject *value, bool strict, const char *what,
                    PyObject **owner, const char **out)
{
    *owner = NULL;
    *out = NULL;
    if (value == NULL)
        return 0;
    if (load_json(state) < 0)
        return -1;
    PyObject *text = PyObject_CallOneArg(strict ? state->encode_strict : state->encode, value);
    if (text == NULL) {
        blame_value(state, what);
        return -1;
    }
    *out = PyUnicode_AsUTF8(text);
    if (*out == NULL) {
        Py_DECREF(text);
        return -1;
    }
    *owner = text;
    return 0;
}

PyObject *convert_from_json(struct core_state *state, const char *text, size_t len)
{
    if (text == NULL)
        return core_none();
    if (load_json(state) < 0)
        return NULL;
    PyObject *string = convert_text_len(text, len);
    if (string == NULL)
        return NULL;
    PyObject *result = PyObject_CallOneArg(state->decode, string);
    Py_DECREF(string);
    return result;
}

PyObject *convert_from_json_many(struct core_state *state, const struct json_piece *pieces,
                                 size_t count)
{
    if (count == 0)
        return PyList_New(0);
    size_t len = 1 + count; /* "[", and a "," or the "]" after each */
    for (size_t i = 0; i < count; i++)
        len += pieces[i].len;
    char *text = PyMem_Malloc(len);
    if (text == NULL)
        return PyErr_NoMemory();
    char *end = text;
    for (size_t i = 0; i < count; i++) {
        *end++ = i == 0 ? '[' : ',';
        memcpy(end, pieces[i].text, pieces[i].len);
        end += pieces[i].len;
    }
    *end++ = ']';
    PyObject *result = convert_from_json(state, text, (size_t)(end - text));
    PyMem_Free(text);
    if (result != NULL && (!PyList_Check(result) || (size_t)PyList_GET_SIZE(result) != count)) {
        Py_DECREF(result);
        return core_fail(state, MLD_EDAMAGED, "a stored value is not JSON: verify the run folder");
    }
    return result;
}

static int set_json(struct core_state *state, struct fields *fields, struct mld_field *field,
                    PyObject *value)
{
    PyObject *owner = NULL;
    const char *text = NULL;
    if (convert_to_json(state, value, false, field->name, &owner, &text) < 0)
        return -1;
    *field = mld_json(field->name, text);
    fields->bytes += field->len;
    return fields_keep(fields, owner);
}

static int set_text(struct core_state *state, struct fields *fields, struct mld_field *field,
                    PyObject *value)
{
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(value, &len);
    if (text == NULL) { /* lone surrogates: JSON has an escape for them */
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return -1;
        PyErr_Clear();
        return set_json(state, fields, field, value);
    }
    field->kind = MLD_TEXT;
    field->text = text;
    field->len = (size_t)len;
    fields->bytes += (size_t)len;
    return 0;
}

static int set_integer(struct core_state *state, struct fields *fields, struct mld_field *field,
                       PyObject *value)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0)
        return set_json(state, fields, field, value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    field->kind = MLD_INTEGER;
    field->integer = number;
    return 0;
}

/* Arrays, tensors and their scalars say what they are by tolist(); the rest goes through the JSON
 * encoder. */
static int set_other(struct core_state *state, struct fields *fields, struct mld_field *field,
                     PyObject *value)
{
    PyObject *method = PyObject_GetAttr(value, state->tolist);
    if (method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return set_json(state, fields, field, value);
    }
    PyObject *plain = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    if (plain == NULL)
        return -1;
    int result = 0;
    if (PyFloat_Check(plain))
        *field = mld_number(field->name, PyFloat_AS_DOUBLE(plain));
    else if (PyLong_Check(plain) && !PyBool_Check(plain))
        result = set_integer(state, fields, field, plain);
    else
        result = set_json(state, fields, field, plain);
    Py_DECREF(plain);
    return result;
}

static int set_value(struct core_state *state, struct fields *fields, struct mld_field *field,
                     PyObject *value)
{
    if (PyFloat_Check(value)) {
        field->kind = MLD_NUMBER;
        field->number = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    if (PyBool_Check(value)) {
        field->kind = MLD_BOOL;
        field->boolean = value == Py_True;
        return 0;
    }
    if (PyLong_Check(value))
        return set_integer(state, fields, field, value);
    if (PyUnicode_Check(value))
        return set_text(state, fields, field, value);
    if (value == Py_None) {
        field->kind = MLD_NULL;
        return 0;
    }
    return set_other(state, fields, field, value);
}

/* `_ts`: seconds since the epoch, or -1: as in the call before, in this thread. */
static int take_time(struct core_state *state, struct fields *fields, PyObject *value)
{
    if (value == Py_None)
        return 0;
    double time_s = PyFloat_AsDouble(value);
    if (time_s == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError))
            return -1;
        PyErr_Clear();
        core_fail(state, MLD_EINVALID, "_ts must be seconds as a number, not %R", value);
        return -1;
    }
    if (!isfinite(time_s)) {
        core_fail(state, MLD_EINVALID, "_ts must be a finite number of seconds, not %R", value);
        return -1;
    }
    fields->time_s = time_s;
    return 0;
}

/* a.b of {"a": {"b": ..}}; a nested name is made with the outer name in front. */
static int add_nested(struct core_state *state, struct fields *fields, PyObject *name,
                      PyObject *dict)
{
    if (Py_EnterRecursiveCall(" while flattening nested values"))
        return -1;
    int result = -1;
    PyObject *key = NULL, *value = NULL;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        PyObject *inner = PyUnicode_FromFormat("%U.%S", name, key);
        if (inner == NULL)
            goto out;
        Py_INCREF(value);
        int added = fields_add(state, fields, inner, value);
        Py_DECREF(value);
        if (fields_keep(fields, inner) < 0 || added < 0)
            goto out;
    }
    result = 0;
out:
    Py_LeaveRecursiveCall();
    return result;
}

int fields_add(struct core_state *state, struct fields *fields, PyObject *name, PyObject *value)
{
    if (fields->timed &&
        (name == state->underscore_ts || PyUnicode_CompareWithASCIIString(name, "_ts") == 0))
        return take_time(state, fields, value);
    if (fields->flatten && PyDict_Check(value))
        return add_nested(state, fields, name, value);
    struct mld_field *field = fields_next(fields);
    if (field == NULL)
        return -1;
    if (args_text(state, name, "a field name", &field->name) < 0)
        return -1;
    return set_value(state, fields, field, value);
}

int fields_add_dict(struct core_state *state, struct fields *fields, PyObject *dict)
{
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "a dict of fields is needed, not %.100s",
                     Py_TYPE(dict)->tp_name);
        return -1;
    }
    PyObject *name = NULL, *value = NULL;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &name, &value)) {
        if (!PyUnicode_Check(name)) {
            PyErr_Format(PyExc_TypeError, "field names must be strings, not %.100s",
                         Py_TYPE(name)->tp_name);
            return -1;
        }
        if (fields_add(state, fields, name, value) < 0)
            return -1;
    }
    return 0;
}

PyObject *convert_text_len(const char *text, size_t len)
{
    PyObject *result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "surrogatepass");
    if (result == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "replace");
    }
    return result;
}

PyObject *convert_text(const char *text)
{
    if (text == NULL)
        Py_RETURN_NONE;
    return convert_text_len(text, strlen(text));
}

PyObject *convert_text_list(const char *const *items, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = convert_text(items[i]);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

int convert_set(PyObject *dict, const char *key, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result = PyDict_SetItemString(dict, key, value);
    Py_DECREF(value);
    return result;
}

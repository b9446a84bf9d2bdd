/* records.c: file records as flat file objects, the dicts that users see.
 *
 * A list of 10,000 is a copied template each, with strings shared where neighbours agree, all
 * metadata parsed in one go, and the garbage collector, which would look at every new dict again
 * and again, paused.
 */
#include "core.h"

#include <math.h>

/* The last string of a column: most files of a list share their path, their type and both times. */
struct repeated {
    const char *text;
    PyObject *object;
};

static PyObject *repeated_text(struct repeated *last, const char *text)
{
    if (text == NULL)
        Py_RETURN_NONE;
    if (last->text == NULL || strcmp(last->text, text) != 0) {
        PyObject *object = convert_text(text);
        if (object == NULL)
            return NULL;
        Py_XDECREF(last->object);
        last->object = object;
        last->text = text;
    }
    Py_INCREF(last->object);
    return last->object;
}

struct columns {
    struct repeated path, content_type, time;
};

static void columns_free(struct columns *columns)
{
    Py_XDECREF(columns->path.object);
    Py_XDECREF(columns->content_type.object);
    Py_XDECREF(columns->time.object);
}

/* dict[key] = value, taking over value. */
static int put(PyObject *dict, PyObject *key, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result = PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return result;
}

static int put_texts(struct core_state *state, PyObject *dict, const struct mld_file *file,
                     struct columns *columns)
{
    if (put(dict, state->key_id, convert_text(file->id)) < 0 ||
        put(dict, state->key_path, repeated_text(&columns->path, file->path)) < 0 ||
        put(dict, state->key_filename, convert_text(file->filename)) < 0 ||
        put(dict, state->key_content_type,
            repeated_text(&columns->content_type, file->content_type)) < 0 ||
        put(dict, state->key_checksum, convert_text(file->checksum)) < 0 ||
        put(dict, state->key_uploaded_at, repeated_text(&columns->time, file->uploaded_at)) < 0 ||
        put(dict, state->key_updated_at, repeated_text(&columns->time, file->updated_at)) < 0)
        return -1;
    if (file->description != NULL &&
        put(dict, state->key_description, convert_text(file->description)) < 0)
        return -1;
    if (file->deleted_at != NULL &&
        put(dict, state->key_deleted_at, convert_text(file->deleted_at)) < 0)
        return -1;
    return 0;
}

/* Everything but the metadata. */
static PyObject *flat_dict(struct core_experiment *experiment, const struct mld_file *file,
                           struct columns *columns)
{
    struct core_state *state = experiment->state;
    PyObject *dict = PyDict_Copy(state->file_template);
    if (dict == NULL)
        return NULL;
    if (PyDict_SetItem(dict, state->key_experiment_id, experiment->files_id) < 0 ||
        put_texts(state, dict, file, columns) < 0 ||
        put(dict, state->key_tags, convert_text_list(file->tags, file->n_tags)) < 0 ||
        put(dict, state->key_bindrs, convert_text_list(file->bindrs, file->n_bindrs)) < 0 ||
        put(dict, state->key_aliases, convert_text_list(file->aliases, file->n_aliases)) < 0 ||
        put(dict, state->key_size_bytes, PyLong_FromUnsignedLongLong(file->size_bytes)) < 0 ||
        PyDict_SetItem(dict, state->key_newest, file->newest ? Py_True : Py_False) < 0 ||
        PyDict_SetItem(dict, state->key_damaged, file->damaged ? Py_True : Py_False) < 0) {
        Py_DECREF(dict);
        return NULL;
    }
    return dict;
}

PyObject *records_file(struct core_experiment *experiment, const struct mld_file *file)
{
    struct core_state *state = experiment->state;
    struct columns columns = {{NULL, NULL}, {NULL, NULL}, {NULL, NULL}};
    PyObject *dict = flat_dict(experiment, file, &columns);
    columns_free(&columns);
    if (dict == NULL || file->metadata_json == NULL)
        return dict;
    const char *json = file->metadata_json;
    if (put(dict, state->key_metadata, convert_from_json(state, json, strlen(json))) < 0)
        Py_CLEAR(dict);
    return dict;
}

static int put_metadata(struct core_state *state, PyObject *dicts, const struct mld_file_list *list)
{
    int result = -1;
    PyObject *values = NULL;
    struct json_piece *pieces = PyMem_New(struct json_piece, list->count + 1);
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *json = list->files[i].metadata_json;
        if (json != NULL)
            pieces[count++] = (struct json_piece){json, strlen(json)};
    }
    values = convert_from_json_many(state, pieces, count);
    if (values == NULL)
        goto out;
    Py_ssize_t next = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->files[i].metadata_json == NULL)
            continue;
        PyObject *dict = PyList_GET_ITEM(dicts, (Py_ssize_t)i);
        if (PyDict_SetItem(dict, state->key_metadata, PyList_GET_ITEM(values, next++)) < 0)
            goto out;
    }
    result = 0;
out:
    Py_XDECREF(values);
    PyMem_Free(pieces);
    return result;
}

static PyObject *flat_list(struct core_experiment *experiment, const struct mld_file_list *list)
{
    PyObject *dicts = PyList_New((Py_ssize_t)list->count);
    if (dicts == NULL)
        return NULL;
    struct columns columns = {{NULL, NULL}, {NULL, NULL}, {NULL, NULL}};
    for (size_t i = 0; i < list->count; i++) {
        PyObject *dict = flat_dict(experiment, &list->files[i], &columns);
        if (dict == NULL) {
            Py_CLEAR(dicts);
            break;
        }
        PyList_SET_ITEM(dicts, (Py_ssize_t)i, dict);
    }
    columns_free(&columns);
    if (dicts != NULL && put_metadata(experiment->state, dicts, list) < 0)
        Py_CLEAR(dicts);
    return dicts;
}

PyObject *records_files(struct core_experiment *experiment, const struct mld_file_list *list)
{
#if PY_VERSION_HEX >= 0x030A0000
    int collecting = PyGC_Disable();
#endif
    PyObject *dicts = flat_list(experiment, list);
#if PY_VERSION_HEX >= 0x030A0000
    if (collecting)
        PyGC_Enable();
#endif
    return dicts;
}

PyObject *records_take(struct core_experiment *experiment, enum mld_error code,
                       struct mld_file *file)
{
    if (code != MLD_OK)
        return core_raise(experiment->state, code);
    PyObject *dict = records_file(experiment, file);
    mld_file_free(file);
    return dict;
}

static PyObject *number_or_none(double value)
{
    return isnan(value) ? core_none() : PyFloat_FromDouble(value);
}

static PyObject *field_dict(struct core_state *state, const struct metric_field *field)
{
    size_t len = field->last == NULL ? 0 : strlen(field->last);
    PyObject *dict = PyDict_New();
    if (dict != NULL &&
        (convert_set(dict, "last", convert_from_json(state, field->last, len)) < 0 ||
         convert_set(dict, "min", number_or_none(field->low)) < 0 ||
         convert_set(dict, "max", number_or_none(field->high)) < 0 ||
         convert_set(dict, "mean", number_or_none(metric_mean(field))) < 0))
        Py_CLEAR(dict);
    return dict;
}

PyObject *records_fields(struct core_state *state, const struct metric *metric)
{
    PyObject *fields = PyDict_New();
    for (size_t i = 0; fields != NULL && i < metric->n_fields; i++) {
        PyObject *name = convert_text(metric->fields[i].name);
        PyObject *field = name == NULL ? NULL : field_dict(state, &metric->fields[i]);
        if (field == NULL || PyDict_SetItem(fields, name, field) < 0)
            Py_CLEAR(fields);
        Py_XDECREF(field);
        Py_XDECREF(name);
    }
    return fields;
}

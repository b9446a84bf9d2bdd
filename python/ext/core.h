/* core.h: what the files of the extension module ml_dash._core share.
 *
 * The module is a thin skin: parse arguments, release the GIL where the call is long, call
 * libmldash, convert. Four types, one file each (experiment.c with experiment_files.c and
 * experiment_data.c, series.c, writer.c, sync.c); all Python objects that outlive a call are in the
 * module's state. A function that returns PyObject * returns a new reference, or NULL with an
 * exception; one that returns int returns 0, or -1 with an exception.
 */
#ifndef MLDASH_EXT_CORE_H
#define MLDASH_EXT_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mldash/mldash.h"
#include "run/metric.h"

/* Calls that write fewer bytes than this keep the GIL: giving it away costs a point more than
 * writing it. */
#define CORE_SMALL_BYTES ((size_t)64 * 1024)

#define CORE_ERROR_COUNT (MLD_EBUSY + 1)

/* The keys of a flat file object, in its order; X(member of core_state, key). */
#define CORE_FILE_KEYS(X)            \
    X(id, "id")                      \
    X(experiment_id, "experimentId") \
    X(path, "path")                  \
    X(filename, "filename")          \
    X(description, "description")    \
    X(tags, "tags")                  \
    X(bindrs, "bindrs")              \
    X(content_type, "contentType")   \
    X(size_bytes, "sizeBytes")       \
    X(checksum, "checksum")          \
    X(metadata, "metadata")          \
    X(uploaded_at, "uploadedAt")     \
    X(updated_at, "updatedAt")       \
    X(deleted_at, "deletedAt")       \
    X(aliases, "aliases")            \
    X(newest, "newest")              \
    X(damaged, "damaged")

struct core_state {
    PyTypeObject *experiment_type;
    PyTypeObject *series_type;
    PyTypeObject *writer_type;
    PyTypeObject *sync_type;
    PyObject *errors[CORE_ERROR_COUNT]; /* exception class by enum mld_error */
    PyObject *not_json;                 /* ml_dash.exceptions.NotJsonError */
    PyObject *not_seekable;             /* ... NotSeekableError */
    PyObject *file_template;            /* a dict with every key of a flat file object */
    PyObject *empty;                    /* "" */
    PyObject *underscore_ts;            /* "_ts" */
    PyObject *tolist;                   /* "tolist" */
    PyObject *index;                    /* "index" */
    PyObject *buffered;                 /* "bufferedDataPoints" */
    PyObject *encode;                   /* ml_dash._json.encode; NULL until first needed */
    PyObject *encode_strict;            /* the same without NaN */
    PyObject *decode;                   /* ml_dash._json.decode */
#define CORE_FILE_KEY_MEMBER(member, key) PyObject *key_##member;
    CORE_FILE_KEYS(CORE_FILE_KEY_MEMBER)
#undef CORE_FILE_KEY_MEMBER
};

struct core_experiment {
    PyObject_HEAD struct core_state
        *state; /* the module lives as long as its types, they as long as their objects */
    mld_experiment *handle; /* NULL: closed */
    PyObject *files_id;     /* str: experimentId of its files */
    unsigned users;         /* calls without the GIL, and open writers: closing waits for them */
    bool closing;
    bool ended;
};

/* --- module.c
 * -----------------------------------------------------------------------------------------------
 */

/* Raises the exception of `code` with the library's message; an exception that is set already
 * stays. NULL always. */
PyObject *core_raise(struct core_state *state, enum mld_error code);
/* Raises the exception of `code` with a message of our own. NULL always. */
PyObject *core_fail(struct core_state *state, enum mld_error code, const char *format, ...);
/* How often this process has been forked off: a handle made at another count is the parent's. */
unsigned long core_fork_count(void);

/* A new reference to None. */
static inline PyObject *core_none(void)
{
    Py_RETURN_NONE;
}

/* --- args.c
 * -------------------------------------------------------------------------------------------------
 */

/* What a function takes. names: its parameters in order; the first `required` have no default;
 * positional: so many may be given without their name. */
struct args_spec {
    const char *function;
    const char *const *names;
    int count;
    int required;
    int positional;
};
/* Sorts the arguments of a vectorcall into out[0 .. count), borrowed; NULL where none was given or
 * None was. */
int args_bind(const struct args_spec *spec, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames, PyObject **out);
/* UTF-8 of a str, borrowed from it; NULL stays NULL. Refuses NUL and lone surrogates. `what` is for
 * the message. */
int args_text(struct core_state *state, PyObject *value, const char *what, const char **out);
/* A path as the system takes it. *owner (release it) holds the bytes. NULL stays NULL. */
int args_path(PyObject *value, PyObject **owner, const char **out);
int args_size(struct core_state *state, PyObject *value, const char *what, uint64_t *out);
int args_integer(PyObject *value, int64_t *out);
/* A number or None (NaN). */
int args_seconds(PyObject *value, double *out);
int args_flag(PyObject *value, bool *out);
/* A number of versions, "all", or None (the default). */
int args_keep(struct core_state *state, PyObject *value, int *out);

/* A list of strings, as the library takes it. */
struct args_list {
    PyObject *owner; /* tuple of the str */
    const char **items;
    size_t count;
};
#define ARGS_LIST_INIT {NULL, NULL, 0}
/* From any iterable but a str. NULL leaves it empty with items == NULL: "not given". */
int args_list_take(struct core_state *state, PyObject *value, const char *what,
                   struct args_list *out);
void args_list_free(struct args_list *list);

/* --- convert.c
 * ---------------------------------------------------------------------------------------------- */

#define FIELDS_SMALL 16
struct fields {
    struct mld_field small[FIELDS_SMALL];
    struct mld_field *items;
    size_t count, capacity;
    size_t bytes;   /* of all text */
    bool flatten;   /* {"a": {"b": 1}} becomes a.b */
    double time_s;  /* from `_ts` when `timed`; NaN: none */
    bool timed;     /* `_ts` is the time, not a field */
    PyObject *kept; /* list of temporary objects that fields point into, or NULL */
};
void fields_init(struct fields *fields);
void fields_free(struct fields *fields);
/* Ready for the next point; keeps the memory. */
void fields_reset(struct fields *fields);
int fields_add(struct core_state *state, struct fields *fields, PyObject *name, PyObject *value);
int fields_add_dict(struct core_state *state, struct fields *fields, PyObject *dict);

/* JSON text (UTF-8, borrowed from *owner, which the caller releases). Strict: no NaN. `what` is for
 * the message. */
int convert_to_json(struct core_state *state, PyObject *value, bool strict, const char *what,
                    PyObject **owner, const char **out);
/* None for NULL. */
PyObject *convert_from_json(struct core_state *state, const char *text, size_t len);
struct json_piece {
    const char *text;
    size_t len;
};
/* A list of what the pieces say, parsed in one go. */
PyObject *convert_from_json_many(struct core_state *state, const struct json_piece *pieces,
                                 size_t count);
/* str of UTF-8 that may hold encoded surrogates; None for NULL. */
PyObject *convert_text(const char *text);
PyObject *convert_text_len(const char *text, size_t len);
PyObject *convert_text_list(const char *const *items, size_t count);
/* Sets dict[key] to value and releases value; fails when value is NULL. */
int convert_set(PyObject *dict, const char *key, PyObject *value);

/* --- records.c: flat file objects
 * --------------------------------------------------------------------------- */

PyObject *records_file(struct core_experiment *experiment, const struct mld_file *file);
PyObject *records_files(struct core_experiment *experiment, const struct mld_file_list *list);
/* {field: {"last", "min", "max", "mean"}}. */
PyObject *records_fields(struct core_state *state, const struct metric *metric);
/* Takes over `file`: the usual end of a call. */
PyObject *records_take(struct core_experiment *experiment, enum mld_error code,
                       struct mld_file *file);

/* --- unlocked.c: calls that do not hold the GIL
 * ------------------------------------------------------------- */

struct unlocked {
    struct core_experiment *experiment;
    PyThreadState *thread; /* NULL: the GIL is held */
    PyObject *callback;    /* called with (done_bytes, total_bytes), or NULL */
};
/* Keeps the experiment's handle alive until unlocked_end; gives the GIL away when `release`. */
void unlocked_begin(struct unlocked *call, struct core_experiment *experiment, PyObject *callback,
                    bool release);
void unlocked_end(struct unlocked *call);
/* A mld_progress with a struct unlocked as payload: looks at signals and calls the callback. */
bool unlocked_progress(uint64_t done_bytes, uint64_t total_bytes, void *payload);

/* --- the types
 * ---------------------------------------------------------------------------------------------- */

extern PyType_Spec experiment_spec;
extern PyType_Spec series_spec;
extern PyType_Spec writer_spec;
extern PyType_Spec sync_spec;
extern PyMethodDef experiment_methods[];

/* The handle, or NULL with ExperimentError when closed, or, to write, ended. */
mld_experiment *experiment_readable(struct core_experiment *self);
mld_experiment *experiment_writable(struct core_experiment *self);
/* One user less; closes a handle whose closing waited for that. */
void experiment_release(struct core_experiment *self);

/* Options of one save, as arguments of save(), save_bytes() and writer(). */
struct save_args {
    struct mld_save_options options;
    struct args_list tags, bindrs;
    PyObject *metadata; /* owner of metadata_json */
    PyObject *callback;
};
/* The parameters that these three end with, in the order that save_args_take expects. */
#define SAVE_ARGS_NAMES                                                                        \
    "filename", "prefix", "description", "tags", "bindrs", "metadata", "content_type", "keep", \
        "durable", "progress"
#define SAVE_ARGS_COUNT 10
int save_args_take(struct core_state *state, PyObject *const *values, struct save_args *out);
void save_args_free(struct save_args *args);

PyObject *writer_new(struct core_experiment *experiment, const struct mld_save_options *options,
                     bool seekable);
/* experiment.c's methods that live elsewhere, with the calling convention of METH_FASTCALL |
 * METH_KEYWORDS. */
#define CORE_METHOD(name) \
    PyObject *name(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
CORE_METHOD(files_save);
CORE_METHOD(files_save_bytes);
CORE_METHOD(files_writer);
CORE_METHOD(files_list);
CORE_METHOD(files_get);
CORE_METHOD(files_find);
CORE_METHOD(files_download);
CORE_METHOD(files_read);
CORE_METHOD(files_read_bytes);
CORE_METHOD(files_stored_path);
CORE_METHOD(files_update);
CORE_METHOD(files_delete);
CORE_METHOD(files_restore);
CORE_METHOD(files_duplicate);
CORE_METHOD(files_set_alias);
CORE_METHOD(files_remove_alias);
CORE_METHOD(data_params_set);
CORE_METHOD(data_params_get);
CORE_METHOD(data_log);
CORE_METHOD(data_log_read);
CORE_METHOD(data_series);
CORE_METHOD(data_series_list);
CORE_METHOD(data_verify);
CORE_METHOD(data_gc);
CORE_METHOD(mirror_attach);
CORE_METHOD(mirror_refresh);
/* find_server(url, token) of the module. */
PyObject *sync_find_server(PyObject *module, PyObject *args);
PyObject *series_info_dict(struct core_state *state, const struct mld_series_info *info);

#endif

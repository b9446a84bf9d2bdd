/* unlocked.c: long calls give the GIL away, and come back for signals and progress. */
#include "core.h"

void unlocked_begin(struct unlocked *call, struct core_experiment *experiment, PyObject *callback,
                    bool release)
{
    call->experiment = experiment;
    call->callback = callback;
    Py_INCREF(experiment);
    experiment->users++;
    call->thread = release ? PyEval_SaveThread() : NULL;
}

void unlocked_end(struct unlocked *call)
{
    if (call->thread != NULL)
        PyEval_RestoreThread(call->thread);
    call->thread = NULL;
    experiment_release(call->experiment);
    Py_DECREF(call->experiment);
}

/* With the GIL. False stops the call; an exception that is set then is the one that the user sees.
 */
static bool look_around(PyObject *callback, uint64_t done_bytes, uint64_t total_bytes)
{
    if (PyErr_Occurred() || PyErr_CheckSignals() < 0)
        return false;
    if (callback == NULL)
        return true;
    PyObject *answer = PyObject_CallFunction(callback, "KK", (unsigned long long)done_bytes,
                                             (unsigned long long)total_bytes);
    if (answer == NULL)
        return false;
    bool go_on = answer != Py_False;
    Py_DECREF(answer);
    return go_on;
}

bool unlocked_progress(uint64_t done_bytes, uint64_t total_bytes, void *payload)
{
    struct unlocked *call = payload;
    if (call->thread == NULL)
        return look_around(call->callback, done_bytes, total_bytes);
    PyEval_RestoreThread(call->thread);
    bool go_on = look_around(call->callback, done_bytes, total_bytes);
    call->thread = PyEval_SaveThread();
    return go_on;
}

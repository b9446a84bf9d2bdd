/* mirror.c: methods of _core.Experiment for reading what others sent to a server. */
#include "core.h"

#include <math.h>

#include "mldash/sync.h"

#define PATIENCE_MAX_S 86400

/* Seconds as the library takes them; 0 for None. */
static int milliseconds(struct core_state *state, PyObject *value, uint64_t *out)
{
    double seconds = NAN;
    *out = 0;
    if (args_seconds(value, &seconds) < 0)
        return -1;
    if (isnan(seconds))
        return 0;
    if (seconds < 0 || seconds > PATIENCE_MAX_S) {
        core_fail(state, MLD_EINVALID, "a server is waited for from 0 seconds to a day");
        return -1;
    }
    *out = seconds < 0.001 ? 1 : (uint64_t)(seconds * 1000);
    return 0;
}

CORE_METHOD(mirror_attach)
{
    static const char *const names[] = {"url", "token", "patience"};
    static const struct args_spec spec = {"attach", names, 3, 0, 3};
    struct core_experiment *self = (struct core_experiment *)object;
    struct mld_mirror_options options = MLD_MIRROR_OPTIONS_INIT;
    PyObject *values[3];
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the URL", &options.url) < 0 ||
        args_text(self->state, values[1], "the token", &options.token) < 0 ||
        milliseconds(self->state, values[2], &options.patience_ms) < 0)
        return NULL;
    enum mld_error code = mld_mirror_attach(handle, &options);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

CORE_METHOD(mirror_refresh)
{
    static const char *const names[] = {"remote_id", "patience"};
    static const struct args_spec spec = {"refresh", names, 2, 0, 2};
    struct core_experiment *self = (struct core_experiment *)object;
    PyObject *values[2];
    const char *remote_id = NULL;
    uint64_t patience_ms = 0;
    mld_experiment *handle = experiment_readable(self);
    if (handle == NULL || args_bind(&spec, args, nargs, kwnames, values) < 0 ||
        args_text(self->state, values[0], "the experiment's id", &remote_id) < 0 ||
        milliseconds(self->state, values[1], &patience_ms) < 0)
        return NULL;
    struct unlocked call;
    unlocked_begin(&call, self, NULL, true);
    enum mld_error code =
        mld_mirror_refresh(handle, remote_id, patience_ms, unlocked_progress, &call);
    unlocked_end(&call);
    if (code != MLD_OK)
        return core_raise(self->state, code);
    Py_RETURN_NONE;
}

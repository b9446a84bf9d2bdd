/* mldash/params.h: an experiment's parameters: flat names ("optimizer.lr") with any JSON value. */
#ifndef MLDASH_PARAMS_H
#define MLDASH_PARAMS_H

#include "mldash/experiment.h"
#include "mldash/value.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets these, keeps the others; the later set wins, also among processes. NaN and infinities are
 * kept. MLD_EINVALID: an empty name, or text that is not JSON; nothing is set then. */
MLD_API enum mld_error mld_params_set(mld_experiment *experiment, const struct mld_field *fields,
                                      size_t n_fields);

/* All parameters as one JSON object, names in order of first use. *out_json: free with mld_free. */
MLD_API enum mld_error mld_params_get(char **out_json, mld_experiment *experiment);

#ifdef __cplusplus
}
#endif
#endif

/* fields.h: named values of a user as the members of a JSON object. All checks are made while
 * encoding into a buffer, so that a bad field is refused before anything is written. */
#ifndef RUN_FIELDS_H
#define RUN_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/json.h"
#include "mldash/value.h"

#define FIELDS_MAX_NAME_BYTES 1024
#define FIELDS_MAX_DEPTH 120 /* of a MLD_JSON value: leaves room for the line around it */

enum fields_form {
    FIELDS_AS_GIVEN,
    FIELDS_FLAT /* objects inside become dotted names: {"pos": {"x": 1}} is "pos.x": 1 */
};

/* Appends `"name":value,...` to `out`, which holds an open object; a comma goes in front unless its
 * last byte is `{`. `doc` is scratch for MLD_JSON values. MLD_EINVALID names the field: a NULL or
 * too long name, a name that is not UTF-8 (lone surrogates in WTF-8 are fine), a text that is not
 * JSON or is nested too deeply. `out` may hold a part then; its own failure (too large) is the
 * caller's to check. */
enum mld_error fields_put(struct buf *out, struct json_doc *doc, enum fields_form form,
                          const struct mld_field *fields, size_t n_fields);

#endif

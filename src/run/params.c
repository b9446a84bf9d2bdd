/* Parameters: one record per call, merged by name in the state. */
#include "mldash/params.h"

#include "run/fields.h"
#include "run/record.h"
#include "run/run.h"

static enum mld_error check_names(const struct mld_field *fields, size_t n_fields)
{
    for (size_t i = 0; fields != NULL && i < n_fields; i++) {
        if (fields[i].name != NULL && fields[i].name[0] == '\0')
            return error_set(MLD_EINVALID, "a parameter has an empty name");
    }
    return MLD_OK;
}

static enum mld_error write_params(struct run *run, const struct mld_field *fields, size_t n_fields)
{
    struct buf *line = &run->line;

    buf_clear(line);
    record_begin(line, "params", run_clock(run));
    json_put_key(line, "data");
    buf_putc(line, '{');
    enum mld_error error = fields_put(line, &run->doc, FIELDS_AS_GIVEN, fields, n_fields);
    if (error != MLD_OK)
        return error_prefix(error, "parameters");
    buf_putc(line, '}');
    error = buf_check(line, "parameters");
    if (error != MLD_OK)
        return error;
    record_end(line);
    if (line->len > RECORD_MAX_BYTES)
        return error_set(MLD_ETOOLARGE, "parameters of %zu bytes; at most %u are set by one call",
                         line->len, RECORD_MAX_BYTES);
    return run_write_record(run, line);
}

enum mld_error mld_params_set(mld_experiment *experiment, const struct mld_field *fields,
                              size_t n_fields)
{
    struct run *run;

    enum mld_error error = check_names(fields, n_fields);
    if (error == MLD_OK)
        error = run_enter(&run, experiment, RUN_WRITE);
    if (error != MLD_OK)
        return error;
    if (n_fields > 0)
        error = write_params(run, fields, n_fields);
    run_leave(run);
    return error;
}

static void put_params(struct buf *out, const struct state *state)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < state->n_params; i++) {
        const struct param_entry *param = state->all_params[i];
        if (i > 0)
            buf_putc(out, ',');
        json_put_string(out, param->name, param->name_len);
        buf_putc(out, ':');
        buf_puts(out, param->json);
    }
    buf_putc(out, '}');
}

enum mld_error mld_params_get(char **out_json, mld_experiment *experiment)
{
    struct run *run;
    struct buf text;

    *out_json = NULL;
    enum mld_error error = run_enter(&run, experiment, RUN_READ);
    if (error != MLD_OK)
        return error;
    buf_init(&text, JSON_MAX_TEXT_BYTES);
    error = run_refresh(run);
    if (error == MLD_OK)
        put_params(&text, &run->state);
    run_leave(run);
    if (error == MLD_OK)
        error = buf_check(&text, "parameters");
    if (error == MLD_OK)
        *out_json = buf_steal(&text);
    buf_free(&text);
    return error;
}

#include "run/views.h"

#include "base/fs.h"
#include "run/record.h"

#define VIEW_MAX_BYTES (1u << 30)

enum mld_error views_write_experiment(struct run *run, enum mld_status status)
{
    const struct experiment_entry *x = &run->state.experiment;
    struct buf text;
    buf_init(&text, VIEW_MAX_BYTES);
    buf_putc(&text, '{');
    record_put_text(&text, "name", x->name);
    record_put_text(&text, "project", x->project);
    record_put_text(&text, "description", x->description);
    record_put_strings(&text, "tags", x->tags.items, x->tags.count);
    record_put_strings(&text, "bindrs", x->bindrs.items, x->bindrs.count);
    record_put_text(&text, "folder", x->folder);
    if (x->prefix != NULL)
        record_put_text(&text, "prefix", x->prefix);
    record_put_json(&text, "metadata", x->metadata);
    record_put_text(&text, "created_at", x->created_at);
    json_put_key(&text, "write_protected");
    json_put_bool(&text, false);
    record_put_text(&text, "id", run->experiment_id);
    record_put_text(&text, "status", mld_status_name(status));
    buf_puts(&text, "}\n");
    enum mld_error error = buf_check(&text, "experiment.json");
    if (error == MLD_OK)
        error = fs_replace_file(run->dir_fd, "experiment.json", text.data, text.len, false);
    buf_free(&text);
    return error;
}

enum mld_error views_write(struct run *run, enum mld_status status)
{
    return views_write_experiment(run, status);
}

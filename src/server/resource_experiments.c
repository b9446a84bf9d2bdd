#include "server/resource_experiments.h"

#include <string.h>

#include "server/experiments.h"
#include "server/resource.h"
#include "server/run_docs.h"
#include "server/server.h"

static void put_experiment(struct buf *out, const struct experiment_doc *e,
                           const char *namespace_name)
{
    buf_putc(out, '{');
    doc_put_text(out, "id", e->id);
    doc_put_text(out, "namespace", namespace_name);
    doc_put_text(out, "project", e->project_name);
    doc_put_text(out, "project_id", e->project);
    doc_put_text(out, "folder", e->folder);
    doc_put_text(out, "name", e->name);
    doc_put_text(out, "description", e->description);
    doc_put_texts(out, "tags", e->tags);
    doc_put_texts(out, "bindrs", e->bindrs);
    doc_put_standard(out, "metadata", e->metadata);
    doc_put_text(out, "status", e->status);
    doc_put_text(out, "error", e->failure);
    if (e->created_at != NULL)
        doc_put_text(out, "created", e->created_at);
    else
        doc_put_time(out, "created", e->created);
    doc_put_text(out, "started", e->started);
    doc_put_text(out, "ended", e->ended);
    doc_put_time(out, "last_seen", e->last_seen);
    buf_putc(out, '}');
}

static enum mld_error read_registration(struct request *r, struct registration *out)
{
    json_t *body;
    enum mld_error error = request_json(r, &body);
    out->namespace_id = request_caller(r)->namespace_id;
    if (error == MLD_OK)
        error = member_text(body, "project", true, &out->project);
    if (error == MLD_OK)
        error = member_text(body, "folder", false, &out->folder);
    if (error == MLD_OK)
        error = member_text(body, "name", true, &out->name);
    if (error == MLD_OK)
        error = member_text(body, "run", true, &out->run);
    if (error == MLD_OK)
        error = member_text(body, "from", false, &out->from);
    if (error == MLD_OK)
        error = member_bool(body, "diverged", &out->diverged);
    return error;
}

void post_experiment(struct request *r)
{
    struct arena arena = {0};
    struct registration wanted = {0};
    struct experiment_doc e;
    struct buf out;
    bool created = false;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = read_registration(r, &wanted);
    if (error == MLD_OK)
        error = experiment_register(&e, &created, &arena, request_server(r)->meta, &wanted);
    if (error == MLD_OK) {
        buf_putc(&out, '{');
        doc_put_text(&out, "id", e.id);
        doc_put_text(&out, "project_id", e.project);
        doc_put_text(&out, "namespace", request_caller(r)->namespace_name);
        doc_put_text(&out, "project", e.project_name);
        doc_put_text(&out, "folder", e.folder);
        doc_put_text(&out, "name", e.name);
        doc_put_bool(&out, "created", created);
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    arena_free(&arena);
}

/* A text that is the same for all pages of one list. */
static const char *query_text(const struct request *r, struct arena *arena)
{
    static const char *const NAMES[] = {"project", "folder", "name", "status"};
    struct buf text;
    buf_init(&text, (size_t)64 << 10);
    buf_puts(&text, "experiments");
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const char *value = request_query(r, NAMES[i]);
        doc_put_text(&text, NAMES[i], value);
    }
    char *copy = text.failed == MLD_OK ? arena_strndup(arena, text.data, text.len) : NULL;
    buf_free(&text);
    return copy == NULL ? "" : copy;
}

static enum mld_error find_experiments(const struct request *r, struct experiment_page *page,
                                       struct meta_cursor after, size_t limit)
{
    struct arena arena = {0};
    const char *project = request_query(r, "project");
    struct meta *meta = request_server(r)->meta;
    struct experiment_filter filter = {.namespace_id = request_caller(r)->namespace_id,
                                       .folder = request_query(r, "folder"),
                                       .name = request_query(r, "name"),
                                       .status = request_query(r, "status")};
    enum mld_error error = MLD_OK;
    if (filter.status != NULL && !doc_is_plain(filter.status, 32))
        return error_blame(error_set(MLD_EINVALID, "status is none"), "status");
    if (project != NULL)
        error = project_find(&filter.project, &arena, meta, filter.namespace_id, project);
    if (error == MLD_OK)
        error = experiment_list(page, meta, &filter, after, limit);
    else if (error == MLD_ENOTFOUND)
        error = MLD_OK; /* a project without experiments */
    arena_free(&arena);
    return error;
}

void list_experiments(struct request *r)
{
    struct arena arena = {0};
    struct experiment_page page = {0};
    struct meta_cursor after;
    struct buf out;
    size_t limit = 0;
    const char *query = query_text(r, &arena);
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = resource_page(r, query, &arena, &limit, &after);
    if (error == MLD_OK)
        error = find_experiments(r, &page, after, limit);
    if (error == MLD_OK) {
        buf_puts(&out, "{\"experiments\":[");
        for (size_t i = 0; i < page.n; i++) {
            if (i > 0)
                buf_putc(&out, ',');
            put_experiment(&out, &page.items[i], request_caller(r)->namespace_name);
        }
        buf_putc(&out, ']');
        resource_next(&out, query, page.more, page.last_order, page.last_id);
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    arena_free(&page.arena);
    arena_free(&arena);
}

void list_projects(struct request *r)
{
    struct arena arena = {0};
    struct meta_cursor after;
    struct buf out;
    size_t limit = 0;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = resource_page(r, "projects", &arena, &limit, &after);
    struct run_page page = {.query = "projects", .after = after, .limit = limit};
    if (error == MLD_OK)
        error =
            run_put_projects(&out, request_server(r)->meta, request_caller(r)->namespace_id, &page);
    if (error == MLD_OK) {
        resource_next(&out, "projects", page.more, page.last_order, page.last_id);
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    run_page_free(&page);
    arena_free(&arena);
}

void get_experiment(struct request *r)
{
    struct arena arena = {0};
    struct experiment_doc e;
    struct buf out;
    const struct caller *caller = request_caller(r);
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error =
        experiment_doc_get(&e, &arena, request_server(r)->meta, caller->experiment_id);
    if (error == MLD_OK)
        put_experiment(&out, &e, caller->namespace_name);
    resource_answer(r, error, &out);
    arena_free(&arena);
}

void get_parameters(struct request *r)
{
    struct buf out;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    buf_puts(&out, "{\"data\":{");
    enum mld_error error =
        run_put_parameters(&out, request_server(r)->meta, request_caller(r)->experiment_id);
    buf_puts(&out, "}}");
    resource_answer(r, error, &out);
}

void get_series(struct request *r)
{
    struct arena arena = {0};
    struct meta_cursor after;
    struct buf out;
    size_t limit = 0;
    const char *kind = request_query(r, "kind");
    const char *query =
        kind == NULL || strcmp(kind, "metric") == 0 ? "series:metric" : "series:track";
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = resource_page(r, query, &arena, &limit, &after);
    if (error == MLD_OK && kind != NULL && strcmp(kind, "metric") != 0 &&
        strcmp(kind, "track") != 0)
        error = error_blame(error_set(MLD_EINVALID, "kind is metric or track"), "kind");
    struct run_page page = {.query = query, .after = after, .limit = limit};
    if (error == MLD_OK)
        error =
            run_put_series(&out, request_server(r)->meta, request_caller(r)->experiment_id, &page);
    if (error == MLD_OK) {
        resource_next(&out, query, page.more, page.last_order, page.last_id);
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    run_page_free(&page);
    arena_free(&arena);
}

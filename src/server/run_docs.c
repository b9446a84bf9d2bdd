#include "server/run_docs.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

void run_page_free(struct run_page *page)
{
    meta_docs_free(&page->docs);
}

static enum mld_error find_page(struct run_page *page, struct meta *meta, const char *partition,
                                const char *token, bool descending)
{
    struct meta_range range = {.partition = partition,
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = descending,
                               .after = page->after,
                               .limit = page->limit};
    enum mld_error error = meta_find(meta, &page->docs, &range);
    page->more = page->docs.more;
    if (error == MLD_OK && page->docs.n > 0) {
        page->last_order = page->docs.docs[page->docs.n - 1].order;
        page->last_id = page->docs.docs[page->docs.n - 1].id;
    }
    return error;
}

enum mld_error run_put_projects(struct buf *out, struct meta *meta, const char *namespace_id,
                                struct run_page *page)
{
    char token[META_MAX_NAME_BYTES];
    struct json_doc json;
    json_doc_init(&json);
    snprintf(token, sizeof token, "ns:%s", namespace_id);
    enum mld_error error = find_page(page, meta, "projects", token, true);
    const char *comma = "";
    buf_puts(out, "{\"projects\":[");
    for (size_t i = 0; i < page->docs.n && error == MLD_OK; i++) {
        error = doc_parse(&json, &page->docs.docs[i]);
        if (error != MLD_OK)
            break;
        struct doc_reader r = {&json, json_root(&json), &page->docs.arena, MLD_OK};
        const char *state = doc_text(&r, "state");
        if (state != NULL && strcmp(state, "live") != 0)
            continue; /* it is being deleted */
        buf_puts(out, comma);
        comma = ",";
        buf_putc(out, '{');
        doc_put_text(out, "id", page->docs.docs[i].id);
        doc_put_text(out, "name", doc_text(&r, "name"));
        doc_put_time(out, "created", doc_int(&r, "created", 0));
        buf_putc(out, '}');
        error = r.error;
    }
    buf_putc(out, ']');
    json_doc_free(&json);
    return error;
}

/* The ids of the streams of one series, in merged order. */
static enum mld_error put_shards(struct buf *out, struct meta *meta, const char *partition,
                                 const char *series)
{
    char token[META_MAX_NAME_BYTES];
    struct meta_docs docs = {0};
    snprintf(token, sizeof token, "of:%s", series);
    struct meta_range range = {.partition = partition,
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = META_MAX_FIND};
    enum mld_error error = MLD_OK;
    bool more = true;
    doc_put_key(out, "shards");
    buf_putc(out, '[');
    for (bool first = true; more && error == MLD_OK;) {
        struct meta_docs next = {0};
        error = meta_find(meta, &next, &range);
        meta_docs_free(&docs);
        docs = next; /* holds the id that the range goes on from */
        more = docs.more;
        for (size_t i = 0; i < docs.n; i++) {
            if (!first)
                buf_putc(out, ',');
            first = false;
            doc_put_string(out, docs.docs[i].id + strlen("shard:"));
            range.after = (struct meta_cursor){docs.docs[i].order, docs.docs[i].id};
        }
    }
    buf_putc(out, ']');
    meta_docs_free(&docs);
    return error;
}

enum mld_error run_put_series(struct buf *out, struct meta *meta, const char *experiment,
                              struct run_page *page)
{
    char partition[META_MAX_NAME_BYTES];
    struct json_doc json;
    json_doc_init(&json);
    snprintf(partition, sizeof partition, "exp:%s", experiment);
    enum mld_error error = find_page(page, meta, partition, page->query, false);
    buf_puts(out, "{\"series\":[");
    for (size_t i = 0; i < page->docs.n && error == MLD_OK; i++) {
        const struct meta_doc *doc = &page->docs.docs[i];
        error = doc_parse(&json, doc);
        if (error != MLD_OK)
            break;
        struct doc_reader r = {&json, json_root(&json), &page->docs.arena, MLD_OK};
        buf_puts(out, i > 0 ? ",{" : "{");
        doc_put_text(out, "kind", doc_text(&r, "kind"));
        doc_put_text(out, "name", doc_text(&r, "name"));
        doc_put_text(out, "description", doc_text(&r, "description"));
        doc_put_texts(out, "tags", doc_texts(&r, "tags"));
        doc_put_standard(out, "metadata", doc_raw(&r, "metadata"));
        error = r.error;
        if (error == MLD_OK)
            error = put_shards(out, meta, partition, doc->id + strlen("series:"));
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    json_doc_free(&json);
    return error;
}

static enum mld_error put_parameter(struct buf *out, struct arena *arena,
                                    const struct meta_doc *doc, bool first)
{
    struct json_doc json;
    json_doc_init(&json);
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        const char *name = doc_needed(&r, "name");
        struct buf value; /* written as a member of nothing, to have it in standard form */
        buf_init(&value, out->max_bytes);
        doc_put_standard(&value, "", doc_raw(&r, "value"));
        if (!first)
            buf_putc(out, ',');
        doc_put_string(out, name);
        buf_putc(out, ':');
        buf_puts(out, buf_text(&value) + strlen("\"\":"));
        error = r.error != MLD_OK ? r.error : buf_check(&value, "parameter");
        buf_free(&value);
    }
    json_doc_free(&json);
    return error;
}

enum mld_error run_put_parameters(struct buf *out, struct meta *meta, const char *experiment)
{
    char partition[META_MAX_NAME_BYTES];
    struct meta_docs docs = {0};
    snprintf(partition, sizeof partition, "exp:%s", experiment);
    struct meta_range range = {.partition = partition,
                               .token = "param",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = META_MAX_FIND};
    enum mld_error error = MLD_OK;
    bool first = true;
    bool more = true;
    while (more && error == MLD_OK) {
        struct meta_docs next = {0};
        error = meta_find(meta, &next, &range);
        meta_docs_free(&docs);
        docs = next;
        more = docs.more;
        for (size_t i = 0; i < docs.n && error == MLD_OK; i++) {
            error = put_parameter(out, &docs.arena, &docs.docs[i], first);
            first = false;
            range.after = (struct meta_cursor){docs.docs[i].order, docs.docs[i].id};
        }
    }
    meta_docs_free(&docs);
    return error == MLD_OK ? buf_check(out, "parameters") : error;
}

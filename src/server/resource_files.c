#include "server/resource_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/num.h"
#include "server/experiments.h"
#include "server/file_list.h"
#include "server/resource.h"
#include "server/server.h"

#define PIECE_BYTES ((size_t)256 << 10)
#define MAX_QUERY ((size_t)64 << 10)

/* A query on its way from the request. `text` is the same for all pages of one list. */
struct asked {
    struct file_query query;
    struct buf prefix, text;
    enum mld_error error;
};

static void take_term(struct asked *a, const char *name, const char *value)
{
    struct file_query *q = &a->query;
    bool metadata = strncmp(name, "metadata.", 9) == 0;
    if (a->error != MLD_OK || (!metadata && strcmp(name, "tag") != 0))
        return;
    if ((metadata ? q->n_metadata : q->n_tags) == FILE_LIST_MAX_TERMS) {
        a->error = error_blame(error_set(MLD_EINVALID, "more than %d of %s", FILE_LIST_MAX_TERMS,
                                         metadata ? "metadata" : "tag"),
                               metadata ? "metadata" : "tag");
        return;
    }
    if (metadata)
        q->metadata[q->n_metadata++] = (struct file_term){name + 9, value};
    else
        q->tags[q->n_tags++] = value;
    doc_put_text(&a->text, name, value);
}

static void take_prefix(struct asked *a, const char *value)
{
    a->error = name_canonical_prefix(value, &a->prefix);
    if (a->error != MLD_OK)
        error_blame(a->error, "prefix");
    a->query.prefix = buf_text(&a->prefix);
}

static enum mld_error take_query(struct request *r, struct asked *a)
{
    static const char *const NAMES[] = {"prefix", "glob", "alias", "versions", "deleted"};
    const char *values[5];
    struct file_query *q = &a->query;
    buf_init(&a->prefix, NAME_MAX_PATH_BYTES + 1);
    buf_init(&a->text, MAX_QUERY);
    buf_puts(&a->text, "files");
    for (size_t i = 0; i < 5; i++) {
        values[i] = request_query(r, NAMES[i]);
        doc_put_text(&a->text, NAMES[i], values[i]);
    }
    for (size_t i = 0; i < request_query_count(r); i++) {
        const char *name;
        const char *value = request_query_at(r, i, &name);
        take_term(a, name, value);
    }
    doc_put_text(&a->text, "experiment", q->experiment);
    doc_put_text(&a->text, "project", q->project);
    if (a->error == MLD_OK && values[0] != NULL)
        take_prefix(a, values[0]);
    q->glob = values[1];
    q->alias = values[2];
    q->all_versions = values[3] != NULL && strcmp(values[3], "all") == 0;
    q->deleted = values[4] != NULL && strcmp(values[4], "true") == 0;
    if (a->error == MLD_OK && q->alias != NULL && !doc_is_plain(q->alias, 255))
        a->error = error_blame(error_set(MLD_EINVALID, "alias is none"), "alias");
    if (a->error == MLD_OK && values[3] != NULL && !q->all_versions &&
        strcmp(values[3], "newest") != 0)
        a->error = error_blame(error_set(MLD_EINVALID, "versions is all or newest"), "versions");
    return a->error == MLD_OK ? buf_check(&a->text, "query") : a->error;
}

static void list(struct request *r, struct arena *arena, struct asked *a)
{
    struct file_page page = {0};
    struct meta_cursor after;
    struct buf out;
    size_t limit = 0;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = take_query(r, a);
    if (error == MLD_OK)
        error = resource_page(r, buf_text(&a->text), arena, &limit, &after);
    if (error == MLD_OK)
        error = files_list(&page, request_server(r)->meta, &a->query, after, limit);
    if (error == MLD_OK) {
        buf_puts(&out, "{\"files\":[");
        for (size_t i = 0; i < page.n; i++) {
            if (i > 0)
                buf_putc(&out, ',');
            file_put(&out, &page.items[i]);
        }
        buf_putc(&out, ']');
        resource_next(&out, buf_text(&a->text), page.more, page.last_order, page.last_id);
        buf_putc(&out, '}');
    }
    resource_answer(r, error, &out);
    arena_free(&page.arena);
    buf_free(&a->prefix);
    buf_free(&a->text);
}

void list_experiment_files(struct request *r)
{
    struct arena arena = {0};
    const struct caller *caller = request_caller(r);
    struct asked a = {
        .query = {.project = caller->project_id, .experiment = caller->experiment_id}};
    list(r, &arena, &a);
    arena_free(&arena);
}

void list_project_files(struct request *r)
{
    struct arena arena = {0};
    struct asked a = {0};
    enum mld_error error =
        project_find(&a.query.project, &arena, request_server(r)->meta,
                     request_caller(r)->namespace_id, request_param(r, "project"));
    if (error == MLD_OK)
        list(r, &arena, &a);
    else
        respond_error(r, error, NULL);
    arena_free(&arena);
}

/* The file of the route, when anything can be shown of it. */
static enum mld_error find_file(struct request *r, struct arena *arena, struct file_doc *out)
{
    const struct caller *caller = request_caller(r);
    enum mld_error error = file_get(out, arena, request_server(r)->meta, caller->project_id,
                                    caller->experiment_id, request_param(r, "file"));
    if (error == MLD_OK && (!doc_stamp_is_set(&out->stamp) || out->removed || out->gone))
        error = error_set(MLD_ENOTFOUND, "no such file");
    if (error == MLD_OK && out->retired_by != NULL)
        error = error_set(MLD_ESUPERSEDED, "a newer version took the file's place");
    if (error == MLD_OK && !file_is_whole(out))
        error = error_set(MLD_ENOTFOUND, "no such file");
    return error;
}

static void answer_lost(struct request *r, enum mld_error error, const struct file_doc *f)
{
    if (error != MLD_ESUPERSEDED || f->retired_by[0] == '\0') {
        respond_error(r, error, NULL);
        return;
    }
    json_t *more = json_pack("{s:s}", "by", f->retired_by);
    respond_problem(r, 404, "superseded", "a newer version took the file's place", more);
}

void get_file(struct request *r)
{
    struct arena arena = {0};
    struct listed_file f = {0};
    struct buf out;
    enum mld_error error = find_file(r, &arena, &f.doc);
    if (error == MLD_OK)
        error =
            files_aliases(&f, 1, &arena, request_server(r)->meta, request_caller(r)->project_id);
    if (error != MLD_OK) {
        answer_lost(r, error, &f.doc);
        arena_free(&arena);
        return;
    }
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    file_put(&out, &f);
    resource_answer(r, error, &out);
    arena_free(&arena);
}

/* One range of bytes. */
struct range {
    uint64_t from, len;
    bool partial;
};

/* "FROM-TO", "FROM-" or "-LAST": what is not there is -1. False: it is none of these. */
static bool parse_range(const char *text, int64_t *from, int64_t *to)
{
    const char *dash = strchr(text, '-');
    *from = *to = -1;
    if (dash == NULL || (dash == text && dash[1] == '\0'))
        return false;
    if (dash != text && (!num_parse_int64(text, (size_t)(dash - text), from) || *from < 0))
        return false;
    if (dash[1] != '\0' && (!num_parse_int64(dash + 1, strlen(dash + 1), to) || *to < 0))
        return false;
    return *from < 0 || *to < 0 || *to >= *from;
}

/* What is no single range is left unheeded, as HTTP has it. False: it lies outside. */
static bool read_range(const char *text, uint64_t size, struct range *out)
{
    int64_t from;
    int64_t to;
    *out = (struct range){0, size, false};
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || !parse_range(text + 6, &from, &to))
        return true;
    out->partial = true;
    if (from < 0) { /* the last `to` bytes */
        out->len = (uint64_t)to < size ? (uint64_t)to : size;
        out->from = size - out->len;
        return out->len > 0;
    }
    out->from = (uint64_t)from;
    out->len = to >= 0 && (uint64_t)to < size ? (uint64_t)(to - from) + 1 : size - out->from;
    return out->from < size;
}

/* filename*=UTF-8''..., so that any name can be said. */
static void put_disposition(struct request *r, const char *filename)
{
    struct buf text;
    buf_init(&text, 8192);
    buf_puts(&text, "attachment; filename*=UTF-8''");
    for (const unsigned char *c = (const unsigned char *)filename; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("-._~", *c) != NULL;
        if (plain)
            buf_putc(&text, (char)*c);
        else
            buf_printf(&text, "%%%02X", *c);
    }
    response_header(r, "Content-Disposition", text.failed == MLD_OK ? text.data : "attachment");
    buf_free(&text);
}

static void put_headers(struct request *r, const struct file_doc *f, const struct range *range)
{
    char text[160];
    snprintf(text, sizeof text, "\"%s\"", f->bytes.checksum);
    response_header(r, "ETag", text);
    response_header(r, "X-Checksum-SHA256", f->bytes.checksum);
    response_header(r, "X-Content-Type-Options", "nosniff");
    response_header(r, "Accept-Ranges", "bytes");
    put_disposition(r, f->filename);
    if (!range->partial)
        return;
    snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->from,
             range->from + range->len - 1, f->bytes.size);
    response_header(r, "Content-Range", text);
}

static bool is_known(const struct request *r, const struct file_doc *f)
{
    const char *known = request_header(r, "If-None-Match");
    return known != NULL && (strcmp(known, "*") == 0 || strstr(known, f->bytes.checksum) != NULL);
}

static void send_bytes(struct request *r, const struct file_doc *f, const struct range *range)
{
    struct blob_reader *reader = NULL;
    char *piece = malloc(PIECE_BYTES);
    const char *type = f->content_type != NULL ? f->content_type : f->bytes.content_type;
    enum mld_error error = piece == NULL ? error_set(MLD_ENOMEM, "out of memory for a file")
                                         : blob_open(&reader, request_server(r)->blob, f->bytes.key,
                                                     range->from, range->len);
    if (error != MLD_OK) {
        /* It is named and not there: the server's fault. */
        respond_error(r, error == MLD_ENOTFOUND ? MLD_EDAMAGED : error, NULL);
        free(piece);
        return;
    }
    put_headers(r, f, range);
    error = respond_begin(r, range->partial ? 206 : 200,
                          type == NULL ? "application/octet-stream" : type, range->len);
    while (error == MLD_OK) {
        size_t len = 0;
        error = blob_read(reader, piece, PIECE_BYTES, &len);
        if (error != MLD_OK || len == 0)
            break; /* a short answer closes the connection */
        error = respond_write(r, piece, len);
    }
    blob_reader_close(reader);
    free(piece);
}

void get_content(struct request *r)
{
    struct arena arena = {0};
    struct file_doc f = {0};
    struct range range;
    enum mld_error error = find_file(r, &arena, &f);
    if (error != MLD_OK) {
        answer_lost(r, error, &f);
    } else if (is_known(r, &f)) {
        struct buf none;
        buf_init(&none, 1);
        put_headers(r, &f, &(struct range){0});
        respond_bytes(r, 304, "application/octet-stream", &none);
    } else if (!read_range(request_header(r, "Range"), f.bytes.size, &range)) {
        char text[64];
        snprintf(text, sizeof text, "bytes */%" PRIu64, f.bytes.size);
        response_header(r, "Content-Range", text);
        respond_problem(r, 416, "invalid", "the range lies outside the file",
                        json_pack("{s:s}", "field", "Range"));
    } else {
        send_bytes(r, &f, &range);
    }
    arena_free(&arena);
}

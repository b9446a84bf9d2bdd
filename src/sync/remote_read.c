#include "sync/remote_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define PATH_MAX_BYTES (32u << 10) /* names of a place, each byte as %XX */
#define PAGE "1000"

/* One GET: its path, the answer, and the answer's JSON. */
struct get {
    struct buf path;
    struct http_reply reply;
    struct json_doc doc;
    const struct json_node *root;
};

static void get_init(struct get *g, const struct remote *r, const char *rest)
{
    *g = (struct get){.root = NULL};
    buf_init(&g->path, PATH_MAX_BYTES);
    http_reply_init(&g->reply);
    json_doc_init(&g->doc);
    if (r != NULL) {
        buf_puts(&g->path, "/api/v1/experiments/");
        http_put_component(&g->path, r->experiment);
        buf_puts(&g->path, rest);
    }
}

static void get_free(struct get *g)
{
    buf_free(&g->path);
    http_reply_free(&g->reply);
    json_doc_free(&g->doc);
}

/* Without `sink` the answer is JSON. */
static enum mld_error perform(struct remote *r, struct get *g, const char *what, const char *header,
                              http_sink *sink, void *payload)
{
    struct http_request request = {.method = "GET",
                                   .path = buf_text(&g->path),
                                   .header = header,
                                   .sink = sink,
                                   .payload = payload};
    enum mld_error error = buf_check(&g->path, "a request's path");
    if (error == MLD_OK)
        error = http_client_call(r->client, &request, &g->reply);
    r->requests++;
    r->retry_after_s = g->reply.retry_after_s;
    if (error == MLD_OK)
        error = http_reply_check(&g->reply, what);
    if (error != MLD_OK || sink != NULL)
        return error;
    if (json_parse(&g->doc, buf_text(&g->reply.body), g->reply.body.len) != MLD_OK)
        return error_set(MLD_EUNAVAILABLE, "%s: the answer is no JSON; is that an ML-Dash server?",
                         what);
    g->root = json_root(&g->doc);
    return MLD_OK;
}

static void put_query(struct get *g, char first, const char *key, const char *value)
{
    buf_putc(&g->path, first);
    buf_puts(&g->path, key);
    buf_putc(&g->path, '=');
    http_put_component(&g->path, value);
}

/* An id of the server's as a text that may be a folder's name. */
static bool take_id(const struct get *g, const struct json_node *node, char *out, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *id = json_strdup(&g->doc, node);
    bool good = id != NULL && id[0] != '\0' && strlen(id) < size && id[strspn(id, plain)] == '\0';
    if (good)
        snprintf(out, size, "%s", id);
    free(id);
    return good;
}

enum mld_error remote_find_experiment(struct remote *r, const struct remote_place *place)
{
    static const char what[] = "looking for the experiment";
    struct get g;
    get_init(&g, NULL, NULL);
    buf_puts(&g.path, "/api/v1/namespaces/");
    http_put_component(&g.path, place->namespace_name);
    buf_puts(&g.path, "/experiments");
    put_query(&g, '?', "project", place->project);
    put_query(&g, '&', "folder", place->folder);
    put_query(&g, '&', "name", place->name);
    enum mld_error error = perform(r, &g, what, NULL, NULL, NULL);
    const struct json_node *list = g.root == NULL ? NULL : json_get(&g.doc, g.root, "experiments");
    const struct json_node *first = list == NULL ? NULL : json_next(&g.doc, list, NULL);
    if (error == MLD_OK && first == NULL)
        error = error_set(MLD_ENOTFOUND, "the server has no experiment at this place");
    else if (error == MLD_OK &&
             !take_id(&g, json_get(&g.doc, first, "id"), r->experiment, sizeof r->experiment))
        error = error_set(MLD_EUNAVAILABLE, "%s: the server's answer lacks what was asked", what);
    get_free(&g);
    return error;
}

static enum mld_error take_stream(const struct get *g, const struct json_node *node,
                                  struct arena *arena, struct remote_stream **out)
{
    struct remote_stream *s = arena_alloc(arena, sizeof *s);
    int64_t offset = -1;
    if (s == NULL)
        return error_set(MLD_ENOMEM, "out of memory for streams");
    if (!take_id(g, json_get(&g->doc, node, "stream"), s->id, sizeof s->id) ||
        strlen(s->id) != ID_RANDOM_LEN ||
        !json_int64(&g->doc, json_get(&g->doc, node, "offset"), &offset) || offset < 0)
        return error_set(MLD_EUNAVAILABLE, "listing streams: the server's answer is not in order");
    s->offset = (uint64_t)offset;
    s->records = json_equals(&g->doc, json_get(&g->doc, node, "kind"), "records");
    s->next = *out;
    *out = s;
    return MLD_OK;
}

enum mld_error remote_list_streams(struct remote *r, struct arena *arena,
                                   struct remote_stream **out, char after[REMOTE_AFTER_MAX])
{
    struct get g;
    get_init(&g, r, "/streams?limit=" PAGE);
    if (after[0] != '\0')
        put_query(&g, '&', "after", after);
    enum mld_error error = perform(r, &g, "listing streams", NULL, NULL, NULL);
    const struct json_node *list = g.root == NULL ? NULL : json_get(&g.doc, g.root, "streams");
    const struct json_node *node = NULL;
    if (error == MLD_OK && list == NULL)
        error = error_set(MLD_EUNAVAILABLE, "listing streams: the server's answer has none");
    while (error == MLD_OK && (node = json_next(&g.doc, list, node)) != NULL)
        error = take_stream(&g, node, arena, out);
    char *next = error == MLD_OK ? json_strdup(&g.doc, json_get(&g.doc, g.root, "next")) : NULL;
    if (next != NULL && strlen(next) >= REMOTE_AFTER_MAX)
        error = error_set(MLD_EUNAVAILABLE, "listing streams: the server's answer is too long");
    else
        snprintf(after, REMOTE_AFTER_MAX, "%s", next == NULL ? "" : next);
    free(next);
    get_free(&g);
    return error;
}

/* Counts what passes, and lets no more through than was asked for. */
struct counting {
    http_sink *sink;
    void *payload;
    uint64_t left;
};

static enum mld_error count(const void *data, size_t len, void *payload)
{
    struct counting *c = payload;
    if (len > c->left)
        return error_set(MLD_EUNAVAILABLE, "the server sent more than was asked for");
    c->left -= len;
    return c->sink(data, len, c->payload);
}

enum mld_error remote_read_stream(struct remote *r, const char *stream, uint64_t from, uint64_t to,
                                  http_sink *sink, void *payload)
{
    struct counting counting = {.sink = sink, .payload = payload, .left = to - from};
    struct get g;
    get_init(&g, r, "/streams/");
    http_put_component(&g.path, stream);
    buf_printf(&g.path, "?from=%llu&to=%llu", (unsigned long long)from, (unsigned long long)to);
    enum mld_error error = perform(r, &g, "reading a stream", NULL, count, &counting);
    if (error == MLD_OK && counting.left > 0)
        error = error_set(MLD_EUNAVAILABLE, "reading a stream: the server's answer is too short");
    get_free(&g);
    return error;
}

enum mld_error remote_file_is(struct remote *r, const char *file_id, const char *checksum,
                              bool *out)
{
    struct get g;
    get_init(&g, r, "/files/");
    http_put_component(&g.path, file_id);
    enum mld_error error = perform(r, &g, "looking for a file", NULL, NULL, NULL);
    *out = error == MLD_OK && json_equals(&g.doc, json_get(&g.doc, g.root, "checksum"), checksum);
    if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    get_free(&g);
    return error;
}

enum mld_error remote_read_file(struct remote *r, const char *file_id, uint64_t from,
                                http_sink *sink, void *payload)
{
    char range[64];
    struct get g;
    get_init(&g, r, "/files/");
    http_put_component(&g.path, file_id);
    buf_puts(&g.path, "/content");
    snprintf(range, sizeof range, "Range: bytes=%llu-", (unsigned long long)from);
    enum mld_error error =
        perform(r, &g, "reading a file", from == 0 ? NULL : range, sink, payload);
    if (error == MLD_ENOTFOUND && http_reply_is(&g.reply, "superseded"))
        error = error_prefix(MLD_ESUPERSEDED, "file %.40s", file_id);
    get_free(&g);
    return error;
}

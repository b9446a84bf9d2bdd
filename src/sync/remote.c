#include "sync/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "sync/pack.h"

#define PATH_MAX_BYTES 4096

/* One call: path and answer, with the answer's JSON parsed. */
struct call {
    struct buf path;
    struct buf body;
    struct http_reply reply;
    struct json_doc doc;
};

static void call_init(struct call *c)
{
    buf_init(&c->path, PATH_MAX_BYTES);
    buf_init(&c->body, REMOTE_MAX_BODY_BYTES + (4u << 20));
    http_reply_init(&c->reply);
    json_doc_init(&c->doc);
}

static void call_free(struct call *c)
{
    buf_free(&c->path);
    buf_free(&c->body);
    http_reply_free(&c->reply);
    json_doc_free(&c->doc);
}

/* Networks where one has to sign in first answer in the server's place. */
static enum mld_error note_answer(struct remote *r, const struct http_reply *reply,
                                  enum mld_error error)
{
    struct error_copy copy;
    bool other = reply->status / 100 == 3 || (reply->status == 0 && error == MLD_EACCESS);
    r->worked = r->worked || error == MLD_OK;
    if (!other || !r->worked)
        return error;
    error_save(MLD_EUNAVAILABLE, &copy);
    return error_restore(&copy);
}

static enum mld_error perform(struct remote *r, struct call *c, const struct http_request *request,
                              const char *what)
{
    enum mld_error error = buf_check(&c->path, "a request's path");
    if (error == MLD_OK)
        error = http_client_call(r->client, request, &c->reply);
    r->requests++;
    r->retry_after_s = c->reply.retry_after_s;
    if (error == MLD_OK)
        error = http_reply_check(&c->reply, what);
    error = note_answer(r, &c->reply, error);
    if (error == MLD_OK &&
        json_parse(&c->doc, buf_text(&c->reply.body), c->reply.body.len) != MLD_OK)
        error = error_set(MLD_EUNAVAILABLE, "%s: the answer is no JSON; is that an ML-Dash server?",
                          what);
    return error;
}

/* Sends c->body (or nothing) as JSON. */
static enum mld_error call_json(struct remote *r, struct call *c, const char *method,
                                const char *what)
{
    struct http_request request = {
        .method = method, .path = buf_text(&c->path), .body = NULL, .body_len = c->body.len};
    enum mld_error error = buf_check(&c->body, what);
    if (c->body.len > 0)
        request.body = c->body.data;
    return error == MLD_OK ? perform(r, c, &request, what) : error;
}

static void experiment_path(struct call *c, const struct remote *r, const char *rest)
{
    buf_puts(&c->path, "/api/v1/experiments/");
    http_put_component(&c->path, r->experiment);
    buf_puts(&c->path, rest);
}

static void put_member(struct buf *b, const char *key, const char *text)
{
    json_put_key(b, key);
    json_put_cstring(b, text);
}

static enum mld_error odd_answer(const char *what)
{
    return error_set(MLD_EUNAVAILABLE, "%s: the server's answer lacks what was asked", what);
}

enum mld_error remote_own_namespace(struct remote *r, char **out)
{
    struct call c;
    call_init(&c);
    *out = NULL;
    buf_puts(&c.path, "/api/v1/me");
    enum mld_error error = call_json(r, &c, "GET", "asking who I am");
    if (error == MLD_OK) {
        const struct json_node *user = json_get(&c.doc, json_root(&c.doc), "user");
        *out = json_strdup(&c.doc, json_get(&c.doc, user, "username"));
        error = *out == NULL ? odd_answer("asking who I am") : MLD_OK;
    }
    call_free(&c);
    return error;
}

static enum mld_error take_experiment(struct remote *r, const struct call *c, const char *from)
{
    char *id = json_strdup(&c->doc, json_get(&c->doc, json_root(&c->doc), "id"));
    enum mld_error error = MLD_OK;
    if (id == NULL || strlen(id) >= REMOTE_ID_MAX)
        error = odd_answer("registering the experiment");
    else if (from != NULL && strcmp(id, from) == 0)
        error = error_set(MLD_EDAMAGED, "the folder differs from what the server has of it, also "
                                        "in the copy that was made for it");
    else
        snprintf(r->experiment, sizeof r->experiment, "%s", id);
    free(id);
    return error;
}

enum mld_error remote_register(struct remote *r, const char *namespace_name,
                               const struct sync_folder *f, const char *from)
{
    struct call c;
    call_init(&c);
    if (from != NULL && from[0] == '\0')
        from = NULL;
    buf_puts(&c.path, "/api/v1/namespaces/");
    http_put_component(&c.path, namespace_name);
    buf_puts(&c.path, "/experiments");
    buf_putc(&c.body, '{');
    put_member(&c.body, "project", f->project);
    put_member(&c.body, "folder", f->folder == NULL ? "" : f->folder);
    put_member(&c.body, "name", f->name);
    put_member(&c.body, "run", f->run);
    if (from != NULL) {
        json_put_key(&c.body, "diverged");
        json_put_bool(&c.body, true);
        put_member(&c.body, "from", from);
    }
    buf_putc(&c.body, '}');
    enum mld_error error = call_json(r, &c, "POST", "registering the experiment");
    if (error == MLD_ENOTFOUND)
        error = error_set(error, "there is no namespace '%.100s' that you may use", namespace_name);
    if (error == MLD_OK)
        error = take_experiment(r, &c, from);
    call_free(&c);
    return error;
}

static enum mld_error take_head(const struct call *c, const struct json_node *node,
                                struct remote_head *head)
{
    int64_t offset = -1;
    char *sha256 = json_strdup(&c->doc, json_get(&c->doc, node, "sha256"));
    bool good = json_equals(&c->doc, json_get(&c->doc, node, "stream"), head->stream) &&
                json_int64(&c->doc, json_get(&c->doc, node, "offset"), &offset) && offset >= 0 &&
                sha256 != NULL && strlen(sha256) == SHA256_HEX_LEN;
    if (good) {
        head->offset = (uint64_t)offset;
        memcpy(head->sha256, sha256, SHA256_HEX_LEN + 1);
    }
    free(sha256);
    return good ? MLD_OK : odd_answer("asking for streams");
}

enum mld_error remote_heads(struct remote *r, struct remote_head *heads, size_t n)
{
    struct call c;
    call_init(&c);
    experiment_path(&c, r, "/streams/heads");
    buf_puts(&c.body, "{\"streams\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&c.body, i == 0 ? "" : ",");
        json_put_cstring(&c.body, heads[i].stream);
    }
    buf_puts(&c.body, "]}");
    enum mld_error error = call_json(r, &c, "POST", "asking for streams");
    const struct json_node *list = json_get(&c.doc, json_root(&c.doc), "streams"), *node = NULL;
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        node = list == NULL ? NULL : json_next(&c.doc, list, node);
        error = node == NULL ? odd_answer("asking for streams") : take_head(&c, node, &heads[i]);
    }
    call_free(&c);
    return error;
}

static enum mld_error hash_piece(const void *data, size_t len, void *payload)
{
    sha256_state_update(payload, data, len);
    return MLD_OK;
}

enum mld_error remote_stream_hash(struct remote *r, const char *stream, uint64_t length,
                                  char out[SHA256_HEX_LEN + 1])
{
    static const char what[] = "comparing a stream";
    struct sha256_state hash;
    struct call c;
    call_init(&c);
    sha256_state_init(&hash);
    experiment_path(&c, r, "/streams/");
    http_put_component(&c.path, stream);
    buf_printf(&c.path, "?from=0&to=%llu", (unsigned long long)length);
    struct http_request request = {
        .method = "GET", .path = buf_text(&c.path), .sink = hash_piece, .payload = &hash};
    enum mld_error error = length == 0 ? MLD_OK : http_client_call(r->client, &request, &c.reply);
    r->requests += length > 0;
    if (error == MLD_OK && length > 0) {
        r->retry_after_s = c.reply.retry_after_s;
        error = http_reply_check(&c.reply, what);
    }
    if (error == MLD_OK && hash.len != length)
        error = odd_answer(what);
    sha256_state_digest(&hash, out);
    call_free(&c);
    return error;
}

enum mld_error remote_append(struct remote *r, const struct buf *body)
{
    struct call c;
    struct buf packed;
    call_init(&c);
    buf_init(&packed, 2 * REMOTE_MAX_BODY_BYTES);
    experiment_path(&c, r, "/streams");
    struct http_request request = {.method = "POST",
                                   .path = buf_text(&c.path),
                                   .body = body->data,
                                   .body_len = body->len,
                                   .content_type = "application/octet-stream"};
    if (r->pack && pack_body(&packed, body)) {
        request.body = packed.data;
        request.body_len = packed.len;
        request.header = "Content-Encoding: zstd";
    }
    enum mld_error error = perform(r, &c, &request, "sending lines");
    buf_free(&packed);
    call_free(&c);
    return error;
}

static enum remote_state state_of(const struct call *c, const struct json_node *object)
{
    static const struct {
        const char *name;
        enum remote_state state;
    } names[] = {{"absent", REMOTE_ABSENT},     {"open", REMOTE_OPEN},
                 {"live", REMOTE_LIVE},         {"gone", REMOTE_GONE},
                 {"id_taken", REMOTE_ID_TAKEN}, {"checksum", REMOTE_CHECKSUM}};
    const struct json_node *state = json_get(&c->doc, object, "state");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (json_equals(&c->doc, state, names[i].name))
            return names[i].state;
    }
    return REMOTE_ABSENT;
}

/* The answers are in the order of the questions; nothing is taken as there by mistake. */
static enum mld_error take_states(const struct call *c, struct sync_file *const *files, size_t n,
                                  enum remote_state *out, const char *what)
{
    const struct json_node *list = json_get(&c->doc, json_root(&c->doc), "files"), *node = NULL;
    for (size_t i = 0; i < n; i++) {
        node = list == NULL ? NULL : json_next(&c->doc, list, node);
        if (node == NULL ||
            !json_equals(&c->doc, json_get(&c->doc, node, "id"), remote_id_of(files[i])))
            return odd_answer(what);
        out[i] = state_of(c, node);
    }
    return MLD_OK;
}

enum mld_error remote_files_status(struct remote *r, struct sync_file *const *files, size_t n,
                                   enum remote_state *out)
{
    struct call c;
    call_init(&c);
    experiment_path(&c, r, "/files/status");
    buf_puts(&c.body, "{\"files\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&c.body, i == 0 ? "{" : ",{");
        put_member(&c.body, "id", remote_id_of(files[i]));
        json_put_key(&c.body, "size_bytes");
        json_put_int64(&c.body, (int64_t)files[i]->size_bytes);
        put_member(&c.body, "sha256", files[i]->checksum);
        buf_putc(&c.body, '}');
    }
    buf_puts(&c.body, "]}");
    enum mld_error error = call_json(r, &c, "POST", "asking for files");
    if (error == MLD_OK)
        error = take_states(&c, files, n, out, "asking for files");
    call_free(&c);
    return error;
}

void remote_put_file(struct buf *out, const struct sync_file *file)
{
    buf_putc(out, '{');
    put_member(out, "id", remote_id_of(file));
    if (file->other > 0) {
        put_member(out, "as", file->id);
        put_member(out, "stream", file->stream);
    }
    put_member(out, "path", file->path);
    put_member(out, "filename", file->filename);
    json_put_key(out, "size_bytes");
    json_put_int64(out, (int64_t)file->size_bytes);
    put_member(out, "sha256", file->checksum);
    if (file->content_type[0] != '\0')
        put_member(out, "content_type", file->content_type);
    buf_putc(out, '}');
}

enum mld_error remote_files_small(struct remote *r, const struct buf *body,
                                  struct sync_file *const *files, size_t n, enum remote_state *out)
{
    struct call c;
    call_init(&c);
    experiment_path(&c, r, "/files/small");
    struct http_request request = {.method = "POST",
                                   .path = buf_text(&c.path),
                                   .body = body->data,
                                   .body_len = body->len,
                                   .content_type = "application/octet-stream"};
    enum mld_error error = perform(r, &c, &request, "sending small files");
    if (error == MLD_OK)
        error = take_states(&c, files, n, out, "sending small files");
    call_free(&c);
    return error;
}

void remote_upload_free(struct remote_upload *u)
{
    free(u->have);
    *u = (struct remote_upload){.have = NULL};
}

/* "have": [[first,last],...] */
static void take_have(const struct call *c, struct remote_upload *u)
{
    const struct json_node *list = json_get(&c->doc, json_root(&c->doc), "have"), *pair = NULL;
    while (list != NULL && (pair = json_next(&c->doc, list, pair)) != NULL) {
        int64_t first = -1, last = -2;
        const struct json_node *number = json_next(&c->doc, pair, NULL);
        if (number != NULL && json_int64(&c->doc, number, &first))
            number = json_next(&c->doc, pair, number);
        if (number != NULL)
            json_int64(&c->doc, number, &last);
        for (int64_t i = first; i >= 0 && i <= last && i < (int64_t)u->parts; i++)
            u->have[i] = true;
    }
}

static enum mld_error take_upload(const struct call *c, struct remote_upload *u,
                                  const struct sync_file *file)
{
    int64_t size = 0;
    u->state = state_of(c, json_root(&c->doc));
    if (u->state != REMOTE_OPEN)
        return u->state == REMOTE_LIVE || u->state == REMOTE_GONE
                   ? MLD_OK
                   : odd_answer("beginning an upload");
    json_int64(&c->doc, json_get(&c->doc, json_root(&c->doc), "part_size_bytes"), &size);
    if (size <= 0 || file->size_bytes / (uint64_t)size >= 10000)
        return odd_answer("beginning an upload");
    u->part_size_bytes = (uint64_t)size;
    u->parts = (unsigned)((file->size_bytes + (uint64_t)size - 1) / (uint64_t)size);
    u->have = calloc(u->parts + 1, sizeof *u->have);
    if (u->have == NULL)
        return error_set(MLD_ENOMEM, "no memory for an upload");
    take_have(c, u);
    return MLD_OK;
}

enum mld_error remote_upload_open(struct remote *r, struct remote_upload *out,
                                  const struct sync_file *file)
{
    struct call c;
    call_init(&c);
    *out = (struct remote_upload){.have = NULL};
    experiment_path(&c, r, "/uploads");
    remote_put_file(&c.body, file);
    enum mld_error error = call_json(r, &c, "POST", "beginning an upload");
    if (error == MLD_ECONFLICT && http_reply_is(&c.reply, "id_taken")) {
        out->state = REMOTE_ID_TAKEN;
        error = MLD_OK;
    } else if (error == MLD_OK) {
        error = take_upload(&c, out, file);
    }
    call_free(&c);
    return error;
}

enum mld_error remote_upload_part(struct remote *r, const char *file_id, unsigned part,
                                  const void *data, size_t len, const char *sha256)
{
    struct call c;
    char header[32 + SHA256_HEX_LEN];
    call_init(&c);
    experiment_path(&c, r, "/uploads/");
    http_put_component(&c.path, file_id);
    buf_printf(&c.path, "/parts/%u", part);
    snprintf(header, sizeof header, "X-Part-SHA256: %s", sha256);
    struct http_request request = {.method = "PUT",
                                   .path = buf_text(&c.path),
                                   .body = data,
                                   .body_len = len,
                                   .content_type = "application/octet-stream",
                                   .header = header};
    enum mld_error error = perform(r, &c, &request, "sending a part");
    call_free(&c);
    return error;
}

enum mld_error remote_upload_commit(struct remote *r, const char *file_id)
{
    struct call c;
    call_init(&c);
    experiment_path(&c, r, "/uploads/");
    http_put_component(&c.path, file_id);
    buf_puts(&c.path, "/commit");
    buf_puts(&c.body, "{}");
    enum mld_error error = call_json(r, &c, "POST", "finishing an upload");
    call_free(&c);
    return error;
}

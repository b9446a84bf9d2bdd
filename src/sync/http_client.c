#include "sync/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"

#define CONNECT_TIMEOUT_MS 10000
#define STALL_TIMEOUT_S 30
#define UPLOAD_BUFFER_BYTES (512L << 10)

struct http_client {
    CURL *curl;
    char *url;
    char *authorization; /* a header line; NULL: none */
    struct http_server server;
    char failure[CURL_ERROR_SIZE];
};

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void http_client_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
}

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for a request");
}

/* libcurl knows neither name that Python's clients do; OpenSSL's own is known to both. */
static const char *ca_file(void)
{
    static const char *const names[] = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = getenv(names[i]);
        if (path != NULL && path[0] != '\0')
            return path;
    }
    return NULL;
}

static int watch(void *client, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct http_client *h = client;
    (void)a, (void)b, (void)c, (void)d;
    if (h->server.keep_going != NULL && !h->server.keep_going(h->server.payload))
        return 1;
    return h->server.stop != NULL && atomic_load(h->server.stop);
}

/* libcurl's own would stay open in programs that are started meanwhile. */
static curl_socket_t open_socket(void *payload, curlsocktype purpose, struct curl_sockaddr *to)
{
    (void)payload, (void)purpose;
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static void set_constants(struct http_client *c)
{
    CURL *curl = c->curl;
    const char *ca = ca_file();
    long connect_ms = c->server.connect_timeout_ms;
    long stall_s = c->server.stall_timeout_s;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* never wait for a name server at the end */
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->failure);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     connect_ms == 0 ? CONNECT_TIMEOUT_MS : connect_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, stall_s == 0 ? STALL_TIMEOUT_S : stall_s);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "ml-dash/" MLDASH_VERSION);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    if (ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
}

enum mld_error http_client_new(struct http_client **out, const struct http_server *server)
{
    struct http_client *c = calloc(1, sizeof *c);
    struct buf line;
    *out = NULL;
    if (c == NULL)
        return no_memory();
    http_client_global_init();
    buf_init(&line, 16u << 10);
    if (server->token != NULL) {
        buf_printf(&line, "Authorization: Bearer %s", server->token);
        c->authorization = buf_steal(&line);
    }
    buf_free(&line);
    c->server = *server;
    c->url = strdup(server->url);
    c->curl = curl_easy_init();
    if (c->url == NULL || c->curl == NULL || (server->token != NULL && c->authorization == NULL)) {
        http_client_free(c);
        return no_memory();
    }
    set_constants(c);
    *out = c;
    return MLD_OK;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->curl);
    free(c->url);
    free(c->authorization);
    free(c);
}

void http_reply_init(struct http_reply *reply)
{
    reply->status = 0;
    reply->retry_after_s = -1;
    buf_init(&reply->body, HTTP_MAX_REPLY_BYTES);
}

void http_reply_free(struct http_reply *reply)
{
    buf_free(&reply->body);
}

/* An answer on its way in. */
struct receiving {
    struct http_client *client;
    const struct http_request *request;
    struct http_reply *reply;
    enum mld_error failed; /* of the sink */
};

static size_t receive(char *data, size_t size, size_t n, void *payload)
{
    struct receiving *r = payload;
    long status = 0;
    curl_easy_getinfo(r->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (r->request->sink == NULL || status / 100 != 2) {
        buf_put(&r->reply->body, data, size * n);
        return r->reply->body.failed == MLD_OK ? size * n : 0;
    }
    r->failed = r->request->sink(data, size * n, r->request->payload);
    return r->failed == MLD_OK ? size * n : 0;
}

static struct curl_slist *headers_of(const struct http_client *c, const struct http_request *q)
{
    struct curl_slist *list = NULL;
    struct buf line;
    const char *lines[] = {c->authorization, q->header, "Expect:"}; /* no pause before a body */
    buf_init(&line, 1024);
    if (q->body != NULL) {
        buf_printf(&line, "Content-Type: %s",
                   q->content_type == NULL ? "application/json" : q->content_type);
        list = curl_slist_append(list, buf_text(&line));
    }
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct curl_slist *more = lines[i] == NULL ? list : curl_slist_append(list, lines[i]);
        if (more != NULL)
            list = more;
    }
    buf_free(&line);
    return list;
}

static enum mld_error failure_of(const struct receiving *r, CURLcode code)
{
    const struct http_client *c = r->client;
    if (r->failed != MLD_OK)
        return r->failed;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return error_set(MLD_EINTERRUPTED, "the request was stopped");
    if (code == CURLE_OUT_OF_MEMORY || r->reply->body.failed == MLD_ENOMEM)
        return no_memory();
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return error_set(MLD_EINVALID, "'%.200s' is no address of a server: http://host:3000",
                         c->url);
    const char *words = c->failure[0] != '\0' ? c->failure : curl_easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return error_set(MLD_EACCESS,
                         "%.200s: %s; a certificate authority of your own goes into SSL_CERT_FILE",
                         c->url, words);
    return error_set(MLD_EUNAVAILABLE, "%.200s: %s", c->url, words);
}

static enum mld_error perform(struct receiving *r, const char *url)
{
    struct http_client *c = r->client;
    const struct http_request *q = r->request;
    struct curl_slist *headers = headers_of(c, q);
    CURL *curl = c->curl;
    c->failure[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body == NULL ? "" : q->body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
    if (q->body == NULL && strcmp(q->method, "GET") == 0)
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
    CURLcode code = curl_easy_perform(curl);
    curl_off_t wait = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r->reply->status);
    if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0)
        r->reply->retry_after_s = wait;
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? MLD_OK : failure_of(r, code);
}

enum mld_error http_client_call(struct http_client *c, const struct http_request *request,
                                struct http_reply *reply)
{
    struct receiving r = {.client = c, .request = request, .reply = reply};
    struct buf url;
    buf_clear(&reply->body);
    reply->status = 0;
    reply->retry_after_s = -1;
    buf_init(&url, 64u << 10);
    buf_puts(&url, c->url);
    buf_puts(&url, request->path);
    enum mld_error error = buf_check(&url, "a request's address");
    if (error == MLD_OK)
        error = perform(&r, buf_text(&url));
    buf_free(&url);
    return error;
}

/* A text member of the answer's object; the caller frees it. */
static char *member(const struct http_reply *reply, const char *key)
{
    struct json_doc doc;
    char *text = NULL;
    json_doc_init(&doc);
    if (reply->body.len > 0 && json_parse(&doc, reply->body.data, reply->body.len) == MLD_OK)
        text = json_strdup(&doc, json_get(&doc, json_root(&doc), key));
    json_doc_free(&doc);
    return text;
}

static enum mld_error code_of(long status)
{
    switch (status) {
    case 401:
        return MLD_EAUTH;
    case 403:
        return MLD_EACCESS;
    case 404:
    case 410: /* an upload that was dropped */
        return MLD_ENOTFOUND;
    case 409:
        return MLD_ECONFLICT;
    case 413:
        return MLD_ETOOLARGE;
    case 422:
        return MLD_ECHECKSUM;
    case 408: /* of proxies, as the next */
    case 425:
    case 429:
        return MLD_EUNAVAILABLE;
    case 507:
        return MLD_ENOSPACE;
    default:
        return status >= 500 ? MLD_EUNAVAILABLE : MLD_EINVALID;
    }
}

enum mld_error http_reply_check(const struct http_reply *reply, const char *what)
{
    if (reply->status / 100 == 2)
        return MLD_OK;
    char *message = member(reply, "message");
    const char *advice = reply->status == 401 ? "; log in again: ml-dash login" : "";
    enum mld_error error =
        error_set(code_of(reply->status), "%s: the server says %ld: %s%s", what, reply->status,
                  message == NULL ? "(nothing)" : message, advice);
    free(message);
    return error;
}

bool http_reply_is(const struct http_reply *reply, const char *code)
{
    char *said = member(reply, "error");
    bool is = said != NULL && strcmp(said, code) == 0;
    free(said);
    return is;
}

void http_put_component(struct buf *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL)
            buf_putc(out, *text);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

#include "cli/login.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static enum mld_error check_url(struct login *a)
{
    char *url = a->credentials.url;
    if (url == NULL)
        return error_set(MLD_EINVALID, "which server? name its URL: ml-dash login URL");
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return error_set(MLD_EINVALID, "'%.200s' is no URL: it begins with https:// or http://",
                         url);
    for (size_t len = strlen(url); len > 8 && url[len - 1] == '/'; len--)
        url[len - 1] = '\0';
    return MLD_OK;
}

enum mld_error login_use_token(struct login *a, const char *token)
{
    http_client_free(a->client);
    a->client = NULL;
    a->server = (struct http_server){.url = a->credentials.url, .token = token};
    return http_client_new(&a->client, &a->server);
}

enum mld_error login_open(struct login *a, const char *url, const char *token)
{
    http_client_global_init();
    http_reply_init(&a->reply);
    json_doc_init(&a->doc);
    enum mld_error error = credentials_find(&a->credentials, url, token);
    if (error == MLD_OK)
        error = check_url(a);
    return error == MLD_OK ? login_use_token(a, a->credentials.token) : error;
}

void login_close(struct login *a)
{
    http_client_free(a->client);
    json_doc_free(&a->doc);
    http_reply_free(&a->reply);
    credentials_free(&a->credentials);
}

enum mld_error login_call(struct login *a, const char *method, const char *path,
                          const struct buf *body, const char *what)
{
    const struct http_request request = {.method = method,
                                         .path = path,
                                         .body = body == NULL ? NULL : buf_text(body),
                                         .body_len = body == NULL ? 0 : body->len};
    http_reply_free(&a->reply);
    http_reply_init(&a->reply);
    enum mld_error error = body == NULL ? MLD_OK : buf_check(body, what);
    if (error == MLD_OK)
        error = http_client_call(a->client, &request, &a->reply);
    if (error == MLD_OK && a->reply.status != 400)
        error = http_reply_check(&a->reply, what);
    if (error == MLD_OK &&
        (json_parse(&a->doc, buf_text(&a->reply.body), a->reply.body.len) != MLD_OK ||
         json_root(&a->doc)->type != JSON_OBJECT))
        error =
            error_set(MLD_EINVALID, "%s: the answer is no JSON; is that an ML-Dash server?", what);
    return error;
}

char *login_text(const struct login *a, const char *key)
{
    return json_strdup(&a->doc, json_get(&a->doc, json_root(&a->doc), key));
}

enum mld_error login_me(struct login *a, char **out_username)
{
    *out_username = NULL;
    enum mld_error error = login_call(a, "GET", "/api/v1/me", NULL, "asking who you are");
    if (error == MLD_EAUTH)
        error = error_set(error,
                          "the server at %.200s does not take this token; log in again: "
                          "ml-dash login",
                          a->credentials.url);
    if (error != MLD_OK)
        return error;
    const struct json_node *user = json_get(&a->doc, json_root(&a->doc), "user");
    *out_username = json_strdup(&a->doc, json_get(&a->doc, user, "username"));
    return *out_username == NULL ? error_set(MLD_EINVALID, "the server does not say who you are")
                                 : MLD_OK;
}

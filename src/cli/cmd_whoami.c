/* cmd_whoami.c: who one is at the server, and the end of that. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/login.h"
#include "cli/options.h"
#include "cli/text.h"

static void put_namespaces(struct buf *out, const struct login *a)
{
    const struct json_node *list = json_get(&a->doc, json_root(&a->doc), "namespaces");
    const struct json_node *one = NULL;
    while ((one = json_next(&a->doc, list, one)) != NULL) {
        char *name = json_strdup(&a->doc, json_get(&a->doc, one, "name"));
        char *role = json_strdup(&a->doc, json_get(&a->doc, one, "role"));
        buf_puts(out, "  ");
        text_put(out, name == NULL ? "?" : name);
        buf_puts(out, "  ");
        text_put(out, role == NULL ? "?" : role);
        buf_putc(out, '\n');
        free(name);
        free(role);
    }
}

/* The server's own answer, with the server's URL. */
static void put_json(struct buf *out, const struct login *a)
{
    size_t len;
    const char *raw = json_raw(&a->doc, json_root(&a->doc), &len);
    buf_putc(out, '{');
    json_put_key(out, "url");
    json_put_cstring(out, a->credentials.url);
    if (len > 2)
        buf_putc(out, ',');
    json_put_compact(out, raw + 1, len - 1);
    buf_putc(out, '\n');
}

static enum mld_error need_token(const struct login *a)
{
    return a->credentials.token != NULL
               ? MLD_OK
               : error_set(MLD_EAUTH, "nobody is logged in here: ml-dash login URL");
}

static enum cli_exit show(const char *url, bool json)
{
    struct login login = {.client = NULL};
    struct buf out;
    char *username = NULL;
    buf_init(&out, CLI_MAX_OUTPUT_BYTES);
    enum mld_error error = login_open(&login, url, NULL);
    if (error == MLD_OK)
        error = need_token(&login);
    if (error == MLD_OK)
        error = login_me(&login, &username);
    if (error == MLD_OK && json) {
        put_json(&out, &login);
    } else if (error == MLD_OK) {
        text_put(&out, username);
        buf_puts(&out, " at ");
        text_put(&out, login.credentials.url);
        buf_putc(&out, '\n');
        put_namespaces(&out, &login);
    }
    enum cli_exit code = error == MLD_OK ? cli_print(&out) : cli_fail(error);
    free(username);
    login_close(&login);
    buf_free(&out);
    return code;
}

enum cli_exit cmd_whoami(int argc, char **argv)
{
    const char *url = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"url", 'u', CLI_TEXT, "URL", "the server (default: where you logged in)", &url},
        {"json", 0, CLI_FLAG, NULL, "print JSON", &json},
        {0},
    };
    const struct cli_usage usage = {
        "whoami [OPTIONS]",
        "Asks the server who you are there, and which namespaces you are in.\n",
        options,
        0,
        0,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = show(url, json);
    cli_texts_free(&operands);
    return code;
}

/* Revokes the kept token at its server. */
static enum mld_error revoke(struct login *a)
{
    struct buf path;
    char *username = NULL, *id = NULL;
    buf_init(&path, 1024);
    enum mld_error error = login_me(a, &username);
    if (error == MLD_OK && (id = login_text(a, "token_id")) != NULL) {
        buf_puts(&path, "/api/v1/tokens/");
        http_put_component(&path, id);
        error = login_call(a, "DELETE", buf_text(&path), NULL, "revoking the token");
    }
    free(id);
    free(username);
    buf_free(&path);
    return error;
}

/* What is kept, revoked at its server. *out_known: there was something. False, and said why: it is
 * only forgotten here. */
static bool revoke_kept(bool *out_known)
{
    struct login login = {.client = NULL};
    enum mld_error error = login_open(&login, NULL, NULL);
    *out_known = login.credentials.token != NULL;
    if (error == MLD_OK && *out_known)
        error = revoke(&login);
    login_close(&login);
    if (!*out_known || error == MLD_OK || error == MLD_EAUTH)
        return true;
    cli_message("the token could not be revoked at the server (%s); it is only forgotten here",
                mld_error_message());
    return false;
}

static enum cli_exit log_out(void)
{
    struct buf out;
    bool known = true, revoked = true;
    if (getenv("ML_DASH_TOKEN") != NULL || getenv("ML_DASH_URL") != NULL)
        cli_message("ML_DASH_TOKEN or ML_DASH_URL is set: what they name is left alone, and the "
                    "kept token is only forgotten here");
    else
        revoked = revoke_kept(&known);
    enum mld_error error = credentials_forget();
    if (error != MLD_OK)
        return cli_fail(error);
    buf_init(&out, CLI_MAX_MESSAGE_BYTES);
    buf_puts(&out, known ? "logged out\n" : "nobody was logged in\n");
    enum cli_exit code = cli_print(&out);
    buf_free(&out);
    return revoked ? code : cli_worse(code, CLI_FAILURE);
}

enum cli_exit cmd_logout(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_usage usage = {
        "logout", "Revokes the token that `ml-dash login` got, and forgets it.\n", options, 0, 0,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = log_out();
    cli_texts_free(&operands);
    return code;
}

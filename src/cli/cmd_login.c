/* cmd_login.c: log in to a server, by a browser on any machine or with a token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/login.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/text.h"

#define MAX_TOKEN_BYTES 8192
#define SLOWER_BY_S 5
#define MAX_WAIT_S 1800

/* A pending login, as the server told it. */
struct pending {
    char *device_code, *user_code, *uri, *complete_uri;
    int64_t interval_s, expires_in_s;
};

static void pending_free(struct pending *p)
{
    free(p->device_code);
    free(p->user_code);
    free(p->uri);
    free(p->complete_uri);
}

static int64_t number(const struct login *a, const char *key, int64_t otherwise, int64_t max)
{
    int64_t value;
    bool said = json_int64(&a->doc, json_get(&a->doc, json_root(&a->doc), key), &value);
    if (!said || value < 1)
        return otherwise;
    return value > max ? max : value;
}

static enum mld_error start(struct login *a, struct pending *out)
{
    struct buf body;
    char host[256];
    buf_init(&body, 4096);
    clock_host_name(host);
    buf_puts(&body, "{");
    json_put_key(&body, "client");
    buf_puts(&body, "\"ml-dash on ");
    for (const char *p = host; *p != '\0' && p < host + 100; p++) {
        if ((*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') || *p == '-' ||
            *p == '.')
            buf_putc(&body, *p);
    }
    buf_puts(&body, "\"}");
    enum mld_error error = login_call(a, "POST", "/api/v1/device/start", &body, "the login");
    if (error == MLD_OK && a->reply.status != 200)
        error = http_reply_check(&a->reply, "the login");
    buf_free(&body);
    if (error != MLD_OK)
        return error;
    *out = (struct pending){.device_code = login_text(a, "device_code"),
                            .user_code = login_text(a, "user_code"),
                            .uri = login_text(a, "verification_uri"),
                            .complete_uri = login_text(a, "verification_uri_complete"),
                            .interval_s = number(a, "interval", 5, 60),
                            .expires_in_s = number(a, "expires_in", 600, MAX_WAIT_S)};
    if (out->device_code == NULL || out->user_code == NULL || out->uri == NULL)
        error = error_set(MLD_EINVALID, "the server did not say how to log in");
    return error;
}

static void tell(const struct pending *p)
{
    struct buf text;
    buf_init(&text, CLI_MAX_MESSAGE_BYTES * 4);
    buf_puts(&text, "Open this page in a browser, on any machine:\n\n    ");
    text_put(&text, p->complete_uri == NULL ? p->uri : p->complete_uri);
    buf_puts(&text, "\n\nand let this device in if the page shows the code  ");
    text_put(&text, p->user_code);
    buf_puts(&text, "\n\nWaiting (Ctrl-C ends it) ...\n");
    fputs(buf_text(&text), stderr);
    buf_free(&text);
}

/* Sleeps in short steps, so that Ctrl-C ends it. */
static enum mld_error wait_s(int64_t seconds)
{
    int64_t until = clock_monotonic_ms() + seconds * 1000;
    while (clock_monotonic_ms() < until) {
        const struct timespec step = {0, 100000000};
        if (progress_stopped())
            return error_set(MLD_EINTERRUPTED, "interrupted; nobody was logged in");
        nanosleep(&step, NULL);
    }
    return MLD_OK;
}

/* One poll's error, as what to do: MLD_OK to go on waiting. */
static enum mld_error judge(const struct login *a, struct pending *p)
{
    if (http_reply_is(&a->reply, "authorization_pending"))
        return MLD_OK;
    if (http_reply_is(&a->reply, "slow_down")) {
        p->interval_s += SLOWER_BY_S;
        return MLD_OK;
    }
    if (http_reply_is(&a->reply, "access_denied"))
        return error_set(MLD_EACCESS, "the login was refused in the browser");
    if (http_reply_is(&a->reply, "expired_token"))
        return error_set(MLD_ETIMEOUT, "nobody let this device in in time; log in again");
    return http_reply_check(&a->reply, "the login");
}

/* Until somebody decided: *out_token is the caller's to free. */
static enum mld_error poll(struct login *a, struct pending *p, char **out_token)
{
    struct buf body;
    int64_t until = clock_monotonic_ms() + p->expires_in_s * 1000;
    enum mld_error error = MLD_OK;
    buf_init(&body, 4096);
    buf_puts(&body, "{");
    json_put_key(&body, "device_code");
    json_put_cstring(&body, p->device_code);
    buf_puts(&body, "}");
    while (error == MLD_OK && *out_token == NULL) {
        error = wait_s(p->interval_s);
        if (error == MLD_OK && clock_monotonic_ms() > until)
            error = error_set(MLD_ETIMEOUT, "nobody let this device in in time; log in again");
        if (error != MLD_OK)
            break;
        error = login_call(a, "POST", "/api/v1/device/poll", &body, "the login");
        if (error == MLD_EUNAVAILABLE)
            error = MLD_OK; /* the server may be back before the time is over */
        else if (error == MLD_OK && a->reply.status == 200)
            *out_token = login_text(a, "token");
        else if (error == MLD_OK)
            error = judge(a, p);
    }
    buf_free(&body);
    return error;
}

static enum mld_error by_browser(struct login *a, char **out_token)
{
    struct pending pending = {.device_code = NULL};
    enum mld_error error = start(a, &pending);
    if (error == MLD_OK) {
        tell(&pending);
        error = poll(a, &pending, out_token);
    }
    pending_free(&pending);
    return error;
}

static enum mld_error by_stdin(char **out_token)
{
    char line[MAX_TOKEN_BYTES + 2];
    if (fgets(line, sizeof line, stdin) == NULL)
        return error_set(MLD_EINVALID, "there is no token on stdin");
    size_t len = strcspn(line, "\r\n");
    line[len] = '\0';
    if (len == 0 || len > MAX_TOKEN_BYTES || strspn(line, " ") == len)
        return error_set(MLD_EINVALID, "what stdin holds is no token");
    *out_token = strdup(line);
    explicit_bzero(line, sizeof line);
    return *out_token == NULL ? error_set(MLD_ENOMEM, "no memory for a token") : MLD_OK;
}

static void warn_of_plain_http(const char *url)
{
    static const char *const near[] = {"http://127.", "http://localhost", "http://[::1]"};
    if (strncmp(url, "http://", 7) != 0)
        return;
    for (size_t i = 0; i < sizeof near / sizeof near[0]; i++) {
        if (strncmp(url, near[i], strlen(near[i])) == 0)
            return;
    }
    cli_message("note: %s is not encrypted; whoever listens on the way can take the token", url);
}

static enum cli_exit log_in(const char *url, bool token_stdin)
{
    struct login login = {.client = NULL};
    struct buf out;
    char *token = NULL, *username = NULL;
    enum cli_exit code = CLI_OK;
    buf_init(&out, CLI_MAX_MESSAGE_BYTES);
    enum mld_error error = login_open(&login, url, NULL);
    if (error == MLD_OK)
        error = login_use_token(&login, NULL);
    if (error == MLD_OK) {
        warn_of_plain_http(login.credentials.url);
        error = token_stdin ? by_stdin(&token) : by_browser(&login, &token);
    }
    if (error == MLD_OK)
        error = login_use_token(&login, token);
    if (error == MLD_OK)
        error = login_me(&login, &username);
    if (error == MLD_OK)
        error = credentials_save(login.credentials.url, token);
    if (error != MLD_OK) {
        code = cli_fail(error);
    } else {
        buf_puts(&out, "logged in to ");
        text_put(&out, login.credentials.url);
        buf_puts(&out, " as ");
        text_put(&out, username);
        buf_putc(&out, '\n');
        code = cli_print(&out);
        if (getenv("ML_DASH_TOKEN") != NULL || getenv("ML_DASH_URL") != NULL)
            cli_message("note: ML_DASH_TOKEN and ML_DASH_URL are used rather than this while they "
                        "are set");
    }
    login_close(&login);
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    free(token);
    free(username);
    buf_free(&out);
    return code;
}

enum cli_exit cmd_login(int argc, char **argv)
{
    const char *url = NULL;
    bool token_stdin = false;
    const struct cli_option options[] = {
        {"url", 'u', CLI_TEXT, "URL",
         "the server (default: $ML_DASH_URL, else where you logged in before)", &url},
        {"token-stdin", 0, CLI_FLAG, NULL, "read a token from stdin; no browser", &token_stdin},
        {0},
    };
    const struct cli_usage usage = {
        "login [OPTIONS] [URL]",
        "Logs in to a server: shows the address of a page, where you sign in and let this machine\n"
        "in. The token is kept in $ML_DASH_CONFIG_DIR or ~/.dash, for your eyes only.\n",
        options,
        0,
        1,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    if (cli_parse(&code, &operands, &usage, argc, argv)) {
        if (operands.count > 0)
            url = operands.items[0];
        progress_catch_signals();
        code = log_in(url, token_stdin);
    }
    cli_texts_free(&operands);
    return code;
}

/* cmd_serve.c: the server. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/serve.h"
#include "cli/text.h"

#define DEFAULT_GRACE_S 30

/* Each connection and each file under way is a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void block_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    pthread_sigmask(SIG_BLOCK, out, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error of its write */
}

static void put_address(struct buf *out, const struct serve *serve, unsigned port)
{
    const char *listen = serve->http.listen;
    const char *host = strncmp(listen, "0.0.0.0:", 8) == 0 ? "127.0.0.1" : NULL;
    buf_printf(out, "%s://", serve->http.tls_certificate ? "https" : "http");
    if (host)
        buf_puts(out, host);
    else
        buf_put(out, listen, (size_t)(strrchr(listen, ':') - listen));
    buf_printf(out, ":%u", port);
}

/* Where things are, and how to begin. */
static enum cli_exit greet(const struct serve *serve, const char *address, bool first)
{
    struct buf out;
    buf_init(&out, CLI_MAX_MESSAGE_BYTES * 4);
    buf_puts(&out, "ml-dash serves ");
    text_put(&out, serve->server.data_dir);
    buf_puts(&out, " at ");
    text_put(&out, serve->server.public_url ? serve->server.public_url : address);
    buf_puts(&out, "\n");
    if (first) {
        buf_puts(&out, "\nThe folder is new. Make a user and a token, then tell clients:\n"
                       "  ml-dash user create NAME --admin --data ");
        text_put(&out, serve->server.data_dir);
        buf_puts(&out, "\n  ml-dash token create NAME --data ");
        text_put(&out, serve->server.data_dir);
        buf_puts(&out, "\nor sign in from a client with `ml-dash login ");
        text_put(&out, serve->server.public_url ? serve->server.public_url : address);
        buf_puts(&out, "`.\n");
    }
    enum cli_exit code = cli_print(&out);
    buf_free(&out);
    return code;
}

/* For tests: the port appears in a file, whole, once the server listens. */
static enum mld_error write_ready(const char *path, unsigned port)
{
    char text[NUM_MAX_CHARS + 1];
    int root_fd = -1;
    const char *name = strrchr(path, '/');
    char folder[4096] = ".";
    size_t len = num_format_int64(text, port);
    text[len++] = '\n';
    if (name && (size_t)(name - path) < sizeof folder) {
        memcpy(folder, path, (size_t)(name - path));
        folder[name - path] = '\0';
    }
    enum mld_error error = fs_open_root(&root_fd, folder[0] ? folder : "/", false);
    if (error == MLD_OK)
        error = fs_replace_file(root_fd, name ? name + 1 : path, text, len, false);
    fs_close(&root_fd, folder);
    return error;
}

static enum cli_exit run(struct serve *serve, struct server *server,
                         const struct serve_flags *flags, bool first)
{
    sigset_t signals;
    int signal_number = 0;
    struct buf address;
    block_signals(&signals);
    enum mld_error error = http_start(&server->http, server, server_routes, &serve->http);
    if (error != MLD_OK)
        return cli_fail(error);
    buf_init(&address, CLI_MAX_MESSAGE_BYTES);
    put_address(&address, serve, http_port(server->http));
    if (server->public_url == NULL)
        server->public_url = buf_text(&address);
    enum cli_exit code = greet(serve, buf_text(&address), first);
    if (flags->ready_file)
        error = write_ready(flags->ready_file, http_port(server->http));
    if (error != MLD_OK)
        code = cli_worse(code, cli_fail(error));
    else
        sigwait(&signals, &signal_number);
    http_stop(server->http, (unsigned)flags->grace_s * 1000);
    server->http = NULL;
    buf_free(&address);
    return code;
}

static enum cli_exit serve_with(const struct serve_flags *flags)
{
    struct serve serve;
    struct server *server = NULL;
    struct stat before;
    enum cli_exit code = flags->data ? serve_settings(&serve, flags)
                                     : cli_usage("where shall it keep things? --data DIR");
    if (flags->data == NULL)
        return code;
    if (code == CLI_OK) {
        raise_descriptors();
        umask(077); /* all that the server makes is its own */
        bool first = stat(flags->data, &before) != 0;
        enum mld_error error = server_open(&server, &serve.server);
        code = error == MLD_OK ? run(&serve, server, flags, first) : cli_fail(error);
        server_close(server);
    }
    serve_free(&serve);
    return code;
}

enum cli_exit cmd_serve(int argc, char **argv)
{
    struct serve_flags flags = {.grace_s = DEFAULT_GRACE_S};
    const struct cli_option options[] = {
        {"data", 'd', CLI_TEXT, "DIR", "keep everything here; made when missing", &flags.data},
        {"listen", 'l', CLI_TEXT, "ADDR:PORT", "default 127.0.0.1:3000, or port PORT",
         &flags.listen},
        {"public-url", 0, CLI_TEXT, "URL", "as users reach it, behind a proxy or by name",
         &flags.public_url},
        {"tls-cert", 0, CLI_TEXT, "FILE", "serve TLS with this certificate (PEM, whole chain)",
         &flags.certificate},
        {"tls-key", 0, CLI_TEXT, "FILE", "and its key", &flags.key},
        {"host", 0, CLI_TEXTS, "NAME", "another name that this server goes by (repeatable)",
         &flags.hosts},
        {"cors-origin", 0, CLI_TEXTS, "ORIGIN",
         "pages of this origin may use it (repeatable; CORS_ORIGIN)", &flags.origins},
        {"trusted-proxy", 0, CLI_TEXTS, "ADDRESS",
         "believe X-Forwarded-For of this proxy, or of ADDRESS/BITS (repeatable)", &flags.proxies},
        {"max-file-size", 0, CLI_TEXT, "SIZE", "of one file, like 5G (MAX_FILE_SIZE)",
         &flags.max_file_size},
        {"jwt-secret-file", 0, CLI_TEXT, "FILE", "take JWTs signed with this secret (JWT_SECRET)",
         &flags.jwt_secret_file},
        {"jwt-expiration", 0, CLI_TEXT, "TIME", "age of JWTs without exp, like 7d (JWT_EXPIRATION)",
         &flags.jwt_expiration},
        {"log", 0, CLI_TEXT, "FILE", "append the log here, not to stderr", &flags.log},
        {"workers", 0, CLI_NUMBER, "N", "threads for quick requests, default 8", &flags.workers},
        {"stream-workers", 0, CLI_NUMBER, "N", "threads for transfers, default 32",
         &flags.stream_workers},
        {"max-connections", 0, CLI_NUMBER, "N", "default 4096", &flags.max_connections},
        {"grace", 0, CLI_NUMBER, "SECONDS", "to finish requests when stopped, default 30",
         &flags.grace_s},
        {"ready-file", 0, CLI_TEXT, "FILE", NULL, &flags.ready_file},
        {0},
    };
    const struct cli_usage usage = {
        "serve --data DIR [OPTIONS]",
        "Serves experiments to a team: clients send what they record, and read it back.\n"
        "Stops at SIGTERM or SIGINT, when the requests under way are finished.\n",
        options,
        0,
        0,
    };
    struct cli_texts operands = {0};
    enum cli_exit code;
    if (cli_parse(&code, &operands, &usage, argc, argv))
        code = serve_with(&flags);
    cli_texts_free(&operands);
    cli_texts_free(&flags.origins);
    cli_texts_free(&flags.hosts);
    cli_texts_free(&flags.proxies);
    return code;
}

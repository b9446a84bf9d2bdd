#include "cli/admin.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/text.h"
#include "server/password.h"

static enum mld_error open_data(struct admin *a)
{
    struct buf path;
    const char *data = a->data != NULL ? a->data : getenv("ML_DASH_DATA");
    if (data == NULL || data[0] == '\0')
        data = ADMIN_DEFAULT_DATA;
    buf_init(&path, 4096);
    buf_printf(&path, "%s/meta.sqlite", data);
    enum mld_error error = buf_check(&path, "the path of the data directory");
    if (error == MLD_OK && access(buf_text(&path), F_OK) != 0)
        error = error_set(MLD_ENOTFOUND,
                          "there is no server's database at '%s'; name its directory with --data, "
                          "or start the server once: ml-dash serve --data DIR",
                          buf_text(&path));
    if (error == MLD_OK)
        error = meta_sqlite_open(&a->meta, buf_text(&path));
    buf_free(&path);
    return error;
}

static const struct admin_action *find_action(const struct admin_action *actions, const char *name)
{
    for (; actions->name != NULL; actions++) {
        if (strcmp(actions->name, name) == 0)
            return actions;
    }
    return NULL;
}

static enum cli_exit run_action(struct admin *a, const struct admin_action *actions)
{
    const char *word = a->operands.items[0];
    const struct admin_action *action = find_action(actions, word);
    size_t given = a->operands.count - 1;
    if (action == NULL) {
        size_t n = 0;
        while (actions[n].name != NULL)
            n++;
        const char *nearest = cli_nearest(word, &actions[0].name, n, sizeof actions[0]);
        return cli_usage("there is no action '%s'%s%s: see --help", word,
                         nearest == NULL ? "" : "; did you mean ", nearest == NULL ? "" : nearest);
    }
    if (given < action->min_operands || given > action->max_operands)
        return cli_usage("'%s' takes %zu to %zu operands, not %zu: see --help", word,
                         action->min_operands, action->max_operands, given);
    enum mld_error error = open_data(a);
    if (error == MLD_OK)
        error = action->run(a);
    return error == MLD_OK ? cli_print(&a->out) : cli_fail(error);
}

enum cli_exit admin_main(struct admin *a, const struct admin_action *actions,
                         const struct cli_usage *usage, int argc, char **argv)
{
    enum cli_exit code;
    buf_init(&a->out, CLI_MAX_OUTPUT_BYTES);
    if (cli_parse(&code, &a->operands, usage, argc, argv))
        code = run_action(a, actions);
    meta_close(a->meta);
    cli_texts_free(&a->operands);
    buf_free(&a->out);
    arena_free(&a->arena);
    return code;
}

const char *admin_operand(const struct admin *a, size_t i)
{
    return i + 1 < a->operands.count ? a->operands.items[i + 1] : NULL;
}

static void on_signal(int number)
{
    (void)number; /* only ends the wait */
}

/* Until there is a line; false when a signal to end came first. Between here and the last look at
 * signals none gets lost: they are blocked but for the wait itself. */
static bool wait_for_line(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    const struct sigaction ending = {.sa_handler = on_signal};
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    struct sigaction before[2];
    sigset_t blocked, mask;
    sigemptyset(&blocked);
    for (int i = 0; i < 2; i++)
        sigaddset(&blocked, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &mask);
    for (int i = 0; i < 2; i++)
        sigaction(numbers[i], &ending, &before[i]);
    fputs(" ", stderr); /* the prompt's end: from here on typing counts */
    bool ready = ppoll(&input, 1, NULL, &mask) > 0;
    for (int i = 0; i < 2; i++)
        sigaction(numbers[i], &before[i], NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return ready;
}

/* Asks on the terminal, which shows nothing of the answer, and is as before when Ctrl-C ends it. */
static enum mld_error ask(const char *prompt, char *out, size_t size)
{
    struct termios shown;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &shown) != 0)
        return error_set(MLD_EINVALID,
                         "there is no terminal to ask on; use --password-stdin or --no-password");
    struct termios hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, stderr);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    bool ready = wait_for_line();
    bool read = ready && fgets(out, (int)size, stdin) != NULL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    if (!ready)
        return error_set(MLD_EINTERRUPTED, "interrupted; nothing was changed");
    return read ? MLD_OK : error_set(MLD_EINVALID, "no password was given");
}

/* Twice, so that a slip of the finger is seen. */
static enum mld_error ask_twice(char *first, size_t size)
{
    char second[PASSWORD_MAX_BYTES + 2];
    enum mld_error error = ask("password:", first, size);
    if (error != MLD_OK)
        return error;
    error = ask("again:", second, sizeof second);
    if (error == MLD_OK && strcmp(first, second) != 0)
        error = error_set(MLD_EINVALID, "the two were not the same; nothing was changed");
    explicit_bzero(second, sizeof second);
    return error;
}

enum mld_error admin_password(struct admin *a, bool from_stdin, const char **out)
{
    char password[PASSWORD_MAX_BYTES + 2] = "";
    enum mld_error error = MLD_OK;
    if (!from_stdin)
        error = ask_twice(password, sizeof password);
    else if (fgets(password, sizeof password, stdin) == NULL)
        error = error_set(MLD_EINVALID, "no password was given");
    password[strcspn(password, "\r\n")] = '\0';
    *out = error == MLD_OK ? arena_strdup(&a->arena, password) : NULL;
    explicit_bzero(password, sizeof password);
    if (error == MLD_OK && *out == NULL)
        error = error_set(MLD_ENOMEM, "no memory for a password");
    return error;
}

enum mld_error admin_duration(const char *text, int64_t *out_s)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    size_t len = strlen(text);
    int64_t factor = 1;
    for (size_t i = 0; len > 1 && i < sizeof units / sizeof units[0]; i++) {
        if (text[len - 1] == units[i].unit) {
            factor = units[i].seconds;
            len--;
            break;
        }
    }
    if (!num_parse_int64(text, len, out_s) || *out_s < 0 || *out_s > INT64_C(100000000))
        return error_set(MLD_EINVALID, "'%.40s' is no time such as 30d, 12h or 90m", text);
    *out_s *= factor;
    return MLD_OK;
}

void admin_put_time(struct buf *out, int64_t us)
{
    char iso[CLOCK_ISO_LEN + 1];
    if (us == 0) {
        buf_puts(out, "never");
        return;
    }
    clock_format_iso(iso, us);
    text_put_time(out, iso, false);
}

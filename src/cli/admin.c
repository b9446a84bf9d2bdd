#include "cli/admin.h"

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

/* One line of stdin without its end; on a terminal nothing of it is shown. */
static bool read_line(char *out, size_t size)
{
    struct termios shown;
    bool hide = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &shown) == 0;
    if (hide) {
        struct termios hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    bool read = fgets(out, (int)size, stdin) != NULL;
    if (hide) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    if (read)
        out[strcspn(out, "\r\n")] = '\0';
    return read;
}

enum mld_error admin_password(struct admin *a, bool from_stdin, const char **out)
{
    char first[PASSWORD_MAX_BYTES + 2], second[PASSWORD_MAX_BYTES + 2];
    if (!from_stdin && !isatty(STDIN_FILENO))
        return error_set(MLD_EINVALID,
                         "there is no terminal to ask on; use --password-stdin or --no-password");
    if (!from_stdin)
        fputs("password: ", stderr);
    if (!read_line(first, sizeof first))
        return error_set(MLD_EINVALID, "no password was given");
    if (!from_stdin) {
        fputs("again: ", stderr);
        if (!read_line(second, sizeof second) || strcmp(first, second) != 0)
            return error_set(MLD_EINVALID, "the two were not the same; nothing was changed");
    }
    *out = arena_strdup(&a->arena, first);
    return *out == NULL ? error_set(MLD_ENOMEM, "no memory for a password") : MLD_OK;
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

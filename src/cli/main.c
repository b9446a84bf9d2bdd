/* main.c: the table of commands. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command commands[] = {
    {"list", "experiments below a folder, or the files of one", cmd_list},
    {"show", "one experiment: parameters, metrics, logs, files", cmd_show},
    {"download", "copy files out, with their checksums checked", cmd_download},
    {"verify", "check every stored byte and line", cmd_verify},
    {"gc", "free what deleted and replaced files still use", cmd_gc},
    {"sync", "send experiments to a server", cmd_sync},
    {"login", "log in to a server", cmd_login},
    {"logout", "log out again, and revoke the token", cmd_logout},
    {"whoami", "who one is at the server", cmd_whoami},
    {"serve", "keep experiments for a team, over HTTP", cmd_serve},
#ifdef MLDASH_HAVE_SERVER
    {"user", "the server's users", cmd_user},
    {"token", "tokens for the server's users", cmd_token},
    {"namespace", "the server's namespaces and their members", cmd_namespace},
#endif
    {"version", "print the version", cmd_version},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static enum cli_exit print_help(void)
{
    struct buf out;
    buf_init(&out, CLI_MAX_OUTPUT_BYTES);
    buf_puts(&out,
             "usage: ml-dash COMMAND [OPTIONS]\n\n"
             "Looks into experiments that ML-Dash keeps in local folders, and serves them.\n\n"
             "commands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        buf_printf(&out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    buf_puts(&out, "\n`ml-dash COMMAND --help` tells more. Where no folder is named, .ml-dash (or "
                   ".dash) in the\nworking directory is meant.\n");
    buf_printf(&out,
               "\nexit codes: %d ok, %d data is lost or changed, %d wrong usage, %d failure, "
               "%d interrupted\n",
               CLI_OK, CLI_PROBLEMS, CLI_USAGE, CLI_FAILURE, CLI_INTERRUPTED);
    enum cli_exit code = cli_print(&out);
    buf_free(&out);
    return code;
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* `ml-dash help COMMAND` is `ml-dash COMMAND --help`. */
static enum cli_exit help(int argc, char **argv)
{
    const struct cli_command *command = argc > 1 ? find_command(argv[1]) : NULL;
    char option[] = "--help";
    char *arguments[] = {argv[argc > 1], option, NULL};
    return command ? command->run(2, arguments) : print_help();
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: ml-dash COMMAND [OPTIONS]; ml-dash --help lists the commands\n", stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct cli_command *command = find_command(name);
    if (command)
        return command->run(argc - 1, argv + 1);
    const char *nearest = cli_nearest(name, &commands[0].name, N_COMMANDS, sizeof(commands[0]));
    if (nearest)
        return cli_usage("there is no command '%s': did you mean '%s'?", name, nearest);
    return cli_usage("there is no command '%s': ml-dash --help lists them", name);
}

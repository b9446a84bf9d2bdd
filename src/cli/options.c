#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static enum cli_exit print_usage(const struct cli_usage *usage)
{
    struct buf out;
    buf_init(&out, CLI_MAX_OUTPUT_BYTES);
    buf_printf(&out, "usage: ml-dash %s\n\n%s\noptions:\n", usage->synopsis, usage->about);
    for (const struct cli_option *o = usage->options; o->name; o++) {
        if (o->help == NULL)
            continue;
        char left[64];
        char letter[] = {o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? ',' : ' ',
                         '\0'};
        snprintf(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        buf_printf(&out, "  %-22s %s\n", left, o->help);
    }
    buf_printf(&out, "  %-22s %s\n", "-h, --help", "print this");
    enum cli_exit code = cli_print(&out);
    buf_free(&out);
    return code;
}

/* Room for all words of the command line is made at once. False: out of memory. */
static bool add_text(struct cli_texts *texts, const char *text, int argc)
{
    if (!texts->items)
        texts->items = calloc((size_t)argc + 1, sizeof(*texts->items));
    if (!texts->items)
        return false;
    texts->items[texts->count++] = text;
    return true;
}

static const struct cli_option *find_long(const struct cli_usage *usage, const char *name,
                                          size_t len)
{
    for (const struct cli_option *o = usage->options; o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_usage *usage, char letter)
{
    for (const struct cli_option *o = usage->options; o->name; o++) {
        if (o->letter == letter)
            return o;
    }
    return NULL;
}

static enum cli_exit unknown_option(const struct cli_usage *usage, const char *name)
{
    size_t count = 0;
    while (usage->options[count].name)
        count++;
    const char *nearest = NULL;
    if (strncmp(name, "--", 2) == 0)
        nearest = cli_nearest(name + 2, &usage->options[0].name, count, sizeof(struct cli_option));
    if (nearest)
        return cli_usage("there is no option %s: did you mean --%s?", name, nearest);
    return cli_usage("there is no option %s: --help lists them", name);
}

static enum cli_exit take_value(const struct cli_option *option, const char *value, int argc)
{
    int64_t number = 0;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->into = true;
        return CLI_OK;
    case CLI_TEXT:
        *(const char **)option->into = value;
        return CLI_OK;
    case CLI_TEXTS:
        return add_text(option->into, value, argc) ? CLI_OK : cli_fail(MLD_ENOMEM);
    case CLI_NUMBER:
        if (!num_parse_int64(value, strlen(value), &number) || number < 0)
            return cli_usage("--%s needs a number that is not negative, not '%s'", option->name,
                             value);
        *(size_t *)option->into = (size_t)number;
        return CLI_OK;
    }
    return CLI_OK;
}

/* --name, --name=value, --name value. *index is that of the last word taken. */
static enum cli_exit parse_long(const struct cli_usage *usage, int argc, char **argv, int *index)
{
    const char *name = argv[*index] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct cli_option *option = find_long(usage, name, len);
    if (!option) {
        return unknown_option(usage, argv[*index]);
    }
    if (option->kind == CLI_FLAG && value)
        return cli_usage("--%s takes no value", option->name);
    if (option->kind != CLI_FLAG && !value && *index + 1 < argc)
        value = argv[++*index];
    if (option->kind != CLI_FLAG && !value)
        return cli_usage("--%s needs a value: %s", option->name, option->argument);
    return take_value(option, value, argc);
}

/* -n, -nq, -oDEST, -o DEST. */
static enum cli_exit parse_letters(const struct cli_usage *usage, int argc, char **argv, int *index)
{
    for (const char *letter = argv[*index] + 1; *letter; letter++) {
        const struct cli_option *option = find_letter(usage, *letter);
        if (!option)
            return unknown_option(usage, argv[*index]);
        if (option->kind == CLI_FLAG) {
            take_value(option, NULL, argc);
            continue;
        }
        if (letter[1])
            return take_value(option, letter + 1, argc);
        if (*index + 1 == argc)
            return cli_usage("-%c needs a value: %s", *letter, option->argument);
        return take_value(option, argv[++*index], argc);
    }
    return CLI_OK;
}

static enum cli_exit check_operands(const struct cli_usage *usage, size_t count)
{
    if (count < usage->min_operands)
        return cli_usage("something is missing: ml-dash %s", usage->synopsis);
    if (count > usage->max_operands)
        return cli_usage("too many arguments: ml-dash %s", usage->synopsis);
    return CLI_OK;
}

bool cli_parse(enum cli_exit *out_exit, struct cli_texts *operands, const struct cli_usage *usage,
               int argc, char **argv)
{
    bool only_operands = false;
    *out_exit = CLI_OK;
    for (int i = 1; i < argc && *out_exit == CLI_OK; i++) {
        const char *word = argv[i];
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            if (!add_text(operands, word, argc))
                *out_exit = cli_fail(MLD_ENOMEM);
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *out_exit = print_usage(usage);
            return false;
        } else if (word[1] == '-') {
            *out_exit = parse_long(usage, argc, argv, &i);
        } else {
            *out_exit = parse_letters(usage, argc, argv, &i);
        }
    }
    if (*out_exit == CLI_OK)
        *out_exit = check_operands(usage, operands->count);
    return *out_exit == CLI_OK;
}

void cli_texts_free(struct cli_texts *texts)
{
    free(texts->items);
    texts->items = NULL;
    texts->count = 0;
}

#include "cli/choice.h"

#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "cli/records.h"

static void chosen_free(struct chosen *file)
{
    free(file->id);
    free(file->path);
    free(file->filename);
    free(file->alias);
    memset(file, 0, sizeof(*file));
}

void choice_free(struct choice *choice)
{
    for (size_t i = 0; i < choice->count; i++)
        chosen_free(&choice->files[i]);
    free(choice->files);
    memset(choice, 0, sizeof(*choice));
}

static bool grow(struct choice *choice)
{
    if (choice->count < choice->capacity)
        return true;
    size_t capacity = choice->capacity ? 2 * choice->capacity : 16;
    struct chosen *files = realloc(choice->files, capacity * sizeof(*files));
    if (!files)
        return false;
    choice->files = files;
    choice->capacity = capacity;
    return true;
}

/* A file that was chosen already stays once. */
static enum cli_exit add(struct choice *choice, const struct mld_file *file, const char *alias,
                         bool by_id, bool keep_path)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->files[i].id, file->id) == 0)
            return CLI_OK;
    }
    if (!grow(choice))
        return cli_fail(MLD_ENOMEM);
    struct chosen *chosen = &choice->files[choice->count];
    *chosen = (struct chosen){
        .id = strdup(file->id),
        .path = strdup(file->path),
        .filename = strdup(file->filename),
        .alias = alias ? strdup(alias) : NULL,
        .by_id = by_id,
        .keep_path = keep_path,
        .size_bytes = file->size_bytes,
    };
    choice->count++;
    if (!chosen->id || !chosen->path || !chosen->filename || (alias && !chosen->alias))
        return cli_fail(MLD_ENOMEM);
    return CLI_OK;
}

static enum cli_exit add_list(struct choice *choice, mld_experiment *experiment, const char *glob)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list = NULL;
    enum cli_exit code = CLI_OK;
    options.glob = glob;
    enum mld_error error = mld_file_list(&list, experiment, &options);
    if (error != MLD_OK)
        return cli_fail(error);
    if (list->count == 0 && glob) {
        cli_message("no file matches '%s'", glob);
        code = CLI_FAILURE;
    }
    for (size_t i = 0; i < list->count && code == CLI_OK; i++)
        code = add(choice, &list->files[i], NULL, false, true);
    mld_file_list_free(list);
    return code;
}

/* *out_found is false when there is no such id. */
static enum cli_exit try_id(bool *out_found, struct choice *choice, mld_experiment *experiment,
                            const char *word)
{
    struct mld_file *file = NULL;
    *out_found = false;
    if (!*word || word[strspn(word, "0123456789")])
        return CLI_OK;
    enum mld_error error = mld_file_get(&file, experiment, word);
    if (error == MLD_ENOTFOUND)
        return CLI_OK;
    if (error != MLD_OK)
        return cli_fail(error);
    *out_found = true;
    enum cli_exit code = add(choice, file, NULL, true, false);
    mld_file_free(file);
    return code;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

/* Says that there is no such file, and which name is most like it: of a path among paths, of a
 * name among names. Without memory, only the former. */
static enum cli_exit no_file(mld_experiment *experiment, const char *word, const char *name)
{
    struct mld_file_list *list = NULL;
    char **names = NULL;
    size_t count = 0;
    const char *nearest = NULL;
    bool whole = strchr(name, '/') != NULL;
    if (mld_file_list(&list, experiment, NULL) == MLD_OK)
        names = calloc(list->count + 1, sizeof(*names));
    for (size_t i = 0; names && i < list->count; i++) {
        struct buf path;
        buf_init(&path, CLI_MAX_OUTPUT_BYTES);
        if (whole)
            records_put_path(&path, &list->files[i]);
        else
            buf_puts(&path, list->files[i].filename);
        names[count] = buf_steal(&path);
        count += names[count] != NULL;
        buf_free(&path);
    }
    if (names)
        nearest = cli_nearest(name + (name[0] == '/'), (const char *const *)names, count,
                              sizeof(names[0]));
    if (nearest)
        cli_message("there is no file '%s': did you mean '%s'?", word, nearest);
    else
        cli_message("there is no file '%s': `ml-dash list` shows what there is", word);
    free_texts(names, count);
    mld_file_list_free(list);
    return CLI_FAILURE;
}

/* The only prefix in which a name occurs, when it does not in the root. */
static enum cli_exit find_prefix(char **out, mld_experiment *experiment, const char *filename,
                                 const char *word)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list = NULL;
    enum cli_exit code = CLI_OK;
    size_t found = 0;
    options.filename = filename;
    *out = NULL;
    enum mld_error error = mld_file_list(&list, experiment, &options);
    if (error != MLD_OK)
        return cli_fail(error);
    for (size_t i = 0; i < list->count; i++) {
        bool in_root = strcmp(list->files[i].path, "/") == 0;
        found = in_root ? 1 : found + 1;
        free(*out);
        *out = strdup(list->files[i].path);
        if (in_root)
            break;
    }
    if (found == 0) {
        code = no_file(experiment, word, filename);
    } else if (found > 1) {
        code = cli_usage("%zu files are named '%s': name one with its prefix", found, filename);
    } else if (!*out) {
        code = cli_fail(MLD_ENOMEM);
    }
    mld_file_list_free(list);
    return code;
}

/* `path` is "prefix/name" or "name"; it is cut in two here. */
static enum cli_exit add_name(struct choice *choice, mld_experiment *experiment, char *path,
                              const char *alias, const char *word)
{
    struct mld_file *file = NULL;
    char *prefix = NULL;
    char *slash = strrchr(path, '/');
    const char *filename = slash ? slash + 1 : path;
    enum cli_exit code = CLI_OK;
    if (slash) {
        *slash = '\0';
        prefix = strdup(path);
        if (!prefix)
            return cli_fail(MLD_ENOMEM);
    } else {
        code = find_prefix(&prefix, experiment, filename, word);
    }
    if (code == CLI_OK) {
        enum mld_error error = mld_file_find(&file, experiment, prefix, filename, alias);
        if (error == MLD_OK)
            code = add(choice, file, alias, false, false);
        else if (error == MLD_ENOTFOUND && !alias)
            code = no_file(experiment, word, word);
        else
            code = cli_fail(error);
    }
    mld_file_free(file);
    free(prefix);
    return code;
}

/* True when a newest file has exactly this path: then an "@" in it is no alias. */
static bool is_file(mld_experiment *experiment, const char *word)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list = NULL;
    const char *slash = strrchr(word, '/');
    char *prefix = slash ? strndup(word, (size_t)(slash - word)) : NULL;
    options.filename = slash ? slash + 1 : word;
    options.prefix = prefix;
    bool found = mld_file_list(&list, experiment, &options) == MLD_OK && list->count > 0;
    mld_file_list_free(list);
    free(prefix);
    return found;
}

static enum cli_exit add_word(struct choice *choice, mld_experiment *experiment, const char *word)
{
    bool found;
    enum cli_exit code = try_id(&found, choice, experiment, word);
    if (code != CLI_OK || found)
        return code;
    bool exact = is_file(experiment, word);
    if (!exact && glob_has_magic(word))
        return add_list(choice, experiment, word + (word[0] == '/'));
    char *path = strdup(word);
    if (!path)
        return cli_fail(MLD_ENOMEM);
    char *at = exact ? NULL : strrchr(path, '@');
    if (at)
        *at = '\0';
    code = add_name(choice, experiment, path, at ? at + 1 : NULL, word);
    free(path);
    return code;
}

void choice_put_target(struct buf *out, const struct chosen *file)
{
    const char *path = file->path + strspn(file->path, "/");
    if (file->keep_path && *path)
        buf_printf(out, "%s/", path);
    buf_puts(out, file->filename);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Two files must not go to one place. */
static enum cli_exit check_targets(const struct choice *choice)
{
    enum cli_exit code = CLI_OK;
    struct buf target;
    char **targets = calloc(choice->count + 1, sizeof(*targets));
    if (!targets)
        return cli_fail(MLD_ENOMEM);
    buf_init(&target, CLI_MAX_OUTPUT_BYTES);
    for (size_t i = 0; i < choice->count && code == CLI_OK; i++) {
        choice_put_target(&target, &choice->files[i]);
        targets[i] = buf_steal(&target);
        if (!targets[i])
            code = cli_fail(MLD_ENOMEM);
    }
    if (code == CLI_OK)
        qsort(targets, choice->count, sizeof(*targets), compare_text);
    for (size_t i = 1; i < choice->count && code == CLI_OK; i++) {
        if (strcmp(targets[i - 1], targets[i]) == 0)
            code =
                cli_usage("several files would become '%s': download them one by one", targets[i]);
    }
    free_texts(targets, choice->count);
    buf_free(&target);
    return code;
}

enum cli_exit choice_make(struct choice *out, mld_experiment *experiment,
                          const struct cli_texts *words, bool all)
{
    enum cli_exit code = CLI_OK;
    memset(out, 0, sizeof(*out));
    if (all)
        code = add_list(out, experiment, NULL);
    for (size_t i = 0; i < words->count && code == CLI_OK; i++)
        code = add_word(out, experiment, words->items[i]);
    return code == CLI_OK ? check_targets(out) : code;
}

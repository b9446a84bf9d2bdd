/* target_find.c: from a word of the command line to experiments. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/target.h"

#define MAX_SUGGESTIONS 100000

static const char *const default_roots[] = {".ml-dash", ".dash"};
#define N_DEFAULT_ROOTS (sizeof(default_roots) / sizeof(default_roots[0]))

static bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool same_place(const char *a, const char *b)
{
    struct stat st_a, st_b;
    return stat(a, &st_a) == 0 && stat(b, &st_b) == 0 && st_a.st_dev == st_b.st_dev &&
           st_a.st_ino == st_b.st_ino;
}

/* --- what is there --- */

/* Adds the experiments at or below a path that exists. */
static enum cli_exit add_root(struct target *out, const char *path)
{
    struct target_root *root = &out->roots[out->n_roots];
    enum mld_error error = mld_folders_find(&root->folders, path);
    if (error != MLD_OK)
        return cli_fail(error);
    root->path = path;
    out->n_roots++;
    out->n_all += root->folders->count;
    return CLI_OK;
}

static void drop_roots(struct target *target)
{
    for (size_t i = 0; i < target->n_roots; i++)
        mld_folders_free(target->roots[i].folders);
    target->n_roots = target->n_all = 0;
}

static enum cli_exit add_default_roots(struct target *out)
{
    enum cli_exit code = CLI_OK;
    for (size_t i = 0; i < N_DEFAULT_ROOTS && code == CLI_OK; i++) {
        if (path_exists(default_roots[i]))
            code = add_root(out, default_roots[i]);
    }
    return code;
}

/* ".ml-dash or .dash" */
static void put_roots(struct buf *out, const struct target *target)
{
    for (size_t i = 0; i < target->n_roots; i++)
        buf_printf(out, "%s%s", i ? " or " : "", target->roots[i].path);
}

/* --- which of them are meant --- */

/* "digits/first" of ".ml-dash/digits/first". */
static const char *below_root(const struct target_root *root, const char *path)
{
    path += strlen(root->path);
    return path + strspn(path, "/");
}

typedef bool is_meant(const struct target_root *root, const char *path, const char *word);

static bool is_whole_name(const struct target_root *root, const char *path, const char *word)
{
    return strcmp(below_root(root, path), word) == 0;
}

/* The name's last components are the word. */
static bool ends_with_word(const struct target_root *root, const char *path, const char *word)
{
    const char *name = below_root(root, path);
    size_t len = strlen(name), word_len = strlen(word);
    return len > word_len && name[len - word_len - 1] == '/' &&
           strcmp(name + len - word_len, word) == 0;
}

static bool is_below_word(const struct target_root *root, const char *path, const char *word)
{
    const char *name = below_root(root, path);
    size_t len = strlen(word);
    return strncmp(name, word, len) == 0 && name[len] == '/';
}

static bool is_any(const struct target_root *root, const char *path, const char *word)
{
    (void)root, (void)path, (void)word;
    return true;
}

/* Makes those that are meant the target's; returns how many. */
static size_t choose(struct target *target, is_meant *meant, const char *word)
{
    target->count = 0;
    for (size_t i = 0; i < target->n_roots; i++) {
        struct target_root *root = &target->roots[i];
        root->first = target->count;
        for (size_t j = 0; j < root->folders->count; j++) {
            if (meant(root, root->folders->paths[j], word))
                target->paths[target->count++] = root->folders->paths[j];
        }
        root->count = target->count - root->first;
    }
    return target->count;
}

/* --- and if none is --- */

struct suggestions {
    char **items;
    size_t count, capacity;
};

static void suggest(struct suggestions *s, const char *text, size_t len)
{
    if (s->count == s->capacity && s->capacity < MAX_SUGGESTIONS) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        char **items = realloc(s->items, capacity * sizeof(*items));
        if (!items)
            return;
        s->items = items;
        s->capacity = capacity;
    }
    char *copy = s->count < s->capacity ? strndup(text, len) : NULL;
    if (copy)
        s->items[s->count++] = copy;
}

/* An experiment may be named by its whole name or its last part, and a folder above it. */
static void suggest_names(struct suggestions *s, const char *name)
{
    const char *slash = NULL;
    suggest(s, name, strlen(name));
    for (const char *at = name; (at = strchr(at, '/')); at++) {
        suggest(s, name, (size_t)(at - name));
        slash = at;
    }
    if (slash)
        suggest(s, slash + 1, strlen(slash + 1));
}

static enum cli_exit no_experiment(const char *where)
{
    cli_message("there is no experiment in '%s' or below it", where);
    return CLI_FAILURE;
}

static enum cli_exit not_found(const struct target *target, const char *word)
{
    if (path_exists(word))
        return no_experiment(word);
    struct suggestions s = {0};
    struct buf roots;
    buf_init(&roots, CLI_MAX_MESSAGE_BYTES);
    put_roots(&roots, target);
    for (size_t i = 0; i < target->n_roots; i++) {
        const struct target_root *root = &target->roots[i];
        for (size_t j = 0; j < root->folders->count; j++)
            suggest_names(&s, below_root(root, root->folders->paths[j]));
    }
    const char *nearest =
        cli_nearest(word, (const char *const *)s.items, s.count, sizeof(s.items[0]));
    if (nearest)
        cli_message("there is no experiment '%s' below %s: did you mean '%s'?", word,
                    buf_text(&roots), nearest);
    else
        cli_message("there is no folder '%s', and no experiment of this name below %s", word,
                    buf_text(&roots));
    for (size_t i = 0; i < s.count; i++)
        free(s.items[i]);
    free(s.items);
    buf_free(&roots);
    return CLI_FAILURE;
}

/* Of the experiments below the roots, those that a name means: its whole path below a root; or the
 * end of one's, when no other ends so; or a folder with experiments, which comes first when several
 * will do. */
static enum cli_exit pick_name(struct target *target, const char *word, enum target_kind kind)
{
    size_t found = choose(target, is_whole_name, word);
    if (found == 0 && kind == TARGET_MANY && choose(target, is_below_word, word))
        return CLI_OK;
    if (found == 0)
        found = choose(target, ends_with_word, word);
    target->is_experiment = found == 1;
    if (found == 1)
        return CLI_OK;
    if (found > 1)
        return cli_usage("%zu experiments are named '%s': name one by more of its path, such as "
                         "'%s'",
                         found, word, target->paths[0]);
    return choose(target, is_below_word, word) ? CLI_OK : not_found(target, word);
}

static enum cli_exit pick_path(struct target *target, const char *path)
{
    target->is_experiment = same_place(target->roots[0].folders->paths[0], path);
    choose(target, is_any, NULL);
    return CLI_OK;
}

static enum cli_exit no_root(const char *word)
{
    if (word)
        cli_message("there is no folder '%s', and no .ml-dash here to look in", word);
    else
        cli_message("there is no .ml-dash or .dash in the working directory: name a folder");
    return CLI_FAILURE;
}

static enum cli_exit make_room(struct target *target)
{
    target->paths = calloc(target->n_all + 1, sizeof(*target->paths));
    return target->paths ? CLI_OK : cli_fail(MLD_ENOMEM);
}

/* A folder without experiments may still have the name of one: of a data set, for example. */
static enum cli_exit find_path(bool *out_found, struct target *out, const char *path)
{
    enum cli_exit code = add_root(out, path);
    *out_found = code == CLI_OK && out->n_all > 0;
    if (code == CLI_OK && !*out_found)
        drop_roots(out);
    if (*out_found)
        code = make_room(out);
    return code == CLI_OK && *out_found ? pick_path(out, path) : code;
}

static enum cli_exit find_name(struct target *out, const char *word, enum target_kind kind)
{
    char *name = strdup(word);
    if (!name)
        return cli_fail(MLD_ENOMEM);
    for (size_t len = strlen(name); len > 1 && name[len - 1] == '/'; len--)
        name[len - 1] = '\0';
    enum cli_exit code = make_room(out);
    if (code == CLI_OK)
        code = pick_name(out, name, kind);
    free(name);
    return code;
}

enum cli_exit target_find(struct target *out, const char *word, enum target_kind kind)
{
    bool is_path = word && path_exists(word), found = false;
    enum cli_exit code = CLI_OK;
    memset(out, 0, sizeof(*out));
    if (is_path)
        code = find_path(&found, out, word);
    if (code == CLI_OK && !found)
        code = add_default_roots(out);
    if (code != CLI_OK || found)
        return code;
    if (out->n_all == 0 && (is_path || out->n_roots))
        return no_experiment(is_path ? word : out->roots[0].path);
    if (out->n_all == 0)
        return no_root(word);
    if (word)
        return find_name(out, word, kind);
    code = make_room(out);
    choose(out, is_any, NULL);
    return code;
}

void target_free(struct target *target)
{
    drop_roots(target);
    free(target->paths);
    memset(target, 0, sizeof(*target));
}

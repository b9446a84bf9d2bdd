/* driver.c: does what a script says to one experiment and tells of every step.
 *
 *   driver run ROOT COMMAND...   COMMAND is one argument of words: 'save /models a.bin 100 7'
 *   driver talk ROOT             the same, with commands from stdin, one a line
 *   driver check ROOT            opens, reads all, verifies, collects garbage, opens again
 *   driver read ROOT             opens read-only, reads all, verifies
 *
 * `run` writes "try N", then "ack N FILE-ID SHA-256" or "err N CODE MESSAGE", each by one write(2):
 * what has an ack line was acknowledged. The others print JSON, one object a line. Markers in the
 * trace of the system calls are access(2) of /crash-begin and /crash-end. */
#include <errno.h>
#include <mldash/mldash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_WORDS 8
#define MAX_MESSAGE 1500

struct script {
    const char *root;
    mld_experiment *experiment;
    char id[32];      /* of the file that the step concerned */
    char sha[65];     /* of its bytes */
    char deleted[32]; /* the last deleted file */
    char *words[MAX_WORDS];
    int n_words;
};

static struct mld_experiment_options options_of(const char *root)
{
    struct mld_experiment_options o = MLD_EXPERIMENT_OPTIONS_INIT;
    o.root = root;
    o.project = "crash";
    o.name = "run";
    return o;
}

static const char *word(const struct script *s, int i)
{
    return i < s->n_words ? s->words[i] : "";
}

static bool has_word(const struct script *s, const char *wanted)
{
    for (int i = 1; i < s->n_words; i++)
        if (strcmp(s->words[i], wanted) == 0)
            return true;
    return false;
}

static long number(const struct script *s, int i)
{
    return strtol(word(s, i), NULL, 10);
}

/* Bytes that depend on the seed: its eight digits and "-", over and over. */
static char *make_bytes(size_t len, long seed)
{
    char pattern[32];
    char *data = malloc(len + 1);
    size_t n = (size_t)snprintf(pattern, sizeof pattern, "%08ld-", seed);
    for (size_t i = 0; data != NULL && i < len; i++)
        data[i] = pattern[i % n];
    return data;
}

static void remember(struct script *s, const struct mld_file *f)
{
    snprintf(s->id, sizeof s->id, "%s", f->id);
    snprintf(s->sha, sizeof s->sha, "%s", f->checksum);
}

static struct mld_save_options save_options(const struct script *s)
{
    struct mld_save_options o = MLD_SAVE_OPTIONS_INIT;
    o.prefix = word(s, 1);
    o.filename = word(s, 2);
    o.durable = has_word(s, "durable");
    o.move = has_word(s, "move");
    o.keep = has_word(s, "keep-all") ? MLD_KEEP_ALL : MLD_KEEP_DEFAULT;
    o.metadata_json = "{\"step\":1}";
    return o;
}

static enum mld_error take(struct script *s, enum mld_error error, struct mld_file *f)
{
    if (error == MLD_OK)
        remember(s, f);
    mld_file_free(f);
    return error;
}

/* save PREFIX NAME SIZE SEED [durable] [keep-all] */
static enum mld_error do_save(struct script *s)
{
    struct mld_file *f = NULL;
    struct mld_save_options o = save_options(s);
    char *data = make_bytes((size_t)number(s, 3), number(s, 4));
    enum mld_error error = mld_file_save_bytes(&f, s->experiment, data, (size_t)number(s, 3), &o);
    free(data);
    return take(s, error, f);
}

/* path PREFIX NAME SOURCE [durable] [move] */
static enum mld_error do_path(struct script *s)
{
    struct mld_file *f = NULL;
    struct mld_save_options o = save_options(s);
    enum mld_error error = mld_file_save(&f, s->experiment, word(s, 3), &o);
    return take(s, error, f);
}

/* write PREFIX NAME SIZE SEED [durable]: backwards, in two pieces */
static enum mld_error do_write(struct script *s)
{
    struct mld_file *f = NULL;
    mld_writer *writer;
    struct mld_save_options o = save_options(s);
    size_t len = (size_t)number(s, 3);
    size_t half = len / 2;
    enum mld_error error = mld_writer_open(&writer, s->experiment, &o, MLD_SEEKABLE);
    if (error != MLD_OK)
        return error;
    char *data = make_bytes(len, number(s, 4));
    (void)mld_writer_seek(writer, half);
    (void)mld_writer_write(writer, data + half, len - half);
    (void)mld_writer_seek(writer, 0);
    (void)mld_writer_write(writer, data, half);
    error = mld_writer_commit(&f, writer);
    free(data);
    return take(s, error, f);
}

/* point NAME VALUE; batch NAME COUNT FIRST; track NAME VALUE */
static enum mld_error do_point(struct script *s)
{
    mld_series *series;
    bool track = strcmp(word(s, 0), "track") == 0;
    const struct mld_field field[] = {mld_integer("v", number(s, 2))};
    enum mld_error error =
        mld_series_open(&series, s->experiment, track ? MLD_TRACK : MLD_METRIC, word(s, 1), NULL);
    if (error != MLD_OK)
        return error;
    return mld_series_append(series, field, 1, track ? (double)number(s, 2) : 0.0, NULL);
}

static enum mld_error do_batch(struct script *s)
{
    mld_series *series;
    mld_batch *batch;
    int64_t first;
    int64_t last;
    enum mld_error error = mld_series_open(&series, s->experiment, MLD_METRIC, word(s, 1), NULL);
    if (error == MLD_OK)
        error = mld_batch_new(&batch, series);
    if (error != MLD_OK)
        return error;
    for (long i = 0; i < number(s, 2) && error == MLD_OK; i++) {
        const struct mld_field field[] = {mld_integer("v", number(s, 3) + i)};
        error = mld_batch_add(batch, field, 1, 0.0);
    }
    if (error == MLD_OK)
        error = mld_batch_commit(batch, &first, &last);
    mld_batch_free(batch);
    return error;
}

static enum mld_error do_log(struct script *s)
{
    const struct mld_field field[] = {mld_integer("v", 1)};
    return mld_log(s->experiment, "info", word(s, 1), strlen(word(s, 1)), field, 1, 0.0);
}

static enum mld_error do_params(struct script *s)
{
    const struct mld_field field[] = {mld_integer(word(s, 1), number(s, 2))};
    return mld_params_set(s->experiment, field, 1);
}

static enum mld_error find(struct script *s)
{
    struct mld_file *f = NULL;
    enum mld_error error = mld_file_find(&f, s->experiment, word(s, 1), word(s, 2), NULL);
    return take(s, error, f);
}

/* delete, alias, unalias, update, dup: PREFIX NAME [WORD] */
static enum mld_error do_change(struct script *s)
{
    struct mld_file *f = NULL;
    const char *what = word(s, 0);
    enum mld_error error = find(s);
    if (error != MLD_OK)
        return error;
    if (strcmp(what, "delete") == 0) {
        snprintf(s->deleted, sizeof s->deleted, "%s", s->id);
        return mld_file_delete(NULL, s->experiment, s->id);
    }
    if (strcmp(what, "alias") == 0)
        return mld_file_set_alias(s->experiment, s->id, word(s, 3));
    if (strcmp(what, "unalias") == 0)
        return mld_file_remove_alias(s->experiment, word(s, 1), word(s, 2), word(s, 3));
    if (strcmp(what, "dup") == 0) {
        error = mld_file_duplicate(&f, s->experiment, s->id, word(s, 1), word(s, 3));
        return take(s, error, f);
    }
    struct mld_file_changes changes = MLD_FILE_CHANGES_INIT;
    changes.description = word(s, 3);
    return mld_file_update(NULL, s->experiment, s->id, &changes);
}

static enum mld_error do_restore(struct script *s)
{
    return mld_file_restore(NULL, s->experiment, s->deleted);
}

static enum mld_error do_gc(struct script *s)
{
    struct mld_report *report = NULL;
    struct mld_gc_options o = MLD_GC_OPTIONS_INIT;
    o.offline = has_word(s, "offline");
    enum mld_error error = mld_gc(&report, s->experiment, &o);
    mld_report_free(report);
    return error;
}

static enum mld_error do_open(struct script *s)
{
    struct mld_experiment_options o = options_of(s->root);
    if (s->experiment != NULL)
        return MLD_OK;
    return mld_experiment_open(&s->experiment, &o);
}

static enum mld_error do_end(struct script *s)
{
    return mld_experiment_end(s->experiment, MLD_COMPLETED);
}

static enum mld_error do_close(struct script *s)
{
    mld_experiment_close(s->experiment);
    s->experiment = NULL;
    return MLD_OK;
}

static enum mld_error do_flush(struct script *s)
{
    return mld_flush(s->experiment);
}

static enum mld_error do_views(struct script *s)
{
    return mld_experiment_write_views(s->experiment);
}

/* sleep MILLISECONDS, for the thread that makes things durable */
static enum mld_error do_sleep(struct script *s)
{
    usleep((useconds_t)number(s, 1) * 1000);
    return MLD_OK;
}

/* The calls between begin and stop are those to look at. */
static enum mld_error do_mark(struct script *s)
{
    (void)access(strcmp(word(s, 0), "begin") == 0 ? "/crash-begin" : "/crash-end", F_OK);
    return MLD_OK;
}

struct command {
    const char *name;
    enum mld_error (*run)(struct script *s);
};
static const struct command COMMANDS[] = {
    {"open", do_open},     {"save", do_save},     {"path", do_path},       {"write", do_write},
    {"point", do_point},   {"track", do_point},   {"batch", do_batch},     {"log", do_log},
    {"params", do_params}, {"delete", do_change}, {"alias", do_change},    {"unalias", do_change},
    {"update", do_change}, {"dup", do_change},    {"restore", do_restore}, {"gc", do_gc},
    {"end", do_end},       {"close", do_close},   {"flush", do_flush},     {"views", do_views},
    {"sleep", do_sleep},   {"begin", do_mark},    {"stop", do_mark},
};

static enum mld_error run_command(struct script *s)
{
    s->id[0] = s->sha[0] = '\0';
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, word(s, 0)) == 0)
            return COMMANDS[i].run(s);
    fprintf(stderr, "no such command: %s\n", word(s, 0));
    exit(2);
}

static void split(struct script *s, char *text)
{
    s->n_words = 0;
    for (char *w = strtok(text, " "); w != NULL && s->n_words < MAX_WORDS; w = strtok(NULL, " "))
        s->words[s->n_words++] = w;
}

/* One line by one system call: dprintf would make four. */
static void say(const char *what, int step, const char *rest, const char *more)
{
    char line[MAX_MESSAGE + 200];
    int len = snprintf(line, sizeof line, "%s %d %s %.*s\n", what, step, rest, MAX_MESSAGE, more);
    /* Twice: an error that is injected may hit this call, too. */
    if (write(STDOUT_FILENO, line, (size_t)len) != len &&
        write(STDOUT_FILENO, line, (size_t)len) != len)
        exit(3);
}

static void do_step(struct script *s, int step, char *text)
{
    split(s, text);
    say("try", step, "", "");
    enum mld_error error = run_command(s);
    if (error == MLD_OK)
        say("ack", step, s->id, s->sha);
    else
        say("err", step, mld_error_name(error), mld_error_message());
}

static int talk(const char *root)
{
    struct script s = {.root = root};
    char line[4096];
    for (int i = 0; fgets(line, sizeof line, stdin) != NULL; i++) {
        line[strcspn(line, "\n")] = '\0';
        do_step(&s, i, line);
    }
    do_close(&s);
    return 0;
}

static int run_script(const char *root, char **commands, int n)
{
    struct script s = {.root = root};
    bool again = false;
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* strace may be attached later */
    for (int i = 0; i < n; i++) {
        do_step(&s, i, commands[i]);
        bool failed = strcmp(word(&s, 0), "open") == 0 && s.experiment == NULL;
        if (failed && again)
            return 1;
        if (failed)
            i--; /* nothing goes without; the second time it has to work */
        again |= failed;
    }
    do_close(&s);
    return 0;
}

/* ---- telling what is there ---- */

static void put_string(const char *key, const char *text)
{
    printf("\"%s\":", key);
    if (text == NULL) {
        printf("null,");
        return;
    }
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\' || *c < ' ')
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    printf("\",");
}

static bool swallow(const void *data, size_t len, void *payload)
{
    (void)data;
    *(size_t *)payload += len;
    return true;
}

static void put_file(mld_experiment *e, const struct mld_file *f)
{
    size_t len = 0;
    enum mld_error error = mld_file_read(e, f->id, swallow, &len);
    putchar('{');
    put_string("id", f->id);
    put_string("path", f->path);
    put_string("filename", f->filename);
    put_string("checksum", f->checksum);
    put_string("description", f->description);
    put_string("read", mld_error_name(error));
    printf("\"aliases\":[");
    for (size_t i = 0; i < f->n_aliases; i++)
        printf("%s\"%s\"", i > 0 ? "," : "", f->aliases[i]);
    printf("],\"size\":%zu,\"newest\":%s,\"deleted\":%s,\"damaged\":%s}", len,
           f->newest ? "true" : "false", f->deleted_at != NULL ? "true" : "false",
           f->damaged ? "true" : "false");
}

static enum mld_error put_files(mld_experiment *e)
{
    struct mld_file_list *list;
    struct mld_list_options o = MLD_LIST_OPTIONS_INIT;
    o.all_versions = true;
    o.deleted = true;
    enum mld_error error = mld_file_list(&list, e, &o);
    if (error != MLD_OK)
        return error;
    printf("\"files\":[");
    for (size_t i = 0; i < list->count; i++) {
        printf(i > 0 ? "," : "");
        put_file(e, &list->files[i]);
    }
    printf("],");
    mld_file_list_free(list);
    return MLD_OK;
}

static enum mld_error put_points(mld_experiment *e, enum mld_series_kind kind, const char *name)
{
    mld_series *series;
    struct mld_points *points = NULL;
    enum mld_error error = mld_series_open(&series, e, kind, name, NULL);
    if (error == MLD_OK)
        error = mld_series_read(&points, series, 0, 0);
    if (error != MLD_OK)
        return error;
    printf("\"%s\":[", name);
    for (size_t i = 0; i < points->count; i++)
        printf("%s%.*s", i > 0 ? "," : "", (int)points->points[i].data_len,
               points->points[i].data_json);
    printf("]");
    mld_points_free(points);
    return MLD_OK;
}

static enum mld_error put_series(mld_experiment *e, enum mld_series_kind kind, const char *key)
{
    struct mld_series_list *list;
    enum mld_error error = mld_series_list(&list, e, kind);
    if (error != MLD_OK)
        return error;
    printf("\"%s\":{", key);
    for (size_t i = 0; i < list->count && error == MLD_OK; i++) {
        printf(i > 0 ? "," : "");
        error = put_points(e, kind, list->series[i].name);
    }
    printf("},");
    mld_series_list_free(list);
    return error;
}

static enum mld_error put_logs(mld_experiment *e)
{
    struct mld_log_lines *lines;
    enum mld_error error = mld_log_read(&lines, e, NULL, 0, 0);
    if (error != MLD_OK)
        return error;
    printf("\"logs\":[");
    for (size_t i = 0; i < lines->count; i++)
        printf("%s\"%s\"", i > 0 ? "," : "", lines->lines[i].message);
    printf("],");
    mld_log_lines_free(lines);
    return MLD_OK;
}

static enum mld_error put_info(mld_experiment *e)
{
    struct mld_experiment_info *info;
    char *params = NULL;
    enum mld_error error = mld_experiment_info(&info, e);
    if (error != MLD_OK)
        return error;
    put_string("experiment", info->id);
    put_string("status", mld_status_name(info->status));
    put_string("warning", info->warning);
    printf("\"problems\":%llu,", (unsigned long long)info->n_problems);
    mld_experiment_info_free(info);
    error = mld_params_get(&params, e);
    if (error == MLD_OK)
        printf("\"params\":%s,", params);
    mld_free(params);
    return error;
}

static void put_report(const char *key, const struct mld_report *r)
{
    printf("\"%s\":{\"losses\":%zu,\"removed\":%llu,\"freed\":%llu,\"findings\":[", key,
           r->n_losses, (unsigned long long)r->files_removed, (unsigned long long)r->bytes_freed);
    for (size_t i = 0; i < r->count; i++) {
        const struct mld_finding *f = &r->findings[i];
        printf("%s{", i > 0 ? "," : "");
        put_string("problem", mld_problem_name(f->problem));
        put_string("name", f->name);
        put_string("detail", f->detail);
        printf("\"offset\":%llu,\"loss\":%s}", (unsigned long long)f->offset,
               f->loss ? "true" : "false");
    }
    printf("]},");
}

static enum mld_error put_verify(mld_experiment *e)
{
    struct mld_report *report;
    enum mld_error error = mld_verify(&report, e, false, NULL, NULL);
    if (error == MLD_OK)
        put_report("verify", report);
    if (error == MLD_OK)
        mld_report_free(report);
    return error;
}

static enum mld_error put_gc(mld_experiment *e)
{
    struct mld_report *report;
    struct mld_gc_options o = MLD_GC_OPTIONS_INIT;
    o.offline = true;
    enum mld_error error = mld_gc(&report, e, &o);
    if (error == MLD_OK)
        put_report("gc", report);
    if (error == MLD_OK)
        mld_report_free(report);
    return error;
}

/* One JSON object of all that is there; `gc` first when told. */
static enum mld_error put_all(const char *root, bool read_only, bool gc)
{
    mld_experiment *e;
    struct mld_experiment_options o = options_of(root);
    o.read_only = read_only;
    enum mld_error error = mld_experiment_open(&e, &o);
    printf("{");
    if (error == MLD_OK && gc)
        error = put_gc(e);
    if (error == MLD_OK)
        error = put_info(e);
    if (error == MLD_OK)
        error = put_files(e);
    if (error == MLD_OK)
        error = put_series(e, MLD_METRIC, "metrics");
    if (error == MLD_OK)
        error = put_series(e, MLD_TRACK, "tracks");
    if (error == MLD_OK)
        error = put_logs(e);
    if (error == MLD_OK)
        error = put_verify(e);
    put_string("message", error == MLD_OK ? "" : mld_error_message());
    printf("\"error\":\"%s\"}\n", mld_error_name(error));
    mld_experiment_close(e);
    return error;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "run") == 0)
        return run_script(argv[2], argv + 3, argc - 3);
    if (argc == 3 && strcmp(argv[1], "talk") == 0)
        return talk(argv[2]);
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return put_all(argv[2], true, false) != MLD_OK;
    if (argc != 3 || strcmp(argv[1], "check") != 0)
        return 2;
    bool failed = put_all(argv[2], false, false) != MLD_OK;
    failed |= put_all(argv[2], false, true) != MLD_OK;
    return (failed | (put_all(argv[2], false, false) != MLD_OK)) != 0;
}

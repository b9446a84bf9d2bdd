/* meta_driver.c: uses a SQLite metadata store as it is told, so that it may be killed or refused
 * disk at any point.
 *
 *   meta_driver run FILE COMMAND...   "try N", then "ack N" or "err N CODE MESSAGE" for each
 *   meta_driver talk FILE             the same with commands from standard input, one a line
 *   meta_driver list FILE             "doc ID REVISION SIZE whole|torn" for each document
 *   meta_driver storm FILE THREADS    inserts until it is killed: "ack THREAD NUMBER" for each
 *
 * Commands: open, close, health, insert ID SIZE, replace ID SIZE, delete ID, batch FIRST COUNT
 * SIZE (ids are FIRST and on), begin, stop (marks for strace). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pthread.h>

#include "meta/meta.h"

#define MAX_SIZE (8u << 20)
#define PARTITION "p"

static struct meta *store;
static const char *path;

/* Two tokens, of which the second is another with each size. */
struct made {
    struct meta_doc doc;
    char id[32], second[16];
    const char *tokens[2];
};

static void make(struct made *made, const char *id, size_t size, char *body)
{
    snprintf(made->id, sizeof made->id, "%s", id);
    snprintf(made->second, sizeof made->second, "size:%zu", size % 7);
    made->tokens[0] = "all";
    made->tokens[1] = made->second;
    memset(body, made->id[0], size);
    made->doc = (struct meta_doc){.partition = PARTITION,
                                  .id = made->id,
                                  .order = (int64_t)(size % 5),
                                  .tokens = made->tokens,
                                  .n_tokens = 2,
                                  .data = body,
                                  .data_len = size};
}

static enum mld_error replace(const char *id, size_t size, char *body)
{
    struct meta_docs docs = {0};
    struct made made;
    enum mld_error error = meta_get(store, &docs, PARTITION, id);
    make(&made, id, size, body);
    if (error == MLD_OK) {
        made.doc.revision = docs.docs[0].revision;
        error = meta_replace(store, &made.doc);
    }
    meta_docs_free(&docs);
    return error;
}

static enum mld_error batch(int first, int count, size_t size, char *body)
{
    static struct meta_write writes[META_MAX_WRITES];
    static struct made made[META_MAX_WRITES];
    for (int i = 0; i < count; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d", first + i);
        make(&made[i], id, size, body + (size_t)i * size);
        writes[i] = (struct meta_write){.op = META_INSERT, .doc = made[i].doc};
    }
    enum mld_error error = meta_write(store, writes, (size_t)count);
    for (int i = 0; i < count && error == MLD_OK; i++)
        error = writes[i].result;
    return error;
}

static enum mld_error change(const char *what, const char *id, int a, int b)
{
    static char body[2 * MAX_SIZE];
    struct made made;
    if (strcmp(what, "delete") == 0)
        return meta_delete(store, PARTITION, id, 0);
    if (strcmp(what, "replace") == 0)
        return replace(id, (size_t)a, body);
    if (strcmp(what, "batch") == 0)
        return batch((int)strtol(id, NULL, 10), a, (size_t)b, body);
    make(&made, id, (size_t)a, body);
    return meta_insert(store, &made.doc);
}

static enum mld_error command(const char *line)
{
    char what[16] = "", id[32] = "";
    int a = 0, b = 0;
    sscanf(line, "%15s %31s %d %d", what, id, &a, &b);
    if (strcmp(what, "begin") == 0 || strcmp(what, "stop") == 0)
        return access(what[0] == 'b' ? "/crash-begin" : "/crash-stop", F_OK) == 0 ? MLD_EIO
                                                                                  : MLD_OK;
    if (strcmp(what, "open") == 0)
        return meta_sqlite_open(&store, path);
    if (strcmp(what, "health") == 0)
        return meta_health(store);
    if (strcmp(what, "close") == 0) {
        meta_close(store);
        store = NULL;
        return MLD_OK;
    }
    return store == NULL ? MLD_ESTATE : change(what, id, a, b);
}

/* Straight to the descriptor: what is buffered dies with the process. */
static void say(const char *text)
{
    size_t len = strlen(text);
    if (write(STDOUT_FILENO, text, len) != (ssize_t)len)
        exit(3);
}

static void step(int number, const char *line)
{
    char text[2048];
    snprintf(text, sizeof text, "try %d\n", number);
    say(text);
    enum mld_error error = command(line);
    if (error == MLD_OK)
        snprintf(text, sizeof text, "ack %d\n", number);
    else
        snprintf(text, sizeof text, "err %d %s %s\n", number, mld_error_name(error),
                 mld_error_message());
    say(text);
}

static void talk(void)
{
    char line[256];
    for (int i = 0; fgets(line, sizeof line, stdin) != NULL; i++)
        step(i, line);
}

static void list_docs(const struct meta_docs *docs)
{
    for (size_t i = 0; i < docs->n; i++) {
        const struct meta_doc *doc = &docs->docs[i];
        const char *data = doc->data;
        bool whole = doc->n_tokens == 2 && doc->order == (int64_t)(doc->data_len % 5);
        for (size_t at = 0; at < doc->data_len; at++)
            whole = whole && data[at] == doc->id[0];
        printf("doc %s %d %zu %s\n", doc->id, (int)doc->revision, doc->data_len,
               whole ? "whole" : "torn");
    }
}

static int list(void)
{
    struct meta_docs docs = {0};
    struct meta_range range = {.partition = PARTITION,
                               .token = "all",
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = 100};
    char id[32];
    enum mld_error error = meta_sqlite_open(&store, path);
    do {
        if (error == MLD_OK)
            error = meta_find(store, &docs, &range);
        if (error != MLD_OK) {
            printf("err %s %s\n", mld_error_name(error), mld_error_message());
            return 1;
        }
        list_docs(&docs);
        if (docs.n > 0) {
            snprintf(id, sizeof id, "%s", docs.docs[docs.n - 1].id);
            range.after = (struct meta_cursor){docs.docs[docs.n - 1].order, id};
        }
    } while (docs.more);
    meta_docs_free(&docs);
    meta_close(store);
    return 0;
}

static void *storm_thread(void *payload)
{
    int thread = *(int *)payload;
    char *body = malloc(8192), text[64], id[32];
    for (int i = 0; body != NULL; i++) {
        struct made made;
        snprintf(id, sizeof id, "%d-%d-%d", (int)getpid(), thread, i);
        make(&made, id, (size_t)(i * 977 + thread * 131) % 8192, body);
        if (meta_insert(store, &made.doc) != MLD_OK) {
            fprintf(stderr, "%s\n", mld_error_message());
            exit(4);
        }
        snprintf(text, sizeof text, "ack %s\n", id);
        say(text);
    }
    return NULL;
}

static int storm(int threads)
{
    static int numbers[64];
    pthread_t thread;
    if (threads < 1 || threads > 64 || meta_sqlite_open(&store, path) != MLD_OK) {
        fprintf(stderr, "%s\n", mld_error_message());
        return 1;
    }
    for (int i = 0; i < threads; i++) {
        numbers[i] = i;
        if (pthread_create(&thread, NULL, storm_thread, &numbers[i]) != 0)
            return 1;
    }
    pause();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    path = argv[2];
    if (strcmp(argv[1], "list") == 0)
        return list();
    if (strcmp(argv[1], "storm") == 0)
        return storm(argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1);
    if (strcmp(argv[1], "talk") == 0)
        talk();
    else
        for (int i = 3; i < argc; i++)
            step(i - 3, argv[i]);
    meta_close(store);
    return 0;
}

/* blob_driver.c: does what a script says to a blob store in a directory, and dies or fails where it
 * is told to.
 *
 *   blob_driver run ROOT COMMAND...   COMMAND is one argument of words: 'put key 100 7'
 *   blob_driver look ROOT             opens, reads all; prints 'blob KEY SIZE SHA-256' lines
 *
 * `run` writes "try N", then "ack N [NAME]" or "err N CODE MESSAGE", each by one write(2), and goes
 * on after an error. From the command `begin` on, calls count that change the disk: with
 * fault_shim.c loaded, FAULT says which of them is the last or fails. At the end "calls N" says how
 * many there were. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob/blob.h"

#define MAX_WORDS 32
#define PIECE_BYTES (1u << 20)

/* ---- faults: those of fault_shim.c, when it was loaded ---- */

static void arm(bool armed)
{
    void (*call)(bool);
    *(void **)&call = dlsym(RTLD_DEFAULT, "fault_arm");
    if (call != NULL)
        call(armed);
}

static long long calls(void)
{
    long long (*call)(void);
    *(void **)&call = dlsym(RTLD_DEFAULT, "fault_count");
    return call != NULL ? call() : 0;
}

/* ---- commands ---- */

struct upload {
    char key[64];
    char name[129];
    struct blob_upload u;
    long seed;
};
struct script {
    const char *root;
    struct blob *b;
    struct upload uploads[8];
    unsigned n_uploads;
    char said[160]; /* what the ack line adds */
    char *words[MAX_WORDS];
    int n_words;
};

static long number(const struct script *s, int i)
{
    return i < s->n_words ? strtol(s->words[i], NULL, 10) : 0;
}

/* As make_bytes of crash_tools.py. */
static char *make_bytes(size_t len, long seed)
{
    char pattern[32];
    char *data = malloc(len + 1);
    size_t n = (size_t)snprintf(pattern, sizeof pattern, "%08ld-", seed);
    for (size_t i = 0; data != NULL && i < len; i++)
        data[i] = pattern[i % n];
    return data;
}

static void hash_of(const void *data, size_t len, char *out)
{
    struct sha256 hash = {.context = NULL};
    if (sha256_begin(&hash) != MLD_OK)
        abort();
    sha256_update(&hash, data, len);
    if (sha256_end(&hash, out) != MLD_OK)
        abort();
    sha256_free(&hash);
}

/* put KEY SIZE SEED [KEY SIZE SEED...] */
static enum mld_error do_put(struct script *s)
{
    struct blob_put puts[MAX_WORDS / 3];
    size_t n = 0;
    for (int i = 1; i + 2 < s->n_words; i += 3) {
        size_t len = (size_t)number(s, i + 1);
        puts[n++] = (struct blob_put){
            .key = s->words[i], .data = make_bytes(len, number(s, i + 2)), .len = len};
    }
    enum mld_error error = blob_put_small(s->b, puts, n);
    for (size_t i = 0; i < n; i++) {
        if (error == MLD_OK)
            error = puts[i].result;
        free((void *)puts[i].data);
    }
    return error;
}

/* big KEY SIZE SEED */
static enum mld_error do_big(struct script *s)
{
    size_t len = (size_t)number(s, 2);
    char *data = make_bytes(len, number(s, 3));
    enum mld_error error = blob_put(s->b, s->words[1], data, len);
    free(data);
    return error;
}

static struct upload *add_upload(struct script *s, const char *key, long size, long seed)
{
    struct upload *up = &s->uploads[s->n_uploads++ % 8];
    snprintf(up->key, sizeof(up->key), "%s", key);
    up->seed = seed;
    up->u = (struct blob_upload){.key = up->key,
                                 .name = up->name,
                                 .size_bytes = (uint64_t)size,
                                 .part_size_bytes = blob_part_size(s->b, (uint64_t)size)};
    return up;
}

static struct upload *find_upload(struct script *s, const char *key)
{
    for (unsigned i = 0; i < s->n_uploads; i++)
        if (strcmp(s->uploads[i].key, key) == 0)
            return &s->uploads[i];
    fprintf(stderr, "no upload of %s\n", key);
    exit(3);
}

/* create KEY SIZE SEED */
static enum mld_error do_create(struct script *s)
{
    struct upload *up = add_upload(s, s->words[1], number(s, 2), number(s, 3));
    struct buf name;
    buf_init(&name, 1000);
    enum mld_error error = blob_create(s->b, &name, up->key, up->u.size_bytes);
    snprintf(up->name, sizeof(up->name), "%s", buf_text(&name));
    snprintf(s->said, sizeof(s->said), " %s", up->name);
    buf_free(&name);
    return error;
}

/* resume KEY SIZE SEED NAME */
static enum mld_error do_resume(struct script *s)
{
    struct upload *up = add_upload(s, s->words[1], number(s, 2), number(s, 3));
    snprintf(up->name, sizeof(up->name), "%s", s->words[4]);
    return MLD_OK;
}

static enum mld_error send_part(struct script *s, const struct upload *up, unsigned n, long seed)
{
    uint64_t begin = n * up->u.part_size_bytes;
    uint64_t left = up->u.size_bytes - begin;
    size_t len = left < up->u.part_size_bytes ? left : up->u.part_size_bytes;
    char *data = make_bytes(up->u.size_bytes, seed);
    struct blob_part *part;
    char sha256[SHA256_HEX_LEN + 1];
    hash_of(data + begin, len, sha256);
    enum mld_error error = blob_part_begin(&part, s->b, &up->u, n, len, sha256);
    for (size_t done = 0; error == MLD_OK && done < len; done += PIECE_BYTES) {
        size_t piece = len - done < PIECE_BYTES ? len - done : PIECE_BYTES;
        if (blob_part_write(part, data + begin + done, piece) != MLD_OK)
            break;
    }
    free(data);
    return error == MLD_OK ? blob_part_finish(part) : error;
}

/* part KEY NUMBER [SEED] */
static enum mld_error do_part(struct script *s)
{
    const struct upload *up = find_upload(s, s->words[1]);
    return send_part(s, up, (unsigned)number(s, 2), s->n_words > 3 ? number(s, 3) : up->seed);
}

/* rest KEY: the parts that are missing; says how many were there */
static enum mld_error do_rest(struct script *s)
{
    const struct upload *up = find_upload(s, s->words[1]);
    uint64_t n = (up->u.size_bytes + up->u.part_size_bytes - 1) / up->u.part_size_bytes;
    unsigned *there;
    size_t n_there;
    enum mld_error error = blob_upload_parts(s->b, &up->u, &there, &n_there);
    snprintf(s->said, sizeof(s->said), " %zu", error == MLD_OK ? n_there : 0);
    for (unsigned i = 0, at = 0; error == MLD_OK && i < n; i++) {
        if (at < n_there && there[at] == i)
            at++;
        else
            error = send_part(s, up, i, up->seed);
    }
    free(there);
    return error;
}

static enum mld_error do_commit(struct script *s)
{
    const struct upload *up = find_upload(s, s->words[1]);
    char *data = make_bytes(up->u.size_bytes, up->seed);
    char sha256[SHA256_HEX_LEN + 1];
    hash_of(data, up->u.size_bytes, sha256);
    free(data);
    return blob_commit(s->b, &up->u, sha256, NULL);
}

static enum mld_error do_abort(struct script *s)
{
    return blob_abort(s->b, &find_upload(s, s->words[1])->u);
}

static enum mld_error do_delete(struct script *s)
{
    return blob_delete(s->b, s->words[1]);
}

static enum mld_error do_open(struct script *s)
{
    return blob_dir_open(&s->b, s->root);
}

static enum mld_error do_close(struct script *s)
{
    blob_close(s->b);
    s->b = NULL;
    return MLD_OK;
}

static enum mld_error do_begin(struct script *s)
{
    (void)s;
    arm(true);
    return MLD_OK;
}

static enum mld_error do_stop(struct script *s)
{
    (void)s;
    arm(false);
    return MLD_OK;
}

static const struct {
    const char *name;
    enum mld_error (*run)(struct script *s);
} commands[] = {{"open", do_open},     {"close", do_close},   {"begin", do_begin},
                {"stop", do_stop},     {"put", do_put},       {"big", do_big},
                {"create", do_create}, {"resume", do_resume}, {"part", do_part},
                {"rest", do_rest},     {"commit", do_commit}, {"abort", do_abort},
                {"delete", do_delete}};

static void say(const char *format, ...)
{
    char line[1500];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (write(1, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1) < 0)
        abort();
}

static void do_command(struct script *s, int n, char *command)
{
    enum mld_error (*run)(struct script *) = NULL;
    s->n_words = 0;
    s->said[0] = '\0';
    for (char *w = strsep(&command, " "); w != NULL && s->n_words < MAX_WORDS;
         w = strsep(&command, " "))
        s->words[s->n_words++] = w;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, s->words[0]) == 0)
            run = commands[i].run;
    if (run == NULL)
        exit(3);
    say("try %d\n", n);
    bool needs_store = run != do_open && run != do_close && run != do_begin && run != do_stop;
    enum mld_error error = MLD_ESTATE;
    if (s->b != NULL || !needs_store)
        error = run(s);
    if (error == MLD_OK)
        say("ack %d%s\n", n, s->said);
    else
        say("err %d %s %s\n", n, mld_error_name(error), mld_error_message());
}

/* ---- looking ---- */

static enum mld_error show(const char *key, uint64_t size, void *payload)
{
    struct buf data;
    char sha256[SHA256_HEX_LEN + 1];
    buf_init(&data, 256u << 20);
    enum mld_error error = blob_get(payload, key, &data);
    if (error == MLD_OK && data.len != size)
        error = MLD_EDAMAGED;
    hash_of(buf_text(&data), data.len, sha256);
    buf_free(&data);
    if (error == MLD_OK)
        printf("blob %s %llu %s\n", key, (unsigned long long)size, sha256);
    return error;
}

static int look(const char *root)
{
    struct blob *b;
    enum mld_error error = blob_dir_open(&b, root);
    if (error == MLD_OK)
        error = blob_list(b, show, b);
    if (error == MLD_OK)
        error = blob_health(b);
    if (error != MLD_OK)
        printf("err 0 %s %s\n", mld_error_name(error), mld_error_message());
    blob_close(b);
    return error != MLD_OK;
}

int main(int argc, char **argv)
{
    struct script s = {.root = argc > 2 ? argv[2] : NULL};
    if (argc == 3 && strcmp(argv[1], "look") == 0)
        return look(argv[2]);
    if (argc < 3 || strcmp(argv[1], "run") != 0)
        return 2;
    for (int i = 3; i < argc; i++)
        do_command(&s, i - 3, argv[i]);
    blob_close(s.b);
    fprintf(stderr, "calls %lld\n", calls());
    return 0;
}

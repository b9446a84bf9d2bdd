#include "server/files.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"

#define MAX_TRIES 64
#define SETTLE_LIMIT 100

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for files");
}

const char *file_answer_name(enum file_answer answer)
{
    static const char *const NAMES[] = {"absent", "open", "live", "gone", "id_taken", "checksum"};
    return NAMES[answer];
}

enum mld_error file_store(struct meta *meta, const char *project, struct file_doc *f)
{
    struct arena arena = {0};
    struct meta_doc doc;
    char partition[64];
    file_partition(partition, project);
    if (!f->was_listed || !file_is_listed(f))
        f->newest = file_is_listed(f); /* a guess that is nearly always right; settling looks */
    enum mld_error error = file_doc_write(f, &arena, partition, &doc);
    if (error == MLD_OK)
        error = f->revision == 0 ? meta_insert(meta, &doc) : meta_replace(meta, &doc);
    if (error == MLD_EEXISTS || error == MLD_ENOTFOUND)
        error = MLD_ECONFLICT;
    arena_free(&arena);
    return error;
}

enum mld_error files_load(struct meta *meta, const char *project, const char *const *ids, size_t n,
                          struct arena *arena, struct file_doc **docs)
{
    struct meta_docs found = {0};
    char partition[64];
    size_t next = 0;
    file_partition(partition, project);
    enum mld_error error = n == 0 ? MLD_OK : meta_get_many(meta, &found, partition, ids, n);
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        docs[i] = NULL;
        if (next == found.n || strcmp(found.docs[next].id, ids[i]) != 0)
            continue;
        docs[i] = arena_alloc(arena, sizeof *docs[i]);
        error = docs[i] == NULL ? no_memory() : file_doc_read(docs[i], arena, &found.docs[next++]);
    }
    meta_docs_free(&found);
    return error;
}

enum mld_error file_get(struct file_doc *out, struct arena *arena, struct meta *meta,
                        const char *project, const char *experiment, const char *id)
{
    struct file_doc *doc = NULL;
    if (!file_id_is_fine(id))
        return error_set(MLD_ENOTFOUND, "no such file");
    const char *doc_id = file_doc_id(arena, experiment, id, NULL);
    for (int hops = 0; hops < 2; hops++) {
        if (doc_id == NULL)
            return no_memory();
        enum mld_error error = files_load(meta, project, &doc_id, 1, arena, &doc);
        if (error != MLD_OK)
            return error;
        if (doc == NULL || doc->see == NULL)
            break;
        doc_id = doc->see;
    }
    if (doc == NULL || doc->see != NULL)
        return error_set(MLD_ENOTFOUND, "no file %s", id);
    *out = *doc;
    return MLD_OK;
}

enum mld_error file_offer_check(const struct file_offer *o, bool with_name)
{
    if (!file_id_is_fine(o->id))
        return error_blame(
            error_set(MLD_EINVALID, "a file's id is 1 to %d letters, digits, - and _", FILE_ID_MAX),
            "id");
    if (!doc_is_hex(o->sha256, SHA256_HEX_LEN))
        return error_blame(error_set(MLD_EINVALID, "file %s: sha256 is 64 hex digits", o->id),
                           "sha256");
    if (o->size > INT64_MAX)
        return error_blame(error_set(MLD_EINVALID, "file %s: size_bytes is too large", o->id),
                           "size_bytes");
    if ((o->as == NULL) != (o->stream == NULL) ||
        (o->as != NULL && (!file_id_is_fine(o->as) || !doc_is_hex(o->stream, 32))))
        return error_blame(error_set(MLD_EINVALID, "file %s: as and stream go together", o->id),
                           "as");
    if (!with_name)
        return MLD_OK;
    if (!doc_is_plain(o->path, 4096) || o->path[0] != '/')
        return error_blame(
            error_set(MLD_ENAME, "file %s: path is no path that begins with /", o->id), "path");
    if (!doc_is_plain(o->filename, 1024) || strchr(o->filename, '/') != NULL)
        return error_blame(error_set(MLD_ENAME, "file %s: filename is no name", o->id), "filename");
    if (o->content_type != NULL && !doc_is_plain(o->content_type, 255))
        return error_blame(error_set(MLD_EINVALID, "file %s: content_type is none", o->id),
                           "content_type");
    return MLD_OK;
}

/* One name on its way to being settled. */
struct settling {
    char token[160], newest_token[160];
    bool done;
};

static enum mld_error find(struct meta *meta, const char *partition, const char *token,
                           size_t limit, struct meta_docs *out)
{
    struct meta_range range = {.partition = partition,
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = true,
                               .limit = limit};
    return meta_find(meta, out, &range);
}

/* Changes on their way. */
struct flips {
    struct meta_write *writes;
    size_t n, capacity;
    struct arena arena;
};

static enum mld_error add_flip(struct flips *flips, const char *partition,
                               const struct meta_doc *doc, bool newest)
{
    struct file_doc f;
    if (flips->n == META_MAX_WRITES)
        return MLD_OK; /* in the next round */
    if (flips->n == flips->capacity) {
        size_t larger = flips->capacity == 0 ? 16 : 2 * flips->capacity;
        void *moved = realloc(flips->writes, larger * sizeof *flips->writes);
        if (moved == NULL)
            return no_memory();
        flips->writes = moved;
        flips->capacity = larger;
    }
    enum mld_error error = file_doc_read(&f, &flips->arena, doc);
    struct meta_write *write = &flips->writes[flips->n];
    *write = (struct meta_write){.op = META_REPLACE};
    f.newest = newest;
    if (error == MLD_OK)
        error = file_doc_write(&f, &flips->arena, partition, &write->doc);
    if (error == MLD_OK)
        flips->n++;
    return error;
}

static bool is_newest(const struct meta_doc *doc, const char *token)
{
    for (size_t i = 0; i < doc->n_tokens; i++)
        if (strcmp(doc->tokens[i], token) == 0)
            return true;
    return false;
}

/* Finds what is wrong with one name: the highest version must count as newest, no other may. */
static enum mld_error look(struct meta *meta, const char *partition, struct settling *s,
                           struct flips *flips)
{
    struct meta_docs top = {0};
    struct meta_docs marked = {0};
    size_t before = flips->n;
    enum mld_error error = find(meta, partition, s->token, 1, &top);
    if (error == MLD_OK)
        error = find(meta, partition, s->newest_token, SETTLE_LIMIT, &marked);
    if (error == MLD_OK && top.n > 0 && !is_newest(&top.docs[0], s->newest_token))
        error = add_flip(flips, partition, &top.docs[0], true);
    for (size_t i = 0; error == MLD_OK && i < marked.n; i++)
        if (top.n == 0 || strcmp(marked.docs[i].id, top.docs[0].id) != 0)
            error = add_flip(flips, partition, &marked.docs[i], false);
    s->done = error == MLD_OK && flips->n == before && !marked.more;
    meta_docs_free(&top);
    meta_docs_free(&marked);
    return error;
}

static enum mld_error settle_round(struct meta *meta, const char *partition, struct settling *all,
                                   size_t n, bool *out_done)
{
    struct flips flips = {0};
    enum mld_error error = MLD_OK;
    *out_done = true;
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (all[i].done)
            continue;
        error = look(meta, partition, &all[i], &flips);
        *out_done = *out_done && all[i].done;
    }
    /* Those that another changed meanwhile are looked at again. */
    if (error == MLD_OK && flips.n > 0)
        error = meta_write(meta, flips.writes, flips.n);
    free(flips.writes);
    arena_free(&flips.arena);
    return error;
}

static int by_token(const void *a, const void *b)
{
    return strcmp(((const struct settling *)a)->token, ((const struct settling *)b)->token);
}

enum mld_error files_settle(struct meta *meta, const struct apply_place *place,
                            const struct file_name *names, size_t n)
{
    char partition[64];
    bool done = false;
    struct settling *all = calloc(n + 1, sizeof *all);
    enum mld_error error = all == NULL ? no_memory() : MLD_OK;
    file_partition(partition, place->project);
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        char hash[65];
        error = file_name_hash(hash, names[i].path, names[i].filename);
        file_name_token(all[i].token, place->experiment, hash, false);
        file_name_token(all[i].newest_token, place->experiment, hash, true);
    }
    if (error == MLD_OK)
        qsort(all, n, sizeof *all, by_token);
    for (size_t i = 1; i < n && error == MLD_OK; i++)
        all[i].done = strcmp(all[i].token, all[i - 1].token) == 0;
    for (int i = 0; i < MAX_TRIES && error == MLD_OK && !done; i++)
        error = settle_round(meta, partition, all, n, &done);
    if (error == MLD_OK && !done)
        error = error_set(MLD_EUNAVAILABLE, "files of experiment %s change all the time",
                          place->experiment);
    free(all);
    return error;
}

/* Small files, many at once: bytes first, then their documents. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/file_offer.h"
#include "server/work.h"

#define MAX_TRIES 64

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for files");
}

/* Those whose bytes are wanted get a key; others are done. Bytes on their way out go first. */
static enum mld_error choose(const struct files_place *place, struct offered *all, size_t n,
                             struct arena *arena, bool *out_any)
{
    *out_any = false;
    for (size_t i = 0; i < n; i++) {
        struct offered *o = &all[i];
        if (o->done)
            continue;
        o->done = o->offer->answer != FILE_ABSENT && o->offer->answer != FILE_OPEN;
        if (o->done)
            continue;
        enum mld_error error = MLD_OK;
        if (o->doc != NULL && o->doc->bytes.state != BYTES_NONE &&
            o->doc->bytes.state != BYTES_GONE) {
            error = files_reap(place, o->doc_id, true);
            if (error == MLD_OK)
                error = files_load(place->meta, place->project, &o->doc_id, 1, arena, &o->doc);
        }
        if (error == MLD_OK)
            error = offered_key(place, o, arena);
        if (error != MLD_OK)
            return error;
        *out_any = true;
    }
    return MLD_OK;
}

static enum mld_error put_bytes(const struct files_place *place, struct offered *all, size_t n)
{
    struct blob_put *puts = calloc(n + 1, sizeof *puts);
    size_t m = 0;
    if (puts == NULL)
        return no_memory();
    for (size_t i = 0; i < n; i++)
        if (!all[i].done)
            puts[m++] = (struct blob_put){.key = all[i].key,
                                          .data = all[i].offer->data,
                                          .len = all[i].offer->size,
                                          .sha256 = all[i].offer->sha256};
    enum mld_error error = m == 0 ? MLD_OK : blob_put_small(place->blob, puts, m);
    m = 0;
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (all[i].done)
            continue;
        enum mld_error result = puts[m++].result;
        all[i].done = result != MLD_OK;
        if (result == MLD_ECHECKSUM)
            all[i].offer->answer = FILE_CHECKSUM;
        else if (result == MLD_EEXISTS)
            all[i].offer->answer = FILE_ID_TAKEN;
        else if (result != MLD_OK)
            error = error_set(result, "file %s cannot be stored", all[i].offer->id);
    }
    free(puts);
    return error;
}

static enum mld_error make_write(const struct files_place *place, struct offered *o,
                                 const char *partition, struct arena *arena, struct meta_write *out)
{
    struct file_doc *f = offered_doc(place, o, arena);
    if (f == NULL)
        return no_memory();
    f->bytes = (struct file_bytes){.state = BYTES_LIVE,
                                   .key = o->key,
                                   .size = o->offer->size,
                                   .checksum = o->offer->sha256,
                                   .content_type = o->offer->content_type,
                                   .since = clock_now_us(),
                                   .life = o->life,
                                   .whole = true};
    if (!f->was_listed)
        f->newest = file_is_listed(f);
    *out = (struct meta_write){.op = f->revision == 0 ? META_INSERT : META_REPLACE};
    return file_doc_write(f, arena, partition, &out->doc);
}

/* Makes those live whose bytes are stored; those whose document another changed stay undone. */
static enum mld_error make_live(const struct files_place *place, struct offered *all, size_t n,
                                struct arena *arena)
{
    char partition[64];
    size_t m = 0;
    struct meta_write *writes = calloc(n + 1, sizeof *writes);
    enum mld_error error = writes == NULL ? no_memory() : MLD_OK;
    file_partition(partition, place->project);
    for (size_t i = 0; i < n && error == MLD_OK; i++)
        if (!all[i].done)
            error = make_write(place, &all[i], partition, arena, &writes[m++]);
    if (error == MLD_OK && m > 0)
        error = meta_write(place->meta, writes, m);
    m = 0;
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (all[i].done)
            continue;
        enum mld_error result = writes[m++].result;
        if (result == MLD_OK) {
            all[i].done = true;
            all[i].offer->answer = FILE_LIVE;
        } else if (result != MLD_ECONFLICT && result != MLD_EEXISTS && result != MLD_ENOTFOUND) {
            error = error_set(result, "file %s cannot be written", all[i].offer->id);
        }
    }
    free(writes);
    return error;
}

static bool all_done(const struct offered *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!all[i].done)
            return false;
    return true;
}

static enum mld_error put_once(const struct files_place *place, struct offered *all, size_t n,
                               struct arena *arena)
{
    char work[64];
    bool any = false;
    enum mld_error error = offers_load(place, all, n, arena);
    if (error == MLD_OK)
        error = choose(place, all, n, arena, &any);
    if (error != MLD_OK)
        return error;
    if (!any) /* sent again: a server may have died before it settled their names */
        return offers_settle(place, all, n);
    error = offers_note(place, all, n, work);
    if (error == MLD_OK)
        error = put_bytes(place, all, n);
    if (error == MLD_OK)
        error = make_live(place, all, n, arena);
    if (error == MLD_OK)
        error = offers_settle(place, all, n);
    /* Otherwise the sweeper looks at what became of them. */
    if (error == MLD_OK && all_done(all, n))
        work_done(place->meta, work);
    return error;
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(const struct file_offer *const *)a)->id,
                  (*(const struct file_offer *const *)b)->id);
}

static enum mld_error check(struct file_offer *offers, size_t n)
{
    enum mld_error error = MLD_OK;
    const struct file_offer **sorted = calloc(n + 1, sizeof(void *));
    if (sorted == NULL)
        return no_memory();
    if (n > FILES_MAX_SMALL)
        error =
            error_blame(error_set(MLD_EINVALID, "more than %d files", FILES_MAX_SMALL), "files");
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        sorted[i] = &offers[i];
        error = file_offer_check(&offers[i], true);
        if (error == MLD_OK && offers[i].size > BLOB_SMALL_BYTES)
            error = error_blame(error_set(MLD_ETOOLARGE, "file %s is no small one", offers[i].id),
                                "size_bytes");
        if (error != MLD_OK)
            error_blame_element(error, "files", i);
    }
    if (error == MLD_OK)
        qsort(sorted, n, sizeof(void *), by_id);
    for (size_t i = 1; i < n && error == MLD_OK; i++)
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0)
            error = error_blame(error_set(MLD_EINVALID, "file %s is there twice", sorted[i]->id),
                                "files");
    free(sorted);
    return error;
}

enum mld_error files_put_small(const struct files_place *place, struct file_offer *offers, size_t n)
{
    struct arena arena = {0};
    enum mld_error error = check(offers, n);
    if (error != MLD_OK)
        return error;
    struct offered *all = arena_alloc(&arena, (n + 1) * sizeof *all);
    error = all == NULL ? no_memory() : MLD_OK;
    for (size_t i = 0; i < n && error == MLD_OK; i++)
        all[i].offer = &offers[i];
    for (int i = 0; i < MAX_TRIES && error == MLD_OK && !all_done(all, n); i++)
        error = put_once(place, all, n, &arena);
    if (error == MLD_OK && !all_done(all, n))
        error = error_set(MLD_EUNAVAILABLE, "files of experiment %s change all the time",
                          place->experiment);
    arena_free(&arena);
    return error;
}

/* meta_memory.c: documents in memory, in two sorted arrays: by (partition, id), and their tokens by
 * (partition, token, order, id). Plain rather than quick: the reference for the other stores. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "meta/meta.h"
#include "meta/store.h"

struct entry { /* one token of one document */
    const struct meta_doc *doc;
    const char *token;
};

struct memory {
    struct meta base;
    pthread_mutex_t lock;
    struct meta_docs *docs; /* each holds one document */
    size_t n_docs, docs_capacity;
    struct entry *entries;
    size_t n_entries, entries_capacity;
};

/* The array with a capacity for `more` elements, so that what follows cannot fail half-way; NULL:
 * out of memory, and nothing has changed. */
static void *reserve(void *array, size_t n, size_t *capacity, size_t size, size_t more)
{
    size_t wanted = *capacity == 0 ? 16 : *capacity;
    while (wanted < n + more)
        wanted *= 2;
    if (wanted == *capacity)
        return array;
    void *grown = realloc(array, wanted * size);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

static enum mld_error reserve_both(struct memory *m, size_t more_entries)
{
    struct meta_docs *docs = reserve(m->docs, m->n_docs, &m->docs_capacity, sizeof *docs, 1);
    if (docs != NULL)
        m->docs = docs;
    struct entry *entries =
        reserve(m->entries, m->n_entries, &m->entries_capacity, sizeof *entries, more_entries);
    if (entries != NULL)
        m->entries = entries;
    if (docs == NULL || entries == NULL)
        return error_set(MLD_ENOMEM, "no memory for another document");
    return MLD_OK;
}

/* Shifts what is from `at` on; the capacity is there. */
static void make_room(void *array, size_t *n, size_t size, size_t at)
{
    char *place = (char *)array + at * size;
    memmove(place + size, place, (*n - at) * size);
    ++*n;
}

static void remove_at(void *array, size_t *n, size_t size, size_t at)
{
    char *place = (char *)array + at * size;
    memmove(place, place + size, (*n - at - 1) * size);
    --*n;
}

/* The first document not before (partition, id); *out_found: it is that one. */
static size_t doc_place(const struct memory *m, const char *partition, const char *id, bool *found)
{
    size_t low = 0, high = m->n_docs;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct meta_doc *doc = &m->docs[middle].docs[0];
        int order = strcmp(doc->partition, partition);
        if (order == 0)
            order = strcmp(doc->id, id);
        if (order == 0)
            *found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first entry not before (partition, token, order, id); with id NULL behind all ids. */
static size_t entry_place(const struct memory *m, const char *partition, const char *token,
                          int64_t order, const char *id)
{
    size_t low = 0, high = m->n_entries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct entry *e = &m->entries[middle];
        int compared = strcmp(e->doc->partition, partition);
        if (compared == 0)
            compared = strcmp(e->token, token);
        if (compared == 0)
            compared = e->doc->order < order ? -1 : e->doc->order > order;
        if (compared == 0)
            compared = id == NULL ? -1 : strcmp(e->doc->id, id);
        if (compared < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void drop_entries(struct memory *m, const struct meta_doc *doc)
{
    for (size_t i = 0; i < doc->n_tokens; i++) {
        size_t at = entry_place(m, doc->partition, doc->tokens[i], doc->order, doc->id);
        remove_at(m->entries, &m->n_entries, sizeof *m->entries, at);
    }
}

static void add_entries(struct memory *m, const struct meta_doc *doc)
{
    for (size_t i = 0; i < doc->n_tokens; i++) {
        size_t at = entry_place(m, doc->partition, doc->tokens[i], doc->order, doc->id);
        make_room(m->entries, &m->n_entries, sizeof *m->entries, at);
        m->entries[at] = (struct entry){doc, doc->tokens[i]};
    }
}

/* Puts a copy of the document at its place, instead of the one that is there or in front of it. */
static enum mld_error put(struct memory *m, size_t at, bool instead, const struct meta_doc *doc,
                          int64_t revision)
{
    struct meta_docs copy = {0};
    struct meta_doc with_revision = *doc;
    with_revision.revision = revision;
    enum mld_error error = meta_docs_add(&copy, &with_revision);
    if (error == MLD_OK)
        error = reserve_both(m, doc->n_tokens);
    if (error != MLD_OK) {
        meta_docs_free(&copy);
        return error;
    }
    if (instead) {
        drop_entries(m, &m->docs[at].docs[0]);
        meta_docs_free(&m->docs[at]);
    } else {
        make_room(m->docs, &m->n_docs, sizeof *m->docs, at);
    }
    m->docs[at] = copy;
    add_entries(m, &copy.docs[0]);
    return MLD_OK;
}

static enum mld_error write_one(struct memory *m, const struct meta_write *w)
{
    const struct meta_doc *doc = &w->doc;
    bool found;
    size_t at = doc_place(m, doc->partition, doc->id, &found);
    if (w->op == META_INSERT)
        return found ? MLD_EEXISTS : put(m, at, false, doc, 1);
    if (!found)
        return w->op == META_DELETE && doc->revision == 0 ? MLD_OK : MLD_ENOTFOUND;
    const struct meta_doc *old = &m->docs[at].docs[0];
    if (old->revision != doc->revision && (w->op == META_REPLACE || doc->revision != 0))
        return MLD_ECONFLICT;
    if (w->op == META_REPLACE)
        return put(m, at, true, doc, doc->revision + 1);
    drop_entries(m, old);
    meta_docs_free(&m->docs[at]);
    remove_at(m->docs, &m->n_docs, sizeof *m->docs, at);
    return MLD_OK;
}

static enum mld_error memory_write(struct meta *base, struct meta_write *writes, size_t n)
{
    struct memory *m = (struct memory *)base;
    enum mld_error error = MLD_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n; i++) {
        writes[i].result = write_one(m, &writes[i]);
        if (writes[i].result == MLD_ENOMEM) /* the only failure of this store */
            error = MLD_ENOMEM;
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

static enum mld_error memory_get_many(struct meta *base, struct meta_docs *out,
                                      const char *partition, const char *const *ids, size_t n)
{
    struct memory *m = (struct memory *)base;
    enum mld_error error = MLD_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; error == MLD_OK && i < n; i++) {
        bool found;
        size_t at = doc_place(m, partition, ids[i], &found);
        if (found)
            error = meta_docs_add(out, &m->docs[at].docs[0]);
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

/* [*out_first, *out_end) are the entries of the range behind its cursor. */
static void bounds(const struct memory *m, const struct meta_range *r, size_t *first, size_t *end)
{
    *first = entry_place(m, r->partition, r->token, r->min_order, "");
    *end = entry_place(m, r->partition, r->token, r->max_order, NULL);
    if (r->after.id == NULL)
        return;
    size_t at = entry_place(m, r->partition, r->token, r->after.order, r->after.id);
    if (r->descending) {
        if (at < *end)
            *end = at;
        return;
    }
    bool same = at < m->n_entries && strcmp(m->entries[at].doc->partition, r->partition) == 0 &&
                strcmp(m->entries[at].token, r->token) == 0 &&
                m->entries[at].doc->order == r->after.order &&
                strcmp(m->entries[at].doc->id, r->after.id) == 0;
    if (at + same > *first)
        *first = at + same;
}

static enum mld_error memory_find(struct meta *base, struct meta_docs *out,
                                  const struct meta_range *range)
{
    struct memory *m = (struct memory *)base;
    enum mld_error error = MLD_OK;
    size_t first, end;
    pthread_mutex_lock(&m->lock);
    bounds(m, range, &first, &end);
    while (error == MLD_OK && first < end && out->n < range->limit && !meta_docs_full(out)) {
        size_t at = range->descending ? --end : first++;
        error = meta_docs_add(out, m->entries[at].doc);
    }
    out->more = first < end;
    pthread_mutex_unlock(&m->lock);
    return error;
}

static enum mld_error memory_count(struct meta *base, uint64_t *out, const struct meta_range *range,
                                   uint64_t max)
{
    struct memory *m = (struct memory *)base;
    size_t first, end;
    pthread_mutex_lock(&m->lock);
    bounds(m, range, &first, &end);
    pthread_mutex_unlock(&m->lock);
    uint64_t count = end > first ? end - first : 0;
    *out = count < max ? count : max;
    return MLD_OK;
}

static enum mld_error memory_health(struct meta *base)
{
    (void)base;
    return MLD_OK;
}

static void memory_close(struct meta *base)
{
    struct memory *m = (struct memory *)base;
    for (size_t i = 0; i < m->n_docs; i++)
        meta_docs_free(&m->docs[i]);
    free(m->docs);
    free(m->entries);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct meta_ops memory_ops = {
    .kind = "memory",
    .write = memory_write,
    .get_many = memory_get_many,
    .find = memory_find,
    .count = memory_count,
    .health = memory_health,
    .close = memory_close,
};

enum mld_error meta_memory_open(struct meta **out)
{
    struct memory *m = calloc(1, sizeof *m);
    *out = NULL;
    if (m == NULL)
        return error_set(MLD_ENOMEM, "no memory for a store");
    m->base.ops = &memory_ops;
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->base;
    return MLD_OK;
}

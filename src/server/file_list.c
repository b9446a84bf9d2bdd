#include "server/file_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/apply_internal.h"
#include "server/file_filter.h"
#include "server/files.h"

#define MAX_RANGES 3
#define COUNT_MAX 1000

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for a list of files");
}

/* One range that is read in pages; several are merged, newest first. */
struct source {
    char token[META_MAX_NAME_BYTES];
    struct meta_docs docs;
    size_t next;
    struct meta_cursor after;
    bool ended;
};
struct listing {
    struct meta *meta;
    const struct file_query *query;
    char partition[64];
    struct source sources[MAX_RANGES];
    size_t n;
    size_t page; /* documents read at once from one range: more each time */
    struct file_filter filter;
};

static void add_source(struct listing *l, const char *prefix, const char *term)
{
    struct source *s = &l->sources[l->n++];
    snprintf(s->token, sizeof s->token, "%s%s", prefix, term);
}

static enum mld_error count(struct listing *l, const char *term, uint64_t *out)
{
    struct buf token;
    buf_init(&token, META_MAX_NAME_BYTES + 1);
    buf_puts(&token, "new/");
    buf_puts(&token, term);
    struct meta_range range = {.partition = l->partition,
                               .token = buf_text(&token),
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .limit = 1};
    enum mld_error error = buf_check(&token, "query");
    if (error == MLD_OK)
        error = meta_count(l->meta, out, &range, COUNT_MAX);
    buf_free(&token);
    return error;
}

/* Of all that a query names, the range that is shortest: the rest is looked at one by one. */
static enum mld_error choose(struct listing *l, char out[META_MAX_NAME_BYTES])
{
    const struct file_query *q = l->query;
    char term[META_MAX_NAME_BYTES];
    uint64_t best = UINT64_MAX;
    size_t n = 1 + q->n_tags + q->n_metadata;
    enum mld_error error = MLD_OK;
    for (size_t i = 0; i < n && error == MLD_OK && best > 0; i++) {
        uint64_t size = 0;
        int len;
        if (i == 0)
            len = snprintf(term, sizeof term, "%s%s", q->experiment == NULL ? "project" : "exp:",
                           q->experiment == NULL ? "" : q->experiment);
        else if (i <= q->n_tags)
            len = snprintf(term, sizeof term, "tag:%s", q->tags[i - 1]);
        else
            len = snprintf(term, sizeof term, "meta:%s=%s", q->metadata[i - 1 - q->n_tags].key,
                           buf_text(&l->filter.values[i - 1 - q->n_tags]));
        if (len < 0 || (size_t)len > META_MAX_NAME_BYTES - 5)
            continue;
        if (n > 1)
            error = count(l, term, &size);
        /* Equals go to what is named last: a tag rather than the whole project. */
        if (error == MLD_OK && size <= best) {
            best = size;
            memcpy(out, term, sizeof term);
        }
    }
    return error;
}

static enum mld_error refill(struct listing *l, struct source *s)
{
    struct meta_range range = {.partition = l->partition,
                               .token = s->token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = true,
                               .after = s->after,
                               .limit = l->page};
    meta_docs_free(&s->docs);
    s->docs = (struct meta_docs){0};
    s->next = 0;
    enum mld_error error = meta_find(l->meta, &s->docs, &range);
    s->ended = error == MLD_OK && !s->docs.more;
    /* Where few are wanted, larger pages are cheaper; where all are, one small page will do. */
    l->page = 4 * l->page > META_MAX_FIND ? META_MAX_FIND : 4 * l->page;
    return error;
}

static bool comes_before(const struct meta_doc *a, const struct meta_doc *b)
{
    if (a->order != b->order)
        return a->order > b->order;
    return strcmp(a->id, b->id) > 0;
}

/* The next document of all ranges, borrowed until the next call; NULL at the end. */
static enum mld_error next_doc(struct listing *l, const struct meta_doc **out)
{
    struct source *best = NULL;
    *out = NULL;
    for (size_t i = 0; i < l->n; i++) {
        struct source *s = &l->sources[i];
        if (s->next == s->docs.n && !s->ended) {
            enum mld_error error = refill(l, s);
            if (error != MLD_OK)
                return error;
        }
        if (s->next < s->docs.n &&
            (best == NULL || comes_before(&s->docs.docs[s->next], &best->docs.docs[best->next])))
            best = s;
    }
    if (best != NULL)
        *out = &best->docs.docs[best->next];
    return MLD_OK;
}

/* Goes past the document that next_doc gave. `id` is a copy of its id that stays. */
static void pass(struct listing *l, const struct meta_doc *doc, const char *id)
{
    for (size_t i = 0; i < l->n; i++) {
        struct source *s = &l->sources[i];
        if (s->next < s->docs.n && &s->docs.docs[s->next] == doc) {
            s->after = (struct meta_cursor){doc->order, id};
            s->next++;
            return;
        }
    }
}

static enum mld_error collect(struct listing *l, struct file_page *out, size_t limit)
{
    size_t looked = 0;
    struct arena scratch = {0};
    const struct meta_doc *doc;
    enum mld_error error;
    while ((error = next_doc(l, &doc)) == MLD_OK && doc != NULL) {
        struct file_doc f;
        out->more = out->n == limit || looked == META_MAX_FIND;
        if (out->more)
            break;
        looked++;
        out->last_order = doc->order;
        out->last_id = arena_strdup(&out->arena, doc->id);
        if (out->last_id == NULL)
            error = no_memory();
        else
            error = file_doc_read(&f, &scratch, doc);
        if (error == MLD_OK && file_filter_wants(&l->filter, &f))
            error = file_doc_read(&out->items[out->n++].doc, &out->arena, doc);
        pass(l, doc, out->last_id);
        if (scratch.total_bytes > (1u << 20))
            arena_free(&scratch);
        if (error != MLD_OK)
            break;
    }
    arena_free(&scratch);
    return error;
}

/* The version of one name that has the alias, if it is wanted. */
static enum mld_error take_alias(struct listing *l, struct file_page *out,
                                 const struct meta_doc *doc)
{
    const struct file_query *q = l->query;
    struct name_doc name;
    struct file_doc f;
    enum mld_error error = name_doc_read(&name, &out->arena, doc);
    for (size_t i = 0; i < name.n && error == MLD_OK; i++) {
        const struct alias *alias = &name.aliases[i];
        if (alias->id == NULL || strcmp(alias->name, q->alias) != 0)
            continue;
        error = file_get(&f, &out->arena, l->meta, q->project, name.experiment, alias->id);
        if (error == MLD_OK && file_is_listed(&f) && file_filter_wants(&l->filter, &f))
            out->items[out->n++].doc = f;
    }
    return error == MLD_ENOTFOUND ? MLD_OK : error; /* the alias came before the file */
}

/* Files that have an alias: found by the documents of their names. */
static enum mld_error with_alias(struct listing *l, struct file_page *out, size_t limit,
                                 struct meta_cursor after)
{
    const struct file_query *q = l->query;
    char token[META_MAX_NAME_BYTES];
    struct meta_docs docs = {0};
    if (q->experiment == NULL)
        snprintf(token, sizeof token, "alias:%s", q->alias);
    else
        snprintf(token, sizeof token, "exp:%s/alias:%s", q->experiment, q->alias);
    struct meta_range range = {.partition = l->partition,
                               .token = token,
                               .min_order = INT64_MIN,
                               .max_order = INT64_MAX,
                               .descending = true,
                               .after = after,
                               .limit = limit};
    enum mld_error error = meta_find(l->meta, &docs, &range);
    out->more = docs.more;
    for (size_t i = 0; i < docs.n && error == MLD_OK; i++) {
        out->last_order = docs.docs[i].order;
        out->last_id = arena_strdup(&out->arena, docs.docs[i].id);
        error = out->last_id == NULL ? no_memory() : take_alias(l, out, &docs.docs[i]);
    }
    meta_docs_free(&docs);
    return error;
}

static enum mld_error list(struct listing *l, struct file_page *out, struct meta_cursor after,
                           size_t limit)
{
    const struct file_query *q = l->query;
    char term[META_MAX_NAME_BYTES] = "";
    if (q->alias != NULL)
        return with_alias(l, out, limit, after);
    enum mld_error error = choose(l, term);
    if (error != MLD_OK)
        return error;
    add_source(l, "new/", term);
    if (q->all_versions)
        add_source(l, "old/", term);
    if (q->deleted && q->experiment == NULL)
        add_source(l, "deleted/", "project");
    if (q->deleted && q->experiment != NULL) {
        snprintf(term, sizeof term, "exp:%s", q->experiment);
        add_source(l, "deleted/", term);
    }
    for (size_t i = 0; i < l->n; i++)
        l->sources[i].after = after;
    l->page = limit + 1 > META_MAX_FIND ? META_MAX_FIND : limit + 1;
    return collect(l, out, limit);
}

enum mld_error files_list(struct file_page *out, struct meta *meta, const struct file_query *query,
                          struct meta_cursor after, size_t limit)
{
    struct listing *l = calloc(1, sizeof *l);
    *out = (struct file_page){0};
    if (l == NULL)
        return no_memory();
    l->meta = meta;
    l->query = query;
    file_partition(l->partition, query->project);
    enum mld_error error = file_filter_open(&l->filter, query);
    /* A name has an alias on one version only, so a page of names is one of files. */
    out->items = arena_alloc(&out->arena, (limit + 1) * sizeof *out->items);
    if (error == MLD_OK && out->items == NULL)
        error = no_memory();
    if (error == MLD_OK)
        error = list(l, out, after, limit);
    if (error == MLD_OK)
        error = files_aliases(out->items, out->n, &out->arena, meta, query->project);
    for (size_t i = 0; i < MAX_RANGES; i++)
        meta_docs_free(&l->sources[i].docs);
    file_filter_close(&l->filter);
    free(l);
    return error;
}

static enum mld_error take_aliases(struct listed_file *f, const struct name_doc *name,
                                   struct arena *arena)
{
    f->aliases = arena_alloc(arena, (name->n + 1) * sizeof(char *));
    if (f->aliases == NULL)
        return no_memory();
    bool twin = strchr(f->doc.doc_id, '@') != NULL || f->doc.twins.n > 0;
    for (size_t i = 0; i < name->n; i++) {
        const struct alias *alias = &name->aliases[i];
        if (alias->id != NULL && strcmp(alias->id, f->doc.record_id) == 0 &&
            (!twin || alias->stream == NULL || strcmp(alias->stream, f->doc.stream) == 0))
            f->aliases[f->n_aliases++] = alias->name;
    }
    return MLD_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *name_id(const struct file_doc *f, struct arena *arena)
{
    char hash[65];
    char id[160];
    if (f->path == NULL || file_name_hash(hash, f->path, f->filename) != MLD_OK)
        return NULL;
    snprintf(id, sizeof id, "%s/name/%s", f->experiment, hash);
    return arena_strdup(arena, id);
}

static const struct meta_doc *find_doc(const struct meta_docs *docs, const char *id)
{
    size_t low = 0;
    size_t high = docs->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(docs->docs[middle].id, id);
        if (order == 0)
            return &docs->docs[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The ids of the documents of all names, each once, in order. */
static size_t name_ids(const char **ids, const struct listed_file *files, size_t n,
                       struct arena *arena)
{
    size_t all = 0;
    size_t unique = 0;
    for (size_t i = 0; i < n; i++)
        if ((ids[all] = name_id(&files[i].doc, arena)) != NULL)
            all++;
    qsort(ids, all, sizeof *ids, by_name);
    for (size_t i = 0; i < all; i++)
        if (unique == 0 || strcmp(ids[unique - 1], ids[i]) != 0)
            ids[unique++] = ids[i];
    return unique;
}

enum mld_error files_aliases(struct listed_file *files, size_t n, struct arena *arena,
                             struct meta *meta, const char *project)
{
    char partition[64];
    struct meta_docs docs = {0};
    const char **ids = calloc(n + 1, sizeof *ids);
    if (ids == NULL)
        return no_memory();
    file_partition(partition, project);
    size_t names = name_ids(ids, files, n, arena);
    enum mld_error error = names == 0 ? MLD_OK : meta_get_many(meta, &docs, partition, ids, names);
    for (size_t i = 0; i < n && error == MLD_OK && docs.n > 0; i++) {
        const char *id = name_id(&files[i].doc, arena);
        const struct meta_doc *doc = id == NULL ? NULL : find_doc(&docs, id);
        struct name_doc name;
        if (doc == NULL)
            continue;
        error = name_doc_read(&name, arena, doc);
        if (error == MLD_OK)
            error = take_aliases(&files[i], &name, arena);
    }
    meta_docs_free(&docs);
    free(ids);
    return error;
}

void file_put(struct buf *out, const struct listed_file *f)
{
    const struct file_doc *d = &f->doc;
    const char *type = d->content_type != NULL ? d->content_type : d->bytes.content_type;
    struct text_list aliases = {f->aliases, f->n_aliases};
    buf_putc(out, '{');
    doc_put_text(out, "id", d->id);
    doc_put_text(out, "experiment_id", d->experiment);
    doc_put_text(out, "path", d->path);
    doc_put_text(out, "filename", d->filename);
    doc_put_text(out, "description", d->description);
    doc_put_texts(out, "tags", d->tags);
    doc_put_texts(out, "bindrs", d->bindrs);
    doc_put_text(out, "contentType", type);
    doc_put_int(out, "sizeBytes", d->size);
    doc_put_text(out, "checksum", d->checksum != NULL ? d->checksum : d->bytes.checksum);
    doc_put_standard(out, "metadata", d->metadata);
    doc_put_text(out, "uploadedAt", d->uploaded_at);
    doc_put_text(out, "updatedAt", d->updated_at);
    doc_put_text(out, "deletedAt", d->deleted_at);
    doc_put_texts(out, "aliases", aliases);
    doc_put_bool(out, "newest", d->newest);
    buf_putc(out, '}');
}

#include "server/file_offer.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "server/work.h"

#define MAX_TRIES 64

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for files");
}

static enum file_answer answer_of(const struct file_doc *f, const struct file_offer *o)
{
    if (f == NULL)
        return FILE_ABSENT;
    if (doc_stamp_is_set(&f->stamp) &&
        ((uint64_t)f->size != o->size ||
         (f->checksum != NULL && strcmp(f->checksum, o->sha256) != 0)))
        return FILE_ID_TAKEN;
    bool bytes = f->bytes.state == BYTES_OPEN || f->bytes.state == BYTES_LIVE;
    if (bytes && (f->bytes.size != o->size || strcmp(f->bytes.checksum, o->sha256) != 0))
        return FILE_ID_TAKEN;
    if (file_is_doomed(f))
        return FILE_GONE;
    if (f->bytes.state == BYTES_LIVE)
        return FILE_LIVE;
    return f->bytes.state == BYTES_OPEN ? FILE_OPEN : FILE_ABSENT;
}

/* Writes into the document of the id that was taken that this stream's record is another file. */
static enum mld_error note_twin(const struct files_place *place, const struct file_offer *o)
{
    enum mld_error error = MLD_ECONFLICT;
    for (int i = 0; i < MAX_TRIES && error == MLD_ECONFLICT; i++) {
        struct arena arena = {0};
        struct file_doc *doc = NULL;
        const char *id = file_doc_id(&arena, place->experiment, o->as, NULL);
        struct file_doc new = {
            .doc_id = id, .experiment = place->experiment, .id = o->as, .record_id = o->as};
        const char *items[FILE_MAX_TWINS + 1];
        size_t n = 0;
        bool known = false;
        error = id == NULL ? no_memory()
                           : files_load(place->meta, place->project, &id, 1, &arena, &doc);
        if (error == MLD_OK && doc == NULL)
            doc = &new;
        for (; error == MLD_OK && n < doc->twins.n && n < FILE_MAX_TWINS; n++) {
            items[n] = doc->twins.items[n];
            known = known || strcmp(items[n], o->stream) == 0;
        }
        if (error == MLD_OK && !known && n == FILE_MAX_TWINS)
            error =
                error_blame(error_set(MLD_EINVALID, "too many files have the id %s", o->as), "as");
        if (error == MLD_OK && !known) {
            items[n++] = o->stream;
            doc->twins = (struct text_list){items, n};
            error = file_store(place->meta, place->project, doc);
        }
        arena_free(&arena);
    }
    return error;
}

/* A document under the fresh id that leads to the twin's. */
static enum mld_error note_id(const struct files_place *place, const struct offered *o)
{
    struct arena arena = {0};
    struct file_doc doc = {.doc_id = file_doc_id(&arena, place->experiment, o->offer->id, NULL),
                           .experiment = place->experiment,
                           .id = o->offer->id,
                           .record_id = o->offer->id,
                           .see = o->doc_id};
    enum mld_error error =
        doc.doc_id == NULL ? no_memory() : file_store(place->meta, place->project, &doc);
    if (error == MLD_ECONFLICT)
        error = MLD_OK; /* it is there */
    arena_free(&arena);
    return error;
}

/* Documents that only lead elsewhere are followed. */
static enum mld_error follow(const struct files_place *place, struct offered *o,
                             struct arena *arena)
{
    for (int hops = 0; hops < 2 && o->doc != NULL && o->doc->see != NULL; hops++) {
        o->doc_id = o->doc->see;
        enum mld_error error =
            files_load(place->meta, place->project, &o->doc_id, 1, arena, &o->doc);
        if (error != MLD_OK)
            return error;
    }
    return MLD_OK;
}

static enum mld_error load_some(const struct files_place *place, struct offered **some,
                                const char **ids, struct file_doc **docs, size_t n,
                                struct arena *arena)
{
    enum mld_error error = files_load(place->meta, place->project, ids, n, arena, docs);
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        struct offered *o = some[i];
        o->doc = docs[i];
        error = follow(place, o, arena);
        if (error == MLD_OK)
            o->offer->answer = answer_of(o->doc, o->offer);
    }
    return error;
}

static enum mld_error prepare(const struct files_place *place, struct offered *o,
                              struct arena *arena)
{
    o->twin = o->offer->as != NULL;
    o->doc_id = o->twin ? file_doc_id(arena, place->experiment, o->offer->as, o->offer->stream)
                        : file_doc_id(arena, place->experiment, o->offer->id, NULL);
    if (o->doc_id == NULL)
        return no_memory();
    if (!o->twin)
        return MLD_OK;
    enum mld_error error = note_twin(place, o->offer);
    return error == MLD_OK ? note_id(place, o) : error;
}

enum mld_error offers_load(const struct files_place *place, struct offered *all, size_t n,
                           struct arena *arena)
{
    struct arena scratch = {0};
    const char **ids = arena_alloc(&scratch, (n + 1) * sizeof *ids);
    struct offered **some = arena_alloc(&scratch, (n + 1) * sizeof(void *));
    struct file_doc **docs = arena_alloc(&scratch, (n + 1) * sizeof(void *));
    size_t m = 0;
    enum mld_error error = ids == NULL || some == NULL || docs == NULL ? no_memory() : MLD_OK;
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        if (all[i].done)
            continue;
        error = prepare(place, &all[i], arena);
        ids[m] = all[i].doc_id;
        some[m++] = &all[i];
    }
    if (error == MLD_OK)
        error = load_some(place, some, ids, docs, m, arena);
    arena_free(&scratch);
    return error;
}

struct file_doc *offered_doc(const struct files_place *place, struct offered *o,
                             struct arena *arena)
{
    if (o->doc == NULL) {
        o->doc = arena_alloc(arena, sizeof *o->doc);
        if (o->doc == NULL)
            return NULL;
        o->doc->doc_id = o->doc_id;
        o->doc->experiment = place->experiment;
        o->doc->record_id = o->twin ? o->offer->as : o->offer->id;
    }
    if (o->doc->id == NULL || o->twin)
        o->doc->id = o->offer->id;
    return o->doc;
}

enum mld_error offered_key(const struct files_place *place, struct offered *o, struct arena *arena)
{
    struct file_doc *f = offered_doc(place, o, arena);
    if (f == NULL)
        return no_memory();
    o->life = f->bytes.life + 1;
    return file_key(arena, &o->key, place->namespace_name, place->project_name, f, o->offer->path,
                    o->offer->filename, o->life);
}

enum mld_error offers_note(const struct files_place *place, const struct offered *all, size_t n,
                           char id[64])
{
    struct buf text;
    char random[ID_RANDOM_LEN + 1];
    enum mld_error error = id_random(random);
    if (error != MLD_OK)
        return error;
    snprintf(id, 64, "files:%s", random);
    buf_init(&text, META_MAX_BODY_BYTES);
    buf_putc(&text, '{');
    doc_put_text(&text, "project", place->project);
    doc_put_text(&text, "experiment", place->experiment);
    json_put_key(&text, "files");
    buf_putc(&text, '[');
    for (size_t i = 0; i < n; i++) {
        if (all[i].done)
            continue;
        if (text.data[text.len - 1] != '[')
            buf_putc(&text, ',');
        buf_putc(&text, '[');
        json_put_cstring(&text, all[i].doc_id);
        buf_putc(&text, ',');
        json_put_cstring(&text, all[i].key);
        buf_putc(&text, ']');
    }
    buf_puts(&text, "]}");
    error = buf_check(&text, "work");
    if (error == MLD_OK)
        error = work_add(place->meta, id, WORK_FILES_US, buf_text(&text));
    buf_free(&text);
    return error;
}

enum mld_error offers_settle(const struct files_place *place, const struct offered *all, size_t n)
{
    struct apply_place where = {place->experiment, place->project};
    struct file_name *names = calloc(n + 1, sizeof *names);
    size_t m = 0;
    if (names == NULL)
        return no_memory();
    for (size_t i = 0; i < n; i++)
        if (all[i].offer->answer == FILE_LIVE && all[i].doc != NULL &&
            doc_stamp_is_set(&all[i].doc->stamp))
            names[m++] = (struct file_name){all[i].doc->path, all[i].doc->filename};
    enum mld_error error = files_settle(place->meta, &where, names, m);
    free(names);
    return error;
}

enum mld_error files_status(const struct files_place *place, struct file_offer *offers, size_t n)
{
    struct arena arena = {0};
    struct offered *all = arena_alloc(&arena, (n + 1) * sizeof *all);
    enum mld_error error = all == NULL ? no_memory() : MLD_OK;
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        all[i].offer = &offers[i];
        error = file_offer_check(&offers[i], false);
        if (error != MLD_OK)
            error_blame_element(error, "files", i);
    }
    if (error == MLD_OK)
        error = offers_load(place, all, n, &arena);
    arena_free(&arena);
    return error;
}

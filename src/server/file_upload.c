/* Uploads: their document is written before their first byte, and says all that any server needs to
 * go on with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/file_offer.h"
#include "server/work.h"

#define MAX_TRIES 64
#define TOUCH_EVERY_US (INT64_C(3600) * 1000000)

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for an upload");
}

static void work_id(char out[META_MAX_NAME_BYTES], const struct files_place *place,
                    const char *doc_id)
{
    snprintf(out, META_MAX_NAME_BYTES, "upload:%s/%s", place->project, doc_id);
}

static struct blob_upload upload_of(const struct file_doc *f)
{
    return (struct blob_upload){f->bytes.key, f->bytes.upload, f->bytes.size, f->bytes.part_size};
}

static enum mld_error describe(const struct files_place *place, const struct file_doc *f,
                               struct upload_info *out)
{
    out->id = f->id;
    out->whole = f->bytes.whole;
    if (f->bytes.state == BYTES_LIVE) {
        out->answer = FILE_LIVE;
        return MLD_OK;
    }
    out->answer = FILE_OPEN;
    out->upload = upload_of(f);
    out->parts = (unsigned)((f->bytes.size + f->bytes.part_size - 1) / f->bytes.part_size);
    return blob_upload_parts(place->blob, &out->upload, &out->have, &out->n_have);
}

/* Makes an upload in the store, then its document. MLD_ECONFLICT: another did. */
static enum mld_error begin(const struct files_place *place, struct offered *o, struct arena *arena)
{
    char id[META_MAX_NAME_BYTES];
    struct buf name;
    enum mld_error error = offered_key(place, o, arena);
    if (error != MLD_OK)
        return error;
    work_id(id, place, o->doc_id);
    error = work_add(place->meta, id, WORK_UPLOAD_US, "{}");
    buf_init(&name, 512);
    if (error == MLD_OK)
        error = blob_create(place->blob, &name, o->key, o->offer->size);
    if (error == MLD_OK) {
        struct file_doc *f = offered_doc(place, o, arena);
        f->bytes = (struct file_bytes){
            .state = BYTES_OPEN,
            .key = o->key,
            .upload = arena_strdup(arena, buf_text(&name)),
            .size = o->offer->size,
            .part_size = blob_part_size(place->blob, o->offer->size),
            .checksum = o->offer->sha256,
            .content_type = o->offer->content_type,
            .since = clock_now_us(),
            .life = o->life,
        };
        error = f->bytes.upload == NULL ? no_memory() : file_store(place->meta, place->project, f);
        if (error != MLD_OK) {
            struct error_copy first;
            struct blob_upload upload = upload_of(f);
            error_save(error, &first);
            /* Of unknown outcome, it may be in use: then the sweeper sees to it. */
            if (error == MLD_ECONFLICT)
                blob_abort(place->blob, &upload);
            error = error_restore(&first);
        }
    }
    buf_free(&name);
    return error;
}

static enum mld_error get(const struct files_place *place, const char *id, struct arena *arena,
                          struct file_doc *out)
{
    enum mld_error error = file_get(out, arena, place->meta, place->project, place->experiment, id);
    if (error == MLD_OK && out->bytes.state != BYTES_OPEN && out->bytes.state != BYTES_LIVE)
        error = error_set(MLD_ENOTFOUND, "no upload of file %s", id);
    return error;
}

void upload_touch(const struct files_place *place, const char *id)
{
    struct arena arena = {0};
    struct file_doc f;
    int64_t now = clock_now_us();
    if (get(place, id, &arena, &f) == MLD_OK && f.bytes.state == BYTES_OPEN &&
        now - f.bytes.since > TOUCH_EVERY_US) {
        f.bytes.since = now;
        file_store(place->meta, place->project, &f); /* in vain: the next part tries again */
    }
    arena_free(&arena);
}

/* The document of a file whose bytes are complete. MLD_ECONFLICT: changed meanwhile. */
static enum mld_error make_live(const struct files_place *place, struct file_doc *f,
                                enum blob_verified verified)
{
    f->bytes.state = BYTES_LIVE;
    f->bytes.upload = NULL;
    f->bytes.whole = verified == BLOB_VERIFIED_WHOLE;
    f->bytes.since = clock_now_us();
    return file_store(place->meta, place->project, f);
}

static enum mld_error settle(const struct files_place *place, const struct file_doc *f)
{
    struct apply_place where = {place->experiment, place->project};
    struct file_name name = {f->path, f->filename};
    return doc_stamp_is_set(&f->stamp) ? files_settle(place->meta, &where, &name, 1) : MLD_OK;
}

static enum mld_error commit_once(const struct files_place *place, const char *id,
                                  struct arena *arena, struct file_doc *f)
{
    char work[64];
    enum blob_verified verified;
    enum mld_error error = get(place, id, arena, f);
    if (error != MLD_OK)
        return error;
    if (f->bytes.state == BYTES_LIVE)
        return settle(place, f);
    struct blob_upload upload = upload_of(f);
    error = blob_commit(place->blob, &upload, f->bytes.checksum, &verified);
    if (error == MLD_ECHECKSUM) {
        struct error_copy first;
        error_save(error, &first);
        error = files_reap(place, f->doc_id, true);
        return error == MLD_OK ? error_restore(&first) : error;
    }
    if (error != MLD_OK)
        return error;
    struct file_offer offer = {.id = f->id, .answer = FILE_LIVE};
    struct offered o = {.offer = &offer, .doc_id = f->doc_id, .key = f->bytes.key, .doc = f};
    error = offers_note(place, &o, 1, work);
    if (error == MLD_OK)
        error = make_live(place, f, verified);
    if (error == MLD_OK)
        error = settle(place, f);
    if (error == MLD_OK) {
        char upload_work[META_MAX_NAME_BYTES];
        work_id(upload_work, place, f->doc_id);
        work_done(place->meta, work);
        work_done(place->meta, upload_work);
    }
    return error;
}

/* The store does not know an upload that is open: it was committed, and the server died before it
 * said so; or the store has lost it, and it begins anew. MLD_ECONFLICT: look again. */
static enum mld_error heal(const struct files_place *place, const struct file_doc *f,
                           struct arena *arena)
{
    struct file_doc again;
    enum mld_error error = commit_once(place, f->id, arena, &again);
    if (error == MLD_ENOTFOUND)
        error = files_reap(place, f->doc_id, true);
    return error == MLD_OK || error == MLD_ECHECKSUM ? MLD_ECONFLICT : error;
}

static enum mld_error describe_whole(const struct files_place *place, const struct file_doc *f,
                                     struct arena *arena, struct upload_info *out)
{
    enum mld_error error = describe(place, f, out);
    return error == MLD_ENOTFOUND ? heal(place, f, arena) : error;
}

static enum mld_error create_once(const struct files_place *place, struct offered *o,
                                  struct arena *arena, struct upload_info *out)
{
    enum mld_error error = offers_load(place, o, 1, arena);
    if (error != MLD_OK)
        return error;
    out->id = o->offer->id;
    out->answer = o->offer->answer;
    if (out->answer == FILE_LIVE || out->answer == FILE_OPEN)
        return describe_whole(place, o->doc, arena, out);
    if (out->answer != FILE_ABSENT)
        return MLD_OK;
    if (o->doc != NULL && o->doc->bytes.state == BYTES_REAPING) {
        error = files_reap(place, o->doc_id, false);
        return error == MLD_OK ? MLD_ECONFLICT : error;
    }
    error = begin(place, o, arena);
    return error == MLD_OK ? describe(place, o->doc, out) : error;
}

enum mld_error upload_create(const struct files_place *place, const struct file_offer *offer,
                             uint64_t max_bytes, struct arena *arena, struct upload_info *out)
{
    struct file_offer asked = *offer;
    *out = (struct upload_info){0};
    enum mld_error error = file_offer_check(offer, true);
    if (error == MLD_OK && offer->size > max_bytes)
        error = error_blame(error_set(MLD_ETOOLARGE,
                                      "file %s is larger than the server's limit of %llu bytes",
                                      offer->filename, (unsigned long long)max_bytes),
                            "size_bytes");
    if (error == MLD_OK && offer->size == 0)
        error = error_blame(error_set(MLD_EINVALID, "file %s has no bytes: send it as a small one",
                                      offer->filename),
                            "size_bytes");
    if (error != MLD_OK)
        return error;
    error = MLD_ECONFLICT;
    for (int i = 0; i < MAX_TRIES && error == MLD_ECONFLICT; i++) {
        struct offered o = {.offer = &asked};
        error = create_once(place, &o, arena, out);
        if (error != MLD_OK) {
            free(out->have);
            *out = (struct upload_info){0};
        }
    }
    return error;
}

/* Of an upload that is not there: whether it was, and was dropped. */
static void note_dropped(enum mld_error error, const struct file_doc *f, struct upload_info *out)
{
    if (error == MLD_ENOTFOUND && (f->bytes.state == BYTES_REAPING || f->bytes.state == BYTES_GONE))
        out->answer = FILE_GONE;
}

enum mld_error upload_get(const struct files_place *place, const char *id, struct arena *arena,
                          struct upload_info *out)
{
    enum mld_error error = MLD_ECONFLICT;
    *out = (struct upload_info){0};
    for (int i = 0; i < MAX_TRIES && error == MLD_ECONFLICT; i++) {
        struct file_doc f = {0};
        error = get(place, id, arena, &f);
        if (error == MLD_OK)
            error = describe_whole(place, &f, arena, out);
        note_dropped(error, &f, out);
    }
    return error;
}

enum mld_error upload_commit(const struct files_place *place, const char *id, struct arena *arena,
                             struct upload_info *out)
{
    struct file_doc f = {0};
    enum mld_error error = MLD_ECONFLICT;
    *out = (struct upload_info){0};
    for (int i = 0; i < MAX_TRIES && error == MLD_ECONFLICT; i++)
        error = commit_once(place, id, arena, &f);
    note_dropped(error, &f, out);
    return error == MLD_OK ? describe(place, &f, out) : error;
}

enum mld_error upload_abort(const struct files_place *place, const char *id)
{
    struct arena arena = {0};
    struct file_doc f;
    enum mld_error error = file_get(&f, &arena, place->meta, place->project, place->experiment, id);
    if (error == MLD_OK && (f.bytes.state == BYTES_OPEN || f.bytes.state == BYTES_REAPING))
        error = files_reap(place, f.doc_id, true);
    if (error == MLD_ENOTFOUND)
        error = MLD_OK;
    arena_free(&arena);
    return error;
}

/* Bytes on their way out. A document says `reaping` before anything is deleted, so whoever had
 * other plans with these bytes finds that the document has changed. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/files.h"
#include "server/work.h"

#define MAX_TRIES 64

static enum mld_error load(const struct files_place *place, const char *doc_id, struct arena *arena,
                           struct file_doc **out)
{
    return files_load(place->meta, place->project, &doc_id, 1, arena, out);
}

static enum mld_error delete_bytes(const struct files_place *place, const struct file_doc *f)
{
    if (f->bytes.upload != NULL) {
        struct blob_upload upload = {f->bytes.key, f->bytes.upload, f->bytes.size,
                                     f->bytes.part_size};
        enum mld_error error = blob_abort(place->blob, &upload);
        if (error != MLD_OK)
            return error;
    }
    return blob_delete(place->blob, f->bytes.key);
}

/* One step. *out_done: nothing is left to do. */
static enum mld_error step(const struct files_place *place, struct file_doc *f, bool open,
                           bool *out_done)
{
    enum bytes_state state = f->bytes.state;
    enum mld_error error = MLD_OK;
    *out_done = false;
    if ((state == BYTES_OPEN && open) || (state == BYTES_LIVE && file_is_doomed(f))) {
        f->bytes.state = BYTES_REAPING;
    } else if (state == BYTES_REAPING) {
        error = delete_bytes(place, f);
        f->bytes = (struct file_bytes){
            .state = BYTES_GONE, .life = f->bytes.life, .since = clock_now_us()};
    } else {
        *out_done = true;
        return MLD_OK;
    }
    if (error == MLD_OK)
        error = file_store(place->meta, place->project, f);
    return error == MLD_ECONFLICT ? MLD_OK : error; /* look again */
}

enum mld_error files_reap(const struct files_place *place, const char *doc_id, bool open)
{
    bool done = false;
    enum mld_error error = MLD_OK;
    for (int i = 0; i < MAX_TRIES && error == MLD_OK && !done; i++) {
        struct arena arena = {0};
        struct file_doc *f = NULL;
        error = load(place, doc_id, &arena, &f);
        done = f == NULL;
        if (error == MLD_OK && !done)
            error = step(place, f, open, &done);
        arena_free(&arena);
    }
    if (error == MLD_OK && !done)
        error = error_set(MLD_EUNAVAILABLE, "document %s changes all the time", doc_id);
    return error;
}

enum mld_error files_finish_upload(const struct files_place *place, const char *doc_id,
                                   int64_t now_us, int64_t *out_due)
{
    struct arena arena = {0};
    struct file_doc *f = NULL;
    *out_due = 0;
    enum mld_error error = load(place, doc_id, &arena, &f);
    bool open = error == MLD_OK && f != NULL && f->bytes.state == BYTES_OPEN;
    if (open && f->bytes.since + WORK_UPLOAD_US > now_us)
        *out_due = f->bytes.since + WORK_UPLOAD_US;
    else if (error == MLD_OK)
        error = files_reap(place, doc_id, true);
    arena_free(&arena);
    return error;
}

enum mld_error files_finish_retired(const struct files_place *place, const char *doc_id)
{
    struct arena arena = {0};
    struct file_doc *f = NULL;
    enum mld_error error = load(place, doc_id, &arena, &f);
    if (error == MLD_OK && f != NULL)
        error = files_reap(place, doc_id, file_is_doomed(f));
    arena_free(&arena);
    return error;
}

/* Bytes that were stored although nothing names them get a document that does, to be reaped. */
static enum mld_error claim(const struct files_place *place, const char *doc_id, const char *key,
                            struct file_doc *f, struct arena *arena)
{
    struct file_doc new = {.doc_id = doc_id, .experiment = place->experiment};
    if (f == NULL) {
        const char *slash = strchr(doc_id, '/');
        const char *id = slash == NULL ? doc_id : slash + 1;
        new.id = arena_strndup(arena, id, strcspn(id, "@"));
        if (new.id == NULL)
            return error_set(MLD_ENOMEM, "out of memory for files");
        new.record_id = new.id;
        f = &new;
    }
    f->bytes.state = BYTES_REAPING;
    f->bytes.key = key;
    f->bytes.upload = NULL;
    f->bytes.life++;
    enum mld_error error = file_store(place->meta, place->project, f);
    return error == MLD_OK ? files_reap(place, doc_id, false) : error;
}

/* What is to be done of a file that was about to become live with this key. */
static enum mld_error finish_found(const struct files_place *place, const char *doc_id,
                                   const char *key, struct file_doc *f, struct arena *arena)
{
    struct apply_place where = {place->experiment, place->project};
    enum bytes_state state = f == NULL ? BYTES_NONE : f->bytes.state;
    bool ours = f != NULL && f->bytes.key != NULL && strcmp(f->bytes.key, key) == 0;
    if (!ours)
        return state == BYTES_NONE || state == BYTES_GONE ? claim(place, doc_id, key, f, arena)
                                                          : MLD_OK;
    if (state == BYTES_REAPING)
        return files_reap(place, doc_id, false);
    if (state != BYTES_LIVE || !doc_stamp_is_set(&f->stamp))
        return MLD_OK;
    struct file_name name = {f->path, f->filename};
    return files_settle(place->meta, &where, &name, 1);
}

static enum mld_error finish_one(const struct files_place *place, const char *doc_id,
                                 const char *key)
{
    struct arena arena = {0};
    struct file_doc *f = NULL;
    enum mld_error error = load(place, doc_id, &arena, &f);
    if (error == MLD_OK)
        error = finish_found(place, doc_id, key, f, &arena);
    arena_free(&arena);
    return error;
}

enum mld_error files_finish_put(const struct files_place *place, const char *text)
{
    struct json_doc json;
    struct arena arena = {0};
    struct files_place where = *place;
    json_doc_init(&json);
    enum mld_error error = json_parse(&json, text, strlen(text));
    struct doc_reader r = {&json, NULL, &arena, MLD_OK};
    const struct json_node *list = NULL;
    if (error == MLD_OK) {
        r.object = json_root(&json);
        where.project = doc_needed(&r, "project");
        where.experiment = doc_needed(&r, "experiment");
        list = doc_member(&r, "files");
        error = r.error;
    }
    const struct json_node *node = NULL;
    while (error == MLD_OK && list != NULL && (node = json_next(&json, list, node)) != NULL) {
        const struct json_node *id = json_next(&json, node, NULL);
        const struct json_node *key = id == NULL ? NULL : json_next(&json, node, id);
        if (key == NULL || id->type != JSON_STRING || key->type != JSON_STRING)
            continue;
        const char *id_text = doc_node_text(&r, id);
        const char *key_text = doc_node_text(&r, key);
        for (int i = 0; i < MAX_TRIES && r.error == MLD_OK; i++) {
            error = finish_one(&where, id_text, key_text);
            if (error != MLD_ECONFLICT)
                break;
        }
        error = error == MLD_OK ? r.error : error;
    }
    arena_free(&arena);
    json_doc_free(&json);
    return error;
}

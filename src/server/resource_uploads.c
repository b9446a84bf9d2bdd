#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "server/resource.h"
#include "server/resource_files.h"
#include "server/server.h"

#define PIECE_BYTES ((size_t)256 << 10)

static enum mld_error no_memory(void)
{
    return error_set(MLD_ENOMEM, "out of memory for files");
}

static enum mld_error read_offer(const json_t *object, bool with_name, struct file_offer *out)
{
    enum mld_error error = member_text(object, "id", true, &out->id);
    if (error == MLD_OK)
        error = member_uint(object, "size_bytes", -1, &out->size);
    if (error == MLD_OK)
        error = member_text(object, "sha256", true, &out->sha256);
    if (error == MLD_OK)
        error = member_text(object, "as", false, &out->as);
    if (error == MLD_OK)
        error = member_text(object, "stream", false, &out->stream);
    if (error == MLD_OK)
        error = member_text(object, "path", with_name, &out->path);
    if (error == MLD_OK)
        error = member_text(object, "filename", with_name, &out->filename);
    if (error == MLD_OK)
        error = member_text(object, "content_type", false, &out->content_type);
    return error;
}

static enum mld_error read_offers(const json_t *list, bool with_name, struct arena *arena,
                                  struct file_offer **out)
{
    size_t n = json_array_size(list);
    enum mld_error error = MLD_OK;
    *out = arena_alloc(arena, (n + 1) * sizeof **out);
    if (*out == NULL)
        return no_memory();
    for (size_t i = 0; i < n && error == MLD_OK; i++) {
        error = read_offer(json_array_get(list, i), with_name, &(*out)[i]);
        if (error != MLD_OK)
            error_blame_element(error, "files", i);
    }
    return error;
}

static void put_answers(struct buf *out, const struct file_offer *offers, size_t n)
{
    buf_puts(out, "{\"files\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, i > 0 ? ",{" : "{");
        doc_put_text(out, "id", offers[i].id);
        doc_put_text(out, "state", file_answer_name(offers[i].answer));
        buf_putc(out, '}');
    }
    buf_puts(out, "]}");
}

void post_status(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct file_offer *offers = NULL;
    struct buf out;
    json_t *body;
    json_t *list = NULL;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = request_json(r, &body);
    if (error == MLD_OK)
        error = member_array(body, "files", FILES_MAX_STATUS, &list);
    if (error == MLD_OK)
        error = read_offers(list, false, &arena, &offers);
    if (error == MLD_OK)
        error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = files_status(&place, offers, json_array_size(list));
    if (error == MLD_OK)
        put_answers(&out, offers, json_array_size(list));
    resource_answer(r, error, &out);
    arena_free(&arena);
}

static enum mld_error share_bytes(struct file_offer *offers, size_t n, const char *bytes,
                                  size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (offers[i].size > len)
            return error_blame(
                error_set(MLD_EINVALID, "the body has fewer bytes than size_bytes says"),
                "size_bytes");
        offers[i].data = bytes;
        bytes += offers[i].size;
        len -= offers[i].size;
    }
    return len == 0 ? MLD_OK
                    : error_blame(
                          error_set(MLD_EINVALID, "the body has more bytes than size_bytes says"),
                          "size_bytes");
}

void post_small(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct file_offer *offers = NULL;
    struct buf out;
    size_t len = 0;
    const char *bytes = NULL;
    const char *body = request_body(r, &len);
    json_t *head = NULL;
    json_t *list = NULL;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = resource_split(body, len, &head, &bytes, &len);
    if (error == MLD_OK)
        error = member_array(head, "files", FILES_MAX_SMALL, &list);
    size_t n = json_array_size(list);
    if (error == MLD_OK)
        error = read_offers(list, true, &arena, &offers);
    if (error == MLD_OK)
        error = share_bytes(offers, n, bytes, len);
    if (error == MLD_OK)
        error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = files_put_small(&place, offers, n);
    if (error == MLD_OK)
        put_answers(&out, offers, n);
    resource_answer(r, error, &out);
    json_decref(head);
    arena_free(&arena);
}

/* The numbers as ranges [first,last]; with `missing` those that are not there. */
static void put_ranges(struct buf *out, const char *key, const struct upload_info *info,
                       bool missing)
{
    size_t at = 0;
    bool first = true;
    doc_put_key(out, key);
    buf_putc(out, '[');
    for (unsigned n = 0; n < info->parts; n++) {
        unsigned begin = n;
        while (n < info->parts) {
            while (at < info->n_have && info->have[at] < n)
                at++;
            bool there = at < info->n_have && info->have[at] == n;
            if (there == missing)
                break;
            n++;
        }
        if (n > begin) {
            buf_printf(out, "%s[%u,%u]", first ? "" : ",", begin, n - 1);
            first = false;
        }
    }
    buf_putc(out, ']');
}

static void put_upload(struct buf *out, const struct upload_info *info)
{
    buf_putc(out, '{');
    doc_put_text(out, "id", info->id);
    doc_put_text(out, "state", file_answer_name(info->answer));
    if (info->answer == FILE_OPEN) {
        doc_put_int(out, "part_size_bytes", (int64_t)info->upload.part_size_bytes);
        doc_put_int(out, "parts", info->parts);
        put_ranges(out, "have", info, false);
    }
    if (info->answer == FILE_LIVE)
        doc_put_text(out, "verified", info->whole ? "whole" : "parts");
    buf_putc(out, '}');
}

static bool is_dropped(enum mld_error error, const struct upload_info *info)
{
    return error == MLD_ENOTFOUND && info->answer == FILE_GONE;
}

static void answer_dropped(struct request *r)
{
    respond_problem(r, 410, "gone", "the upload was dropped: begin it again", NULL);
}

static void answer_upload(struct request *r, enum mld_error error, const struct upload_info *info)
{
    struct buf out;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    if (is_dropped(error, info)) {
        answer_dropped(r);
        return;
    }
    if (error == MLD_OK && info->answer == FILE_ID_TAKEN) {
        respond_problem(r, 409, "id_taken",
                        "another file has this id: send it with \"as\" and a fresh id", NULL);
        return;
    }
    if (error == MLD_OK)
        put_upload(&out, info);
    resource_answer(r, error, &out);
}

void post_upload(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct file_offer offer = {0};
    struct upload_info info = {0};
    json_t *body;
    enum mld_error error = request_json(r, &body);
    if (error == MLD_OK)
        error = read_offer(body, true, &offer);
    if (error == MLD_OK)
        error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = upload_create(&place, &offer, request_server(r)->max_file_bytes, &arena, &info);
    answer_upload(r, error, &info);
    free(info.have);
    arena_free(&arena);
}

void get_upload(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct upload_info info = {0};
    enum mld_error error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = upload_get(&place, request_param(r, "file"), &arena, &info);
    answer_upload(r, error, &info);
    free(info.have);
    arena_free(&arena);
}

/* The body, from the connection straight into the store. */
static enum mld_error receive_part(struct request *r, struct blob_part *part, bool *out_silent)
{
    char *piece = malloc(PIECE_BYTES);
    enum mld_error error = piece == NULL ? no_memory() : MLD_OK;
    *out_silent = false;
    while (error == MLD_OK) {
        size_t len = 0;
        error = request_read(r, piece, PIECE_BYTES, &len);
        *out_silent = error == MLD_EUNAVAILABLE; /* the client is gone */
        if (error != MLD_OK || len == 0)
            break;
        error = blob_part_write(part, piece, len);
    }
    free(piece);
    if (error != MLD_OK) {
        struct error_copy first;
        error_save(error, &first);
        blob_part_abandon(part);
        return error_restore(&first);
    }
    return blob_part_finish(part);
}

static enum mld_error part_number(const struct request *r, unsigned *out)
{
    const char *text = request_param(r, "n");
    int64_t n = -1;
    if (!num_parse_int64(text, strlen(text), &n) || n < 0 || n >= BLOB_MAX_PARTS)
        return error_blame(error_set(MLD_EINVALID, "no such part"), "n");
    *out = (unsigned)n;
    return MLD_OK;
}

void put_part(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct upload_info info = {0};
    struct blob_part *part = NULL;
    struct buf out;
    unsigned n = 0;
    bool silent = false;
    const char *sha256 = request_header(r, "X-Part-SHA256");
    const char *file = request_param(r, "file");
    uint64_t len = request_body_bytes(r);
    enum mld_error error = part_number(r, &n);
    if (error == MLD_OK && (!doc_is_hex(sha256, SHA256_HEX_LEN) || len == UINT64_MAX))
        error = error_blame(error_set(MLD_EINVALID, "a part has X-Part-SHA256 and Content-Length"),
                            len == UINT64_MAX ? "Content-Length" : "X-Part-SHA256");
    if (error == MLD_OK)
        error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = upload_get(&place, file, &arena, &info);
    if (error == MLD_OK && info.answer == FILE_OPEN)
        error = blob_part_begin(&part, place.blob, &info.upload, n, len, sha256);
    if (error == MLD_OK && part != NULL) {
        error = receive_part(r, part, &silent);
        if (error == MLD_OK)
            upload_touch(&place, file);
    }
    buf_init(&out, 64);
    buf_printf(&out, "{\"part\":%u}", n);
    if (is_dropped(error, &info))
        answer_dropped(r);
    else if (error == MLD_ECHECKSUM)
        respond_problem(r, 422, "checksum", "the part's bytes are not those of its SHA-256",
                        json_pack("{s:s}", "field", "X-Part-SHA256"));
    else if (!silent)
        resource_answer(r, error, &out);
    buf_free(&out);
    free(info.have);
    arena_free(&arena);
}

/* 409, with the parts that are missing. */
static void answer_missing(struct request *r, const struct files_place *place, const char *id)
{
    struct arena arena = {0};
    struct upload_info info;
    struct buf out;
    buf_init(&out, RESOURCE_ANSWER_BYTES);
    enum mld_error error = upload_get(place, id, &arena, &info);
    if (error == MLD_OK) {
        buf_putc(&out, '{');
        doc_put_text(&out, "error", "state");
        doc_put_text(&out, "message", "parts are missing");
        put_ranges(&out, "missing", &info, true);
        buf_putc(&out, '}');
        error = buf_check(&out, "answer");
    }
    if (error == MLD_OK)
        respond_bytes(r, 409, "application/json", &out);
    else
        respond_error(r, error, NULL);
    buf_free(&out);
    free(info.have);
    arena_free(&arena);
}

void post_commit(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct upload_info info = {0};
    const char *file = request_param(r, "file");
    enum mld_error error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = upload_commit(&place, file, &arena, &info);
    if (error == MLD_ESTATE)
        answer_missing(r, &place, file);
    else if (error == MLD_ECHECKSUM)
        respond_problem(r, 422, "checksum",
                        "the whole is not what was announced; the upload is "
                        "dropped",
                        NULL);
    else
        answer_upload(r, error, &info);
    free(info.have);
    arena_free(&arena);
}

void delete_upload(struct request *r)
{
    struct arena arena = {0};
    struct files_place place;
    struct buf out;
    buf_init(&out, 64);
    buf_puts(&out, "{}");
    enum mld_error error = resource_place(r, &arena, &place);
    if (error == MLD_OK)
        error = upload_abort(&place, request_param(r, "file"));
    resource_answer(r, error, &out);
    arena_free(&arena);
}

#include "server/experiment_doc.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define TOKENS 4

enum mld_error experiment_doc_read(struct experiment_doc *out, struct arena *arena,
                                   const struct meta_doc *doc)
{
    struct json_doc json;
    json_doc_init(&json);
    *out = (struct experiment_doc){0};
    enum mld_error error = doc_parse(&json, doc);
    if (error == MLD_OK) {
        struct doc_reader r = {&json, json_root(&json), arena, MLD_OK};
        out->id = arena_strdup(arena, doc->id);
        out->revision = doc->revision;
        out->namespace_id = doc_needed(&r, "namespace");
        out->project = doc_needed(&r, "project");
        out->project_name = doc_text(&r, "project_name");
        out->folder = doc_text(&r, "folder");
        out->name = doc_needed(&r, "name");
        out->created = doc_int(&r, "created", 0);
        out->description = doc_text(&r, "description");
        out->metadata = doc_raw(&r, "metadata");
        out->tags = doc_texts(&r, "tags");
        out->bindrs = doc_texts(&r, "bindrs");
        doc_stamp_read(&r, "description_stamp", &out->description_stamp);
        doc_stamp_read(&r, "metadata_stamp", &out->metadata_stamp);
        doc_stamp_read(&r, "tags_stamp", &out->tags_stamp);
        doc_stamp_read(&r, "bindrs_stamp", &out->bindrs_stamp);
        out->created_at = doc_text(&r, "created_at");
        out->status = doc_text(&r, "status");
        out->started = doc_text(&r, "started");
        out->ended = doc_text(&r, "ended");
        out->failure = doc_text(&r, "error");
        out->last_seen = doc_int(&r, "last_seen", 0);
        if (out->folder == NULL)
            out->folder = "";
        if (out->status == NULL)
            out->status = "UNKNOWN";
        error = r.error;
        if (error == MLD_OK && out->id == NULL)
            error = error_set(MLD_ENOMEM, "out of memory for an experiment");
    }
    json_doc_free(&json);
    return error;
}

static void put_members(struct buf *text, const struct experiment_doc *e)
{
    buf_putc(text, '{');
    doc_put_text(text, "namespace", e->namespace_id);
    doc_put_text(text, "project", e->project);
    doc_set_text(text, "project_name", e->project_name);
    doc_put_text(text, "folder", e->folder == NULL ? "" : e->folder);
    doc_put_text(text, "name", e->name);
    doc_put_int(text, "created", e->created);
    doc_set_text(text, "description", e->description);
    doc_set_stamp(text, "description_stamp", &e->description_stamp);
    doc_set_raw(text, "metadata", e->metadata);
    doc_set_stamp(text, "metadata_stamp", &e->metadata_stamp);
    doc_set_texts(text, "tags", e->tags);
    doc_set_stamp(text, "tags_stamp", &e->tags_stamp);
    doc_set_texts(text, "bindrs", e->bindrs);
    doc_set_stamp(text, "bindrs_stamp", &e->bindrs_stamp);
    doc_set_text(text, "created_at", e->created_at);
    doc_put_text(text, "status", e->status == NULL ? "UNKNOWN" : e->status);
    doc_set_text(text, "started", e->started);
    doc_set_text(text, "ended", e->ended);
    doc_set_text(text, "error", e->failure);
    doc_set_int(text, "last_seen", e->last_seen);
    buf_putc(text, '}');
}

enum mld_error experiment_doc_write(const struct experiment_doc *e, struct arena *arena,
                                    struct meta_doc *out)
{
    const char *status = e->status == NULL ? "UNKNOWN" : e->status;
    struct buf text;
    const char **tokens = arena_alloc(arena, TOKENS * sizeof *tokens);
    *out = (struct meta_doc){.partition = "experiments",
                             .id = e->id,
                             .revision = e->revision,
                             .order = e->created,
                             .tokens = tokens,
                             .n_tokens = TOKENS};
    buf_init(&text, META_MAX_BODY_BYTES);
    put_members(&text, e);
    enum mld_error error = doc_take_text(out, arena, &text);
    const char *formats[TOKENS][3] = {{"ns:", e->namespace_id, NULL},
                                      {"project:", e->project, NULL},
                                      {"status:", e->project, status},
                                      {"ns-status:", e->namespace_id, status}};
    for (size_t i = 0; i < TOKENS && tokens != NULL; i++) {
        char token[META_MAX_NAME_BYTES];
        snprintf(token, sizeof token, "%s%s%s%s", formats[i][0], formats[i][1],
                 formats[i][2] == NULL ? "" : ":", formats[i][2] == NULL ? "" : formats[i][2]);
        tokens[i] = arena_strdup(arena, token);
        if (tokens[i] == NULL)
            tokens = NULL;
    }
    if (tokens == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for an experiment");
    return error;
}

enum mld_error experiment_doc_get(struct experiment_doc *out, struct arena *arena,
                                  struct meta *meta, const char *id)
{
    struct meta_docs docs = {0};
    enum mld_error error = meta_get(meta, &docs, "experiments", id);
    if (error == MLD_OK)
        error = experiment_doc_read(out, arena, &docs.docs[0]);
    meta_docs_free(&docs);
    return error;
}

/* files.h: the files of experiments and their bytes (docs/server-data.md, "Files"). Each change is
 * a compare-and-set of one document; what follows from it is written down as work first, so that it
 * happens although a server dies in between. Thread-safe; all functions block on the stores.
 *
 * Errors of all: MLD_EUNAVAILABLE and the other errors of the stores. */
#ifndef SERVER_FILES_H
#define SERVER_FILES_H

#include "blob/blob.h"
#include "server/apply.h"
#include "server/file_doc.h"

#define FILES_MAX_STATUS 1000
#define FILES_MAX_SMALL 1000

/* Where files are. */
struct files_place {
    struct meta *meta;
    struct blob *blob;
    const char *experiment, *project;
    const char *namespace_name, *project_name; /* for keys */
};

/* Which of the versions of a name is the newest is in the tokens of their documents. Settling looks
 * at names of which something has changed, and corrects tokens until nothing is left to correct;
 * the last of several that do it at once leaves them right. */
struct file_name {
    const char *path, *filename;
};
enum mld_error files_settle(struct meta *meta, const struct apply_place *place,
                            const struct file_name *names, size_t n);

enum file_answer { FILE_ABSENT, FILE_OPEN, FILE_LIVE, FILE_GONE, FILE_ID_TAKEN, FILE_CHECKSUM };
const char *file_answer_name(enum file_answer answer); /* "absent", ... */

/* What a client says of a file whose bytes it has. */
struct file_offer {
    const char *id;
    const char *as, *stream; /* the id in that records stream, where `id` is a fresh one; NULL */
    const char *path, *filename, *content_type;
    uint64_t size;
    const char *sha256;
    const void *data;        /* of small files */
    enum file_answer answer; /* set by the call */
};
/* MLD_EINVALID, MLD_ENAME: it cannot be one. `with_name`: path and filename must be there. */
enum mld_error file_offer_check(const struct file_offer *offer, bool with_name);

/* Sets the answers: absent, open, live, gone or id_taken. */
enum mld_error files_status(const struct files_place *place, struct file_offer *offers, size_t n);
/* Stores the bytes of small files, FILES_MAX_SMALL at most. Answers: live, gone, id_taken or
 * checksum. */
enum mld_error files_put_small(const struct files_place *place, struct file_offer *offers,
                               size_t n);

/* An upload, described; texts live in `arena`. */
struct upload_info {
    const char *id;
    enum file_answer answer; /* open, live, gone, id_taken */
    struct blob_upload upload;
    unsigned parts;
    unsigned *have; /* numbers of parts that are there; freed with free() */
    size_t n_have;
    bool whole; /* live: the SHA-256 of all bytes was checked, not only of parts */
};
/* Begins an upload, or finds the one that is under way. `max_bytes`: MLD_ETOOLARGE above. */
enum mld_error upload_create(const struct files_place *place, const struct file_offer *offer,
                             uint64_t max_bytes, struct arena *arena, struct upload_info *out);
/* MLD_ENOTFOUND: no such file, or nothing was ever sent of it; out->answer is FILE_GONE when it was
 * and the upload was dropped, here and below. */
enum mld_error upload_get(const struct files_place *place, const char *id, struct arena *arena,
                          struct upload_info *out);
/* MLD_ESTATE: parts are missing (upload_get says which). MLD_ECHECKSUM: the whole is not what was
 * announced; the upload is dropped. MLD_ENOTFOUND: no such upload. Sending it again is harmless. */
enum mld_error upload_commit(const struct files_place *place, const char *id, struct arena *arena,
                             struct upload_info *out);
/* Drops an upload; what is live stays. */
enum mld_error upload_abort(const struct files_place *place, const char *id);
/* Notes that something happened to it, so that it is not dropped. */
void upload_touch(const struct files_place *place, const char *id);

/* Reads a file's document as it is shown. MLD_ENOTFOUND: there is none. */
enum mld_error file_get(struct file_doc *out, struct arena *arena, struct meta *meta,
                        const char *project, const char *experiment, const char *id);

/* Deletes bytes: of an upload under way (`open`), or of what is doomed, or what was on its way
 * already. `doc_id` is the document's. */
enum mld_error files_reap(const struct files_place *place, const char *doc_id, bool open);

/* For the sweeper: each finishes one kind of work; *out_due is when to come again, 0 when it is
 * done. `now_us` decides what nobody goes on with. `place` needs no experiment and no names. */
enum mld_error files_finish_put(const struct files_place *place, const char *text);
enum mld_error files_finish_upload(const struct files_place *place, const char *doc_id,
                                   int64_t now_us, int64_t *out_due);
enum mld_error files_finish_retired(const struct files_place *place, const char *doc_id);

/* Reads documents of files by their ids; `docs[i]` is NULL where there is none. */
enum mld_error files_load(struct meta *meta, const char *project, const char *const *ids, size_t n,
                          struct arena *arena, struct file_doc **docs);
/* Writes one document: MLD_ECONFLICT when another changed it. */
enum mld_error file_store(struct meta *meta, const char *project, struct file_doc *f);

#endif

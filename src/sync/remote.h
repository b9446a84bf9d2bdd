/* remote.h: the protocol (docs/protocol.md) as calls. Each is one request; errors are those of
 * http_reply_check and http_client_call, and those named here. */
#ifndef SYNC_REMOTE_H
#define SYNC_REMOTE_H

#include "sync/folder.h"
#include "sync/http_client.h"

#define REMOTE_ID_MAX 40
#define REMOTE_MAX_BODY_BYTES (8u << 20)
#define REMOTE_SMALL_BYTES (64u << 10)
#define REMOTE_MAX_FILES 1000
#define REMOTE_MAX_HEADS 10000

struct remote {
    struct http_client *client;
    char experiment[REMOTE_ID_MAX]; /* "" before remote_register */
    uint64_t requests;
    int64_t retry_after_s; /* of the last answer; -1: not said */
    bool pack;             /* lines go packed (pack.h) */
    bool worked; /* it has answered once: another's certificate or a redirect since will pass */
};

/* The caller's own namespace: his name. The caller frees *out. */
enum mld_error remote_own_namespace(struct remote *r, char **out);
/* Registers the folder; r->experiment is set. With `from`, the id of the experiment that it differs
 * from, it becomes another one beside that; NULL or "": it is the one at its place. MLD_EDAMAGED:
 * the server has no other for it. */
enum mld_error remote_register(struct remote *r, const char *namespace_name,
                               const struct sync_folder *f, const char *from);

/* What the server has of streams: sets offset and hash of each. */
struct remote_head {
    const char *stream;
    uint64_t offset;
    char sha256[SHA256_HEX_LEN + 1];
};
enum mld_error remote_heads(struct remote *r, struct remote_head *heads, size_t n);

/* The SHA-256 of the first `length` bytes that the server has of a stream. */
enum mld_error remote_stream_hash(struct remote *r, const char *stream, uint64_t length,
                                  char out[SHA256_HEX_LEN + 1]);

/* Appends; `body` is header line and bytes. MLD_ECONFLICT: the heads have to be asked for again. */
enum mld_error remote_append(struct remote *r, const struct buf *body);

enum remote_state {
    REMOTE_ABSENT,
    REMOTE_OPEN,
    REMOTE_LIVE,
    REMOTE_GONE,
    REMOTE_ID_TAKEN,
    REMOTE_CHECKSUM /* of a small file: other bytes arrived */
};
/* The states of files, in the order given. */
enum mld_error remote_files_status(struct remote *r, struct sync_file *const *files, size_t n,
                                   enum remote_state *out);
/* Sends small files; `body` is header line and bytes of these files. */
enum mld_error remote_files_small(struct remote *r, const struct buf *body,
                                  struct sync_file *const *files, size_t n, enum remote_state *out);
/* One member of the header of small files and of an upload's creation. */
void remote_put_file(struct buf *out, const struct sync_file *file);
/* The id under which a file goes: its record's, unless that is another file's there. */
static inline const char *remote_id_of(const struct sync_file *file)
{
    return file->other == 0 ? file->id : file->other_id;
}

/* An upload under way. */
struct remote_upload {
    enum remote_state state; /* REMOTE_OPEN, REMOTE_LIVE, REMOTE_GONE or REMOTE_ID_TAKEN */
    uint64_t part_size_bytes;
    unsigned parts;
    bool *have; /* of each part; freed by remote_upload_free */
};
void remote_upload_free(struct remote_upload *u);
enum mld_error remote_upload_open(struct remote *r, struct remote_upload *out,
                                  const struct sync_file *file);
enum mld_error remote_upload_part(struct remote *r, const char *file_id, unsigned part,
                                  const void *data, size_t len, const char *sha256);
/* MLD_ECHECKSUM: what is stored here is not what its record says. MLD_ECONFLICT: parts are missing;
 * open it again. */
enum mld_error remote_upload_commit(struct remote *r, const char *file_id);

#endif

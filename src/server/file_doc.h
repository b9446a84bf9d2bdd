/* file_doc.h: the document of a file (docs/server-data.md, "Files"), read and written, and what
 * follows from it: whether it is listed, its tokens, its key. No I/O. */
#ifndef SERVER_FILE_DOC_H
#define SERVER_FILE_DOC_H

#include "server/doc.h"

#define FILE_ID_MAX 100
#define FILE_MAX_TWINS 16
#define FILE_MAX_TAG_TOKENS 160
#define FILE_MAX_META_TOKENS 64
#define FILE_MAX_META_VALUE 200
#define FILE_MAX_ALIASES 64

enum bytes_state { BYTES_NONE, BYTES_OPEN, BYTES_LIVE, BYTES_REAPING, BYTES_GONE };

/* Where the bytes are. */
struct file_bytes {
    enum bytes_state state;
    const char *key;
    const char *upload; /* the store's name for it, while open (and reaping after that) */
    uint64_t size;
    uint64_t part_size;
    const char *checksum;
    const char *content_type;
    int64_t since; /* us: when something last happened to it */
    int64_t life;  /* counts uploads of this file: each has a key of its own */
    bool whole;    /* the SHA-256 of all bytes as stored was checked, not only of parts */
};

struct file_doc {
    const char *doc_id;
    int64_t revision; /* 0: not in the store */
    const char *experiment;
    const char *id;        /* as shown */
    const char *record_id; /* as records say it: another one where `as` was used */
    /* The record; stamp is unset while only other things are known. */
    const char *stream;
    struct doc_stamp stamp;
    const char *path, *filename, *content_type, *checksum, *uploaded_at;
    int64_t size;
    int64_t keep;
    bool foreign;
    /* Changed by records. */
    const char *description, *metadata, *updated_at, *deleted_at, *retired_by;
    struct text_list tags, bindrs;
    struct doc_stamp description_stamp, metadata_stamp, tags_stamp, bindrs_stamp, deleted_stamp,
        retired_stamp, removed_stamp;
    bool removed, gone;
    struct text_list twins; /* streams whose record of this id is another file */
    struct file_bytes bytes;
    bool newest;
    const char *see; /* the document that this id stands for; all else is empty then */
    bool was_listed; /* as it was read */
};

enum mld_error file_doc_read(struct file_doc *out, struct arena *arena, const struct meta_doc *doc);
enum mld_error file_doc_write(const struct file_doc *f, struct arena *arena, const char *partition,
                              struct meta_doc *out);

/* Retired, removed or replaced for good: its bytes go. */
bool file_is_doomed(const struct file_doc *f);
/* Record and bytes are there and fit each other. */
bool file_is_whole(const struct file_doc *f);
/* Whole, not doomed, not deleted. */
bool file_is_listed(const struct file_doc *f);

/* "files:{project}" */
void file_partition(char out[64], const char *project);
/* "{experiment}/{id}", or with `stream` "{experiment}/{id}@{stream}": a twin. In the arena. */
const char *file_doc_id(struct arena *arena, const char *experiment, const char *id,
                        const char *stream);
/* An id that may be part of a document's and of a key: 1 to FILE_ID_MAX letters, digits, "-" and
 * "_". */
bool file_id_is_fine(const char *id);
enum mld_error file_name_hash(char out[65], const char *path, const char *filename);
/* "name:{experiment}/{hash}" and the token of those of them that count as newest. */
void file_name_token(char out[160], const char *experiment, const char *hash, bool newest);

/* The form in which a text, number or boolean of metadata is searched: numbers by value, so that 1,
 * 1.0 and "1" are the same. Appended; false for what cannot be searched. */
bool file_meta_value(struct buf *out, const char *text, size_t len);

/* The key of a file's bytes, with names encoded and cut so that any store takes it. */
enum mld_error file_key(struct arena *arena, const char **out, const char *namespace_name,
                        const char *project_name, const struct file_doc *f, const char *path,
                        const char *filename, int64_t life);

#endif

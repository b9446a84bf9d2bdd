/* mldash/file.h: save, read, find and manage files of an experiment.
 *
 * A file has a prefix ("/models", "/" is the root), a name and an id. Saving the same prefix and
 * name again makes a new version; `keep` says how many stay. An older version goes only once the
 * newer one is durable, and never while it has an alias.
 *
 * A saved file survives a kill -9 when the call returns, and a power loss a second later, after
 * mld_flush, or with `durable` at once. The checksum is the SHA-256 of the bytes that were stored.
 */
#ifndef MLDASH_FILE_H
#define MLDASH_FILE_H

#include "mldash/experiment.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file's record: a snapshot. Times are ISO 8601 in UTC. */
struct mld_file {
    const char *id;
    const char *path; /* its prefix: "/models" */
    const char *filename;
    const char *description; /* NULL: none */
    const char *const *tags;
    size_t n_tags;
    const char *const *bindrs;
    size_t n_bindrs;
    const char *content_type;
    uint64_t size_bytes;
    const char *checksum;      /* SHA-256, 64 hex digits */
    const char *metadata_json; /* a JSON object; NULL: none */
    const char *uploaded_at;
    const char *updated_at;
    const char *deleted_at; /* NULL: not deleted */
    const char *const *aliases;
    size_t n_aliases;
    bool newest;  /* the version that its name stands for */
    bool damaged; /* its bytes were found missing or changed */
};
/* Frees a single snapshot that a function below returned through `struct mld_file **`. NULL is
 * fine. */
MLD_API void mld_file_free(struct mld_file *file);

/* Tells about long work; called every few megabytes on the calling thread, without locks held.
 * Returning false stops the call with MLD_EINTERRUPTED and nothing left behind. */
typedef bool mld_progress(uint64_t done_bytes, uint64_t total_bytes, void *payload);

struct mld_save_options {
    unsigned version;     /* MLD_SAVE_OPTIONS_VERSION */
    const char *prefix;   /* NULL: "/" */
    const char *filename; /* NULL: the source's own name; needed without a source path */
    const char *description;
    const char *const *tags;
    size_t n_tags;
    const char *const *bindrs;
    size_t n_bindrs;
    const char *metadata_json; /* a JSON object without NaN */
    const char *content_type;  /* NULL: by the name's extension */
    int keep;                  /* MLD_KEEP_DEFAULT: the experiment's */
    bool durable;              /* survives power loss when the call returns */
    bool move;                 /* the source file is removed once its bytes are durable here */
    mld_progress *progress;    /* NULL: none */
    void *payload;
};
#define MLD_SAVE_OPTIONS_VERSION 1
#define MLD_SAVE_OPTIONS_INIT MLD_INIT(MLD_SAVE_OPTIONS_VERSION)

/* Saves a copy of the regular file at `source_path` (a clone where the file system can). *out
 * (NULL: not wanted) is the new record. MLD_ENOTFOUND, MLD_EACCESS: the source; MLD_EINVALID: a
 * directory or device; MLD_ECHANGED: written to meanwhile; MLD_ETOOLARGE; MLD_ENOSPACE. Nothing is
 * left behind by an error. Blocks on I/O. */
MLD_API enum mld_error mld_file_save(struct mld_file **out, mld_experiment *experiment,
                                     const char *source_path,
                                     const struct mld_save_options *options);
/* Saves `len` bytes of memory; options->filename is needed. */
MLD_API enum mld_error mld_file_save_bytes(struct mld_file **out, mld_experiment *experiment,
                                           const void *data, size_t len,
                                           const struct mld_save_options *options);

/* A file that is written piece by piece. Not for two threads at once. Errors stick: later writes do
 * nothing and commit reports the first. */
typedef struct mld_writer mld_writer;
enum mld_writer_mode {
    MLD_SEQUENTIAL, /* hashed while written */
    MLD_SEEKABLE    /* may seek and read back; hashed at commit by reading once more */
};
MLD_API enum mld_error mld_writer_open(mld_writer **out, mld_experiment *experiment,
                                       const struct mld_save_options *options,
                                       enum mld_writer_mode mode);
MLD_API enum mld_error mld_writer_write(mld_writer *writer, const void *data, size_t len);
/* MLD_SEEKABLE only. `offset` in bytes from the start. */
MLD_API enum mld_error mld_writer_seek(mld_writer *writer, uint64_t offset);
MLD_API enum mld_error mld_writer_read(mld_writer *writer, void *data, size_t len, size_t *out_len);
MLD_API enum mld_error mld_writer_truncate(mld_writer *writer, uint64_t len);
MLD_API uint64_t mld_writer_tell(const mld_writer *writer);
MLD_API uint64_t mld_writer_size(const mld_writer *writer);
/* Makes the file exist. The writer is freed in any case; on error nothing is left behind. */
MLD_API enum mld_error mld_writer_commit(struct mld_file **out, mld_writer *writer);
/* Removes what was written and frees the writer. NULL is fine. */
MLD_API void mld_writer_abandon(mld_writer *writer);

/* Which files to list. Zero or NULL: no condition. All conditions must hold. */
struct mld_list_options {
    unsigned version;   /* MLD_LIST_OPTIONS_VERSION */
    const char *prefix; /* in this prefix or below it */
    const char *glob;   /* matched against the name, or with a "/" in it against path and name below
                           `prefix`; `**` spans levels */
    const char *filename;        /* exactly this name */
    const char *const *any_tags; /* at least one of them */
    size_t n_any_tags;
    const char *const *all_tags; /* each of them */
    size_t n_all_tags;
    const char *bindr;
    const char
        *metadata_json; /* a JSON object: each of its members is equal in the file's metadata */
    bool all_versions;  /* older versions, too; else the newest only */
    bool deleted;       /* deleted ones, too */
    size_t offset;      /* skip so many */
    size_t limit;       /* 0: no limit */
};
#define MLD_LIST_OPTIONS_VERSION 1
#define MLD_LIST_OPTIONS_INIT MLD_INIT(MLD_LIST_OPTIONS_VERSION)

struct mld_file_list {
    size_t count;
    const struct mld_file *files; /* in order of saving; not to be freed one by one */
};
/* Lists records as they are now, those of other processes included. NULL options: all newest, not
 * deleted files. */
MLD_API enum mld_error mld_file_list(struct mld_file_list **out, mld_experiment *experiment,
                                     const struct mld_list_options *options);
MLD_API void mld_file_list_free(struct mld_file_list *list);

/* One record by id (deleted ones, too). MLD_ENOTFOUND; MLD_ESUPERSEDED names the newer id when its
 * bytes went for a newer version. */
MLD_API enum mld_error mld_file_get(struct mld_file **out, mld_experiment *experiment,
                                    const char *id);
/* One record by name: the newest, or the version that has `alias` (NULL or "latest": the newest).
 */
MLD_API enum mld_error mld_file_find(struct mld_file **out, mld_experiment *experiment,
                                     const char *prefix, const char *filename, const char *alias);

struct mld_download_options {
    unsigned version; /* MLD_DOWNLOAD_OPTIONS_VERSION */
    const char *id;   /* or prefix and filename, and alias */
    const char *prefix;
    const char *filename;
    const char *alias;
    const char *destination; /* a path; an existing folder (or a path ending in "/"): the file's own
                                name in it; NULL: the working directory */
    bool refuse_existing;    /* MLD_EEXISTS instead of replacing */
    mld_progress *progress;
    void *payload;
};
#define MLD_DOWNLOAD_OPTIONS_VERSION 1
#define MLD_DOWNLOAD_OPTIONS_INIT MLD_INIT(MLD_DOWNLOAD_OPTIONS_VERSION)

/* Copies a file out. The destination appears whole and checked against its SHA-256, atomically, or
 * not at all (MLD_ECHECKSUM). *out_path (free with mld_free) is where it is. A file that is
 * replaced by another process meanwhile: by name the newer one is taken, by id MLD_ESUPERSEDED. An
 * older version is never taken in place of a damaged one; by name, the message has the id of the
 * next older one that is there. */
MLD_API enum mld_error mld_file_download(char **out_path, mld_experiment *experiment,
                                         const struct mld_download_options *options);

/* Streams a file's bytes into `sink`, in order, on the calling thread. The checksum is known only
 * at the end: use nothing before MLD_OK. A sink that returns false stops the call with
 * MLD_EINTERRUPTED. */
typedef bool mld_sink(const void *data, size_t len, void *payload);
MLD_API enum mld_error mld_file_read(mld_experiment *experiment, const char *id, mld_sink *sink,
                                     void *payload);
/* The absolute path of the stored bytes, to be read only. Not checked. Free with mld_free. */
MLD_API enum mld_error mld_file_stored_path(char **out_path, mld_experiment *experiment,
                                            const char *id);

/* What is not NULL replaces what the record has ("" for description and "{}" for metadata clear
 * them). */
struct mld_file_changes {
    unsigned version; /* MLD_FILE_CHANGES_VERSION */
    const char *description;
    const char *const *tags; /* with n_tags == 0 and tags not NULL: none */
    size_t n_tags;
    const char *const *bindrs;
    size_t n_bindrs;
    const char *metadata_json;
};
#define MLD_FILE_CHANGES_VERSION 1
#define MLD_FILE_CHANGES_INIT MLD_INIT(MLD_FILE_CHANGES_VERSION)
MLD_API enum mld_error mld_file_update(struct mld_file **out, mld_experiment *experiment,
                                       const char *id, const struct mld_file_changes *changes);

/* Soft: listed as deleted, bytes stay until gc. Deleting twice is fine. Works on a full disk. */
MLD_API enum mld_error mld_file_delete(struct mld_file **out, mld_experiment *experiment,
                                       const char *id);
/* MLD_ENOTFOUND when gc took the bytes already. */
MLD_API enum mld_error mld_file_restore(struct mld_file **out, mld_experiment *experiment,
                                        const char *id);
/* A new file with the same bytes (linked inside the folder where possible), tags and metadata under
 * another name. */
MLD_API enum mld_error mld_file_duplicate(struct mld_file **out, mld_experiment *experiment,
                                          const char *id, const char *prefix, const char *filename);

/* Names this version of its file, e.g. "best"; the name moves from any other version.
 * MLD_ENOTFOUND, MLD_ESUPERSEDED when it is gone. */
MLD_API enum mld_error mld_file_set_alias(mld_experiment *experiment, const char *id,
                                          const char *alias);
MLD_API enum mld_error mld_file_remove_alias(mld_experiment *experiment, const char *prefix,
                                             const char *filename, const char *alias);

/* Frees strings that this library returned through `char **`. */
MLD_API void mld_free(void *memory);

#ifdef __cplusplus
}
#endif
#endif

/* folder.h: a run folder as the syncer sees it: which streams there are and how far each may be
 * sent, and which files. It reads what lies on the disk, through a descriptor of its own: no lock
 * of the program that writes there is taken, and a renamed folder goes on.
 *
 * A stream may be sent up to where it is durable: what the mark of its slot says, or, where the
 * mark does not know it or its writer is not certainly alive, what this reader has made durable
 * itself, in whole lines.
 */
#ifndef SYNC_FOLDER_H
#define SYNC_FOLDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/id.h"
#include "base/map.h"
#include "base/sha256_state.h"

#define FOLDER_MAX_PENDING \
    20000 /* files known and not settled; records are read on when it drains */

struct sync_stream {
    char id[ID_RANDOM_LEN + 1];
    const char *kind; /* "records", "metric", "track", "log" */
    unsigned slot;
    const char *file;         /* relative to the folder */
    uint64_t safe;            /* may be sent up to here */
    uint64_t sent;            /* the server has it up to here ... */
    struct sha256_state hash; /* ... and this is the hash of that */
    bool known;               /* the server was asked what it has */
    bool vanished;            /* collected meanwhile: another stream says the same */
    int64_t waiting_since_ms; /* something is unsent since then; 0: nothing is */
    uint64_t parsed;          /* records: read up to here */
    uint64_t peeked;          /* records: looked through for files given up, up to here */
    bool stuck;               /* the server refuses what comes next: it was said */
    bool ended;               /* records: the last record is `end` */
    struct sync_stream *next;
};

struct sync_file {
    const char *id;
    const char *path;
    const char *filename;
    const char *content_type;
    const char *checksum;
    const char *stream; /* of its record */
    uint64_t size_bytes;
    int tries;
    bool alone;                     /* the server refused it together with others */
    unsigned other;                 /* how many ids were taken by others */
    char other_id[ID_FILE_MAX + 1]; /* under which it goes then */
    struct sync_file *next;
    char texts[];
};

struct sync_folder {
    int dir_fd;
    char *dir;
    const atomic_bool *stop;     /* true ends a look with MLD_EINTERRUPTED; NULL: never */
    char run[ID_RANDOM_LEN + 1]; /* id of the run folder */
    /* Where the experiment is, as its records say; NULL: not known yet. */
    char *project, *folder, *name, *owner; /* owner: the first part of a prefix, or NULL */
    struct sync_stream *streams;
    struct map by_id;               /* stream id -> struct sync_stream */
    struct map gone;                /* file id -> bool *: retired, removed or replaced */
    struct sync_file *first, *last; /* files whose record was read, in order */
    size_t n_pending;
    uint64_t pending_bytes;
    bool alive; /* a writer of this boot is at work */
    bool begun; /* the records say where the experiment is, or that nothing more will be said */
    struct map foreign; /* data files without stream id that were reported */
    struct arena arena; /* texts of streams and keys of the maps */
    uint64_t garbled;   /* lines of records that did not parse */
};

/* MLD_ENOTFOUND; MLD_EFORMAT: no run folder, or a newer one. */
enum mld_error sync_folder_open(struct sync_folder **out, const char *dir);
void sync_folder_free(struct sync_folder *f); /* NULL is fine */
/* Looks again: new streams, new safe lengths, records read up to there. MLD_EINTERRUPTED. */
enum mld_error sync_folder_scan(struct sync_folder *f);
/* Forgets what was sent and read, to begin again with another experiment. */
void sync_folder_restart(struct sync_folder *f);
/* Whether a file's bytes were given up by the folder itself, also by records that are not durable
 * yet: bytes go only after their record was written. */
enum mld_error sync_folder_is_gone(struct sync_folder *f, const char *file_id, bool *out);
/* Calls `visit` with each shard of metrics, tracks and logs that no record names, once in the life
 * of `f`: other tools wrote them, and they have no id to be sent by. */
enum mld_error sync_folder_find_foreign(struct sync_folder *f,
                                        void (*visit)(const char *file, void *payload),
                                        void *payload);
/* Takes the first pending file out; NULL when there is none. The caller frees it. */
struct sync_file *sync_folder_take(struct sync_folder *f);
void sync_folder_put_back(struct sync_folder *f, struct sync_file *file); /* at the end */
void sync_file_free(struct sync_file *file);                              /* NULL is fine */
/* MLD_EINTERRUPTED when it is to stop, for loops over much data. */
enum mld_error sync_folder_check_stop(const struct sync_folder *f);
/* Reads [from, from + len) of a stream; *out_len is less when it vanished or is shorter. */
enum mld_error sync_folder_read(const struct sync_folder *f, const struct sync_stream *s,
                                uint64_t from, void *data, size_t len, size_t *out_len);

#endif

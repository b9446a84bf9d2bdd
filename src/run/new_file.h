/* new_file.h: a version on its way into the run folder. Its bytes are written under their final
 * name first; without their record they do not exist.
 *
 * new_file_begin, then the bytes (new_file_create, or a link to f->path), new_file_commit, and in
 * any case, with the error of the first step that failed, new_file_end. */
#ifndef RUN_NEW_FILE_H
#define RUN_NEW_FILE_H

#include "base/hash.h"
#include "mldash/file.h"
#include "run/run.h"

struct new_file {
    mld_experiment *experiment;
    struct run *run;     /* without run_enter only what is constant in it */
    uint64_t generation; /* of forks: a child must not touch what its parent is writing */
    int dir_fd;          /* the run folder */
    bool owns_dir;       /* dir_fd is a descriptor of its own */
    int fd;              /* of the bytes; -1: not open */
    bool made;           /* the directory for the bytes is there */
    bool committed;
    char id[ID_FILE_MAX + 1];
    struct buf path;    /* "files/models/{id}/{filename}" */
    struct buf members; /* of the record: all that is known before the bytes are */
    int keep;           /* >= 1 or MLD_KEEP_ALL */
    bool durable;
    uint64_t max_bytes;
};

/* Checks the options (everything in them is copied), chooses the id and makes its directory. */
enum mld_error new_file_begin(struct new_file *f, mld_experiment *experiment,
                              const struct mld_save_options *options, const char *filename);
/* Opens f->fd, new and empty, for reading and writing. */
enum mld_error new_file_create(struct new_file *f);
/* MLD_ETOOLARGE when `size` is over the experiment's limit. */
enum mld_error new_file_check_size(const struct new_file *f, uint64_t size);
/* MLD_ESTATE in a forked child of the process that began it. */
enum mld_error new_file_check_process(const struct new_file *f);
/* Closes f->fd, then writes the record; with f->durable all of it survives power loss when this
 * returns. `checksum`: 64 hex digits. *out (NULL: not wanted) is the record. Takes the run's lock;
 * blocks on fsync only when durable. */
enum mld_error new_file_commit(struct mld_file **out, struct new_file *f, uint64_t size,
                               const char *checksum);
/* Frees; with an error it first removes everything, the record too (by a `retire`), and keeps the
 * thread's message. In a forked child it only frees. Returns `error`. */
enum mld_error new_file_end(struct new_file *f, enum mld_error error);

#endif

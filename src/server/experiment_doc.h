/* experiment_doc.h: the document of an experiment (docs/server-data.md), read and written. */
#ifndef SERVER_EXPERIMENT_DOC_H
#define SERVER_EXPERIMENT_DOC_H

#include "server/doc.h"

/* Texts live in the arena they were read into, or are the caller's. NULL: not known. */
struct experiment_doc {
    const char *id;
    int64_t revision; /* 0: not in the store */
    const char *namespace_id;
    const char *project;
    const char *project_name;
    const char *folder; /* "": none */
    const char *name;
    int64_t created; /* us since the epoch */
    /* What records say. */
    const char *description, *metadata;
    struct text_list tags, bindrs;
    struct doc_stamp description_stamp, metadata_stamp, tags_stamp, bindrs_stamp;
    const char *created_at; /* another tool's word on when it was made */
    const char *status;     /* never NULL once read: "UNKNOWN" */
    const char *started, *ended;
    const char *failure; /* why, when FAILED and known */
    int64_t last_seen;   /* us; 0: never */
};
enum mld_error experiment_doc_read(struct experiment_doc *out, struct arena *arena,
                                   const struct meta_doc *doc);
/* The whole document; its texts live in `arena`. MLD_ENOMEM. */
enum mld_error experiment_doc_write(const struct experiment_doc *e, struct arena *arena,
                                    struct meta_doc *out);
/* MLD_ENOTFOUND. */
enum mld_error experiment_doc_get(struct experiment_doc *out, struct arena *arena,
                                  struct meta *meta, const char *id);

#endif

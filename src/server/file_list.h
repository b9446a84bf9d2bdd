/* file_list.h: lists of files: one range of the store, and what else is wanted looked at document
 * by document, META_MAX_FIND at most per page. Thread-safe; blocks on the metadata store. */
#ifndef SERVER_FILE_LIST_H
#define SERVER_FILE_LIST_H

#include "server/file_doc.h"

#define FILE_LIST_MAX_TERMS 16

struct file_term {
    const char *key, *value; /* a member of metadata and its value as text */
};
struct file_query {
    const char *project;
    const char *experiment;                /* NULL: all of the project */
    const char *tags[FILE_LIST_MAX_TERMS]; /* all of them */
    size_t n_tags;
    struct file_term metadata[FILE_LIST_MAX_TERMS]; /* all of them */
    size_t n_metadata;
    const char *prefix; /* canonical; NULL: any */
    const char *glob;   /* with "/": of the path from the prefix down; else of the name alone */
    const char *alias;
    bool all_versions, deleted; /* older versions, deleted files, too */
};
struct listed_file {
    struct file_doc doc;
    const char **aliases;
    size_t n_aliases;
};
struct file_page {
    struct arena arena;
    struct listed_file *items;
    size_t n;
    bool more;
    int64_t last_order; /* where the page ended, when there is `more` */
    const char *last_id;
};
/* A page, newest first. MLD_EINVALID: the pattern is too long. End with arena_free(&out->arena),
 * also after a failure. */
enum mld_error files_list(struct file_page *out, struct meta *meta, const struct file_query *query,
                          struct meta_cursor after, size_t limit);
/* Fills in the aliases of files. */
enum mld_error files_aliases(struct listed_file *files, size_t n, struct arena *arena,
                             struct meta *meta, const char *project);
/* Writes a file as the protocol's F, an object. */
void file_put(struct buf *out, const struct listed_file *f);

#endif

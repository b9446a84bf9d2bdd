/* run_docs.h: what records said of a run, written as answers of the protocol: projects, parameters,
 * series. Thread-safe; blocks on the metadata store. */
#ifndef SERVER_RUN_DOCS_H
#define SERVER_RUN_DOCS_H

#include "server/doc.h"

/* A page of documents. */
struct run_page {
    const char *query; /* the documents' token, for series */
    struct meta_cursor after;
    size_t limit;
    struct meta_docs docs;
    bool more; /* set, with where the page ended */
    int64_t last_order;
    const char *last_id;
};
void run_page_free(struct run_page *page);

/* Writes {"projects":[...] without the closing brace. */
enum mld_error run_put_projects(struct buf *out, struct meta *meta, const char *namespace_id,
                                struct run_page *page);
/* Writes {"series":[...] without the closing brace. */
enum mld_error run_put_series(struct buf *out, struct meta *meta, const char *experiment,
                              struct run_page *page);
/* Writes all parameters as members. */
enum mld_error run_put_parameters(struct buf *out, struct meta *meta, const char *experiment);

#endif

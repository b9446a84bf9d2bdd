/* store.h: what an implementation of meta.h provides. meta.c checks arguments and limits, then
 * calls through this table, so that every store refuses the same. */
#ifndef META_STORE_H
#define META_STORE_H

#include "meta/meta.h"

/* Each slot is as the function of the same name in meta.h; arguments have been checked, `out` is
 * empty. All slots are set. */
struct meta_ops {
    const char *kind;
    enum mld_error (*write)(struct meta *m, struct meta_write *writes, size_t n);
    enum mld_error (*get_many)(struct meta *m, struct meta_docs *out, const char *partition,
                               const char *const *ids, size_t n);
    enum mld_error (*find)(struct meta *m, struct meta_docs *out, const struct meta_range *range);
    enum mld_error (*count)(struct meta *m, uint64_t *out, const struct meta_range *range,
                            uint64_t max);
    enum mld_error (*health)(struct meta *m);
    void (*close)(struct meta *m); /* frees m */
};

/* The first member of every store's own struct. */
struct meta {
    const struct meta_ops *ops;
};

/* Copies a document into the arena of `out` and appends it (for stores). */
enum mld_error meta_docs_add(struct meta_docs *out, const struct meta_doc *doc);
/* Whether a page that has another document to come must end here (for finds). */
bool meta_docs_full(const struct meta_docs *docs);

#endif

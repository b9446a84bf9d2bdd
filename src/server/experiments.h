/* experiments.h: projects and experiments: registering run folders, finding experiments, and what
 * their records say (docs/server-data.md). Thread-safe; all functions block on the metadata store.
 */
#ifndef SERVER_EXPERIMENTS_H
#define SERVER_EXPERIMENTS_H

#include "server/experiment_doc.h"

struct registration {
    const char *namespace_id;
    const char *project, *folder, *name; /* folder NULL: none */
    const char *run;                     /* the run folder's id, 1 to 100 plain bytes */
    bool diverged;
    const char *from; /* diverged: the experiment it was part of so far; NULL: that at the place */
};
/* Registers a run folder: finds the experiment at that place, or makes it (and its project). Texts
 * of *out live in `arena`. Two at once get the same. *out_created: this call made it. MLD_ENAME:
 * a name is none. MLD_EINVALID. MLD_ESTATE: the project is being deleted. */
enum mld_error experiment_register(struct experiment_doc *out, bool *out_created,
                                   struct arena *arena, struct meta *meta,
                                   const struct registration *wanted);

/* The id of a project by its name. MLD_ENOTFOUND, also of one that is being deleted. */
enum mld_error project_find(const char **out, struct arena *arena, struct meta *meta,
                            const char *namespace_id, const char *name);

struct experiment_filter {
    const char *namespace_id;
    const char *project;                /* id; NULL: all */
    const char *folder, *name, *status; /* NULL: all */
};
struct experiment_page {
    struct arena arena;
    struct experiment_doc *items;
    size_t n;
    bool more;
    int64_t last_order; /* where the page ended */
    const char *last_id;
};
/* A page, newest first; `after` as meta.h's cursor. Looks at META_MAX_FIND documents at most, so
 * that a page may be short although there is `more`. End with arena_free(&out->arena). */
enum mld_error experiment_list(struct experiment_page *out, struct meta *meta,
                               const struct experiment_filter *filter, struct meta_cursor after,
                               size_t limit);

#endif

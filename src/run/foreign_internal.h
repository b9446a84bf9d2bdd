/* foreign_internal.h: what foreign.c and foreign_files.c share. */
#ifndef RUN_FOREIGN_INTERNAL_H
#define RUN_FOREIGN_INTERNAL_H

#include "run/run.h"

/* A view of another tool on its way into the state. */
struct taking {
    struct run *run;
    const char *file;
    struct json_doc doc;  /* of the view; run->doc is used by the records */
    struct json_doc mine; /* scratch: JSON text of the state, to compare */
    state_stamp since;    /* what was said later than this is not in the view, and wins */
    unsigned n_taken;     /* records so far */
};

/* Applies the record in run->line; a writer writes it, too. */
enum mld_error foreign_apply(struct taking *t);
enum mld_error foreign_problem(struct taking *t, uint64_t offset, const char *detail);

/* Whether the member says the same as the state; missing ones and null say nothing. */
bool foreign_same_text(const struct taking *t, const struct json_node *node, const char *text);
bool foreign_same_list(const struct taking *t, const struct json_node *node,
                       const struct string_list *list);
bool foreign_same_json(struct taking *t, const struct json_node *node, const char *json);

/* Writes a member of the view into run->line: text, strings (others are left out), anything. */
void foreign_put_text(struct taking *t, const char *key, const struct json_node *node);
void foreign_put_list(struct taking *t, const char *key, const struct json_node *node);
void foreign_put_json(struct taking *t, const char *key, const struct json_node *node);

/* files/.files_metadata.json, parsed. */
enum mld_error foreign_take_files(struct taking *t);

#endif

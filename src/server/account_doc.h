/* account_doc.h: what the files of accounts share: small documents of flat JSON objects. */
#ifndef SERVER_ACCOUNT_DOC_H
#define SERVER_ACCOUNT_DOC_H

#include <jansson.h>

#include "base/hash.h"
#include "server/accounts.h"

#define ACCOUNT_MAX_TOKENS 2

/* Inserts the object (borrowed). `tokens`: n index tokens. The result is that of meta_insert. */
enum mld_error account_insert(struct meta *m, const char *partition, const char *id, json_t *object,
                              int64_t order, const char *const *tokens, size_t n);
/* Reads one: *out is a new reference, *out_doc (NULL: not wanted) the document for account_replace,
 * freed with meta_docs_free. MLD_ENOTFOUND. */
enum mld_error account_get(struct meta *m, const char *partition, const char *id, json_t **out,
                           struct meta_docs *out_doc);
/* Writes a changed object in place of the one that was read: same order and tokens. MLD_ECONFLICT.
 */
enum mld_error account_replace(struct meta *m, const struct meta_docs *read, json_t *object);
/* All documents with a token, in order. */
enum mld_error account_find(struct meta *m, const char *partition, const char *token,
                            struct meta_docs *out);
/* The document's object, a new reference. MLD_EDAMAGED. */
enum mld_error account_parse(const struct meta_doc *doc, json_t **out);

/* Members: "" or 0 or false when missing. Texts are copied into the arena; NULL: no memory. */
const char *account_text(struct arena *arena, json_t *object, const char *key);
int64_t account_int(json_t *object, const char *key);
static inline enum mld_error account_no_memory(void)
{
    return error_set(MLD_ENOMEM, "no memory for an account's document");
}

/* SHA-256 of a secret, in hex: what is kept of it. */
enum mld_error account_hash(const char *secret, char out[SHA256_HEX_LEN + 1]);
/* `prefix` and 43 random characters of base64url (256 bits). */
#define ACCOUNT_SECRET_LEN 43
enum mld_error account_secret(const char *prefix, char *out);

/* A name in `names`: "{kind}:{name}" belongs to `id`, whose document is in `partition`. */
struct account_name {
    const char *kind;
    const char *name;
    const char *id;        /* of the caller's making */
    const char *partition; /* of the document that the name is for */
    bool foreign;          /* for the user of a foreign identity */
};
/* Takes it: MLD_OK and its id. That is another than `id` when the name was reserved before and the
 * document is missing (a crash, or it is being made): to be gone on with. MLD_EEXISTS: it is taken,
 * by *out_id, or is being taken for a foreign identity, which nobody else may go on with: who did
 * would be that identity's user. *out_id lives in `arena`; NULL: not known. */
enum mld_error account_reserve(struct meta *m, struct arena *arena, const struct account_name *name,
                               const char **out_id);
/* The id that a name belongs to, complete or not; in `arena`. MLD_ENOTFOUND. */
enum mld_error account_name_get(struct meta *m, struct arena *arena, const char *kind,
                                const char *name, const char **out_id);

#endif

/* file_offer.h: what files.h's parts share: which document an offer is about. */
#ifndef SERVER_FILE_OFFER_H
#define SERVER_FILE_OFFER_H

#include "server/files.h"

/* One offer with its document. */
struct offered {
    struct file_offer *offer;
    const char *doc_id;
    struct file_doc *doc; /* NULL: there is none yet */
    const char *key;      /* for its bytes */
    int64_t life;
    bool twin; /* the offer has `as` */
    bool done;
};

/* Reads the documents of all offers that are not done, and says what each is: FILE_ABSENT where the
 * bytes are welcome. Twins are made known in the documents of the ids that were taken. */
enum mld_error offers_load(const struct files_place *place, struct offered *all, size_t n,
                           struct arena *arena);
/* The document of an offer whose bytes may come, in memory: as it is or new. NULL: out of memory.
 */
struct file_doc *offered_doc(const struct files_place *place, struct offered *o,
                             struct arena *arena);
/* Which key its bytes get: sets key and life. */
enum mld_error offered_key(const struct files_place *place, struct offered *o, struct arena *arena);
/* Writes down that files are about to become live: finished by files_finish_put when this server
 * does not. `id` has room for 64. */
enum mld_error offers_note(const struct files_place *place, const struct offered *all, size_t n,
                           char id[64]);
/* Settles the names of those that are live. */
enum mld_error offers_settle(const struct files_place *place, const struct offered *all, size_t n);

#endif

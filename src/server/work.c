#include "server/work.h"

#include <string.h>

#include "base/clock.h"

#define MAX_TRIES 64

void work_document(struct meta_doc *doc, const char *id, int64_t delay_us, const char *text)
{
    static const char *const TOKENS[] = {WORK_TOKEN};
    *doc = (struct meta_doc){.partition = WORK_PARTITION,
                             .id = id,
                             .order = clock_now_us() + delay_us,
                             .tokens = TOKENS,
                             .n_tokens = 1,
                             .text = text,
                             .text_len = strlen(text)};
}

enum mld_error work_add(struct meta *meta, const char *id, int64_t delay_us, const char *text)
{
    struct meta_doc doc;
    work_document(&doc, id, delay_us, text);
    for (int i = 0; i < MAX_TRIES; i++) {
        enum mld_error error = meta_insert(meta, &doc);
        if (error != MLD_EEXISTS)
            return error;
        struct meta_docs docs = {0};
        error = meta_get(meta, &docs, doc.partition, id);
        if (error == MLD_OK) {
            doc.revision = docs.docs[0].revision;
            if (docs.docs[0].order < doc.order)
                doc.order = docs.docs[0].order;
            error = meta_replace(meta, &doc);
        }
        meta_docs_free(&docs);
        if (error != MLD_ECONFLICT && error != MLD_ENOTFOUND)
            return error;
    }
    return error_set(MLD_EUNAVAILABLE, "the document %s changes all the time", id);
}

void work_done(struct meta *meta, const char *id)
{
    meta_delete(meta, WORK_PARTITION, id, 0);
}

/* work.h: what the server has begun, written down before it begins, so that whoever comes next can
 * finish it (docs/server-data.md, "Work"). One partition holds all of it in order of when it is
 * due; the sweeper takes what is. Thread-safe; blocks on the metadata store. */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

#include <stdint.h>

#include "base/error.h"
#include "meta/meta.h"

#define WORK_PARTITION "work"
#define WORK_TOKEN "due"
#define WORK_LANE_US (INT64_C(3600) * 1000000)
#define WORK_FILES_US (INT64_C(300) * 1000000)
#define WORK_RETIRED_US (INT64_C(600) * 1000000)
#define WORK_UPLOAD_US (INT64_C(7) * 24 * 3600 * 1000000)
/* An upload that is in no document: longer than one that is in a document is waited for. */
#define WORK_STRAY_US (WORK_UPLOAD_US + INT64_C(24) * 3600 * 1000000)
#define WORK_SEAL_US WORK_FILES_US

/* Writes that `id` ("lane:17...") is due in `delay_us`. One that is there already gets a new
 * revision, so that whoever was just about to delete it does not. */
enum mld_error work_add(struct meta *meta, const char *id, int64_t delay_us, const char *text);
/* The document that work_add writes, for a write of the caller's. `doc->tokens` point to constant
 * memory; other texts are borrowed. */
void work_document(struct meta_doc *doc, const char *id, int64_t delay_us, const char *text);
/* It is done; failures are of no importance, since the sweeper looks again. */
void work_done(struct meta *meta, const char *id);

#endif

/* name.h: what a name may be. One function per kind decides; the result is safe to put into a path
 * below the run folder. All names are UTF-8, without control characters, without "." and ".."
 * components, no component above 255 bytes. Names are kept as given: no case folding, no
 * normalisation. */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>

#define NAME_MAX_COMPONENT_BYTES 255
#define NAME_MAX_PATH_BYTES 1024
#define NAME_MAX_TAG_BYTES 255
#define NAME_MAX_TAGS 1000

/* A file name: one component, no "/", no hidden reserved name. NULL or "" is MLD_ENAME. The message
 * says what is wrong with which name. */
enum mld_error name_check_file(const char *name);
/* The directory of files in canonical form: "/" or "/models/best". Input "models", "/models/", NULL
 * and "" are fine; "..", ".", "//" inside, and a path above NAME_MAX_PATH_BYTES are not. Appended
 * to `out`. */
enum mld_error name_canonical_prefix(const char *prefix, struct buf *out);
/* A metric: components joined by "/", no reserved component. A track topic: the same. */
enum mld_error name_check_series(const char *name);
/* A project or experiment: one component. Not ".mldash" and the other reserved ones. */
enum mld_error name_check_component(const char *what, const char *name);
/* A folder between root and project ("/a/b", "a/b"; NULL and "" are none): canonical "a/b" appended
 * to `out`. A whole experiment prefix ("owner/project/name") goes through the same function. */
enum mld_error name_canonical_folder(const char *what, const char *folder, struct buf *out);
/* An alias: letters, digits, and "._-", 1 to 64 bytes; "latest" is reserved. */
enum mld_error name_check_alias(const char *name);
/* A tag or bindr: 1 to NAME_MAX_TAG_BYTES bytes of UTF-8 without control characters. */
enum mld_error name_check_tag(const char *what, const char *tag);
/* True for names the run folder keeps for itself: data.jsonl, data.{n}.jsonl, metadata.json,
 * .files_metadata.json, .files_metadata.lock, .metadata.lock, .mldash, ... */
bool name_is_reserved(const char *component, size_t len);

/* The path of stored bytes: "files/models/{id}/{filename}". All parts must have passed the checks
 * above. */
void name_file_path(struct buf *out, const char *canonical_prefix, const char *id,
                    const char *filename);
/* The directory of a series: "metrics/train/loss", "tracks/robot_pos" ("/" becomes "_" in tracks,
 * as the published clients do). NULL is the unnamed metric: "metrics/None". */
void name_series_dir(struct buf *out, const char *kind_dir, const char *name);

#endif

/* options.h: checks of what users give to several calls. Nothing is written before these passed. */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include <stddef.h>

#include "base/error.h"
#include "mldash/file.h"

#define OPTIONS_MAX_TEXT_BYTES (1u << 20)
#define OPTIONS_MAX_JSON_BYTES (8u << 20)

/* `what` is "tag" or "bindr". NULL items with n == 0 are fine. MLD_EINVALID names the tag. */
enum mld_error options_check_tags(const char *what, const char *const *items, size_t n);
/* A description: UTF-8, at most OPTIONS_MAX_TEXT_BYTES; NULL is fine. */
enum mld_error options_check_text(const char *what, const char *text);
/* All but names: version, tags, bindrs, description, metadata, content type, keep. */
enum mld_error options_check_save(const struct mld_save_options *options);

#endif

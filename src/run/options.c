#include "run/options.h"

#include <string.h>

#include "base/json.h"
#include "base/name.h"
#include "base/utf8.h"

enum mld_error options_check_tags(const char *what, const char *const *items, size_t n)
{
    if (items == NULL && n > 0)
        return error_set(MLD_EINVALID, "%zu %ss were announced, but none given", n, what);
    if (n > NAME_MAX_TAGS)
        return error_set(MLD_ETOOLARGE, "%zu %ss are too many; at most %d", n, what, NAME_MAX_TAGS);
    for (size_t i = 0; i < n; i++) {
        enum mld_error error = name_check_tag(what, items[i]);
        if (error != MLD_OK)
            return error;
    }
    return MLD_OK;
}

enum mld_error options_check_text(const char *what, const char *text)
{
    if (text == NULL)
        return MLD_OK;
    size_t len = strlen(text);
    if (len > OPTIONS_MAX_TEXT_BYTES)
        return error_set(MLD_ETOOLARGE, "%s of %zu bytes; at most %u", what, len,
                         OPTIONS_MAX_TEXT_BYTES);
    if (!utf8_is_valid(text, len))
        return error_set(MLD_EINVALID, "%s is not UTF-8", what);
    return MLD_OK;
}

enum mld_error options_check_save(const struct mld_save_options *o)
{
    if (o->version != MLD_SAVE_OPTIONS_VERSION)
        return error_set(MLD_EINVALID, "save options of version %u; this library knows %d",
                         o->version, MLD_SAVE_OPTIONS_VERSION);
    if (o->keep < MLD_KEEP_ALL)
        return error_set(MLD_EINVALID, "keep is %d; it is a number of versions or MLD_KEEP_ALL",
                         o->keep);
    if (o->metadata_json != NULL && strlen(o->metadata_json) > OPTIONS_MAX_JSON_BYTES)
        return error_set(MLD_ETOOLARGE, "metadata of more than %u bytes; save it as a file",
                         OPTIONS_MAX_JSON_BYTES);
    enum mld_error error = options_check_tags("tag", o->tags, o->n_tags);
    if (error == MLD_OK)
        error = options_check_tags("bindr", o->bindrs, o->n_bindrs);
    if (error == MLD_OK)
        error = options_check_text("description", o->description);
    if (error == MLD_OK && o->content_type != NULL)
        error = name_check_tag("content type", o->content_type);
    if (error == MLD_OK)
        error = json_check("metadata", o->metadata_json, true, true);
    return error;
}

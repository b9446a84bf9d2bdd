/* http_json.c: the limits around jansson. */
#include "server/http_json.h"

#include "server/http.h"

static enum mld_error blame_body(enum mld_error code)
{
    return error_blame(code, "body");
}

/* Refuses deep nesting before the parser, which recurses. Brackets in strings do not count. */
static enum mld_error check_depth(const char *text, size_t len)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '[' || c == '{'))
            depth++;
        else if (!in_string && (c == ']' || c == '}') && depth > 0)
            depth--;
        if (depth > HTTP_MAX_JSON_DEPTH)
            return blame_body(error_set(MLD_EINVALID, "the JSON is nested deeper than %d levels",
                                        HTTP_MAX_JSON_DEPTH));
    }
    return MLD_OK;
}

enum mld_error http_json_read(json_t **out, const char *text, size_t len)
{
    json_error_t problem;
    *out = NULL;
    enum mld_error error = check_depth(text, len);
    if (error != MLD_OK)
        return error;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
    if (json == NULL)
        return blame_body(error_set(MLD_EINVALID, "the body is no JSON object: %s, at byte %d",
                                    problem.text, problem.position));
    if (!json_is_object(json)) {
        json_decref(json);
        return blame_body(error_set(MLD_EINVALID, "the body is no JSON object"));
    }
    *out = json;
    return MLD_OK;
}

/* http_route.c: paths and queries. */
#include "server/http_route.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

static enum mld_error bad_target(const char *why)
{
    error_blame(error_set(MLD_EINVALID, "%s", why), "target");
    return MLD_EINVALID;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One decoded byte from text[0..left); *used is how long it was. -1: a broken escape, or NUL. */
static int decoded_byte(const char *text, size_t left, bool plus, size_t *used)
{
    *used = 1;
    if (*text == '+' && plus)
        return ' ';
    if (*text != '%')
        return (unsigned char)*text;
    if (left < 3 || hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0)
        return -1;
    *used = 3;
    int byte = hex_digit(text[1]) * 16 + hex_digit(text[2]);
    return byte == 0 ? -1 : byte;
}

enum mld_error route_decode(const char **out, struct arena *arena, const char *text, size_t len,
                            bool plus)
{
    *out = NULL;
    char *decoded = arena_alloc(arena, len + 1);
    size_t decoded_len = 0;
    if (decoded == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    for (size_t i = 0, used = 0; i < len; i += used) {
        int byte = decoded_byte(text + i, len - i, plus, &used);
        if (byte < 0)
            return bad_target("the address has a broken % escape");
        decoded[decoded_len++] = (char)byte;
    }
    decoded[decoded_len] = '\0';
    if (!utf8_is_valid(decoded, decoded_len))
        return bad_target("the address is no UTF-8");
    *out = decoded;
    return MLD_OK;
}

static enum mld_error query_pair(struct pair *out, struct arena *arena, const char *text,
                                 size_t len)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len;
    size_t value_at = equals ? name_len + 1 : len;
    enum mld_error error = route_decode(&out->name, arena, text, name_len, true);
    if (error == MLD_OK)
        error = route_decode(&out->value, arena, text + value_at, len - value_at, true);
    out->name_len = out->name ? strlen(out->name) : 0;
    return error;
}

enum mld_error route_query(struct pair **out, size_t *out_n, struct arena *arena, const char *query)
{
    *out = NULL;
    *out_n = 0;
    size_t n = 1;
    for (const char *p = query; *p != '\0'; p++)
        n += *p == '&';
    _Static_assert(HTTP_MAX_QUERY == 100, "the message says so");
    if (n > HTTP_MAX_QUERY)
        return bad_target("the query has more than 100 names");
    struct pair *pairs = arena_alloc(arena, n * sizeof *pairs);
    if (pairs == NULL)
        return error_set(MLD_ENOMEM, "out of memory");
    for (const char *p = query; *p != '\0';) {
        size_t len = strcspn(p, "&");
        enum mld_error error = query_pair(&pairs[*out_n], arena, p, len);
        if (error != MLD_OK)
            return error;
        *out_n += len > 0;
        p += len + (p[len] == '&');
    }
    *out = pairs;
    return MLD_OK;
}

/* The segment of a path at `path` (after its "/"), and the next one; NULL after the last. */
static const char *next_segment(const char *path, size_t *len)
{
    *len = strcspn(path, "/");
    return path[*len] == '/' ? path + *len + 1 : NULL;
}

static bool is_param(const char *segment, size_t len)
{
    return len >= 3 && segment[0] == '{' && segment[len - 1] == '}';
}

static bool is_rest(const char *segment, size_t len)
{
    return is_param(segment, len) && len > 5 && memcmp(segment + len - 4, "...", 3) == 0;
}

/* The path of a request, cut and decoded. */
struct target {
    const char *raw[HTTP_MAX_SEGMENTS]; /* from here on, for {name...} */
    const char *segments[HTTP_MAX_SEGMENTS];
    size_t n;
};

static enum mld_error cut(struct target *out, struct arena *arena, const char *path)
{
    size_t len = 0;
    for (const char *p = path + 1; p != NULL;) {
        if (out->n == HTTP_MAX_SEGMENTS)
            return error_set(MLD_ENOTFOUND, "there is nothing at this address");
        const char *next = next_segment(p, &len);
        out->raw[out->n] = p;
        enum mld_error error = route_decode(&out->segments[out->n], arena, p, len, false);
        if (error != MLD_OK)
            return error;
        out->n++;
        p = next;
    }
    return MLD_OK;
}

/* How well a row fits: 0 not at all; else a number with a bit for each literal segment, the first
 * one highest, so that more literal is greater. */
static uint64_t fit(const struct route *route, const struct target *target)
{
    uint64_t score = 1;
    size_t i = 0;
    size_t len = 0;
    for (const char *p = route->path + 1; p != NULL; i++) {
        const char *next = next_segment(p, &len);
        if (i == target->n)
            return 0;
        if (is_rest(p, len))
            return target->segments[i][0] ? score << (HTTP_MAX_SEGMENTS - i) : 0;
        bool literal = !is_param(p, len);
        if (literal ? strlen(target->segments[i]) != len || memcmp(target->segments[i], p, len) != 0
                    : target->segments[i][0] == '\0')
            return 0;
        score = score << 1 | literal;
        p = next;
    }
    return i == target->n ? score << (HTTP_MAX_SEGMENTS - i) : 0;
}

static enum mld_error take_params(struct route_match *out, struct arena *arena,
                                  const struct target *target)
{
    size_t len = 0;
    size_t i = 0;
    for (const char *p = out->route->path + 1; p != NULL; i++) {
        const char *next = next_segment(p, &len);
        if (is_rest(p, len)) {
            struct pair *rest = &out->params[out->n_params++];
            const char *raw = target->raw[i];
            *rest = (struct pair){p + 1, len - 5, NULL};
            return route_decode(&rest->value, arena, raw, strlen(raw), false);
        }
        if (is_param(p, len))
            out->params[out->n_params++] = (struct pair){p + 1, len - 2, target->segments[i]};
        p = next;
    }
    return MLD_OK;
}

static void allow(struct route_match *out, const char *method)
{
    size_t used = strlen(out->allow);
    size_t len = strlen(method);
    if (strstr(out->allow, method) != NULL || used + len + 3 > sizeof out->allow)
        return;
    if (used > 0) {
        memcpy(out->allow + used, ", ", 2);
        used += 2;
    }
    memcpy(out->allow + used, method, len + 1);
    if (strcmp(method, "GET") == 0)
        allow(out, "HEAD");
}

enum mld_error route_match(struct route_match *out, struct arena *arena, const struct route *routes,
                           const char *method, const char *path)
{
    struct target target = {0};
    uint64_t best = 0;
    *out = (struct route_match){0};
    assert(path[0] == '/');
    enum mld_error error = cut(&target, arena, path);
    if (error != MLD_OK)
        return error;
    bool head = strcmp(method, "HEAD") == 0;
    for (const struct route *route = routes; route->method != NULL; route++) {
        uint64_t score = fit(route, &target);
        if (score == 0)
            continue;
        allow(out, route->method);
        bool same =
            strcmp(route->method, method) == 0 || (head && strcmp(route->method, "GET") == 0);
        if (same && score > best) {
            best = score;
            out->route = route;
        }
    }
    if (out->route == NULL && out->allow[0] != '\0')
        return error_set(MLD_ESTATE, "this address has no %s, only %s", method, out->allow);
    if (out->route == NULL)
        return error_set(MLD_ENOTFOUND, "there is nothing at this address");
    return take_params(out, arena, &target);
}

static enum mld_error check_path(const struct route *route)
{
    size_t len = 0;
    size_t n = 0;
    size_t segments = 0;
    for (const char *p = route->path + 1; p != NULL;) {
        const char *next = next_segment(p, &len);
        n += is_param(p, len);
        if (is_rest(p, len) && next != NULL)
            return error_set(MLD_EINVALID, "route %s: {name...} is not its end", route->path);
        if (++segments > HTTP_MAX_SEGMENTS || n > HTTP_MAX_PARAMS)
            return error_set(MLD_EINVALID, "route %s: too many parts", route->path);
        p = next;
    }
    return MLD_OK;
}

enum mld_error route_check(const struct route *routes)
{
    for (const struct route *route = routes; route->method != NULL; route++) {
        if (route->path == NULL || route->path[0] != '/')
            return error_set(MLD_EINVALID, "a route's path does not begin with /");
        if (route->permission == PERMISSION_UNSET || route->permission > PERMISSION_ADMIN)
            return error_set(MLD_EINVALID, "route %s %s has no permission", route->method,
                             route->path);
        if (route->handler == NULL)
            return error_set(MLD_EINVALID, "route %s %s has no handler", route->method,
                             route->path);
        enum mld_error error = check_path(route);
        if (error != MLD_OK)
            return error;
    }
    return MLD_OK;
}

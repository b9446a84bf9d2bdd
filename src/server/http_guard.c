/* http_guard.c: the head of a request, looked at with suspicion. */
#include "server/http_guard.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "server/http.h"

#define REFUSE(code, field, text) ((struct guard_verdict){code, text, field})
#define FINE ((struct guard_verdict){0, NULL, NULL})

const char *guard_header(const struct guard_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_headers; i++) {
        if (strcasecmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    }
    return NULL;
}

static size_t count(const struct guard_head *head, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->n_headers; i++)
        n += strcasecmp(head->headers[i].name, name) == 0;
    return n;
}

/* A token of RFC 9110: what methods and header names are made of. */
static bool is_token(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!isalnum((unsigned char)*text) && strchr("!#$%&'*+-.^_`|~", *text) == NULL)
            return false;
    }
    return true;
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return true;
    }
    return false;
}

static bool is_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '\0';
}

static struct guard_verdict check_target(const char *target)
{
    if (strlen(target) > HTTP_MAX_URL_BYTES)
        return REFUSE(414, "target", "the address is longer than 8192 bytes");
    if (target[0] != '/')
        return REFUSE(400, "target", "the address does not begin with /");
    if (has_control(target) || strpbrk(target, " \t#") != NULL)
        return REFUSE(400, "target", "the address has characters that must be escaped");
    return FINE;
}

static struct guard_verdict check_framing(const struct guard_head *head)
{
    const char *encoding = guard_header(head, "Transfer-Encoding");
    const char *length = guard_header(head, "Content-Length");
    if (encoding && length)
        return REFUSE(400, "Content-Length", "both Content-Length and Transfer-Encoding");
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return REFUSE(400, "Transfer-Encoding", "Transfer-Encoding may only be chunked");
    if (encoding && strcmp(head->version, "HTTP/1.1") != 0)
        return REFUSE(400, "Transfer-Encoding", "Transfer-Encoding needs HTTP/1.1");
    if (length && !is_number(length))
        return REFUSE(400, "Content-Length", "Content-Length is no number");
    return FINE;
}

static struct guard_verdict check_headers(const struct guard_head *head)
{
    static const char *const once[] = {"Content-Length", "Transfer-Encoding", "Host",
                                       "Authorization"};
    size_t bytes = 0;
    if (head->n_headers > HTTP_MAX_HEADERS)
        return REFUSE(431, "head", "more than 100 headers");
    for (size_t i = 0; i < head->n_headers; i++) {
        const struct header *header = &head->headers[i];
        bytes += strlen(header->name) + strlen(header->value) + 4;
        if (!is_token(header->name))
            return REFUSE(400, "head", "a header's name has characters that it may not have");
        if (has_control(header->value))
            return REFUSE(400, header->name, "a header has control characters");
    }
    if (bytes > HTTP_MAX_HEADER_BYTES)
        return REFUSE(431, "head", "the headers are longer than 32768 bytes");
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        if (count(head, once[i]) > 1)
            return REFUSE(400, once[i], "a header that may be there once is there twice");
    }
    return FINE;
}

struct guard_verdict guard_form(const struct guard_head *head)
{
    if (!is_token(head->method) || strlen(head->method) > 16)
        return REFUSE(400, "method", "the method is none");
    struct guard_verdict verdict = check_target(head->target);
    if (verdict.status == 0)
        verdict = check_headers(head);
    if (verdict.status == 0)
        verdict = check_framing(head);
    if (verdict.status != 0)
        return verdict;
    const char *host = guard_header(head, "Host");
    bool may_lack = strcmp(head->version, "HTTP/1.0") == 0;
    if (host == NULL ? !may_lack : host[0] == '\0')
        return REFUSE(400, "Host", "there is no Host header");
    const char *expect = guard_header(head, "Expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return REFUSE(417, "Expect", "only Expect: 100-continue is understood");
    return FINE;
}

/* The length of a host without ":port". */
static size_t host_len(const char *host)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    return end ? (size_t)(end - host) + 1 : strcspn(host, ":");
}

static bool is_host(const char *host, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(host, name, len) == 0;
}

static bool is_loopback_ipv4(const char *host, size_t len)
{
    size_t dots = 0;
    if (len < 9 || strncmp(host, "127.", 4) != 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        dots += host[i] == '.';
        if (host[i] != '.' && !isdigit((unsigned char)host[i]))
            return false;
    }
    return dots == 3 && len <= 15;
}

bool guard_is_loopback(const char *host)
{
    size_t len = host_len(host);
    if (host[len] != '\0' && (host[len] != ':' || !is_number(host + len + 1)))
        return false;
    return is_host(host, len, "localhost") || is_host(host, len, "[::1]") ||
           is_loopback_ipv4(host, len);
}

static bool is_own_name(const char *host, const struct guard_names *names)
{
    size_t len = host_len(host);
    for (size_t i = 0; i < names->n_hosts; i++) {
        if (is_host(host, len, names->hosts[i]))
            return true;
    }
    return guard_is_loopback(host);
}

const char *guard_origin(const struct guard_head *head, const struct guard_names *names)
{
    const char *origin = guard_header(head, "Origin");
    for (size_t i = 0; origin && i < names->n_origins; i++) {
        if (strcasecmp(origin, names->origins[i]) == 0)
            return names->origins[i];
    }
    return NULL;
}

static bool is_same_origin(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    return authority && host && strcasecmp(authority + 3, host) == 0;
}

static bool only_reads(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
           strcmp(method, "OPTIONS") == 0;
}

struct guard_verdict guard_names_check(const struct guard_head *head,
                                       const struct guard_names *names)
{
    const char *host = guard_header(head, "Host");
    const char *origin = guard_header(head, "Origin");
    if (!names->any_host && (host == NULL || !is_own_name(host, names)))
        return REFUSE(421, "Host", "this server does not go by that Host name: see --host");
    if (origin && !only_reads(head->method) && !is_same_origin(origin, host) &&
        guard_origin(head, names) == NULL)
        return REFUSE(403, "Origin",
                      "requests from pages of that Origin are not taken: see --cors-origin");
    return FINE;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A header lies at `at`: its name, NUL for the colon, blanks, its value, two NUL for CRLF. Returns
 * what follows, NULL when it is not so. */
static const char *skip_header(const char *at, const char *end, const struct header *header)
{
    size_t name_len = strlen(header->name);
    size_t value_len = strlen(header->value);
    if (header->name != at)
        return NULL;
    at += name_len + 1;
    while (at < end && is_blank(*at))
        at++;
    if (value_len > 0 && header->value != at)
        return NULL;
    at += value_len;
    while (at < end && is_blank(*at))
        at++;
    if (end - at < 2 || at[0] != '\0' || at[1] != '\0')
        return NULL;
    return at + 2;
}

bool guard_accounts(const struct guard_head *head, const char *target_at, size_t len)
{
    const char *end = head->method + len;
    const char *at = head->method + strlen(head->method) + 1;
    if (target_at != at)
        return false;
    at += strlen(head->target) + 1;
    if (head->version != at)
        return false;
    at += strlen(head->version) + 2;
    for (size_t i = 0; i < head->n_headers && at != NULL; i++)
        at = skip_header(at, end, &head->headers[i]);
    return at != NULL && end - at == 2;
}

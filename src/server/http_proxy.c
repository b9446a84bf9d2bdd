/* http_proxy.c: X-Forwarded-For, from its end. */
#include "server/http_proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

struct address {
    unsigned char bytes[16];
    bool is_ipv4;
};

static bool read_address(struct address *out, const char *text)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    if (inet_pton(AF_INET6, text, out->bytes) == 1) {
        out->is_ipv4 = memcmp(out->bytes, mapped, sizeof mapped) == 0;
        return true;
    }
    out->is_ipv4 = true;
    memcpy(out->bytes, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out->bytes + sizeof mapped) == 1;
}

static void write_address(char out[PROXY_ADDRESS_MAX], const struct address *a)
{
    int family = a->is_ipv4 ? AF_INET : AF_INET6;
    if (inet_ntop(family, a->bytes + (a->is_ipv4 ? 12 : 0), out, PROXY_ADDRESS_MAX) == NULL)
        memcpy(out, "?", 2);
}

enum mld_error proxy_parse(struct proxy_net *out, const char *text)
{
    char address[PROXY_ADDRESS_MAX];
    struct address a;
    int64_t bits = -1;
    size_t len = strcspn(text, "/");
    bool good = len < sizeof address;
    if (good) {
        memcpy(address, text, len);
        address[len] = '\0';
        good = read_address(&a, address);
    }
    if (good && text[len] == '/')
        good = num_parse_int64(text + len + 1, strlen(text + len + 1), &bits) && bits >= 0 &&
               bits <= (a.is_ipv4 ? 32 : 128);
    if (!good)
        return error_set(MLD_EINVALID,
                         "'%s' is no address of a proxy: one is like 127.0.0.1 or 10.0.0.0/8",
                         text);
    memcpy(out->bytes, a.bytes, sizeof out->bytes);
    out->bits = bits < 0 ? 128 : (unsigned)bits + (a.is_ipv4 ? 96 : 0);
    return MLD_OK;
}

static bool is_in(const struct proxy_net *net, const struct address *a)
{
    unsigned whole = net->bits / 8;
    unsigned rest = net->bits % 8;
    if (memcmp(net->bytes, a->bytes, whole) != 0)
        return false;
    return rest == 0 || (net->bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

static bool is_trusted(const struct address *a, const struct proxy_net *nets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_in(&nets[i], a))
            return true;
    }
    return false;
}

/* An entry: an address, an IPv4 address with a port, or an IPv6 address in brackets, with or
 * without a port. */
static bool read_entry(struct address *out, const char *text, size_t len)
{
    char entry[PROXY_ADDRESS_MAX];
    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    if (len == 0 || len >= sizeof entry)
        return false;
    memcpy(entry, text, len);
    entry[len] = '\0';
    char *address = entry;
    char *colon = strchr(entry, ':');
    if (entry[0] == '[') {
        address++;
        char *end = strchr(address, ']');
        if (end == NULL)
            return false;
        *end = '\0';
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        *colon = '\0';
    }
    return read_address(out, address);
}

/* Reads one header's entries from its end while they are trusted; *last is the last that was read.
 * True: go on with the header before. */
static bool read_header(struct address *last, const char *value, const struct proxy_net *nets,
                        size_t n)
{
    size_t end = strlen(value);
    for (;;) {
        struct address found;
        size_t begin = end;
        while (begin > 0 && value[begin - 1] != ',')
            begin--;
        if (!read_entry(&found, value + begin, end - begin))
            return false;
        *last = found;
        if (!is_trusted(&found, nets, n))
            return false;
        if (begin == 0)
            return true;
        end = begin - 1;
    }
}

void proxy_client(char out[PROXY_ADDRESS_MAX], const char *peer, const struct guard_head *head,
                  const struct proxy_net *nets, size_t n)
{
    struct address last;
    snprintf(out, PROXY_ADDRESS_MAX, "%s", peer);
    if (n == 0 || !read_address(&last, peer) || !is_trusted(&last, nets, n))
        return;
    for (size_t i = head->n_headers; i-- > 0;) {
        if (strcasecmp(head->headers[i].name, "X-Forwarded-For") == 0 &&
            !read_header(&last, head->headers[i].value, nets, n))
            break;
    }
    write_address(out, &last);
}

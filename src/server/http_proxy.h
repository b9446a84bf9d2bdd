/* http_proxy.h: whose request it is that a proxy passes on. Pure. */
#ifndef SERVER_HTTP_PROXY_H
#define SERVER_HTTP_PROXY_H

#include "base/error.h"
#include "server/http_guard.h"

#define PROXY_ADDRESS_MAX 64

/* Addresses of proxies that are trusted: one, or all that begin with the same bits. */
struct proxy_net {
    unsigned char bytes[16]; /* IPv6; IPv4 as ::ffff:a.b.c.d */
    unsigned bits;           /* of these */
};

/* "127.0.0.1", "10.0.0.0/8", "fd00::/8". MLD_EINVALID. */
enum mld_error proxy_parse(struct proxy_net *out, const char *text);

/* The client's address as text. `peer` is the address of the connection. When it is a trusted
 * proxy's, X-Forwarded-For is read from its end: what a trusted proxy added counts, and the first
 * address that is not trusted is the client; what stands before it the client may have made up. An
 * entry that is no address ends it: the client is then the last that is one. */
void proxy_client(char out[PROXY_ADDRESS_MAX], const char *peer, const struct guard_head *head,
                  const struct proxy_net *nets, size_t n);

#endif

/* http_listen.c: "ADDRESS:PORT" to a listening socket. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"
#include "server/http_internal.h"

#define BACKLOG 1024

/* Cuts "[::1]:80", "127.0.0.1:80" and ":80" into address ("" when none) and port. */
static enum mld_error cut(const char *listen, char address[64], char port[8])
{
    const char *colon = strrchr(listen, ':');
    const char *begin = listen;
    const char *end = colon;
    int64_t number = 0;
    if (colon && listen[0] == '[') {
        begin = listen + 1;
        end = colon > begin && colon[-1] == ']' ? colon - 1 : NULL;
    }
    if (colon == NULL || end == NULL || end - begin >= 64 || strlen(colon + 1) > 5 ||
        !num_parse_int64(colon + 1, strlen(colon + 1), &number) || number < 0 || number > 65535)
        return error_set(MLD_EINVALID,
                         "cannot listen at '%s': ADDRESS:PORT is wanted, like "
                         "127.0.0.1:3000 or [::1]:3000",
                         listen);
    memcpy(address, begin, (size_t)(end - begin));
    address[end - begin] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return MLD_OK;
}

static enum mld_error bind_errno(int number, const char *listen)
{
    if (number == EADDRINUSE)
        return error_set(MLD_EEXISTS, "cannot listen at %s: another program does", listen);
    if (number == EACCES)
        return error_set(MLD_EACCESS,
                         "cannot listen at %s: ports below 1024 are the "
                         "administrator's",
                         listen);
    return error_set_errno(number, "cannot listen at %s", listen);
}

static enum mld_error open_socket(int *out_fd, const struct addrinfo *address,
                                  const char *listen_at)
{
    const int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(errno, "cannot listen at %s", listen_at);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int number = errno;
        close(fd);
        return bind_errno(number, listen_at);
    }
    *out_fd = fd;
    return MLD_OK;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        return 0;
    if (bound.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
    return ntohs(((struct sockaddr_in *)&bound)->sin_port);
}

static bool is_loopback(const struct addrinfo *address)
{
    if (address->ai_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)address->ai_addr)->sin6_addr);
    return (ntohl(((struct sockaddr_in *)address->ai_addr)->sin_addr.s_addr) >> 24) == 127;
}

enum mld_error http_listen(struct http *h)
{
    char address[64];
    char port[8];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    const char *listen_at = h->options.listen;
    enum mld_error error = cut(listen_at, address, port);
    if (error != MLD_OK)
        return error;
    int result = getaddrinfo(address[0] ? address : NULL, port, &hints, &found);
    if (result != 0)
        return error_set(MLD_EINVALID,
                         "cannot listen at '%s': the address must be a number, like "
                         "127.0.0.1: %s",
                         listen_at, gai_strerror(result));
    error = open_socket(&h->listen_fd, found, listen_at);
    if (error == MLD_OK) {
        h->port = bound_port(h->listen_fd);
        h->names.any_host = h->options.n_hosts == 0 && !is_loopback(found);
    }
    freeaddrinfo(found);
    return error;
}

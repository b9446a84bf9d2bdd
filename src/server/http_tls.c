/* http_tls.c: the certificate and key of a server, by GnuTLS as the library below does. */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "server/http_internal.h"

#define MAX_PEM_BYTES ((size_t)1 << 20)

static enum mld_error read_file(const char **out, struct arena *arena, const char *path)
{
    struct buf text;
    size_t len = 0;
    char *room;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set_errno(errno, "could not read %s", path);
    buf_init(&text, MAX_PEM_BYTES + 1);
    room = buf_reserve(&text, MAX_PEM_BYTES);
    enum mld_error error =
        room ? fs_pread(fd, room, MAX_PEM_BYTES, 0, &len, path) : buf_check(&text, path);
    if (error == MLD_OK && len == MAX_PEM_BYTES)
        error = error_set(MLD_ETOOLARGE, "%s is too large for a PEM file", path);
    if (error == MLD_OK) {
        *out = arena_strndup(arena, room, len);
        error = *out ? MLD_OK : error_set(MLD_ENOMEM, "out of memory");
    }
    close(fd);
    buf_free(&text);
    return error;
}

static enum mld_error check_pair(const struct http_options *options, const char *certificate,
                                 const char *key)
{
    gnutls_certificate_credentials_t credentials;
    const gnutls_datum_t cert_data = {(unsigned char *)certificate, (unsigned)strlen(certificate)};
    const gnutls_datum_t key_data = {(unsigned char *)key, (unsigned)strlen(key)};
    if (gnutls_certificate_allocate_credentials(&credentials) != 0)
        return error_set(MLD_ENOMEM, "out of memory for TLS");
    int result = gnutls_certificate_set_x509_key_mem(credentials, &cert_data, &key_data,
                                                     GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (result < 0)
        return error_set(MLD_EINVALID, "certificate %s and key %s: %s", options->tls_certificate,
                         options->tls_key, gnutls_strerror(result));
    return MLD_OK;
}

enum mld_error tls_read(const char **out_certificate, const char **out_key, struct arena *arena,
                        const struct http_options *options)
{
    *out_certificate = *out_key = NULL;
    if (options->tls_certificate == NULL && options->tls_key == NULL)
        return MLD_OK;
    if (options->tls_certificate == NULL || options->tls_key == NULL)
        return error_set(MLD_EINVALID, "TLS needs both a certificate and its key");
    enum mld_error error = read_file(out_certificate, arena, options->tls_certificate);
    if (error == MLD_OK)
        error = read_file(out_key, arena, options->tls_key);
    if (error == MLD_OK)
        error = check_pair(options, *out_certificate, *out_key);
    return error;
}

ssize_t tls_send(void *session, const void *data, size_t len)
{
    ssize_t sent = gnutls_record_send(session, data, len > 16384 ? 16384 : len);
    return sent < 0 ? -1 : sent;
}

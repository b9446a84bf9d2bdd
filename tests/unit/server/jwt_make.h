/* jwt_make.h: tokens as an issuer makes them, also wrong ones. */
#ifndef TESTS_SERVER_JWT_MAKE_H
#define TESTS_SERVER_JWT_MAKE_H

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define JWT_MADE_MAX 20000

static inline size_t jwt_base64url(char *out, const void *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *bytes = data;
    unsigned bits = 0, n = 0;
    char *end = out;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (n += 8; n >= 6; n -= 6)
            *end++ = digits[bits >> (n - 6) & 63];
    }
    if (n > 0)
        *end++ = digits[bits << (6 - n) & 63];
    *end = '\0';
    return (size_t)(end - out);
}

/* header.claims, signed with the digest; `digest` NULL: an empty signature. */
static inline const char *jwt_make(const char *header, const char *claims, const char *secret,
                                   const EVP_MD *digest)
{
    static char token[JWT_MADE_MAX];
    unsigned char signature[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    size_t n = jwt_base64url(token, header, strlen(header));
    token[n++] = '.';
    n += jwt_base64url(token + n, claims, strlen(claims));
    if (digest != NULL)
        HMAC(digest, secret, (int)strlen(secret), (const unsigned char *)token, n, signature, &len);
    token[n++] = '.';
    jwt_base64url(token + n, signature, len);
    return token;
}

#endif

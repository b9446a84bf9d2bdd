/* Any bytes as a JWT: as they are, and signed by the fuzzer, so that they get past the signature to
 * the header and the claims. What is accepted has been promised: a subject, and times that fit. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/server/jwt_make.h"
#include "server/jwt.h"

#define SECRET "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define NOW INT64_C(1700000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check(const char *token)
{
    json_t *claims;
    enum mld_error error = jwt_verify(&claims, token, SECRET, NOW, 3600);
    require((error == MLD_OK) == (claims != NULL));
    require(error == MLD_OK || error == MLD_EAUTH);
    if (claims != NULL) {
        json_t *exp = json_object_get(claims, "exp");
        json_t *iat = json_object_get(claims, "iat");
        require(json_string_length(json_object_get(claims, "sub")) > 0);
        require(exp != NULL || iat != NULL);
        require(exp == NULL || json_integer_value(exp) >= NOW - JWT_LEEWAY_S);
        require(iat == NULL || json_integer_value(iat) <= NOW + JWT_LEEWAY_S);
    }
    json_decref(claims);
}

/* The input up to its first line end is the header, the rest the claims. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[8001];
    size_t len = size < 8000 ? size : 8000;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    check(text);
    char *claims = strchr(text, '\n');
    if (claims != NULL)
        *claims++ = '\0';
    check(jwt_make(text, claims == NULL ? "" : claims, SECRET, EVP_sha256()));
    return 0;
}

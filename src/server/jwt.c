#include "server/jwt.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <string.h>

#define SIGNATURE_BYTES 32

static enum mld_error refuse(const char *why)
{
    return error_set(MLD_EAUTH, "JWT: %s", why);
}

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Canonical base64url without padding, or false: unused bits are zero, so that each token has one
 * form. `out` has room for 3 bytes per 4 digits. */
static bool decode(const char *text, size_t len, unsigned char *out, size_t *out_len)
{
    unsigned bits = 0, n = 0;
    *out_len = 0;
    if (len % 4 == 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        int digit = base64url_digit(text[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        n += 6;
        if (n >= 8) {
            n -= 8;
            out[(*out_len)++] = (unsigned char)(bits >> n);
            bits &= (1u << n) - 1;
        }
    }
    return bits == 0;
}

static json_t *decode_json(const char *text, size_t len)
{
    unsigned char bytes[JWT_MAX_BYTES];
    size_t n;
    if (!decode(text, len, bytes, &n))
        return NULL;
    json_t *object = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, NULL);
    if (object != NULL && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static enum mld_error check_header(const char *text, size_t len)
{
    enum mld_error error = MLD_OK;
    json_t *header = decode_json(text, len);
    const char *algorithm = json_string_value(json_object_get(header, "alg"));
    json_t *type = json_object_get(header, "typ");
    if (header == NULL)
        error = refuse("the header is no JSON object");
    else if (algorithm == NULL || strcmp(algorithm, "HS256") != 0)
        error = refuse("the algorithm is not HS256");
    else if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "JWT") != 0))
        error = refuse("its type is not JWT");
    else if (json_object_get(header, "crit") != NULL || json_object_get(header, "b64") != NULL)
        error = refuse("the header asks for something unknown");
    json_decref(header);
    return error;
}

static enum mld_error check_signature(const char *token, size_t signed_len, const char *signature,
                                      const char *secret)
{
    unsigned char given[SIGNATURE_BYTES + 3], right[EVP_MAX_MD_SIZE];
    unsigned right_len = 0;
    size_t given_len = 0;
    size_t len = strlen(signature);
    if (len != 43 || !decode(signature, len, given, &given_len) || given_len != SIGNATURE_BYTES)
        return refuse("the signature is no HMAC-SHA-256");
    if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)token, signed_len,
             right, &right_len) == NULL ||
        right_len != SIGNATURE_BYTES)
        return error_set(MLD_ENOMEM, "a JWT's signature could not be computed");
    return CRYPTO_memcmp(given, right, SIGNATURE_BYTES) == 0 ? MLD_OK
                                                             : refuse("the signature is wrong");
}

/* An integer claim, INT64_MIN when missing. */
static bool time_claim(json_t *claims, const char *name, int64_t *out)
{
    json_t *value = json_object_get(claims, name);
    *out = INT64_MIN;
    if (value == NULL)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = json_integer_value(value);
    return true;
}

static enum mld_error check_times(json_t *claims, int64_t now, int64_t max_age)
{
    int64_t exp, nbf, iat;
    if (!time_claim(claims, "exp", &exp) || !time_claim(claims, "nbf", &nbf) ||
        !time_claim(claims, "iat", &iat))
        return refuse("exp, nbf or iat is no integer");
    if (exp != INT64_MIN && exp < now - JWT_LEEWAY_S)
        return refuse("it has expired");
    if (nbf > now + JWT_LEEWAY_S || iat > now + JWT_LEEWAY_S)
        return refuse("it is from the future");
    if (exp == INT64_MIN && (iat == INT64_MIN || iat < now - max_age))
        return refuse("it has no exp, and is too old");
    return MLD_OK;
}

/* Text of at most 255 bytes without control characters: it becomes part of a document's id. */
static bool is_plain_text(json_t *value)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text == NULL || len > 255)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return false;
    }
    return true;
}

static enum mld_error check_claims(json_t *claims, int64_t now, int64_t max_age)
{
    json_t *sub = json_object_get(claims, "sub");
    json_t *iss = json_object_get(claims, "iss");
    if (claims == NULL)
        return refuse("the claims are no JSON object");
    if (!is_plain_text(sub) || json_string_length(sub) == 0)
        return refuse("sub is no text of 1 to 255 bytes");
    if (iss != NULL && !is_plain_text(iss))
        return refuse("iss is no text of at most 255 bytes");
    return check_times(claims, now, max_age);
}

enum mld_error jwt_verify(json_t **out_claims, const char *token, const char *secret, int64_t now_s,
                          int64_t max_age_s)
{
    *out_claims = NULL;
    size_t len = strnlen(token, JWT_MAX_BYTES + 1);
    const char *first = strchr(token, '.');
    const char *second = first == NULL ? NULL : strchr(first + 1, '.');
    if (len > JWT_MAX_BYTES)
        return refuse("it is too long");
    if (second == NULL || strchr(second + 1, '.') != NULL)
        return refuse("it has not three parts");
    enum mld_error error = check_signature(token, (size_t)(second - token), second + 1, secret);
    if (error == MLD_OK)
        error = check_header(token, (size_t)(first - token));
    if (error != MLD_OK)
        return error;
    json_t *claims = decode_json(first + 1, (size_t)(second - first - 1));
    error = check_claims(claims, now_s, max_age_s);
    if (error == MLD_OK)
        *out_claims = claims;
    else
        json_decref(claims);
    return error;
}

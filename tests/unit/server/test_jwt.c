#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jwt_make.h"
#include "server/jwt.h"

#define SECRET "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define NOW INT64_C(1700000000)
#define HOUR 3600
#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"sub\":\"42\",\"exp\":1700000500}"

static enum mld_error verify(const char *token)
{
    json_t *claims;
    enum mld_error error = jwt_verify(&claims, token, SECRET, NOW, HOUR);
    assert_true((claims != NULL) == (error == MLD_OK));
    json_decref(claims);
    return error;
}

static enum mld_error with_header(const char *header)
{
    return verify(jwt_make(header, CLAIMS, SECRET, EVP_sha256()));
}

static enum mld_error with_claims(const char *claims)
{
    return verify(jwt_make(HEADER, claims, SECRET, EVP_sha256()));
}

static void accepts_what_is_signed_with_the_secret(void **state)
{
    json_t *claims;
    (void)state;
    /* As https://jwt.io makes it: an independent implementation. */
    const char *foreign = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
                          "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIy"
                          "fQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    assert_int_equal(jwt_verify(&claims, foreign, "your-256-bit-secret", 1516239022, HOUR), MLD_OK);
    assert_string_equal(json_string_value(json_object_get(claims, "name")), "John Doe");
    json_decref(claims);
    assert_int_equal(with_header(HEADER), MLD_OK);
    assert_int_equal(with_header("{\"alg\":\"HS256\"}"), MLD_OK);
    assert_int_equal(with_header("{\"alg\":\"HS256\",\"kid\":\"../../etc/passwd\"}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"iat\":1699999000}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"iss\":\"me\",\"exp\":1700000001,\"nbf\":1,"
                                 "\"name\":{\"deep\":[]}}"),
                     MLD_OK);
}

static void refuses_other_algorithms(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"typ\":\"JWT\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"HS512\"}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"HS256 \"}",
        "{\"alg\":\"\"}",
        "{\"alg\":null}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":\"HS256\\u0000\"}",
        "{\"typ\":\"JWT\"}",
        "{}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        assert_int_equal(with_header(headers[i]), MLD_EAUTH);
        assert_int_equal(verify(jwt_make(headers[i], CLAIMS, SECRET, NULL)), MLD_EAUTH);
    }
    /* The right words, another digest. */
    assert_int_equal(verify(jwt_make(HEADER, CLAIMS, SECRET, EVP_sha512())), MLD_EAUTH);
    assert_int_equal(verify(jwt_make("{\"alg\":\"HS512\"}", CLAIMS, SECRET, EVP_sha512())),
                     MLD_EAUTH);
    /* A public key taken for the secret. */
    assert_int_equal(verify(jwt_make(HEADER, CLAIMS,
                                     "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
                                     EVP_sha256())),
                     MLD_EAUTH);
}

static void refuses_odd_headers(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":1}",
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"b64\":false}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
        "[\"HS256\"]",
        "\"HS256\"",
        "{\"alg\":\"HS256\"} {}",
        "{\"alg\":\"HS256\"",
        "",
    };
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_int_equal(with_header(headers[i]), MLD_EAUTH);
}

static void refuses_wrong_signatures(void **state)
{
    char token[JWT_MADE_MAX];
    (void)state;
    snprintf(token, sizeof token, "%s", jwt_make(HEADER, CLAIMS, SECRET, EVP_sha256()));
    size_t len = strlen(token);
    assert_int_equal(verify(token), MLD_OK);
    for (size_t i = 0; i < len; i++) { /* any other letter anywhere */
        char kept = token[i];
        token[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(verify(token), MLD_EAUTH);
        token[i] = kept;
    }
    for (size_t cut = 1; cut <= 44; cut++) {
        char kept = token[len - cut];
        token[len - cut] = '\0';
        assert_int_equal(verify(token), MLD_EAUTH);
        token[len - cut] = kept;
    }
    assert_int_equal(verify(jwt_make(HEADER, CLAIMS, SECRET, NULL)), MLD_EAUTH);
    assert_int_equal(verify(jwt_make(HEADER, CLAIMS, "", EVP_sha256())), MLD_EAUTH);
    assert_int_equal(verify(jwt_make(HEADER, CLAIMS, "secret", EVP_sha256())), MLD_EAUTH);
}

/* The last digit of a signature has two bits that say nothing: only zeros are right. */
static void takes_only_the_canonical_form(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char token[JWT_MADE_MAX];
    (void)state;
    snprintf(token, sizeof token - 2, "%s", jwt_make(HEADER, CLAIMS, SECRET, EVP_sha256()));
    size_t len = strlen(token);
    char *last = strchr(digits, token[len - 1]);
    assert_int_equal((last - digits) % 4, 0);
    for (int i = 1; i < 4; i++) {
        token[len - 1] = last[i];
        assert_int_equal(verify(token), MLD_EAUTH);
    }
    token[len - 1] = *last;
    for (const char *more = "=.\n A"; *more != '\0'; more++) {
        token[len] = *more;
        token[len + 1] = '\0';
        assert_int_equal(verify(token), MLD_EAUTH);
    }
}

static void refuses_what_has_not_three_parts(void **state)
{
    static const char *const texts[] = {"", ".", "..", "...", "a.b", "a.b.c.d", "mld_abc", " . . "};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(verify(texts[i]), MLD_EAUTH);
}

static void keeps_to_the_times(void **state)
{
    static const char *const bad[] = {
        "{\"sub\":\"a\",\"exp\":1699999939}",     /* over, with 60 s of leeway */
        "{\"sub\":\"a\",\"exp\":0}",              /* long over */
        "{\"sub\":\"a\",\"exp\":-1}",             /* no time */
        "{\"sub\":\"a\",\"exp\":1700000500.5}",   /* no integer */
        "{\"sub\":\"a\",\"exp\":\"1700000500\"}", /* nor this */
        "{\"sub\":\"a\",\"exp\":1e99}",
        "{\"sub\":\"a\",\"exp\":99999999999999999999}",
        "{\"sub\":\"a\",\"exp\":null}",
        "{\"sub\":\"a\",\"exp\":true}",
        "{\"sub\":\"a\",\"exp\":1700000500,\"nbf\":1700000061}", /* not yet */
        "{\"sub\":\"a\",\"exp\":1700000500,\"iat\":1700000061}", /* made in the future */
        "{\"sub\":\"a\",\"exp\":1700000500,\"nbf\":\"1\"}",
        "{\"sub\":\"a\",\"exp\":1700000500,\"iat\":[]}",
        "{\"sub\":\"a\",\"iat\":1699996399}", /* no exp, and older than an hour */
        "{\"sub\":\"a\"}",                    /* neither */
        "{\"sub\":\"a\",\"nbf\":1}",
        "{\"sub\":\"a\",\"exp\":1,\"exp\":1700000500}", /* twice */
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(with_claims(bad[i]), MLD_EAUTH);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"exp\":1699999940}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"iat\":1700000060}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"iat\":1699996400}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"exp\":1700000500,\"nbf\":1700000060}"), MLD_OK);
    assert_int_equal(with_claims("{\"sub\":\"a\",\"exp\":9223372036854775807}"), MLD_OK);
}

static void wants_a_subject(void **state)
{
    char claims[700], name[300];
    static const char *const bad[] = {
        "{\"exp\":1700000500}",
        "{\"sub\":\"\",\"exp\":1700000500}",
        "{\"sub\":7,\"exp\":1700000500}",
        "{\"sub\":null,\"exp\":1700000500}",
        "{\"sub\":[\"a\"],\"exp\":1700000500}",
        "{\"sub\":\"a\\u0000b\",\"exp\":1700000500}",
        "{\"sub\":\"a\\nb\",\"exp\":1700000500}", /* could be another issuer's */
        "{\"sub\":\"a\",\"iss\":\"x\\ny\",\"exp\":1700000500}",
        "{\"sub\":\"a\",\"iss\":3,\"exp\":1700000500}",
        "{\"sub\":\"a\xff\",\"exp\":1700000500}",
        "{\"sub\":\"a\",\"sub\":\"b\",\"exp\":1700000500}",
        "[]",
        "\"a\"",
        "null",
        "",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(with_claims(bad[i]), MLD_EAUTH);
    memset(name, 's', 256);
    name[256] = '\0';
    snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"exp\":1700000500}", name);
    assert_int_equal(with_claims(claims), MLD_EAUTH);
    snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"exp\":1700000500}", name + 1);
    assert_int_equal(with_claims(claims), MLD_OK);
}

static void refuses_huge_ones(void **state)
{
    char claims[10000] = "{\"sub\":\"a\",\"exp\":1700000500,\"pad\":\"";
    (void)state;
    size_t n = strlen(claims);
    memset(claims + n, 'p', 6000);
    snprintf(claims + n + 5950, 10, "\"}");
    assert_int_equal(with_claims(claims), MLD_OK);
    memset(claims + n, 'p', 6200);
    snprintf(claims + n + 6150, 10, "\"}");
    assert_int_equal(with_claims(claims), MLD_EAUTH);
    char *million = malloc((1 << 20) + 1);
    assert_non_null(million);
    memset(million, 'e', 1 << 20);
    million[1 << 20] = '\0';
    million[100] = million[200] = '.';
    assert_int_equal(verify(million), MLD_EAUTH);
    free(million);
    memset(claims, '[', 6000); /* deep */
    claims[6000] = '\0';
    assert_int_equal(with_claims(claims), MLD_EAUTH);
}

/* What the log gets says why, and nothing of the token. */
static void never_tells_the_token(void **state)
{
    (void)state;
    verify(jwt_make(HEADER, "{\"sub\":\"canary\",\"exp\":5}", SECRET, EVP_sha256()));
    assert_non_null(strstr(mld_error_message(), "expired"));
    assert_null(strstr(mld_error_message(), "canary"));
    assert_null(strstr(mld_error_message(), "eyJ"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_is_signed_with_the_secret),
        cmocka_unit_test(refuses_other_algorithms),
        cmocka_unit_test(refuses_odd_headers),
        cmocka_unit_test(refuses_wrong_signatures),
        cmocka_unit_test(takes_only_the_canonical_form),
        cmocka_unit_test(refuses_what_has_not_three_parts),
        cmocka_unit_test(keeps_to_the_times),
        cmocka_unit_test(wants_a_subject),
        cmocka_unit_test(refuses_huge_ones),
        cmocka_unit_test(never_tells_the_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

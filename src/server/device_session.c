#include "server/device_session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* HMAC-SHA-256 in hex of "purpose:text". */
static enum mld_error sign(char out[SHA256_HEX_LEN + 1], const unsigned char secret[32],
                           const char *purpose, const char *text)
{
    char signed_text[DEVICE_SESSION_MAX + 16];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int n = snprintf(signed_text, sizeof signed_text, "%s:%s", purpose, text);
    if (n >= (int)sizeof signed_text ||
        HMAC(EVP_sha256(), secret, 32, (const unsigned char *)signed_text, (size_t)n, mac, &len) ==
            NULL)
        return error_set(MLD_ENOMEM, "a session could not be signed");
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * (size_t)i, 3, "%02x", mac[i]);
    return MLD_OK;
}

static bool same(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}

enum mld_error device_session_new(struct device_session *out, const unsigned char secret[32],
                                  const char *user_id, int64_t now_s)
{
    char nonce[ID_RANDOM_LEN + 1], mac[SHA256_HEX_LEN + 1];
    *out = (struct device_session){.text = ""};
    if (user_id != NULL)
        snprintf(out->user_id, sizeof out->user_id, "%s", user_id);
    enum mld_error error = id_random(nonce);
    if (error == MLD_OK) {
        int len = snprintf(out->text, sizeof out->text, "%s.%s.%lld", nonce, out->user_id,
                           (long long)now_s + DEVICE_SESSION_S);
        error = sign(mac, secret, "session", out->text);
        snprintf(out->text + len, sizeof out->text - (size_t)len, ".%s", mac);
    }
    return error == MLD_OK ? sign(out->form_token, secret, "form", out->text) : error;
}

/* The cookie's value among "a=b; c=d"; the last one counts. */
static bool find_cookie(char out[DEVICE_SESSION_MAX], const char *header)
{
    static const char name[] = DEVICE_COOKIE "=";
    bool found = false;
    while (header != NULL && *header != '\0') {
        header += strspn(header, "; ");
        size_t len = strcspn(header, ";");
        size_t value_len = len - (sizeof name - 1);
        if (strncmp(header, name, sizeof name - 1) == 0 && value_len < DEVICE_SESSION_MAX) {
            memcpy(out, header + sizeof name - 1, value_len);
            out[value_len] = '\0';
            found = true;
        }
        header += len;
    }
    return found;
}

bool device_session_read(struct device_session *out, const unsigned char secret[32],
                         const char *cookie_header, int64_t now_s)
{
    char right[SHA256_HEX_LEN + 1], text[DEVICE_SESSION_MAX];
    int64_t until;
    *out = (struct device_session){.text = ""};
    if (!find_cookie(text, cookie_header))
        return false;
    memcpy(out->text, text, sizeof text);
    char *mac = strrchr(text, '.');
    if (mac == NULL)
        return false;
    *mac++ = '\0';
    if (sign(right, secret, "session", text) != MLD_OK || !same(right, mac))
        return false;
    /* From here on it is what we made. */
    const char *user = strchr(text, '.');
    const char *end = user == NULL ? NULL : strchr(user + 1, '.');
    if (end == NULL || (size_t)(end - user - 1) > ID_RANDOM_LEN ||
        !num_parse_int64(end + 1, strlen(end + 1), &until) || until <= now_s)
        return false;
    memcpy(out->user_id, user + 1, (size_t)(end - user - 1));
    return sign(out->form_token, secret, "form", out->text) == MLD_OK;
}

bool device_session_owns(const struct device_session *session, const char *token)
{
    return token != NULL && session->form_token[0] != '\0' && same(session->form_token, token);
}

#include "base/sha256_state.h"

#include <string.h>

/* EVP cannot hand out what lies between two updates. The functions that can are deprecated in
 * OpenSSL 3, though as quick as before. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#define BLOCK 64

static void to_context(const struct sha256_state *s, SHA256_CTX *c)
{
    uint64_t bits = s->len << 3;
    SHA256_Init(c);
    memcpy(c->h, s->h, sizeof s->h);
    c->Nl = (SHA_LONG)bits;
    c->Nh = (SHA_LONG)(bits >> 32);
    c->num = (unsigned)(s->len % BLOCK);
    memcpy(c->data, s->tail, sizeof s->tail);
}

void sha256_state_init(struct sha256_state *s)
{
    SHA256_CTX c;
    SHA256_Init(&c);
    *s = (struct sha256_state){0};
    memcpy(s->h, c.h, sizeof s->h);
}

void sha256_state_update(struct sha256_state *s, const void *data, size_t len)
{
    SHA256_CTX c;
    if (len == 0)
        return;
    to_context(s, &c);
    SHA256_Update(&c, data, len);
    s->len += len;
    memcpy(s->h, c.h, sizeof s->h);
    memset(s->tail, 0, sizeof s->tail);
    memcpy(s->tail, c.data, s->len % BLOCK);
}

static void put_hex(char *out, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

void sha256_state_digest(const struct sha256_state *s, char out_hex[SHA256_HEX_LEN + 1])
{
    SHA256_CTX c;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    to_context(s, &c);
    SHA256_Final(digest, &c);
    put_hex(out_hex, digest, sizeof digest);
}

size_t sha256_state_export(const struct sha256_state *s, char out[SHA256_STATE_TEXT_MAX + 1])
{
    unsigned char h[32];
    size_t tail = s->len % BLOCK;
    for (size_t i = 0; i < sizeof h; i++)
        h[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4)));
    put_hex(out, h, sizeof h);
    put_hex(out + 2 * sizeof h, s->tail, tail);
    return 2 * (sizeof h + tail);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_hex(unsigned char *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit_of(text[2 * i]);
        int low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

bool sha256_state_import(struct sha256_state *s, const char *text, size_t text_len, uint64_t len)
{
    unsigned char h[32];
    *s = (struct sha256_state){.len = len};
    size_t tail = len % BLOCK;
    if (text_len != 2 * (sizeof h + tail) || !get_hex(h, text, sizeof h) ||
        !get_hex(s->tail, text + 2 * sizeof h, tail))
        return false;
    for (size_t i = 0; i < sizeof h; i++)
        s->h[i / 4] = s->h[i / 4] << 8 | h[i];
    return true;
}

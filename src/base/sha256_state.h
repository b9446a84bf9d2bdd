/* sha256_state.h: a SHA-256 that is under way, as a value: it can be copied, written as text and
 * continued by another process. hash.h is quicker to use where that is not needed. Functions
 * neither block nor fail; a state is used by one thread at a time. */
#ifndef BASE_SHA256_STATE_H
#define BASE_SHA256_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define SHA256_STATE_TEXT_MAX (64 + 2 * 63) /* bytes of its text, without NUL */

struct sha256_state {
    uint64_t len; /* bytes so far */
    uint32_t h[8];
    unsigned char tail[64]; /* the len % 64 bytes that are not in `h` yet */
};

void sha256_state_init(struct sha256_state *s);
void sha256_state_update(struct sha256_state *s, const void *data, size_t len);
/* The SHA-256 of the bytes so far: 64 hex digits and NUL. The state stays and can go on. */
void sha256_state_digest(const struct sha256_state *s, char out_hex[SHA256_HEX_LEN + 1]);

/* As text: `h` and `tail` in hex; the length is not in it. Returns the text's bytes; a NUL follows
 * them. */
size_t sha256_state_export(const struct sha256_state *s, char out[SHA256_STATE_TEXT_MAX + 1]);
/* From that text and the number of bytes so far; false when it is none. */
bool sha256_state_import(struct sha256_state *s, const char *text, size_t text_len, uint64_t len);

#endif

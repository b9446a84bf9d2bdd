/* hash.h: SHA-256 (OpenSSL) for bytes, CRC-32C (SSE4.2 or table) for lines. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SHA256_HEX_LEN 64

struct sha256 {
    void *context; /* EVP_MD_CTX, kept between uses */
};

/* Starts (or starts again); free with sha256_free, which is safe on a zeroed struct. */
enum mld_error sha256_begin(struct sha256 *h);
void sha256_update(struct sha256 *h, const void *data, size_t len);
/* Writes 64 hex digits and NUL. */
enum mld_error sha256_end(struct sha256 *h, char out_hex[SHA256_HEX_LEN + 1]);
void sha256_free(struct sha256 *h);

/* CRC-32C of data, continuing from `crc` (0 to begin). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same without the processor's instruction: for machines that have none, and for the tests. */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len);

#endif

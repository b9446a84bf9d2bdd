#include "base/hash.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/evp.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

/* The algorithm, looked up once: a lookup costs more than hashing a small file. Never freed. */
static EVP_MD *sha256_algorithm(void)
{
    static EVP_MD *_Atomic kept;
    EVP_MD *found = atomic_load_explicit(&kept, memory_order_acquire);

    if (found != NULL)
        return found;
    EVP_MD *fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (fetched != NULL && !atomic_compare_exchange_strong(&kept, &found, fetched)) {
        EVP_MD_free(fetched); /* another thread was first */
        return found;
    }
    return fetched;
}

enum mld_error sha256_begin(struct sha256 *h)
{
    EVP_MD *algorithm = sha256_algorithm();

    assert(h != NULL);
    if (h->context == NULL)
        h->context = EVP_MD_CTX_new();
    if (h->context == NULL)
        return error_set(MLD_ENOMEM, "SHA-256: out of memory");
    if (algorithm == NULL || EVP_DigestInit_ex2(h->context, algorithm, NULL) != 1) {
        sha256_free(h);
        return error_set(MLD_EIO, "SHA-256: OpenSSL does not offer it; check its configuration");
    }
    return MLD_OK;
}

void sha256_update(struct sha256 *h, const void *data, size_t len)
{
    if (h->context != NULL && EVP_DigestUpdate(h->context, data, len) != 1)
        sha256_free(h); /* remembered so, and reported by sha256_end */
}

enum mld_error sha256_end(struct sha256 *h, char out_hex[SHA256_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    out_hex[0] = '\0';
    if (h->context == NULL || EVP_DigestFinal_ex(h->context, bytes, &len) != 1)
        return error_set(MLD_EIO, "SHA-256: OpenSSL failed");
    assert(len == SHA256_HEX_LEN / 2);
    for (unsigned i = 0; i < len; i++) {
        out_hex[2 * i] = digits[bytes[i] >> 4];
        out_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    out_hex[SHA256_HEX_LEN] = '\0';
    return MLD_OK;
}

void sha256_free(struct sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->context);
    h->context = NULL;
}

/* crc_table[k][b]: the CRC of byte b with k zero bytes behind it, so that eight bytes take one
 * step. */
static uint32_t crc_table[8][256];
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;

static void crc_table_fill(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        crc_table[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (int k = 1; k < 8; k++) {
            uint32_t crc = crc_table[k - 1][b];
            crc_table[k][b] = crc >> 8 ^ crc_table[0][crc & 255];
        }
    }
}

uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *in = data;

    pthread_once(&crc_table_once, crc_table_fill);
    crc = ~crc;
    for (; len >= 8; len -= 8, in += 8) {
        uint32_t x =
            crc ^ (in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24);
        crc = crc_table[7][x & 255] ^ crc_table[6][x >> 8 & 255] ^ crc_table[5][x >> 16 & 255] ^
              crc_table[4][x >> 24] ^ crc_table[3][in[4]] ^ crc_table[2][in[5]] ^
              crc_table[1][in[6]] ^ crc_table[0][in[7]];
    }
    for (; len > 0; len--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *in++) & 255];
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_by_cpu(uint32_t crc, const void *data,
                                                                size_t len)
{
    const unsigned char *in = data;
    uint64_t wide = ~crc;
    uint64_t word;

    for (; len >= 8; len -= 8, in += 8) {
        memcpy(&word, in, sizeof(word));
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; len--)
        crc = _mm_crc32_u8(crc, *in++);
    return ~crc;
}

static int cpu_has_crc32c(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__ARM_FEATURE_CRC32)

static uint32_t crc32c_by_cpu(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *in = data;
    uint64_t word;

    crc = ~crc;
    for (; len >= 8; len -= 8, in += 8) {
        memcpy(&word, in, sizeof(word));
        crc = __crc32cd(crc, word);
    }
    for (; len > 0; len--)
        crc = __crc32cb(crc, *in++);
    return ~crc;
}

static int cpu_has_crc32c(void)
{
    return 1;
}

#else

static uint32_t crc32c_by_cpu(uint32_t crc, const void *data, size_t len)
{
    return crc32c_by_table(crc, data, len);
}

static int cpu_has_crc32c(void)
{
    return 0;
}

#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return cpu_has_crc32c() ? crc32c_by_cpu(crc, data, len) : crc32c_by_table(crc, data, len);
}

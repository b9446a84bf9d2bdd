#include "server/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LOG_N 15
#define BLOCK 8
#define PARALLEL 1
#define MAX_MEMORY ((uint64_t)64 << 20)
#define SALT_BYTES 16
#define HASH_BYTES 32
#define AT_A_TIME 2

static pthread_mutex_t hashing_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hashing_done = PTHREAD_COND_INITIALIZER;
static int hashing;
static int waiting;

static bool derive(const char *password, const unsigned char *salt, unsigned char *out)
{
    pthread_mutex_lock(&hashing_lock);
    waiting++;
    while (hashing == AT_A_TIME)
        pthread_cond_wait(&hashing_done, &hashing_lock);
    waiting--;
    hashing++;
    pthread_mutex_unlock(&hashing_lock);
    bool done = EVP_PBE_scrypt(password, strlen(password), salt, SALT_BYTES, UINT64_C(1) << LOG_N,
                               BLOCK, PARALLEL, MAX_MEMORY, out, HASH_BYTES) == 1;
    pthread_mutex_lock(&hashing_lock);
    hashing--;
    pthread_cond_signal(&hashing_done);
    pthread_mutex_unlock(&hashing_lock);
    return done;
}

bool password_is_busy(void)
{
    pthread_mutex_lock(&hashing_lock);
    bool busy = hashing + waiting >= PASSWORD_MAX_WAITING;
    pthread_mutex_unlock(&hashing_lock);
    return busy;
}

/* Two hex digits a byte. */
static void put_hex(char *out, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *text, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static const char prefix[] = "$scrypt$ln=15,r=8,p=1$";

enum mld_error password_hash(char out[PASSWORD_TEXT_MAX], const char *password)
{
    unsigned char salt[SALT_BYTES], hash[HASH_BYTES];
    size_t len = strlen(password);
    if (len < PASSWORD_MIN_BYTES || len > PASSWORD_MAX_BYTES)
        return error_set(MLD_EINVALID, "a password has %d to %d bytes, not %zu", PASSWORD_MIN_BYTES,
                         PASSWORD_MAX_BYTES, len);
    if (RAND_bytes(salt, sizeof salt) != 1 || !derive(password, salt, hash))
        return error_set(MLD_ENOMEM, "the password could not be hashed");
    memcpy(out, prefix, sizeof prefix);
    put_hex(out + sizeof prefix - 1, salt, sizeof salt);
    out[sizeof prefix - 1 + 2 * SALT_BYTES] = '$';
    put_hex(out + sizeof prefix + 2 * SALT_BYTES, hash, sizeof hash);
    OPENSSL_cleanse(hash, sizeof hash);
    return MLD_OK;
}

bool password_matches(const char *kept, const char *password)
{
    unsigned char salt[SALT_BYTES] = {0}, hash[HASH_BYTES] = {0}, derived[HASH_BYTES];
    size_t length = sizeof prefix - 1 + 2 * SALT_BYTES + 1 + 2 * HASH_BYTES;
    bool known = kept != NULL && strlen(kept) == length &&
                 memcmp(kept, prefix, sizeof prefix - 1) == 0 &&
                 take_hex(kept + sizeof prefix - 1, salt, sizeof salt) &&
                 take_hex(kept + sizeof prefix + 2 * SALT_BYTES, hash, sizeof hash);
    bool usable = strlen(password) <= PASSWORD_MAX_BYTES;
    if (!derive(usable ? password : "", salt, derived))
        return false;
    bool same = CRYPTO_memcmp(hash, derived, sizeof hash) == 0;
    OPENSSL_cleanse(derived, sizeof derived);
    return known && usable && same;
}

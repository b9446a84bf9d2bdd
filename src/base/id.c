#include "base/id.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/sha256_state.h"

#define ID_EPOCH_MS INT64_C(1704067200000) /* 2024-01-01T00:00:00Z */
#define ID_SLOTS 1024
#define ID_SLOT_BITS 10
#define ID_SEQUENCE_BITS 12

enum mld_error id_random(char out[ID_RANDOM_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[ID_RANDOM_LEN / 2];
    ssize_t n;

    out[0] = '\0';
    do {
        n = getrandom(bytes, sizeof(bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(bytes)) /* up to 256 bytes come whole or not at all */
        return error_set_errno(n < 0 ? errno : EIO, "cannot get random bytes");
    for (size_t i = 0; i < sizeof(bytes); i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[ID_RANDOM_LEN] = '\0';
    return MLD_OK;
}

uint64_t id_file(unsigned slot)
{
    /* Milliseconds and sequence as one number, (ms << 12 | sequence): adding one to a full sequence
     * is the next millisecond, so the clock runs ahead by itself. */
    static _Atomic uint64_t last;
    int64_t ms = clock_now_us() / 1000 - ID_EPOCH_MS;
    uint64_t now = ms > 0 ? (uint64_t)ms << ID_SEQUENCE_BITS : 0;
    uint64_t seen = atomic_load_explicit(&last, memory_order_relaxed);
    uint64_t next;

    assert(slot < ID_SLOTS);
    do {
        next = now > seen ? now : seen + 1;
    } while (!atomic_compare_exchange_weak_explicit(&last, &seen, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    uint64_t sequence = next & ((1u << ID_SEQUENCE_BITS) - 1);
    return next >> ID_SEQUENCE_BITS << (ID_SLOT_BITS + ID_SEQUENCE_BITS) |
           (uint64_t)slot << ID_SEQUENCE_BITS | sequence;
}

int64_t id_file_ms(uint64_t id)
{
    return (int64_t)(id >> (ID_SLOT_BITS + ID_SEQUENCE_BITS)) + ID_EPOCH_MS;
}

/* The same millisecond; a slot that no writer takes in practice; a sequence of its own. */
void id_file_other(char out[ID_FILE_MAX + 1], const char *stream, const char *id, unsigned n)
{
    struct sha256_state h;
    char hex[SHA256_HEX_LEN + 1];
    char number = (char)n;
    sha256_state_init(&h);
    sha256_state_update(&h, stream, strlen(stream));
    sha256_state_update(&h, id, strlen(id));
    sha256_state_update(&h, &number, 1);
    sha256_state_digest(&h, hex);
    hex[8] = '\0';
    uint64_t own = strtoull(id, NULL, 10);
    uint64_t random = strtoull(hex, NULL, 16);
    snprintf(out, ID_FILE_MAX + 1, "%" PRIu64,
             own >> 22 << 22 | (uint64_t)(ID_SLOTS - 1) << 12 | (random & 0xfff));
}

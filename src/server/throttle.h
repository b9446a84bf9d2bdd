/* throttle.h: how often something may fail for an address or an account within a minute, so that
 * guessing is slow. In memory, of one server: with several servers each counts by itself. Bounded:
 * keys share THROTTLE_BUCKETS buckets of THROTTLE_WAYS places, and the one that has been idle
 * longest makes room.
 *
 * Thread-safe. Times are those of clock_monotonic_ms, given by the caller. */
#ifndef SERVER_THROTTLE_H
#define SERVER_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_BUCKETS 512
#define THROTTLE_WAYS 4
#define THROTTLE_KEY_MAX 64

struct throttle {
    pthread_mutex_t lock;
    int most;          /* failures within a window; then refused until the window is over */
    int64_t window_ms; /* from the first failure */
    struct throttle_place {
        char key[THROTTLE_KEY_MAX]; /* "" when empty; a longer key is cut */
        int64_t since_ms, last_ms;
        int count;
    } places[THROTTLE_BUCKETS][THROTTLE_WAYS];
};

void throttle_init(struct throttle *t, int most, int64_t window_ms);
void throttle_destroy(struct throttle *t);
/* Whether the key has had its failures. `key` NULL counts as "". */
bool throttle_is_over(struct throttle *t, const char *key, int64_t now_ms);
void throttle_count(struct throttle *t, const char *key, int64_t now_ms);
/* After a success: the key begins anew. */
void throttle_forget(struct throttle *t, const char *key);
/* Counts one and says whether it was within the limit: for what costs, failed or not. */
bool throttle_take(struct throttle *t, const char *key, int64_t now_ms);

/* The key of a client's address: an IPv4 address as it is; of IPv6 the first 64 bits, since one
 * client has all of the rest. */
void throttle_address(char out[THROTTLE_KEY_MAX], const char *address);

#endif

#include "server/throttle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

void throttle_init(struct throttle *t, int most, int64_t window_ms)
{
    memset(t->places, 0, sizeof t->places);
    pthread_mutex_init(&t->lock, NULL);
    t->most = most;
    t->window_ms = window_ms;
}

void throttle_destroy(struct throttle *t)
{
    pthread_mutex_destroy(&t->lock);
}

static struct throttle_place *bucket_of(struct throttle *t, const char *key)
{
    return t->places[crc32c(0, key, strlen(key)) % THROTTLE_BUCKETS];
}

static void cut(char out[THROTTLE_KEY_MAX], const char *key)
{
    size_t len = key == NULL ? 0 : strnlen(key, THROTTLE_KEY_MAX - 2);
    out[0] = '='; /* never "", which is an empty place */
    if (len > 0)
        memcpy(out + 1, key, len);
    out[len + 1] = '\0';
}

/* The key's place while its window lasts, or NULL. */
static struct throttle_place *find(struct throttle *t, const char *key, int64_t now_ms)
{
    struct throttle_place *bucket = bucket_of(t, key);
    for (int i = 0; i < THROTTLE_WAYS; i++) {
        if (strcmp(bucket[i].key, key) == 0)
            return now_ms - bucket[i].since_ms < t->window_ms ? &bucket[i] : NULL;
    }
    return NULL;
}

/* Where the key may begin: its own old place, or the one that has been idle longest. */
static struct throttle_place *begin(struct throttle *t, const char *key, int64_t now_ms)
{
    struct throttle_place *bucket = bucket_of(t, key), *place = &bucket[0];
    for (int i = 0; i < THROTTLE_WAYS; i++) {
        bool own = strcmp(bucket[i].key, key) == 0;
        bool idler = bucket[i].key[0] == '\0' ||
                     (place->key[0] != '\0' && bucket[i].last_ms < place->last_ms);
        if (own || idler)
            place = &bucket[i];
        if (own)
            break;
    }
    *place = (struct throttle_place){.since_ms = now_ms};
    memcpy(place->key, key, strlen(key) + 1);
    return place;
}

static int count_locked(struct throttle *t, const char *key, int64_t now_ms)
{
    struct throttle_place *place = find(t, key, now_ms);
    if (place == NULL)
        place = begin(t, key, now_ms);
    place->last_ms = now_ms;
    if (place->count <= t->most)
        place->count++;
    return place->count;
}

bool throttle_is_over(struct throttle *t, const char *key, int64_t now_ms)
{
    char own[THROTTLE_KEY_MAX];
    cut(own, key);
    pthread_mutex_lock(&t->lock);
    struct throttle_place *place = find(t, own, now_ms);
    bool over = place != NULL && place->count >= t->most;
    pthread_mutex_unlock(&t->lock);
    return over;
}

void throttle_count(struct throttle *t, const char *key, int64_t now_ms)
{
    char own[THROTTLE_KEY_MAX];
    cut(own, key);
    pthread_mutex_lock(&t->lock);
    count_locked(t, own, now_ms);
    pthread_mutex_unlock(&t->lock);
}

bool throttle_take(struct throttle *t, const char *key, int64_t now_ms)
{
    char own[THROTTLE_KEY_MAX];
    cut(own, key);
    pthread_mutex_lock(&t->lock);
    bool within = count_locked(t, own, now_ms) <= t->most;
    pthread_mutex_unlock(&t->lock);
    return within;
}

void throttle_forget(struct throttle *t, const char *key)
{
    char own[THROTTLE_KEY_MAX];
    cut(own, key);
    pthread_mutex_lock(&t->lock);
    struct throttle_place *place = find(t, own, INT64_MIN / 2);
    if (place != NULL)
        *place = (struct throttle_place){.key = ""};
    pthread_mutex_unlock(&t->lock);
}

void throttle_address(char out[THROTTLE_KEY_MAX], const char *address)
{
    unsigned char bytes[16];
    char text[THROTTLE_KEY_MAX] = "";
    if (address != NULL)
        snprintf(text, sizeof text, "%s", address);
    text[strcspn(text, "%")] = '\0'; /* a zone */
    if (inet_pton(AF_INET6, text, bytes) != 1) {
        memcpy(out, text, sizeof text);
        return;
    }
    if (memcmp(bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0)
        snprintf(out, THROTTLE_KEY_MAX, "%u.%u.%u.%u", bytes[12], bytes[13], bytes[14], bytes[15]);
    else
        snprintf(out, THROTTLE_KEY_MAX, "%02x%02x:%02x%02x:%02x%02x:%02x%02x::/64", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
}

/* hasher.h: SHA-256 of memory that somebody else is writing to a file meanwhile: large pieces are
 * hashed by a thread of its own, in order, small ones at once. One user at a time. */
#ifndef RUN_HASHER_H
#define RUN_HASHER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define HASHER_MAX_PIECES 8              /* that wait for the thread */
#define HASHER_THREAD_BYTES (256u << 10) /* pieces from here on are worth a thread */
#define HASHER_KEPT_BYTES (1u << 20)     /* the longest piece that hasher_keep copies */

struct hasher {
    struct sha256 hash; /* the thread's while pieces wait */
    bool started;       /* there is a thread */
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct {
        const void *data;
        size_t len;
    } pieces[HASHER_MAX_PIECES];
    uint64_t put;
    uint64_t done;
    uint64_t kept;         /* pieces before this one are done, or copied by hasher_keep */
    unsigned char *copies; /* HASHER_MAX_PIECES of HASHER_KEPT_BYTES, or NULL */
    bool ending;
};

/* Begins; hasher_free it in any case. */
enum mld_error hasher_begin(struct hasher *h);
/* Hashes a piece or hands it to the thread, which it starts when first needed: `data` must stay as
 * it is until hasher_wait says that it is done. Waits while HASHER_MAX_PIECES are under way. */
void hasher_put(struct hasher *h, const void *data, size_t len);
/* Waits until at most `pieces` of those put are not done. */
void hasher_wait(struct hasher *h, unsigned pieces);
/* Gives the memory of all pieces back to the caller and waits for one of them at most: those that
 * the thread has not begun are copied. Each is at most HASHER_KEPT_BYTES long. */
void hasher_keep(struct hasher *h);
/* Waits for all and writes 64 hex digits and NUL. */
enum mld_error hasher_end(struct hasher *h, char out_hex[SHA256_HEX_LEN + 1]);
/* Ends the thread and frees; a zeroed struct is fine. Not in a forked child that inherited it:
 * there is no thread to end. */
void hasher_free(struct hasher *h);

#endif

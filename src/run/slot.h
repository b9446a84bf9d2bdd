/* slot.h: a writer's slot: which number it holds, and whether other writers are gone
 * (docs/run-folder.md, "Writers, slots and shards"). */
#ifndef RUN_SLOT_H
#define RUN_SLOT_H

#include <stdbool.h>

#include "base/error.h"
#include "base/id.h"

#define SLOT_MAX 1024

struct slot {
    int number;  /* -1: none */
    int lock_fd; /* holds the flock; -1: none */
    char writer[ID_RANDOM_LEN + 1];
};

enum slot_life {
    SLOT_FREE,   /* no writer file: ended cleanly or never used */
    SLOT_GONE,   /* its process is certainly gone */
    SLOT_ALIVE,  /* locked by a process of this boot */
    SLOT_UNKNOWN /* of another boot or machine: counts as alive */
};

/* Takes the lowest slot that is free or gone. MLD_ESTATE when all are held. */
enum mld_error slot_take(struct slot *out, int dir_fd);
/* Takes this one if it is free or gone; out->number is -1 when somebody holds it. */
enum mld_error slot_take_number(struct slot *out, int dir_fd, unsigned number);
/* Gives it back after a clean end: removes the writer file and closes. */
void slot_release(struct slot *slot, int dir_fd);
/* Only closes the descriptor: in a forked child, or when leaving without a clean end. */
void slot_abandon(struct slot *slot);
/* What is known of slot `number`. `ended`: its last record is `end` (the caller knows the records);
 * then it is GONE. */
enum slot_life slot_life_of(int dir_fd, unsigned number, bool ended);

#endif

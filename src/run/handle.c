/* mld_experiment handles: entering a call, and what fork() did meanwhile. */
#include <stdlib.h>
#include <unistd.h>

#include "run/run.h"

/* The child of fork() opens the folder as a new writer when it first uses the handle; what it
 * inherited stays untouched. Any of its threads may be the first. */
static enum mld_error reopen_in_child(mld_experiment *e)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    enum mld_error error = MLD_OK;
    pthread_mutex_lock(&lock);
    if (__atomic_load_n(&e->generation, __ATOMIC_ACQUIRE) != run_fork_generation()) {
        struct run *run;
        enum run_purpose purpose = e->mirrored                ? RUN_FOR_MIRRORED
                                   : e->read_only || e->ended ? RUN_FOR_READING
                                                              : RUN_FOR_WRITING;
        error = run_acquire(&run, e->dir, purpose);
        if (error == MLD_OK) {
            e->run = run;
            __atomic_store_n(&e->generation, run_fork_generation(), __ATOMIC_RELEASE);
        }
    }
    pthread_mutex_unlock(&lock);
    return error == MLD_OK ? MLD_OK : error_prefix(error, "opening %s again after fork", e->dir);
}

enum mld_error run_enter(struct run **out, mld_experiment *e, enum run_need need)
{
    enum mld_error error = MLD_OK;
    *out = NULL;
    if (__atomic_load_n(&e->generation, __ATOMIC_ACQUIRE) != run_fork_generation())
        error = reopen_in_child(e);
    if (error != MLD_OK)
        return error;
    struct run *run = e->run;
    pthread_mutex_lock(&run->lock);
    if (need == RUN_WRITE) {
        if (e->read_only)
            error = error_set(MLD_ESTATE, "%s is open for reading only", e->dir);
        else if (e->ended || run->ended)
            error = error_set(MLD_ESTATE,
                              "the run of %s has ended; open the experiment again to "
                              "go on",
                              e->dir);
        else
            error = keeper_take_failure(run->keeper);
    }
    if (error != MLD_OK) {
        pthread_mutex_unlock(&run->lock);
        return error;
    }
    *out = run;
    return MLD_OK;
}

void run_leave(struct run *run)
{
    pthread_mutex_unlock(&run->lock);
}

struct aliveness {
    struct run *run;
    bool without_us;
};

static bool slot_is_alive(unsigned slot, void *payload)
{
    struct aliveness *a = payload;
    if (a->run->slot.number == (int)slot)
        return !a->without_us;
    return !run_slot_is_gone(a->run, slot);
}

struct run_status run_status(struct run *run, bool without_us)
{
    struct aliveness a = {run, without_us};
    return state_status(&run->state, slot_is_alive, &a);
}

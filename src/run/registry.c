#include "run/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

#define REGISTRY_MAX 4096

static struct {
    pthread_mutex_t lock;
    pthread_once_t once;
    struct run *runs[REGISTRY_MAX]; /* with writers only; readers are not shared */
    size_t count;
    uint64_t generation; /* number of forks behind this process */
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

static void before_fork(void)
{
    pthread_mutex_lock(&registry.lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&registry.lock);
}

static void in_child(void)
{
    for (size_t i = 0; i < registry.count; i++)
        run_forget_after_fork(registry.runs[i]);
    registry.count = 0;
    registry.generation++;
    pthread_mutex_unlock(&registry.lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

uint64_t run_fork_generation(void)
{
    return registry.generation;
}

static struct run *find(const struct stat *st)
{
    for (size_t i = 0; i < registry.count; i++)
        if (registry.runs[i]->device == st->st_dev && registry.runs[i]->inode == st->st_ino)
            return registry.runs[i];
    return NULL;
}

static enum mld_error acquire_writer(struct run **out, const char *dir, int fd,
                                     enum run_purpose purpose)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        close(fd);
        return error_set_errno(errno, "cannot look at %s", dir);
    }
    *out = find(&st);
    if (*out != NULL) {
        (*out)->handles++;
        close(fd);
        return MLD_OK;
    }
    if (registry.count == REGISTRY_MAX) {
        close(fd);
        return error_set(MLD_ESTATE, "%d experiments are open in this process; close some",
                         REGISTRY_MAX);
    }
    enum mld_error error = run_open(out, dir, fd, purpose);
    if (error == MLD_OK)
        registry.runs[registry.count++] = *out;
    return error;
}

enum mld_error run_acquire(struct run **out, const char *dir, enum run_purpose purpose)
{
    int fd;
    *out = NULL;
    pthread_once(&registry.once, watch_forks);
    enum mld_error error = fs_open_root(&fd, dir, purpose != RUN_FOR_READING);
    if (error != MLD_OK)
        return error;
    if (run_purpose_reads(purpose))
        return run_open(out, dir, fd, purpose);
    pthread_mutex_lock(&registry.lock);
    error = acquire_writer(out, dir, fd, purpose);
    pthread_mutex_unlock(&registry.lock);
    return error;
}

static void forget_locked(struct run *run)
{
    for (size_t i = 0; i < registry.count; i++) {
        if (registry.runs[i] == run) {
            registry.runs[i] = registry.runs[--registry.count];
            return;
        }
    }
}

void registry_forget(struct run *run)
{
    pthread_mutex_lock(&registry.lock);
    forget_locked(run);
    pthread_mutex_unlock(&registry.lock);
}

void run_release(struct run *run)
{
    pthread_mutex_lock(&registry.lock);
    bool last = --run->handles == 0;
    if (last)
        forget_locked(run);
    pthread_mutex_unlock(&registry.lock);
    if (last)
        run_free(run, run->ended);
}

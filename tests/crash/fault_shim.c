/* fault_shim.c: loaded into a process with LD_PRELOAD, counts the calls that change the disk, in
 * all of its threads together, and makes the process die or a call fail where it is told to.
 *
 * strace can do that too, but counts for each thread on its own: of a server with many threads,
 * most of what one of them does is never reached, since another does its n-th call first.
 *
 * FAULT_FILE names a file of a struct control, which both sides map: another process may arm it
 * whenever it likes. A program that is run with FAULT=kill:N, torn:N or ERRNO:N (EIO:3) needs no
 * file, and arms it by itself with fault_arm(true), found by dlsym. Without either, nothing
 * happens. Calls on descriptors that are no regular files, and on 0 to 2, are let pass. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum how { HOW_NOTHING, HOW_KILL, HOW_TORN, HOW_ERRNO };
/* Kinds of calls, as bits of `mask`. */
enum kind { KIND_WRITE = 1, KIND_SYNC = 2, KIND_ROOM = 4, KIND_NAME = 8 };

/* server_tools.py has the same. */
struct control {
    atomic_llong armed;
    atomic_llong mask; /* which kinds count */
    atomic_llong how;
    atomic_llong error;       /* errno */
    atomic_llong first, last; /* the calls that are hit, counted from 1 */
    atomic_llong count;       /* calls so far */
    atomic_llong hits;        /* of them hit */
};

static struct control own;
static struct control *control = &own;

void fault_arm(bool armed);
long long fault_count(void);

static void read_words(const char *text)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return;
    own.first = own.last = strtoll(colon + 1, NULL, 10);
    own.mask = KIND_WRITE | KIND_SYNC | KIND_ROOM | KIND_NAME;
    own.how = HOW_ERRNO;
    if (strncmp(text, "kill", 4) == 0)
        own.how = HOW_KILL;
    else if (strncmp(text, "torn", 4) == 0)
        own.how = HOW_TORN;
    else
        own.error = strncmp(text, "ENOSPC", 6) == 0 ? ENOSPC : EIO;
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("FAULT_FILE");
    const char *words = getenv("FAULT");
    own.mask = KIND_WRITE | KIND_SYNC | KIND_ROOM | KIND_NAME;
    if (words != NULL)
        read_words(words);
    if (file == NULL)
        return;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *map =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        abort();
    close(fd);
    control = map;
}

void fault_arm(bool armed)
{
    control->armed = armed;
}

long long fault_count(void)
{
    return control->count;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* A call is about to be made: -1 when it is to fail; *out_torn when half of it is to be done. */
static int step(enum kind kind, bool *out_torn)
{
    *out_torn = false;
    if (!control->armed || (control->mask & kind) == 0)
        return 0;
    long long n = atomic_fetch_add(&control->count, 1) + 1;
    if (n < control->first || n > control->last || control->how == HOW_NOTHING)
        return 0;
    control->hits++;
    if (control->how == HOW_KILL)
        die();
    *out_torn = control->how == HOW_TORN;
    if (control->how != HOW_ERRNO)
        return 0;
    errno = (int)control->error;
    return -1;
}

static bool is_file(int fd)
{
    struct stat st;
    return fd > 2 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

#define REAL(name)                 \
    static __typeof__(&name) real; \
    bool torn = false;             \
    if (real == NULL)              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

/* What writes nothing has no middle: a torn call is done and then is the last one. */
#define DONE(call)                    \
    __typeof__(call) result = (call); \
    if (torn)                         \
        die();                        \
    return result

ssize_t write(int fd, const void *data, size_t len)
{
    REAL(write);
    if (is_file(fd) && step(KIND_WRITE, &torn) != 0)
        return -1;
    DONE(real(fd, data, torn ? len / 2 : len));
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
    REAL(pwrite64);
    if (step(KIND_WRITE, &torn) != 0)
        return -1;
    DONE(real(fd, data, torn ? len / 2 : len, offset));
}

int fsync(int fd)
{
    REAL(fsync);
    if (step(KIND_SYNC, &torn) != 0)
        return -1;
    DONE(real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    if (step(KIND_SYNC, &torn) != 0)
        return -1;
    DONE(real(fd));
}

int ftruncate64(int fd, off_t len)
{
    REAL(ftruncate64);
    if (step(KIND_ROOM, &torn) != 0)
        return -1;
    DONE(real(fd, len));
}

int fallocate64(int fd, int mode, off_t offset, off_t len)
{
    REAL(fallocate64);
    if (step(KIND_ROOM, &torn) != 0)
        return -1;
    DONE(real(fd, mode, offset, len));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    REAL(renameat);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(from_dir, from, to_dir, to));
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(renameat2);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(from_dir, from, to_dir, to, flags));
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    REAL(linkat);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(from_dir, from, to_dir, to, flags));
}

int unlinkat(int dir, const char *path, int flags)
{
    REAL(unlinkat);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(dir, path, flags));
}

int unlink(const char *path)
{
    REAL(unlink);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(path));
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    REAL(mkdirat);
    if (step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(dir, path, mode));
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if ((flags & O_CREAT) != 0 && step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(path, flags, mode));
}

/* openat2 of the library: counted when it may create. */
long syscall(long number, ...)
{
    REAL(syscall);
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_openat2 && (*(uint64_t *)a[2] & O_CREAT) != 0 && step(KIND_NAME, &torn) != 0)
        return -1;
    DONE(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

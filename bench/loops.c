/* What the machine allows: the system calls of a save and of an append, without anything around
 * them. loops save DIR COUNT SOURCE      read SOURCE, mkdir, create, write, close, one record line
 *   loops durable DIR COUNT SOURCE   the same with fsync of the file and both directories, and
 * fdatasync of the records loops append DIR COUNT           one line of a metric, one write(2) each
 * Prints the seconds that it took. */
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(bool ok, const char *what)
{
    if (!ok)
        err(1, "%s", what);
}

static size_t read_source(const char *source, char *data, size_t size)
{
    struct stat st;
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0, source);
    ssize_t len = read(fd, data, size);
    must(len >= 0 && fstat(fd, &st) == 0 && close(fd) == 0, source);
    return (size_t)len;
}

static void save_one(int dir, int records, int number, const char *data, size_t len, bool durable)
{
    char name[64];
    char line[512];
    snprintf(name, sizeof name, "%d", number);
    must(mkdirat(dir, name, 0777) == 0, "mkdir");
    int sub = durable ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    snprintf(name, sizeof name, "%d/file-%d.bin", number, number);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    must(fd >= 0 && write(fd, data, len) == (ssize_t)len, "write");
    if (durable)
        must(fsync(fd) == 0 && fsync(sub) == 0 && fsync(dir) == 0 && close(sub) == 0, "fsync");
    must(close(fd) == 0, "close");
    memset(line, 'x', 400);
    line[399] = '\n';
    must(write(records, line, 400) == 400, "append");
    if (durable)
        must(fdatasync(records) == 0, "fdatasync");
}

int main(int argc, char **argv)
{
    static char data[1 << 20];
    if (argc < 4)
        errx(2, "usage: loops save|durable|append DIR COUNT [SOURCE]");
    must(mkdir(argv[2], 0777) == 0, argv[2]);
    int dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int records = openat(dir, "records.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int count = atoi(argv[3]);
    bool durable = strcmp(argv[1], "durable") == 0;
    must(dir >= 0 && records >= 0, argv[2]);
    double start = now();
    for (int i = 0; i < count; i++) {
        if (strcmp(argv[1], "append") == 0) {
            int len = snprintf(data, sizeof data, "{\"index\":%d,\"data\":{\"value\":0.5}}\n", i);
            must(write(records, data, (size_t)len) == len, "append");
        } else {
            char source[512];
            snprintf(source, sizeof source, "%s/%d.bin", argv[4], i);
            save_one(dir, records, i, data, read_source(source, data, sizeof data), durable);
        }
    }
    printf("%.6f\n", now() - start);
    return 0;
}

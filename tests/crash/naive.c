/* naive.c: how not to do it, so that the crash test can be seen to fail.
 *
 *   naive run ROOT COMMAND...   of driver.c's commands: open, save, begin, stop
 *
 * Bytes go straight to the final name, and the index is one JSON file that is rewritten in place.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 16

static char names[MAX_FILES][32];
static int n_names;

static void write_index(void)
{
    int fd = open("index.json", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dprintf(fd, "{\"files\":[");
    for (int i = 0; i < n_names; i++)
        dprintf(fd, "%s\"%s\"", i > 0 ? "," : "", names[i]);
    dprintf(fd, "]}\n");
    close(fd);
}

static void save(const char *name, size_t len, long seed)
{
    char pattern[32];
    int n = snprintf(pattern, sizeof pattern, "%08ld-", seed);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    for (size_t done = 0; done < len; done += (size_t)n)
        if (write(fd, pattern, len - done < (size_t)n ? len - done : (size_t)n) < 0)
            exit(1);
    close(fd);
    for (int i = 0; i < n_names; i++)
        if (strcmp(names[i], name) == 0)
            return;
    if (n_names == MAX_FILES)
        exit(1);
    snprintf(names[n_names++], sizeof names[0], "%s", name);
    write_index();
}

int main(int argc, char **argv)
{
    char name[32];
    unsigned len;
    long seed;
    if (argc < 3 || (mkdir(argv[2], 0777) != 0 && chdir(argv[2]) != 0) || chdir(argv[2]) != 0)
        return 2;
    for (int i = 0; i + 3 < argc; i++) {
        dprintf(1, "try %d\n", i);
        if (sscanf(argv[i + 3], "save / %31s %u %ld", name, &len, &seed) == 3)
            save(name, len, seed);
        else if (strcmp(argv[i + 3], "begin") == 0)
            (void)access("/crash-begin", F_OK);
        else if (strcmp(argv[i + 3], "stop") == 0)
            (void)access("/crash-end", F_OK);
        dprintf(1, "ack %d - -\n", i);
    }
    return 0;
}

/* The suite on the SQLite store, in a file below TMPDIR. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "meta_suite.h"

static char directory[256];
static char path[300];

static struct meta *open_again(void)
{
    struct meta *m;
    if (meta_sqlite_open(&m, path) == MLD_OK)
        return m;
    fprintf(stderr, "%s\n", mld_error_message());
    return NULL;
}

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[320];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static struct meta *open_empty(void)
{
    remove_files();
    return open_again();
}

int main(void)
{
    static const struct meta_suite suite = {
        .name = "sqlite", .open_empty = open_empty, .open_again = open_again};
    const char *tmp = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/mldash-meta-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/meta.sqlite", directory);
    int failed = meta_suite_run(&suite);
    remove_files();
    rmdir(directory);
    return failed;
}

/* Runs the cases of blob.h against one kind of store: conformance_blob memory|directory. */
#include "blob_fixture.h"

static enum mld_error open_memory(struct blob **out, const char *folder)
{
    (void)folder;
    return blob_memory_open(out);
}

static const struct blob_store_kind kinds[] = {
    {.name = "memory", .open = open_memory, .keeps = false},
    {.name = "directory", .open = blob_dir_open, .keeps = true},
};

int main(int argc, char **argv)
{
    struct CMUnitTest cases[64];
    size_t n = 0;

    for (size_t i = 0; argc > 1 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0)
            fixture_kind = &kinds[i];
    }
    if (fixture_kind == NULL) {
        fprintf(stderr, "usage: %s memory|directory\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < blob_n_put_cases; i++)
        cases[n++] = blob_put_cases[i];
    for (size_t i = 0; i < blob_n_upload_cases; i++)
        cases[n++] = blob_upload_cases[i];
    for (size_t i = 0; i < blob_n_crowd_cases; i++)
        cases[n++] = blob_crowd_cases[i];
    return _cmocka_run_group_tests("blob", cases, n, NULL, NULL);
}

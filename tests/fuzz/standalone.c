/* Runs a fuzz target without a fuzzer: on each file of a folder, and on ROUNDS variants of each,
 * which are the same in each run. Usage: PROGRAM FOLDER [ROUNDS] */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUT_BYTES 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_state = 0x9E3779B97F4A7C15;

static size_t random_below(size_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return limit > 0 ? (size_t)(random_state % limit) : 0;
}

static uint8_t random_byte(void)
{
    static const char likely[] = "\"\\{}[],:0123456789.-+eEuIN \n\xed\xa0\x80\xff";

    return random_below(2) ? (uint8_t)likely[random_below(sizeof(likely))]
                           : (uint8_t)random_below(256);
}

/* Changes, removes, doubles or inserts at one place; returns the new size. */
static size_t mutate(uint8_t *data, size_t size)
{
    size_t place = random_below(size);
    size_t part = 1 + random_below(size - place < 16 ? size - place : 16);

    switch (random_below(4)) {
    case 0:
        if (size > 0)
            data[place] = random_byte();
        return size;
    case 1:
        if (part > size - place)
            return size;
        memmove(data + place, data + place + part, size - place - part);
        return size - part;
    case 2:
        if (part > size - place || size + part > MAX_INPUT_BYTES)
            return size;
        memmove(data + place + part, data + place, size - place);
        return size + part;
    default:
        if (size >= MAX_INPUT_BYTES)
            return size;
        memmove(data + place + 1, data + place, size - place);
        data[place] = random_byte();
        return size + 1;
    }
}

static void run_file(const char *path, long rounds)
{
    static uint8_t original[MAX_INPUT_BYTES];
    static uint8_t data[MAX_INPUT_BYTES];
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    size_t size = fread(original, 1, sizeof(original), file);
    fclose(file);
    LLVMFuzzerTestOneInput(original, size);
    for (long i = 0; i < rounds; i++) {
        size_t changed = size;
        memcpy(data, original, size);
        for (size_t n = 1 + random_below(4); n > 0; n--)
            changed = mutate(data, changed);
        LLVMFuzzerTestOneInput(data, changed);
    }
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s FOLDER [ROUNDS]\n", argv[0]);
        return 2;
    }
    int count = scandir(argv[1], &entries, is_visible, alphasort);
    if (count <= 0) {
        fprintf(stderr, "%s: no files\n", argv[1]);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
        run_file(path, argc > 2 ? strtol(argv[2], NULL, 10) : 0);
        free(entries[i]);
    }
    free(entries);
    printf("%d files\n", count);
    return 0;
}

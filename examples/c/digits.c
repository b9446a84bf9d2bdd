#include "digits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line is 64 pixels of 0 to 16 and the label, separated by commas. */
static bool parse_line(struct digit *digit, const char *line)
{
    for (int i = 0; i <= DIGIT_PIXELS; i++) {
        char *end;
        long value = strtol(line, &end, 10);
        char separator = i < DIGIT_PIXELS ? ',' : '\n';
        long most = i < DIGIT_PIXELS ? 16 : DIGIT_CLASSES - 1;
        if (end == line || *end != separator || value < 0 || value > most)
            return false;
        if (i < DIGIT_PIXELS)
            digit->pixels[i] = (float)value / 16.0f;
        else
            digit->label = (int)value;
        line = end + 1;
    }
    return true;
}

bool digits_read(struct digits *out, const char *path)
{
    char line[512];
    bool ok = true;
    FILE *file = fopen(path, "r");
    out->count = 0;
    if (!file) {
        fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    while (ok && fgets(line, sizeof(line), file)) {
        if (line[0] == '#')
            continue;
        ok = out->count < DIGITS_MAX && parse_line(&out->items[out->count], line);
        out->count += ok;
    }
    if (!ok || ferror(file) || out->count == 0) {
        fprintf(stderr, "%s is no file of digits (after %d of them)\n", path, out->count);
        ok = false;
    }
    fclose(file);
    return ok;
}

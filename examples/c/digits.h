/* digits.h: the handwritten digits of examples/data/digits.csv. */
#ifndef DIGITS_H
#define DIGITS_H

#include <stdbool.h>

enum { DIGIT_PIXELS = 64, DIGIT_CLASSES = 10, DIGITS_MAX = 2000 };

struct digit {
    float pixels[DIGIT_PIXELS]; /* 0 to 1 */
    int label;                  /* 0 to 9 */
};

struct digits {
    struct digit items[DIGITS_MAX];
    int count;
};

/* Reads the file. False: a message was printed. */
bool digits_read(struct digits *out, const char *path);

#endif

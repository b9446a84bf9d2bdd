/* network.h: 64 pixels -> 48 hidden units -> 10 classes, trained by stochastic gradient descent. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#include "digits.h"

enum { HIDDEN_UNITS = 48 };

/* Only floats, so that the struct's bytes are the checkpoint. */
struct network {
    float hidden[HIDDEN_UNITS][DIGIT_PIXELS + 1]; /* the last weight of a row is its bias */
    float output[DIGIT_CLASSES][HIDDEN_UNITS + 1];
};

struct score {
    double loss;     /* mean cross entropy */
    double accuracy; /* 0 to 1 */
};

void network_init(struct network *net, uint32_t *seed);

/* One pass over the digits in a new random order; returns the mean loss on the way. */
double network_train(struct network *net, struct digit *digits, int count, double rate,
                     uint32_t *seed);

struct score network_score(const struct network *net, const struct digit *digits, int count);

#endif

#include "network.h"

#include <math.h>

struct activity {
    float hidden[HIDDEN_UNITS];
    float share[DIGIT_CLASSES]; /* the probability of each class */
};

/* xorshift32: the same numbers on every machine. */
static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void init_row(float *row, int inputs, uint32_t *seed)
{
    float scale = sqrtf(6.0f / (float)inputs);
    for (int i = 0; i < inputs; i++)
        row[i] = ((float)next_random(seed) / (float)UINT32_MAX - 0.5f) * scale;
    row[inputs] = 0.0f;
}

void network_init(struct network *net, uint32_t *seed)
{
    for (int j = 0; j < HIDDEN_UNITS; j++)
        init_row(net->hidden[j], DIGIT_PIXELS, seed);
    for (int k = 0; k < DIGIT_CLASSES; k++)
        init_row(net->output[k], HIDDEN_UNITS, seed);
}

static float weigh(const float *row, const float *inputs, int count)
{
    float sum = row[count];
    for (int i = 0; i < count; i++)
        sum += row[i] * inputs[i];
    return sum;
}

static void run(struct activity *a, const struct network *net, const struct digit *digit)
{
    float most = -INFINITY, total = 0.0f;
    for (int j = 0; j < HIDDEN_UNITS; j++)
        a->hidden[j] = fmaxf(0.0f, weigh(net->hidden[j], digit->pixels, DIGIT_PIXELS));
    for (int k = 0; k < DIGIT_CLASSES; k++) {
        a->share[k] = weigh(net->output[k], a->hidden, HIDDEN_UNITS);
        most = fmaxf(most, a->share[k]);
    }
    for (int k = 0; k < DIGIT_CLASSES; k++) {
        a->share[k] = expf(a->share[k] - most);
        total += a->share[k];
    }
    for (int k = 0; k < DIGIT_CLASSES; k++)
        a->share[k] /= total;
}

static double loss_of(const struct activity *a, int label)
{
    return -log(fmax(a->share[label], 1e-12));
}

static void step_row(float *row, const float *inputs, int count, float step)
{
    for (int i = 0; i < count; i++)
        row[i] -= step * inputs[i];
    row[count] -= step;
}

static double learn(struct network *net, const struct digit *digit, float rate)
{
    struct activity a;
    float back[HIDDEN_UNITS] = {0};
    run(&a, net, digit);
    for (int k = 0; k < DIGIT_CLASSES; k++) {
        float error = a.share[k] - (k == digit->label ? 1.0f : 0.0f);
        for (int j = 0; j < HIDDEN_UNITS; j++)
            back[j] += error * net->output[k][j];
        step_row(net->output[k], a.hidden, HIDDEN_UNITS, rate * error);
    }
    for (int j = 0; j < HIDDEN_UNITS; j++) {
        if (a.hidden[j] > 0.0f)
            step_row(net->hidden[j], digit->pixels, DIGIT_PIXELS, rate * back[j]);
    }
    return loss_of(&a, digit->label);
}

static void shuffle(struct digit *digits, int count, uint32_t *seed)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)(next_random(seed) % (uint32_t)(i + 1));
        struct digit other = digits[i];
        digits[i] = digits[j];
        digits[j] = other;
    }
}

double network_train(struct network *net, struct digit *digits, int count, double rate,
                     uint32_t *seed)
{
    double loss = 0;
    shuffle(digits, count, seed);
    for (int i = 0; i < count; i++)
        loss += learn(net, &digits[i], (float)rate);
    return loss / count;
}

struct score network_score(const struct network *net, const struct digit *digits, int count)
{
    struct score score = {0, 0};
    for (int i = 0; i < count; i++) {
        struct activity a;
        int best = 0;
        run(&a, net, &digits[i]);
        for (int k = 1; k < DIGIT_CLASSES; k++)
            best = a.share[k] > a.share[best] ? k : best;
        score.accuracy += best == digits[i].label;
        score.loss += loss_of(&a, digits[i].label);
    }
    score.accuracy /= count;
    score.loss /= count;
    return score;
}

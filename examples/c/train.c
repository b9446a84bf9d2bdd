/* train.c: trains a small neural network on real handwritten digits and keeps all of it with
 * ML-Dash: parameters, metrics, log lines, a checkpoint per epoch, the best of them by an alias.
 *
 *     ./train [DIGITS.CSV]        (examples/data/digits.csv unless told)
 *
 * Every call of the library returns MLD_OK or a code, and mld_error_message() says what went wrong,
 * so the functions below stop at the first failure and hand its code up to main(). */
#include <math.h>
#include <mldash/mldash.h>
#include <stdio.h>
#include <string.h>

#include "digits.h"
#include "network.h"

enum { EPOCHS = 20, HELD_OUT = 297, SEED = 20240131 };
static const double RATE = 0.02, RATE_DECAY = 0.9;
static const double WANTED_ACCURACY = 0.9;

static const char CHECKPOINTS[] = "/checkpoints", CHECKPOINT[] = "mlp.bin";

struct training {
    mld_experiment *run;
    struct network net;
    uint32_t seed;
    struct digit *train, *test;
    int n_train, n_test;
    double best_accuracy;
};

/* Parameters are flat names with values; setting more later keeps these. */
static enum mld_error save_parameters(const struct training *t)
{
    const struct mld_field parameters[] = {
        mld_text("model.kind", "mlp"),         mld_integer("model.hidden_units", HIDDEN_UNITS),
        mld_number("optimizer.rate", RATE),    mld_number("optimizer.rate_decay", RATE_DECAY),
        mld_integer("epochs", EPOCHS),         mld_integer("seed", SEED),
        mld_integer("data.train", t->n_train), mld_integer("data.test", t->n_test),
    };
    return mld_params_set(t->run, parameters, sizeof(parameters) / sizeof(parameters[0]));
}

/* A metric is made by its first point. NAN as the time means now. */
static enum mld_error save_point(const struct training *t, const char *name, int epoch,
                                 struct score score)
{
    mld_series *metric;
    const struct mld_field point[] = {
        mld_integer("epoch", epoch),
        mld_number("loss", score.loss),
        mld_number("accuracy", score.accuracy),
    };
    enum mld_error error = mld_series_open(&metric, t->run, MLD_METRIC, name, NULL);
    if (error != MLD_OK)
        return error;
    return mld_series_append(metric, point, sizeof(point) / sizeof(point[0]), NAN, NULL);
}

static enum mld_error log_line(const struct training *t, const char *text)
{
    printf("%s\n", text);
    return mld_log(t->run, "info", text, strlen(text), NULL, 0, NAN);
}

/* A checkpoint is streamed: the library hashes while we write, and until the commit there is no
 * file. Saving one name again makes a new version; `keep` says how many stay. Write errors stick,
 * so only the commit is checked. */
static enum mld_error save_checkpoint(const struct training *t, int epoch, struct score score,
                                      struct mld_file **out_file)
{
    char metadata[128];
    const char *const tags[] = {"checkpoint"};
    struct mld_save_options options = MLD_SAVE_OPTIONS_INIT;
    mld_writer *writer;
    snprintf(metadata, sizeof(metadata), "{\"epoch\":%d,\"accuracy\":%.4f}", epoch, score.accuracy);
    options.prefix = CHECKPOINTS;
    options.filename = CHECKPOINT;
    options.tags = tags;
    options.n_tags = 1;
    options.metadata_json = metadata;
    options.keep = 3;
    enum mld_error error = mld_writer_open(&writer, t->run, &options, MLD_SEQUENTIAL);
    if (error != MLD_OK)
        return error;
    for (int j = 0; j < HIDDEN_UNITS; j++)
        mld_writer_write(writer, t->net.hidden[j], sizeof(t->net.hidden[j]));
    for (int k = 0; k < DIGIT_CLASSES; k++)
        mld_writer_write(writer, t->net.output[k], sizeof(t->net.output[k]));
    return mld_writer_commit(out_file, writer);
}

static enum mld_error train_epoch(struct training *t, int epoch)
{
    char text[128];
    struct mld_file *file = NULL;
    double rate = RATE * pow(RATE_DECAY, epoch);
    network_train(&t->net, t->train, t->n_train, rate, &t->seed);
    struct score train = network_score(&t->net, t->train, t->n_train);
    struct score test = network_score(&t->net, t->test, t->n_test);

    enum mld_error error = save_point(t, "train", epoch, train);
    if (error == MLD_OK)
        error = save_point(t, "test", epoch, test);
    if (error == MLD_OK)
        error = save_checkpoint(t, epoch, test, &file);
    /* An alias names one version and protects it: `keep` never takes the best one away. */
    if (error == MLD_OK && test.accuracy > t->best_accuracy) {
        t->best_accuracy = test.accuracy;
        error = mld_file_set_alias(t->run, file->id, "best");
    }
    if (error == MLD_OK) {
        snprintf(text, sizeof(text), "epoch %2d: train loss %.4f, test accuracy %.1f %%", epoch,
                 train.loss, 100 * test.accuracy);
        error = log_line(t, text);
    }
    mld_file_free(file);
    return error;
}

static enum mld_error train(struct training *t)
{
    enum mld_error error = save_parameters(t);
    network_init(&t->net, &t->seed);
    for (int epoch = 0; epoch < EPOCHS && error == MLD_OK; epoch++)
        error = train_epoch(t, epoch);
    return error;
}

static enum mld_error list_files(mld_experiment *run)
{
    struct mld_list_options options = MLD_LIST_OPTIONS_INIT;
    struct mld_file_list *list;
    options.prefix = CHECKPOINTS;
    options.all_versions = true;
    /* Older versions go once the newer ones would survive a power loss. */
    enum mld_error error = mld_flush(run);
    if (error == MLD_OK)
        error = mld_file_list(&list, run, &options);
    if (error != MLD_OK)
        return error;
    printf("\n%zu checkpoints are kept:\n", list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct mld_file *file = &list->files[i];
        printf("  %s/%s  %llu bytes  %s  %s\n", file->path, file->filename,
               (unsigned long long)file->size_bytes, file->metadata_json,
               file->n_aliases ? file->aliases[0] : "");
    }
    mld_file_list_free(list);
    return MLD_OK;
}

/* The download is there whole and with the recorded SHA-256, or it fails and nothing is there. */
static enum mld_error download_best(const struct training *t)
{
    struct mld_download_options options = MLD_DOWNLOAD_OPTIONS_INIT;
    struct network best;
    char *path;
    options.prefix = CHECKPOINTS;
    options.filename = CHECKPOINT;
    options.alias = "best";
    options.destination = "best.bin";
    enum mld_error error = mld_file_download(&path, t->run, &options);
    if (error != MLD_OK)
        return error;
    FILE *file = fopen(path, "rb");
    bool read = file && fread(&best, sizeof(best), 1, file) == 1;
    if (file)
        fclose(file);
    struct score score = {0, 0};
    if (read)
        score = network_score(&best, t->test, t->n_test);
    printf("\nthe best model is %s: %.1f %% of %d digits it never saw\n", path,
           100 * score.accuracy, t->n_test);
    mld_free(path);
    if (read && score.accuracy == t->best_accuracy)
        return MLD_OK;
    fprintf(stderr, "best.bin is not the model that was saved\n");
    return MLD_EIO;
}

/* Checks all stored bytes against their checksums. */
static enum mld_error verify(mld_experiment *run)
{
    struct mld_report *report;
    enum mld_error error = mld_verify(&report, run, false, NULL, NULL);
    if (error != MLD_OK)
        return error;
    printf("verified %llu files: %zu problems\n", (unsigned long long)report->files_checked,
           report->n_losses);
    error = report->n_losses ? MLD_EDAMAGED : MLD_OK;
    mld_report_free(report);
    return error;
}

static enum mld_error open_run(mld_experiment **out)
{
    const char *const tags[] = {"example", "c"};
    struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
    options.project = "examples"; /* the folder is .ml-dash/examples/digits-c */
    options.name = "digits-c";
    options.description = "A small neural network on handwritten digits, in plain C";
    options.tags = tags;
    options.n_tags = sizeof(tags) / sizeof(tags[0]);
    return mld_experiment_open(out, &options);
}

int main(int argc, char **argv)
{
    static struct digits digits;
    struct training t = {.seed = SEED};
    if (!digits_read(&digits, argc > 1 ? argv[1] : "examples/data/digits.csv"))
        return 1;
    if (digits.count <= 2 * HELD_OUT) {
        fprintf(stderr, "%d digits are too few\n", digits.count);
        return 1;
    }
    t.n_test = HELD_OUT;
    t.n_train = digits.count - HELD_OUT;
    t.train = digits.items;
    t.test = digits.items + t.n_train;

    enum mld_error error = open_run(&t.run);
    if (error == MLD_OK)
        error = train(&t);
    if (error == MLD_OK)
        error = list_files(t.run);
    if (error == MLD_OK)
        error = download_best(&t);
    if (error == MLD_OK)
        error = verify(t.run);
    if (error != MLD_OK)
        fprintf(stderr, "%s\n", mld_error_message());

    /* Ending the run makes all of it durable and records how it went. */
    if (t.run) {
        enum mld_error ended =
            mld_experiment_end(t.run, error == MLD_OK ? MLD_COMPLETED : MLD_FAILED);
        if (ended != MLD_OK)
            fprintf(stderr, "%s\n", mld_error_message());
        error = error == MLD_OK ? ended : error;
        mld_experiment_close(t.run);
    }
    if (error == MLD_OK)
        printf("look at all of it with: ml-dash show .ml-dash/examples/digits-c\n");
    return error == MLD_OK && t.best_accuracy > WANTED_ACCURACY ? 0 : 1;
}

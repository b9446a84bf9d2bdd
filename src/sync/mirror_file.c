/* mirror_file.c: the bytes of one file from the server, however often the connection breaks. */
#include "sync/engine.h"
#include "sync/mirror.h"

#include <string.h>

struct passing {
    struct mirror_patience *patience;
    mld_sink *sink;
    void *payload;
    uint64_t done, size;
};

static enum mld_error pass(const void *data, size_t len, void *payload)
{
    struct passing *p = payload;
    if (len > p->size - p->done)
        return error_set(MLD_ECHECKSUM, "the server sends more bytes than the file has");
    p->done += len;
    if (!mirror_moved(p->patience, len) || !p->sink(data, len, p->payload)) {
        p->patience->stopped = true;
        return error_set(MLD_EINTERRUPTED, "reading the file was stopped");
    }
    return MLD_OK;
}

static enum mld_error not_there_yet(const struct mirror *m, const char *id)
{
    return error_set(MLD_EUNAVAILABLE, "the bytes of file %.40s are not at %.200s yet", id, m->url);
}

static enum mld_error fetch_all(const struct mirror *m, struct remote *r, struct passing *p,
                                const char *id)
{
    enum mld_error error = MLD_OK;
    unsigned failures = 0;
    while (error == MLD_OK && p->done < p->size) {
        uint64_t before = p->done;
        enum mld_error met = remote_read_file(r, id, p->done, pass, p);
        if (met == MLD_OK && p->done < p->size)
            met = error_set(MLD_EUNAVAILABLE, "the server's answer is too short");
        if (met == MLD_ENOTFOUND) /* its record came before it */
            return not_there_yet(m, id);
        failures = p->done > before ? 1 : failures + 1;
        if (met != MLD_OK)
            error = mirror_again(m, p->patience, met, failures, r->retry_after_s);
    }
    return error;
}

/* Its id at the server. A handle that was not refreshed yet does not know it. */
static enum mld_error find_experiment(struct mirror *m, char out[REMOTE_ID_MAX])
{
    for (int tries = 0; tries < 2; tries++) {
        pthread_mutex_lock(&m->lock);
        memcpy(out, m->remote.experiment, REMOTE_ID_MAX);
        pthread_mutex_unlock(&m->lock);
        if (out[0] != '\0')
            return MLD_OK;
        enum mld_error error = mld_mirror_refresh(m->experiment, NULL, 0, NULL, NULL);
        if (error != MLD_OK)
            return error;
    }
    return error_set(MLD_EDAMAGED, "the bytes are missing, and %.200s does not have the experiment",
                     m->url);
}

/* Asks under which id the server has a file whose own is another's, too: as the sender did. */
static enum mld_error find_id(const struct mirror *m, struct remote *r, struct mirror_patience *p,
                              struct sync_file *file)
{
    enum mld_error error = MLD_OK;
    unsigned failures = 0;
    while (error == MLD_OK) {
        bool same;
        enum mld_error met = remote_file_is(r, remote_id_of(file), file->checksum, &same);
        failures = met == MLD_OK ? 0 : failures + 1;
        if (met != MLD_OK)
            error = mirror_again(m, p, met, failures, r->retry_after_s);
        else if (same)
            return MLD_OK;
        else if (!engine_take_other_id(file))
            error = not_there_yet(m, file->id);
    }
    return error;
}

static enum mld_error fetch(const struct mirror *m, struct remote *r, struct passing *p,
                            const struct run_wanted *wanted)
{
    struct sync_file file = {.id = wanted->id,
                             .checksum = wanted->checksum,
                             .size_bytes = wanted->size,
                             .stream = wanted->stream};
    enum mld_error error = wanted->stream == NULL ? MLD_OK : find_id(m, r, p->patience, &file);
    return error == MLD_OK ? fetch_all(m, r, p, remote_id_of(&file)) : error;
}

/* A client of its own, so that several threads may download at once. */
enum mld_error mirror_file(void *payload, const struct run_wanted *wanted, mld_sink *sink,
                           void *sink_payload)
{
    struct mirror *m = payload;
    struct mirror_patience patience;
    struct remote remote = {.client = NULL};
    struct passing passing = {
        .patience = &patience, .sink = sink, .payload = sink_payload, .size = wanted->size};
    m = mirror_of(m->experiment);
    if (m == NULL)
        return error_set(MLD_ENOMEM, "out of memory for reading file %.40s", wanted->id);
    enum mld_error error = find_experiment(m, remote.experiment);
    if (error != MLD_OK)
        return error;
    mirror_patience_begin(&patience, m->patience_ms, NULL, NULL);
    error = mirror_client(&remote.client, m, &patience);
    if (error == MLD_OK)
        error = fetch(m, &remote, &passing, wanted);
    http_client_free(remote.client);
    return error;
}

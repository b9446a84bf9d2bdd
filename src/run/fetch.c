#include "run/fetch.h"

#include "base/fs.h"

struct fetching {
    const struct fetch_target *target;
    struct sha256 hash;
    uint64_t done, size;
    struct error_copy failed; /* why the sink said no; MLD_OK: it did not, or the user did */
};

static bool take(const void *data, size_t len, void *payload)
{
    struct fetching *f = payload;
    const struct fetch_target *t = f->target;
    sha256_update(&f->hash, data, len);
    f->done += len;
    if (t->fd < 0)
        return t->sink(data, len, t->sink_payload);
    enum mld_error error = fs_write_all(t->fd, data, len, t->name);
    if (error != MLD_OK) {
        error_save(error, &f->failed);
        return false;
    }
    return t->progress == NULL || t->progress(f->done, f->size, t->payload);
}

enum mld_error fetch_bytes(char out_hex[SHA256_HEX_LEN + 1], const struct run_source *source,
                           const struct run_wanted *wanted, const struct fetch_target *target)
{
    struct fetching f = {
        .target = target, .hash = {NULL}, .size = wanted->size, .failed = {MLD_OK, ""}};
    enum mld_error error = sha256_begin(&f.hash);
    if (error == MLD_OK)
        error = source->fetch(source->payload, wanted, take, &f);
    if (f.failed.code != MLD_OK)
        error = error_restore(&f.failed);
    if (error == MLD_OK)
        error = sha256_end(&f.hash, out_hex);
    sha256_free(&f.hash);
    return error;
}

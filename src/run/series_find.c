#include "run/series_find.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/name.h"

#define METADATA_MAX_BYTES (16u << 20)
#define PATH_MAX_BYTES 4096

struct finder {
    struct run *run;
    enum mld_series_kind kind;
    const char *dir; /* that is being listed: "metrics", "tracks/pose" */
};

const char *series_kind_dir(enum mld_series_kind kind)
{
    return kind == MLD_METRIC ? "metrics" : "tracks";
}

bool series_read_metadata(const struct run *run, const char *dir, struct buf *text,
                          struct json_doc *doc)
{
    struct buf path;

    buf_init(&path, PATH_MAX_BYTES);
    buf_puts(&path, dir);
    buf_puts(&path, "/metadata.json");
    bool found = path.failed == MLD_OK && fs_read_file(run->dir_fd, path.data, text) == MLD_OK &&
                 text->len > 0 && json_parse(doc, text->data, text->len) == MLD_OK;
    buf_free(&path);
    return found;
}

/* A member of the directory's metadata.json as text (malloc); NULL when it is none. */
static char *metadata_text(const struct run *run, const char *dir, const char *key)
{
    struct json_doc doc;
    struct buf text;
    char *value = NULL;

    json_doc_init(&doc);
    buf_init(&text, METADATA_MAX_BYTES);
    if (series_read_metadata(run, dir, &text, &doc))
        value = json_strdup(&doc, json_get(&doc, json_root(&doc), key));
    buf_free(&text);
    json_doc_free(&doc);
    return value;
}

/* The name of the series in `dir`, which is the kind's directory and `rest`: a metric's is its
 * path, a track's is in its metadata. *out is malloc'ed; NULL: the unnamed metric. False: no series
 * could have this name. */
static bool name_of(const struct finder *f, const char *dir, const char *rest, char **out)
{
    bool unnamed = f->kind == MLD_METRIC && strcmp(rest, "None") == 0;

    *out = NULL;
    if (unnamed || f->kind == MLD_TRACK)
        *out = metadata_text(f->run, dir, unnamed ? "name" : "topic");
    if (*out != NULL && name_check_series(*out) != MLD_OK) {
        free(*out);
        *out = NULL;
    }
    if (unnamed || *out != NULL)
        return true;
    *out = strdup(rest);
    return *out != NULL && name_check_series(*out) == MLD_OK;
}

static enum mld_error add_shard(struct finder *f, const char *name, const char *dir,
                                const char *file, unsigned slot)
{
    struct state *state = &f->run->state;
    struct series_entry *entry = state_add_series(state, f->kind, name, dir);

    if (entry == NULL)
        return error_set(MLD_ENOMEM, "out of memory for the series in %s", dir);
    return state_add_shard(state, &entry->shards, file, slot);
}

/* "metrics/loss.jsonl", as very old clients wrote it; true when it is one. */
static bool is_flat_file(const struct finder *f, const char *rest)
{
    size_t len = strlen(rest);

    return f->kind == MLD_METRIC && strchr(rest, '/') == NULL && len > 6 &&
           strcmp(rest + len - 6, ".jsonl") == 0;
}

/* A file that no record names; `rest` is its path below the kind's directory. */
static enum mld_error note_file(struct finder *f, const char *file, const char *rest)
{
    char dir[PATH_MAX_BYTES];
    char *name = NULL;
    enum mld_error error = MLD_OK;
    unsigned slot = 0;
    unsigned part;
    const char *slash = strrchr(file, '/');
    size_t kind_len = (size_t)(rest - file);

    if (map_get(&f->run->state.shards, file, strlen(file)) != NULL)
        return MLD_OK;
    if (is_flat_file(f, rest)) {
        name = strndup(rest, strlen(rest) - 6);
        snprintf(dir, sizeof(dir), "metrics/%s", name == NULL ? "" : name);
        if (name == NULL || name_check_series(name) == MLD_OK)
            error = add_shard(f, name, dir, file, 0);
    } else if (slash > rest && shard_parse(slash + 1, "data", &slot, &part)) {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file), file);
        if (f->kind == MLD_TRACK && strchr(dir + kind_len, '/') != NULL)
            return MLD_OK; /* tracks have one level */
        if (name_of(f, dir, dir + kind_len, &name))
            error = add_shard(f, name, dir, file, slot);
    }
    free(name);
    return error;
}

static enum mld_error visit(const char *path, unsigned char type, void *payload)
{
    struct finder *f = payload;
    char file[PATH_MAX_BYTES];

    if (type != DT_REG && type != DT_UNKNOWN)
        return MLD_OK;
    int len = snprintf(file, sizeof(file), "%s/%s", f->dir, path);
    if (len < 0 || (size_t)len >= sizeof(file))
        return MLD_OK;
    return note_file(f, file, file + strlen(series_kind_dir(f->kind)) + 1);
}

enum mld_error series_discover(struct run *run, enum mld_series_kind kind)
{
    struct finder f = {.run = run, .kind = kind, .dir = series_kind_dir(kind)};

    return fs_walk(run->dir_fd, f.dir, visit, &f);
}

static enum mld_error discover_dir(struct run *run, enum mld_series_kind kind, const char *dir)
{
    struct finder f = {.run = run, .kind = kind, .dir = dir};

    enum mld_error error = fs_list_dir(run->dir_fd, dir, visit, &f);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

enum mld_error series_find(struct series_entry **out, struct run *run, enum mld_series_kind kind,
                           const char *name)
{
    struct buf dir;

    *out = state_series(&run->state, kind, name);
    buf_init(&dir, PATH_MAX_BYTES);
    if (*out != NULL)
        buf_puts(&dir, (*out)->dir);
    else
        name_series_dir(&dir, series_kind_dir(kind), name);
    enum mld_error error = buf_check(&dir, "directory of the series");
    if (error == MLD_OK)
        error = discover_dir(run, kind, buf_text(&dir));
    buf_free(&dir);
    if (error == MLD_OK)
        *out = state_series(&run->state, kind, name);
    return error;
}

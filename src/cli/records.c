#include "cli/records.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

void records_put_json(struct buf *out, const char *key, const char *json)
{
    json_put_key(out, key);
    if (json)
        json_put_compact(out, json, strlen(json));
    else
        buf_puts(out, "null");
}

static void put_string(struct buf *out, const char *key, const char *text)
{
    json_put_key(out, key);
    json_put_cstring(out, text);
}

static void put_count(struct buf *out, const char *key, uint64_t count)
{
    json_put_key(out, key);
    json_put_int64(out, (int64_t)count);
}

static void put_bool(struct buf *out, const char *key, bool value)
{
    json_put_key(out, key);
    json_put_bool(out, value);
}

void records_put_strings(struct buf *out, const char *key, const char *const *items, size_t count)
{
    json_put_key(out, key);
    buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(out, ',');
        json_put_cstring(out, items[i]);
    }
    buf_putc(out, ']');
}

void records_put_experiment(struct buf *out, const struct mld_experiment_info *info)
{
    buf_putc(out, '{');
    put_string(out, "id", *info->id ? info->id : NULL);
    put_string(out, "name", info->name);
    put_string(out, "project", info->project);
    put_string(out, "folder", info->folder);
    put_string(out, "prefix", info->prefix);
    put_string(out, "directory", info->directory);
    put_string(out, "description", info->description);
    records_put_strings(out, "tags", info->tags, info->n_tags);
    records_put_strings(out, "bindrs", info->bindrs, info->n_bindrs);
    records_put_json(out, "metadata", info->metadata_json);
    put_string(out, "status", mld_status_name(info->status));
    put_bool(out, "lost", info->lost);
    put_string(out, "createdAt", info->created_at);
    put_string(out, "startedAt", info->started_at);
    put_string(out, "endedAt", info->ended_at);
    put_string(out, "error", info->error);
    put_count(out, "totalFiles", info->n_files);
    put_count(out, "totalBytes", info->file_bytes);
    put_count(out, "totalMetrics", info->n_metrics);
    put_count(out, "totalTracks", info->n_tracks);
    put_count(out, "problems", info->n_problems);
    buf_putc(out, '}');
}

void records_put_file(struct buf *out, const struct mld_file *file)
{
    buf_putc(out, '{');
    put_string(out, "id", file->id);
    put_string(out, "path", file->path);
    put_string(out, "filename", file->filename);
    put_string(out, "description", file->description);
    records_put_strings(out, "tags", file->tags, file->n_tags);
    records_put_strings(out, "bindrs", file->bindrs, file->n_bindrs);
    put_string(out, "contentType", file->content_type);
    put_count(out, "sizeBytes", file->size_bytes);
    put_string(out, "checksum", file->checksum);
    records_put_json(out, "metadata", file->metadata_json);
    put_string(out, "uploadedAt", file->uploaded_at);
    put_string(out, "updatedAt", file->updated_at);
    put_string(out, "deletedAt", file->deleted_at);
    records_put_strings(out, "aliases", file->aliases, file->n_aliases);
    put_bool(out, "newest", file->newest);
    put_bool(out, "damaged", file->damaged);
    buf_putc(out, '}');
}

void records_put_files(struct buf *out, const char *key, const struct mld_file_list *list)
{
    json_put_key(out, key);
    buf_putc(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buf_putc(out, ',');
        records_put_file(out, &list->files[i]);
    }
    buf_putc(out, ']');
}

void records_put_path(struct buf *out, const struct mld_file *file)
{
    const char *path = file->path ? file->path : "";
    path += strspn(path, "/");
    buf_printf(out, "%s%s%s", path, *path ? "/" : "", file->filename);
}

void records_put_names(struct buf *out, const char *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_puts(out, i ? ", " : "");
        text_put(out, items[i]);
    }
}

/* What is special about a file, in one cell. */
static enum text_style put_notes(struct buf *cell, const struct mld_file *file)
{
    enum text_style style = TEXT_GREEN;
    records_put_names(cell, file->aliases, file->n_aliases);
    if (!file->newest && !file->deleted_at) {
        buf_printf(cell, "%solder", cell->len ? ", " : "");
        style = file->n_aliases ? TEXT_GREEN : TEXT_DIM;
    }
    if (file->deleted_at) {
        buf_printf(cell, "%sdeleted", cell->len ? ", " : "");
        style = TEXT_YELLOW;
    }
    if (file->damaged) {
        buf_printf(cell, "%sdamaged", cell->len ? ", " : "");
        style = TEXT_RED;
    }
    return style;
}

static void add_file(struct text_table *table, struct buf *cell, struct buf *path,
                     const struct mld_file *file)
{
    bool dim = file->deleted_at || !file->newest;
    buf_clear(path);
    records_put_path(path, file);
    text_put(cell, buf_text(path));
    text_table_add(table, cell, dim ? TEXT_DIM : TEXT_PLAIN);
    text_put_size(cell, file->size_bytes);
    text_table_add(table, cell, TEXT_PLAIN);
    text_put_time(cell, file->uploaded_at, false);
    text_table_add(table, cell, TEXT_DIM);
    text_put(cell, file->id);
    text_table_add(table, cell, TEXT_DIM);
    enum text_style style = put_notes(cell, file);
    text_table_add(table, cell, style);
    records_put_names(cell, file->tags, file->n_tags);
    text_table_add(table, cell, TEXT_CYAN);
}

void records_put_table(struct buf *out, const struct mld_file_list *list, size_t first,
                       const char *indent, bool colour)
{
    static const char *const headers[] = {"NAME", ">SIZE", "SAVED", "ID", "NOTE", "TAGS"};
    struct text_table table;
    struct buf cell, path;
    buf_init(&cell, CLI_MAX_OUTPUT_BYTES);
    buf_init(&path, CLI_MAX_OUTPUT_BYTES);
    text_table_init(&table, headers, sizeof(headers) / sizeof(headers[0]));
    for (size_t i = first; i < list->count; i++)
        add_file(&table, &cell, &path, &list->files[i]);
    text_table_put(out, &table, indent, colour);
    text_table_free(&table);
    buf_free(&path);
    buf_free(&cell);
}

const char *records_status(const struct mld_experiment_info *info, enum text_style *out_style)
{
    static const enum text_style styles[] = {
        [MLD_UNKNOWN] = TEXT_DIM, [MLD_RUNNING] = TEXT_CYAN,     [MLD_COMPLETED] = TEXT_GREEN,
        [MLD_FAILED] = TEXT_RED,  [MLD_CANCELLED] = TEXT_YELLOW,
    };
    if (info->lost) {
        *out_style = TEXT_YELLOW;
        return "RUNNING (no sign of life)";
    }
    *out_style = styles[info->status];
    return info->status == MLD_UNKNOWN ? "-" : mld_status_name(info->status);
}

static int64_t parse_time(const char *iso)
{
    return iso ? clock_parse_iso(iso, strlen(iso)) : -1;
}

double records_seconds(const struct mld_experiment_info *info)
{
    int64_t start = parse_time(info->started_at);
    int64_t end = parse_time(info->ended_at);
    if (info->status == MLD_RUNNING && !info->lost)
        end = clock_now_us();
    return start < 0 || end < start ? -1 : (double)(end - start) / 1e6;
}

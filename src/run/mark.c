#include "run/mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "run/record.h"

#define MARK_MAX_BYTES (64u << 20)
#define MARK_PATH_MAX 64

static void mark_path(char out[MARK_PATH_MAX], unsigned slot)
{
    snprintf(out, MARK_PATH_MAX, ".mldash/mark.%u.json", slot);
}

enum mld_error mark_write(int dir_fd, unsigned slot, const struct mark *mark)
{
    char path[MARK_PATH_MAX];
    char text[CLOCK_ISO_LEN + 1];
    struct buf b;
    buf_init(&b, MARK_MAX_BYTES);
    clock_format_iso(text, clock_now_us());
    buf_puts(&b, "{\"version\":1");
    record_put_text(&b, "writer", mark->writer);
    record_put_text(&b, "boot", mark->boot);
    record_put_text(&b, "at", text);
    json_put_key(&b, "streams");
    buf_putc(&b, '{');
    for (size_t i = 0; i < mark->count; i++) {
        const struct mark_stream *s = &mark->streams[i];
        snprintf(text, sizeof text, "%08x", s->crc);
        json_put_key(&b, s->stream);
        buf_putc(&b, '{');
        record_put_text(&b, "file", s->file);
        json_put_key(&b, "length");
        json_put_int64(&b, (int64_t)s->length);
        record_put_text(&b, "crc", text);
        buf_putc(&b, '}');
    }
    buf_putc(&b, '}');
    record_end(&b);
    mark_path(path, slot);
    enum mld_error error = buf_check(&b, path);
    if (error == MLD_OK)
        error = fs_replace_file(dir_fd, path, b.data, b.len, false);
    buf_free(&b);
    return error;
}

static const char *text_of(struct arena *arena, const struct json_doc *doc,
                           const struct json_node *node)
{
    if (node == NULL || node->type != JSON_STRING || node->escaped)
        return NULL;
    return arena_strndup(arena, doc->text + node->start, node->len);
}

static bool read_crc(uint32_t *out, const char *text)
{
    char *end;
    *out = (uint32_t)strtoul(text, &end, 16);
    return strlen(text) == 8 && *end == '\0';
}

/* One stream's entry; false when it is not as written. */
static bool read_stream(struct mark_stream *out, struct arena *arena, const struct json_doc *doc,
                        const struct json_node *key)
{
    const struct json_node *entry = json_value_of(doc, key);
    const char *crc = text_of(arena, doc, json_get(doc, entry, "crc"));
    int64_t length;
    out->stream = text_of(arena, doc, key);
    out->file = text_of(arena, doc, json_get(doc, entry, "file"));
    if (out->stream == NULL || out->file == NULL || crc == NULL || !read_crc(&out->crc, crc) ||
        !json_int64(doc, json_get(doc, entry, "length"), &length) || length < 0)
        return false;
    out->length = (uint64_t)length;
    return true;
}

static bool read_doc(struct mark *out, struct arena *arena, const struct json_doc *doc)
{
    const struct json_node *root = json_root(doc);
    const struct json_node *streams = json_get(doc, root, "streams");
    out->writer = text_of(arena, doc, json_get(doc, root, "writer"));
    out->boot = text_of(arena, doc, json_get(doc, root, "boot"));
    if (out->writer == NULL || out->boot == NULL || streams == NULL || streams->type != JSON_OBJECT)
        return false;
    struct mark_stream *list = arena_alloc(arena, (streams->count + 1) * sizeof *list);
    if (list == NULL)
        return false;
    out->streams = list;
    const struct json_node *key = NULL;
    while ((key = json_next(doc, streams, key)) != NULL)
        if (!read_stream(&list[out->count++], arena, doc, key))
            return false;
    return true;
}

enum mld_error mark_read(struct mark *out, struct arena *arena, int dir_fd, unsigned slot)
{
    char path[MARK_PATH_MAX];
    struct json_doc doc;
    struct buf b;
    *out = (struct mark){0};
    buf_init(&b, MARK_MAX_BYTES);
    json_doc_init(&doc);
    mark_path(path, slot);
    enum mld_error error = fs_read_file(dir_fd, path, &b);
    bool readable = error == MLD_OK && b.len > 0 && b.data[b.len - 1] == '\n' &&
                    record_is_intact(b.data, b.len - 1) &&
                    json_parse(&doc, b.data, b.len - 1) == MLD_OK && read_doc(out, arena, &doc);
    json_doc_free(&doc);
    buf_free(&b);
    if (readable)
        return MLD_OK;
    *out = (struct mark){0};
    if (error == MLD_OK)
        error = error_set(MLD_ENOTFOUND, "%s does not read: nothing counts as marked", path);
    return error;
}

static enum mld_error note_slot(const char *name, unsigned char type, void *payload)
{
    static const char PREFIX[] = "mark.";
    bool *slots = payload;
    char path[MARK_PATH_MAX];
    (void)type;
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0)
        return MLD_OK;
    unsigned long slot = strtoul(name + sizeof PREFIX - 1, NULL, 10);
    if (slot >= SLOT_MAX)
        return MLD_OK;
    mark_path(path, (unsigned)slot);
    if (strcmp(strrchr(path, '/') + 1, name) == 0)
        slots[slot] = true;
    return MLD_OK;
}

enum mld_error mark_list(int dir_fd, bool out[SLOT_MAX])
{
    memset(out, 0, SLOT_MAX * sizeof *out);
    return fs_list_dir(dir_fd, ".mldash", note_slot, out);
}

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "blob/blob.h"
#include "server/file_doc.h"

#define COMPONENT_MAX 255
#define HASH_LEN 16

/* One name as a component of a key: "%", control characters and the dots of ".." as %XX; a long one
 * is cut, and its hash keeps it apart from others. */
static enum mld_error put_component(struct buf *key, const char *name, size_t len)
{
    struct buf part;
    buf_init(&part, (size_t)1 << 20);
    bool dots = len <= 2 && strspn(name, ".") >= len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || c == '%' || dots)
            buf_printf(&part, "%%%02X", c);
        else
            buf_putc(&part, name[i]);
    }
    enum mld_error error = buf_check(&part, "key of a file");
    if (error == MLD_OK && part.len > COMPONENT_MAX) {
        char hash[65];
        const char *whole = buf_text(&part);
        error = doc_hash(hash, ' ', &whole, 1);
        size_t cut = COMPONENT_MAX - HASH_LEN - 1;
        while (cut > 0 && ((unsigned char)part.data[cut] & 0xC0) == 0x80)
            cut--;
        buf_put(key, part.data, cut);
        buf_printf(key, "~%.*s", HASH_LEN, hash);
    } else {
        buf_put(key, buf_text(&part), part.len);
    }
    buf_free(&part);
    return error;
}

static enum mld_error put_path(struct buf *key, const char *path)
{
    enum mld_error error = MLD_OK;
    for (const char *at = path; *at != '\0' && error == MLD_OK;) {
        size_t len = strcspn(at, "/");
        if (len > 0) {
            buf_putc(key, '/');
            error = put_component(key, at, len);
        }
        at += len + (at[len] == '/');
    }
    return error;
}

enum mld_error file_key(struct arena *arena, const char **out, const char *namespace_name,
                        const char *project_name, const struct file_doc *f, const char *path,
                        const char *filename, int64_t life)
{
    struct buf key;
    struct buf tail;
    char number[24] = "";
    *out = NULL;
    buf_init(&key, (size_t)1 << 20);
    buf_init(&tail, (size_t)1 << 20);
    buf_puts(&key, "files/");
    enum mld_error error = put_component(&key, namespace_name, strlen(namespace_name));
    buf_putc(&key, '/');
    if (error == MLD_OK)
        error = put_component(&key, project_name, strlen(project_name));
    buf_putc(&key, '/');
    buf_puts(&key, f->experiment);
    if (error == MLD_OK)
        error = put_path(&key, path);
    if (life > 1)
        snprintf(number, sizeof number, "~%lld", (long long)life);
    buf_printf(&tail, "/%s%s/", f->id, number);
    if (error == MLD_OK)
        error = put_component(&tail, filename, strlen(filename));
    if (error == MLD_OK && key.len + tail.len > BLOB_MAX_KEY_BYTES) {
        char hash[65];
        const char *whole = buf_text(&key);
        error = doc_hash(hash, ' ', &whole, 1);
        key.len = BLOB_MAX_KEY_BYTES - tail.len - HASH_LEN - 1;
        while (key.len > 0 && ((unsigned char)key.data[key.len] & 0xC0) == 0x80)
            key.len--;
        buf_printf(&key, "~%.*s", HASH_LEN, hash);
    }
    buf_put(&key, buf_text(&tail), tail.len);
    if (error == MLD_OK)
        error = buf_check(&key, "key of a file");
    if (error == MLD_OK && (*out = arena_strndup(arena, key.data, key.len)) == NULL)
        error = error_set(MLD_ENOMEM, "out of memory for a key");
    buf_free(&key);
    buf_free(&tail);
    return error;
}

bool file_id_is_fine(const char *id)
{
    static const char ALLOWED[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    size_t len = id == NULL ? 0 : strspn(id, ALLOWED);
    return len > 0 && len <= FILE_ID_MAX && id[len] == '\0';
}

#include "server/cursor.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "server/doc.h"

#define HASH_LEN 16
#define MAX_TEXT (2 * (HASH_LEN + 24 + META_MAX_NAME_BYTES))

enum mld_error cursor_write(struct buf *out, const char *query, int64_t order, const char *id)
{
    char hash[65];
    struct buf plain;
    enum mld_error error = doc_hash(hash, ' ', &query, 1);
    buf_init(&plain, MAX_TEXT);
    buf_printf(&plain, "%.*s%lld:%s", HASH_LEN, hash, (long long)order, id);
    if (error == MLD_OK)
        error = buf_check(&plain, "cursor");
    for (size_t i = 0; i < plain.len && error == MLD_OK; i++)
        buf_printf(out, "%02x", (unsigned char)plain.data[i]);
    buf_free(&plain);
    return error;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The text behind the hex digits, NULL when they are none. */
static char *plain_of(struct arena *arena, const char *text)
{
    size_t len = strlen(text);
    if (len % 2 != 0 || len > MAX_TEXT)
        return NULL;
    char *plain = arena_alloc(arena, len / 2 + 1);
    for (size_t i = 0; i < len / 2 && plain != NULL; i++) {
        int high = digit_of(text[2 * i]);
        int low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return NULL;
        plain[i] = (char)(high << 4 | low);
    }
    return plain;
}

enum mld_error cursor_read(struct meta_cursor *out, struct arena *arena, const char *query,
                           const char *text)
{
    char hash[65];
    *out = (struct meta_cursor){0};
    if (text == NULL || text[0] == '\0')
        return MLD_OK;
    enum mld_error error = doc_hash(hash, ' ', &query, 1);
    if (error != MLD_OK)
        return error;
    char *plain = plain_of(arena, text);
    char *colon = plain == NULL ? NULL : strchr(plain, ':');
    bool good = colon != NULL && strncmp(plain, hash, HASH_LEN) == 0 && colon[1] != '\0' &&
                utf8_is_valid(colon + 1, strlen(colon + 1)) &&
                num_parse_int64(plain + HASH_LEN, (size_t)(colon - plain) - HASH_LEN, &out->order);
    if (!good)
        return error_blame(error_set(MLD_EINVALID, "after is not the next of a page of this list"),
                           "after");
    out->id = colon + 1;
    return MLD_OK;
}

#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MIN_CAPACITY 64

void buf_init(struct buf *b, size_t max_bytes)
{
    assert(max_bytes > 0 && max_bytes < SIZE_MAX / 2);
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_free(struct buf *b)
{
    if (b == NULL)
        return;
    free(b->data);
    b->data = NULL;
    b->len = 0;
    b->capacity = 0;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = MLD_OK;
    if (b->data != NULL)
        b->data[0] = '\0';
}

/* Makes the capacity hold `len` more bytes and the NUL. */
static bool buf_grow(struct buf *b, size_t len)
{
    if (len > b->max_bytes - b->len) {
        b->failed = MLD_ETOOLARGE;
        return false;
    }

    size_t need = b->len + len + 1;
    size_t capacity = b->capacity * 2 > BUF_MIN_CAPACITY ? b->capacity * 2 : BUF_MIN_CAPACITY;
    if (capacity > b->max_bytes + 1)
        capacity = b->max_bytes + 1;
    if (capacity < need)
        capacity = need;

    char *data = realloc(b->data, capacity);
    if (data == NULL) {
        b->failed = MLD_ENOMEM;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

char *buf_reserve(struct buf *b, size_t len)
{
    if (b->failed != MLD_OK)
        return NULL;
    if (len >= b->capacity - b->len && !buf_grow(b, len))
        return NULL;
    return b->data + b->len;
}

void buf_advance(struct buf *b, size_t len)
{
    assert(len < b->capacity - b->len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_put(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    char *out = buf_reserve(b, len);
    if (out == NULL)
        return;
    memcpy(out, data, len);
    buf_advance(b, len);
}

void buf_puts(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

void buf_putc(struct buf *b, char c)
{
    char *out = buf_reserve(b, 1);
    if (out == NULL)
        return;
    *out = c;
    buf_advance(b, 1);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0 && b->failed == MLD_OK)
        b->failed = MLD_ETOOLARGE; /* longer than an int can say */
    if (len <= 0)
        return;

    char *out = buf_reserve(b, (size_t)len);
    if (out == NULL)
        return;
    va_start(args, format);
    vsnprintf(out, (size_t)len + 1, format, args);
    va_end(args);
    buf_advance(b, (size_t)len);
}

enum mld_error buf_check(const struct buf *b, const char *what)
{
    if (b->failed == MLD_ETOOLARGE)
        return error_set(b->failed, "%s: longer than %zu bytes", what, b->max_bytes);
    if (b->failed != MLD_OK)
        return error_set(b->failed, "%s: no memory for more than %zu bytes", what, b->len);
    return MLD_OK;
}

char *buf_steal(struct buf *b)
{
    if (b->failed != MLD_OK || buf_reserve(b, 0) == NULL)
        return NULL;
    char *text = b->data;
    text[b->len] = '\0';
    b->data = NULL;
    b->len = 0;
    b->capacity = 0;
    return text;
}

const char *buf_text(const struct buf *b)
{
    return b->len > 0 ? b->data : "";
}

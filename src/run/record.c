#include "run/record.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"

#define CRC_KEY ",\"crc\":\""
#define CRC_TAIL_LEN (sizeof CRC_KEY - 1 + 8 + 2) /* the key, 8 digits, a quote and a brace */

void record_begin(struct buf *line, const char *type, int64_t clock)
{
    buf_puts(line, "{\"type\":\"");
    buf_puts(line, type);
    buf_puts(line, "\",\"clock\":");
    json_put_int64(line, clock);
}

void record_end(struct buf *line)
{
    char tail[32];
    uint32_t crc = crc32c(0, line->data, line->len);
    int len = snprintf(tail, sizeof tail, CRC_KEY "%08x\"}\n", crc);
    buf_put(line, tail, (size_t)len);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool record_parse_crc(const char *text, uint32_t *out)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < 8; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0)
            return false;
        crc = crc << 4 | (uint32_t)digit;
    }
    *out = crc;
    return true;
}

bool record_is_intact(const char *line, size_t len)
{
    uint32_t written;
    if (len < CRC_TAIL_LEN + 1)
        return false;
    const char *tail = line + len - CRC_TAIL_LEN;
    if (memcmp(tail, CRC_KEY, sizeof CRC_KEY - 1) != 0 || memcmp(line + len - 2, "\"}", 2) != 0)
        return false;
    return record_parse_crc(tail + sizeof CRC_KEY - 1, &written) &&
           crc32c(0, line, len - CRC_TAIL_LEN) == written;
}

void record_put_text(struct buf *line, const char *key, const char *text)
{
    json_put_key(line, key);
    json_put_cstring(line, text);
}

void record_put_strings(struct buf *line, const char *key, const char *const *strings, size_t n)
{
    json_put_key(line, key);
    buf_putc(line, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(line, ',');
        json_put_cstring(line, strings[i]);
    }
    buf_putc(line, ']');
}

void record_put_json(struct buf *line, const char *key, const char *json)
{
    json_put_key(line, key);
    if (json == NULL)
        buf_puts(line, "null");
    else
        json_put_compact(line, json, strlen(json));
}
